"""Make a text encoder of the shape of BERT-base with random weights, to see where its time goes.

The layers are those of BERT-base (arXiv 1810.04805) as PyTorch exports them: three embeddings, 12 layers of attention
and a feed-forward part, a pooler and a classifier of two classes; 109 million weights. The weights are random: what is
studied here is speed alone. `--layers`, `--hidden` and `--vocabulary` make it smaller.

    python examples/bert_shape.py --out bert-shape
    equipoise profile bert-shape/bert.onnx --length 128
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 9
WEIGHT_SCALE = 0.02
MASKED = -10_000.0
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Sizes:
    """How large an encoder is; the defaults are BERT-base's.

    Attributes:
        layers: Layers of attention and feed-forward.
        hidden: Features of a token.
        heads: Heads of attention; they divide `hidden`.
        vocabulary: Tokens that are known.
        positions: Longest text, in tokens.
        classes: What it tells apart.
    """

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 30_522
    positions: int = 512
    classes: int = 2

    @property
    def inner(self) -> int:
        """Features inside the feed-forward part."""
        return 4 * self.hidden


def main() -> None:
    """Write the model and some rows, and print what to run next."""
    usual = Sizes()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("bert-shape"), help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--layers", type=int, default=usual.layers, help="(default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=usual.hidden, help="features of a token (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=usual.heads, help="they divide --hidden (default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=usual.vocabulary, help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=64, help="random texts to write (default: %(default)s)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a text (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and texts (default: %(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(options.seed)
    sizes = Sizes(options.layers, options.hidden, options.heads, options.vocabulary)
    model = bert(rng, sizes)
    path = options.out / "bert.onnx"
    onnx.save(model, path)
    shape = (options.rows, options.length)
    ids = rng.integers(0, sizes.vocabulary, shape)
    rows = dict(zip(INPUTS, (ids, np.ones(shape, np.int64), np.zeros(shape, np.int64)), strict=True))
    np.savez(options.out / "texts.npz", **rows)  # type: ignore[arg-type]

    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{path}: {weights / 1e6:.1f} million weights, {len(model.graph.node)} operators")
    print(f"{options.out}/texts.npz: {options.rows} texts of {options.length} tokens")
    print("\nNow see which of its layers cost what:")
    print(f"  equipoise profile {path} --data {options.out}/texts.npz --out {options.out}/profile")


def bert(rng: np.random.Generator, sizes: Sizes | None = None) -> onnx.ModelProto:
    """A BERT with random weights: `input_ids`, `attention_mask`, `token_type_ids` [batch, sequence] to `logits`."""
    sizes = sizes or Sizes()
    graph = _Graph(rng)
    x = _embeddings(graph, sizes)
    mask = _mask(graph)
    for layer in range(sizes.layers):
        graph.scope = f"/encoder/layer.{layer}"
        x = _norm(graph, graph.add("Add", [x, _attention(graph, x, mask, sizes)]), sizes.hidden)
        inner = _gelu(graph, graph.linear(x, sizes.hidden, sizes.inner))
        x = _norm(graph, graph.add("Add", [x, graph.linear(inner, sizes.inner, sizes.hidden)]), sizes.hidden)
    graph.scope = "/classifier"
    first = graph.add("Gather", [x, graph.constant(np.int64(0))], axis=1)
    pooled = graph.add("Tanh", [graph.linear(first, sizes.hidden, sizes.hidden)])
    graph.linear(pooled, sizes.hidden, sizes.classes, output="logits")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", sizes.classes])
    made = helper.make_graph(graph.nodes, "bert", inputs, [logits], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _embeddings(graph: _Graph, sizes: Sizes) -> str:
    """The sum of what token, kind of token and position are, normalised."""
    graph.scope = "/embeddings"
    words = graph.add("Gather", [graph.normal((sizes.vocabulary, sizes.hidden)), "input_ids"])
    kinds = graph.add("Gather", [graph.normal((2, sizes.hidden)), "token_type_ids"])
    length = graph.add("Gather", [graph.add("Shape", ["input_ids"]), graph.constant(np.int64(1))])
    numbers = graph.add("Range", [graph.constant(np.int64(0)), length, graph.constant(np.int64(1))])
    places = graph.add("Gather", [graph.normal((sizes.positions, sizes.hidden)), numbers])
    return _norm(graph, graph.add("Add", [graph.add("Add", [words, kinds]), places]), sizes.hidden)


def _mask(graph: _Graph) -> str:
    """What is added to the scores of attention, 0 for a token, very little for padding: [batch, 1, 1, sequence]."""
    graph.scope = "/mask"
    real = graph.add("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    wide = graph.add("Unsqueeze", [real, graph.constant(np.array([1, 2]))])
    padding = graph.add("Sub", [graph.constant(np.float32(1)), wide])
    return graph.add("Mul", [padding, graph.constant(np.float32(MASKED))])


def _attention(graph: _Graph, x: str, mask: str, sizes: Sizes) -> str:
    width = sizes.hidden // sizes.heads
    apart, together = (graph.constant(np.array(shape)) for shape in ([0, 0, sizes.heads, width], [0, 0, sizes.hidden]))

    def heads(order: Sequence[int]) -> str:
        projected = graph.add("Reshape", [graph.linear(x, sizes.hidden, sizes.hidden), apart])
        return graph.add("Transpose", [projected], perm=order)

    query, key, value = heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3])
    scores = graph.add("Div", [graph.add("MatMul", [query, key]), graph.constant(np.sqrt(np.float32(width)))])
    weights = graph.add("Softmax", [graph.add("Add", [scores, mask])], axis=-1)
    seen = graph.add("Transpose", [graph.add("MatMul", [weights, value])], perm=[0, 2, 1, 3])
    return graph.linear(graph.add("Reshape", [seen, together]), sizes.hidden, sizes.hidden)


def _norm(graph: _Graph, x: str, features: int) -> str:
    scale, shift = graph.constant(np.ones(features, np.float32)), graph.constant(np.zeros(features, np.float32))
    return graph.add("LayerNormalization", [x, scale, shift], axis=-1, epsilon=1e-12)


def _gelu(graph: _Graph, x: str) -> str:
    """The Gaussian error linear unit, in the operators that PyTorch exports it to."""
    bell = graph.add("Erf", [graph.add("Div", [x, graph.constant(np.sqrt(np.float32(2)))])])
    gate = graph.add("Mul", [x, graph.add("Add", [bell, graph.constant(np.float32(1))])])
    return graph.add("Mul", [gate, graph.constant(np.float32(0.5))])


class _Graph:
    """Nodes and weights of an ONNX graph in the making; each node is named after the part it belongs to."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.scope = ""
        self._rng = rng

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"{self.scope}/{operator}_{len(self.nodes)}"
        output = output or f"{name}_output"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def linear(self, x: str, before: int, after: int, output: str | None = None) -> str:
        """Add a matrix product and a bias."""
        product = self.add("MatMul", [x, self.normal((before, after))])
        return self.add("Add", [self.normal((after,)), product], output)

    def normal(self, shape: tuple[int, ...]) -> str:
        """Add random weights."""
        return self.constant(np.float32(WEIGHT_SCALE) * self._rng.standard_normal(shape, dtype=np.float32))

    def constant(self, values: Any) -> str:
        """Add weights that are given."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name


if __name__ == "__main__":
    main()
