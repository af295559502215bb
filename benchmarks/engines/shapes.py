"""The shapes of four well-known networks with random weights, as plain ONNX, and random rows for them.

ResNet-50 and BERT-base are those of the examples. MobileNetV2 (arXiv 1801.04381) and EfficientNet-B0 (arXiv 1905.11946)
have the layers of their papers, batch normalisation folded into the convolutions as exporters leave it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import onnx

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2: how much wider inside, channels, blocks, stride of the first."""
SQUEEZED = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip
"""EfficientNet-B0: the same, and the kernel."""
STEM, LAST = 32, 1280
SQUEEZE = 4
BRANCH_GAIN, SWISH_GAIN, SQUEEZED_GAIN = 0.5, 1.15, 1.0
"""Scales of random weights, so that what an image holds neither fades nor grows on its way through the layers."""
QUICK_PIXELS, QUICK_LENGTH = 64, 32


@dataclass(frozen=True)
class Shape:
    """A network to compare engines on.

    Attributes:
        name: Of it.
        model: Makes it; `True` for a small form of it, to see that everything runs.
        rows: Makes so many random rows for it, input name to [n, ...]; likewise.
    """

    name: str
    model: Callable[[bool], onnx.ModelProto]
    rows: Callable[[int, bool], dict[str, Any]]


def example(name: str) -> Any:
    """A module of the examples."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
        if spec is None or spec.loader is None:
            raise FileNotFoundError(EXAMPLES / f"{name}.py")
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def resnet50(quick: bool) -> onnx.ModelProto:
    """`image` float32 [batch, 3, 224, 224] to `logits` [batch, 1000], 25.5 million weights."""
    return example("slow_int8").resnet50(_rng(), _pixels(quick))


def mobilenet_v2(quick: bool) -> onnx.ModelProto:
    """The same input and output, 3.5 million weights: 3 x 3 convolutions of single channels between 1 x 1 ones."""
    graph = example("slow_int8").ConvolutionGraph(_rng())
    clipped = _Clip(graph)
    x, channels = clipped(graph.convolution("image", 3, STEM, kernel=3, stride=2)), STEM
    for expansion, after, blocks, first in INVERTED:
        for block in range(blocks):
            stride, wide = first if block == 0 else 1, expansion * channels
            branch = clipped(graph.convolution(x, channels, wide)) if expansion > 1 else x
            branch = clipped(graph.convolution(branch, wide, wide, kernel=3, stride=stride, groups=wide))
            branch = graph.convolution(branch, wide, after, gain=BRANCH_GAIN)
            x = graph.add("Add", [x, branch]) if stride == 1 and channels == after else branch
            channels = after
    return graph.classifier(clipped(graph.convolution(x, channels, LAST)), LAST, _pixels(quick))


def efficientnet_b0(quick: bool) -> onnx.ModelProto:
    """The same input and output, 5.3 million weights: beside the former, channels weighed by what all of them hold."""
    graph = example("slow_int8").ConvolutionGraph(_rng())
    x, channels = _swish(graph, graph.convolution("image", 3, STEM, kernel=3, stride=2, gain=SWISH_GAIN)), STEM
    for expansion, after, blocks, first, kernel in SQUEEZED:
        for block in range(blocks):
            stride, wide = first if block == 0 else 1, expansion * channels
            branch = _swish(graph, graph.convolution(x, channels, wide, gain=SWISH_GAIN)) if expansion > 1 else x
            place = {"kernel": kernel, "stride": stride, "groups": wide}
            branch = _swish(graph, graph.convolution(branch, wide, wide, gain=SWISH_GAIN, **place))
            few = max(1, channels // SQUEEZE)
            weight = _swish(graph, graph.convolution(graph.add("GlobalAveragePool", [branch]), wide, few))
            branch = graph.add("Mul", [branch, graph.add("Sigmoid", [graph.convolution(weight, few, wide)])])
            branch = graph.convolution(branch, wide, after, gain=SQUEEZED_GAIN)
            x = graph.add("Add", [x, branch]) if stride == 1 and channels == after else branch
            channels = after
    return graph.classifier(_swish(graph, graph.convolution(x, channels, LAST, gain=SWISH_GAIN)), LAST, _pixels(quick))


def bert_base(quick: bool) -> onnx.ModelProto:
    """Three inputs int64 [batch, sequence] to `logits` [batch, 2], 109 million weights."""
    bert = example("bert_shape")
    sizes = bert.Sizes(layers=2, hidden=256, heads=4, vocabulary=4000) if quick else bert.Sizes()
    return bert.bert(_rng(), sizes)


def images(n: int, quick: bool) -> dict[str, Any]:
    """Random images, [n, 3, pixels, pixels]."""
    pixels = _pixels(quick)
    return {"image": _rng().standard_normal((n, 3, pixels, pixels), dtype=np.float32)}


def texts(n: int, quick: bool) -> dict[str, Any]:
    """Random texts of 128 tokens without padding, [n, length]."""
    ids = _rng().integers(0, 4000, (n, QUICK_LENGTH if quick else 128))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


SHAPES = {
    "resnet50": Shape("resnet50", resnet50, images),
    "mobilenet-v2": Shape("mobilenet-v2", mobilenet_v2, images),
    "efficientnet-b0": Shape("efficientnet-b0", efficientnet_b0, images),
    "bert-base": Shape("bert-base", bert_base, texts),
}


class _Clip:
    """A rectifier that ends at 6."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        for name, value in (("zero", 0), ("six", 6)):
            graph.weights.append(onnx.numpy_helper.from_array(np.float32(value), name))

    def __call__(self, x: str) -> str:
        clipped: str = self._graph.add("Clip", [x, "zero", "six"])
        return clipped


def _swish(graph: Any, x: str) -> str:
    gated: str = graph.add("Mul", [x, graph.add("Sigmoid", [x])])
    return gated


def _pixels(quick: bool) -> int:
    return QUICK_PIXELS if quick else 224


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
