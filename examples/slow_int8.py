"""Make a model whose int8 form may well be slower than itself, to see that the answer is then never the slower one.

`resnet50` has 53 convolutions with residual additions and 25.5 million weights; `mobilenet` is the narrowest MobileNet
(arXiv 1704.04861, width 0.25), in which 3 x 3 convolutions of single channels alternate with 1 x 1 convolutions of few.
Both take images of 224 x 224 and look as PyTorch exports them for inference, batch normalisation folded into the
convolutions. Their weights are random, and so are the images: what is studied here is speed alone. A quantised graph
also has to quantise and dequantise; on some CPUs, in some runtimes, that costs more than 8-bit convolutions save.

    python examples/slow_int8.py --shape mobilenet --out slow-int8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 9
CLASSES = 1000
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Channels inside a block, and blocks, of the four stages of a ResNet-50; a block gives four times its channels."""
EXPANSION = 4
BRANCH_GAIN = 0.2
"""Scale of the last convolution of each block, so that 16 residual additions of random weights stay in range."""
SEPARABLE = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1))
"""Channels and stride of the 13 separable convolutions of a MobileNet of width 0.25."""


def main() -> None:
    """Write the model and the images, and print what to run next."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("slow-int8"), help="folder to write to (default: %(default)s)")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="resnet50", help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=64, help="random images to write (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=224, help="height and width of an image (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and images (default: %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(options.seed)
    model = SHAPES[options.shape](rng, options.pixels)
    path = options.out / f"{options.shape}.onnx"
    onnx.save(model, path)
    images = rng.standard_normal((options.rows, 3, options.pixels, options.pixels), dtype=np.float32)
    np.savez(options.out / "images.npz", image=images)

    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{path}: {weights / 1e6:.1f} million weights, {len(model.graph.node)} operators")
    print(f"{options.out}/images.npz: {options.rows} images of {options.pixels} x {options.pixels}")
    print("\nNow see which forms of it are slower, and that none of them is the answer:")
    print(
        f"  equipoise optimize {path} --data {options.out}/images.npz --metric none --budget 3m "
        f"--out {options.out}/study"
    )


def resnet50(rng: np.random.Generator, pixels: int = 224) -> onnx.ModelProto:
    """A ResNet-50 with random weights: `image` float32 [batch, 3, pixels, pixels] to `logits` [batch, 1000]."""
    graph = ConvolutionGraph(rng)
    x = graph.relu(graph.convolution("image", 3, 64, kernel=7, stride=2))
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(graph, x, channels, width, stride)
            channels = EXPANSION * width
    return graph.classifier(x, channels, pixels)


def mobilenet(rng: np.random.Generator, pixels: int = 224) -> onnx.ModelProto:
    """A MobileNet of width 0.25 with random weights, same input and output as `resnet50`."""
    graph = ConvolutionGraph(rng)
    channels = 8
    x = graph.relu(graph.convolution("image", 3, channels, kernel=3, stride=2))
    for after, stride in SEPARABLE:
        x = graph.relu(graph.convolution(x, channels, channels, kernel=3, stride=stride, groups=channels))
        x = graph.relu(graph.convolution(x, channels, after))
        channels = after
    return graph.classifier(x, channels, pixels)


SHAPES = {"resnet50": resnet50, "mobilenet": mobilenet}


def _bottleneck(graph: ConvolutionGraph, x: str, channels: int, width: int, stride: int) -> str:
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut, which is projected where the shape changes."""
    wide = EXPANSION * width
    branch = graph.relu(graph.convolution(x, channels, width))
    branch = graph.relu(graph.convolution(branch, width, width, kernel=3, stride=stride))
    branch = graph.convolution(branch, width, wide, gain=BRANCH_GAIN)
    shortcut = x if channels == wide else graph.convolution(x, channels, wide, stride=stride)
    return graph.relu(graph.add("Add", [branch, shortcut]))


class ConvolutionGraph:
    """Nodes and weights of an ONNX graph in the making; each layer is named after its place."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = rng

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{operator}_{len(self.nodes)}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def convolution(
        self, x: str, before: int, after: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, gain: float = 1.0
    ) -> str:
        """Add a convolution with a bias, which is what batch normalisation leaves when it is folded."""
        inputs = before // groups * kernel**2
        weight = self._normal((after, before // groups, kernel, kernel), gain * np.sqrt(2 / inputs))
        bias = self._normal((after,), 0.01)
        square = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self.add("Conv", [x, weight, bias], group=groups, **square)

    def relu(self, x: str) -> str:
        """Add a rectifier."""
        return self.add("Relu", [x])

    def classifier(self, x: str, channels: int, pixels: int) -> onnx.ModelProto:
        """Average over the image, classify, and close the graph."""
        x = self.add("Flatten", [self.add("GlobalAveragePool", [x])], axis=1)
        weight = self._normal((CLASSES, channels), np.sqrt(1 / channels))
        self.add("Gemm", [x, weight, self._normal((CLASSES,), 0.01)], "logits", transB=1)
        image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, pixels, pixels])
        logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", CLASSES])
        made = helper.make_graph(self.nodes, "classifier", [image], [logits], self.weights)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model

    def _normal(self, shape: tuple[int, ...], scale: float) -> str:
        name = f"weight_{len(self.weights)}"
        values = np.float32(scale) * self._rng.standard_normal(shape, dtype=np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name


if __name__ == "__main__":
    main()
