"""What each operator of a PyTorch program takes: the graph is run node by node, with a clock around each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from equipoise.core.profile import Precision
from equipoise.core.tensor import ModelSpec
from equipoise.runtimes.base import Array
from equipoise.runtimes.layers import Operation, Shape, TimedLayer, TimedLayers, Turn

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from equipoise.runtimes.torch import TorchSession

ONNX_NAMES = {
    "conv1d": "Conv", "conv2d": "Conv", "conv3d": "Conv", "convolution": "Conv", "linear": "MatMul",
    "matmul": "MatMul", "mm": "MatMul", "addmm": "MatMul", "bmm": "MatMul", "relu": "Relu", "relu_": "Relu",
    "gelu": "Gelu", "silu": "Silu", "silu_": "Silu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish",
    "hardswish_": "HardSwish", "softmax": "Softmax", "log_softmax": "LogSoftmax", "batch_norm": "BatchNormalization",
    "layer_norm": "LayerNormalization", "group_norm": "GroupNormalization", "add": "Add", "add_": "Add",
    "scaled_dot_product_attention": "Attention", "sub": "Sub", "mul": "Mul", "div": "Div", "mean": "ReduceMean",
    "sum": "ReduceSum", "amax": "ReduceMax", "argmax": "ArgMax", "permute": "Transpose", "transpose": "Transpose",
    "view": "Reshape", "reshape": "Reshape", "flatten": "Flatten", "squeeze": "Squeeze", "unsqueeze": "Unsqueeze",
    "slice": "Slice", "pad": "Pad", "constant_pad_nd": "Pad", "cat": "Concat", "to": "Cast", "_to_copy": "Cast",
    "embedding": "Gather", "dropout": "Dropout", "expand": "Expand", "contiguous": "Identity", "split": "Split",
    "where": "Where", "sqrt": "Sqrt", "exp": "Exp", "pow": "Pow", "erf": "Erf", "clone": "Identity", "lstm": "LSTM",
    "gru": "GRU",
}  # fmt: skip
"""ATen's operators as ONNX calls them, for which there are formulas."""
ARITHMETIC: dict[str, Precision] = {"torch.float32": "f32", "torch.bfloat16": "bf16", "torch.float16": "f16"}


class TorchLayers:
    """A program whose operators are timed as they run; the clock itself takes about a microsecond an operator."""

    def __init__(self, session: TorchSession, module: GraphModule) -> None:
        import torch

        self._session = session
        self._torch = torch
        self._seen: list[dict[str, float]] = []
        self._found: dict[str, TimedLayer] = {}
        self._parameters = sum(weight.numel() for weight in module.state_dict().values())
        self._weights = {
            node.name: _attribute(module, str(node.target)).numel()
            for node in module.graph.nodes
            if node.op == "get_attr"
        }
        self._interpreter = self._interpreter_of(module)

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        return self._session.spec

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """As the session that only answers does."""
        return self._session.prepare(feeds)

    def run(self, prepared: Any) -> float:
        """Answer one batch and note what each operator took."""
        self._seen.append({})
        begin = time.perf_counter()
        with self._torch.inference_mode(), self._session.arithmetic():
            self._interpreter.run(*prepared, enable_io_processing=False)
        return time.perf_counter() - begin

    def layers(self, turns: Sequence[Turn]) -> TimedLayers:
        """The operators in the order in which they run."""
        layers = []
        for name, layer in self._found.items():
            seconds = [np.mean([run.get(name, 0.0) for run in self._seen[slice(*turn)]]) for turn in turns]
            layers.append(
                TimedLayer(
                    name=layer.name,
                    operator=layer.operator,
                    kernel=layer.kernel,
                    precision=layer.precision,
                    operations=layer.operations,
                    parameters=layer.parameters,
                    bytes_moved=layer.bytes_moved,
                    seconds=np.array(seconds),
                )
            )
        return TimedLayers(tuple(layers), self._parameters)

    def _interpreter_of(self, module: GraphModule) -> Any:
        from torch.fx import Interpreter

        layers, torch = self, self._torch

        class Timed(Interpreter):  # type: ignore[misc]
            def run_node(self, n: Node) -> Any:
                if n.op != "call_function":
                    return super().run_node(n)
                arguments, keywords = self.fetch_args_kwargs_from_env(n)
                begin = time.perf_counter()
                answer = n.target(*arguments, **keywords)
                layers._seen[-1][n.name] = time.perf_counter() - begin
                if n.name not in layers._found and _tensors(torch, answer):
                    layers._found[n.name] = layers._layer(n, arguments, answer)
                return answer

        return Timed(module)

    def _layer(self, node: Node, arguments: Sequence[Any], answer: Any) -> TimedLayer:
        torch = self._torch
        kernel = str(getattr(node.target, "_opname", getattr(node.target, "__name__", node.target)))
        given, made = _tensors(torch, arguments), _tensors(torch, answer)
        return TimedLayer(
            name=node.name,
            operator=ONNX_NAMES.get(kernel, kernel),
            kernel=kernel,
            precision=ARITHMETIC.get(str(made[0].dtype)),
            operations=_operations(
                kernel, tuple(tuple(each.shape) for each in given), tuple(tuple(each.shape) for each in made)
            ),
            parameters=sum(self._weights.get(source.name, 0) for source in node.all_input_nodes),
            bytes_moved=sum(each.numel() * each.element_size() for each in (*given, *made)),
            seconds=np.empty(0),
        )


def _operations(kernel: str, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Operation, ...]:
    """An operator as those for which there are formulas."""
    if kernel == "linear":  # its weights lie the other way round
        return (Operation("MatMul", (inputs[0], inputs[1][::-1]), outputs),)
    if kernel == "addmm":
        return (Operation("MatMul", inputs[1:3], outputs),)
    if kernel == "scaled_dot_product_attention":
        queries, keys, values = inputs[:3]
        scores = (*queries[:-1], keys[-2])
        return (
            Operation("MatMul", (queries, (*keys[:-2], keys[-1], keys[-2])), (scores,)),
            Operation("Softmax", (scores,), (scores,)),
            Operation("MatMul", (scores, values), outputs),
        )
    return (Operation(ONNX_NAMES.get(kernel, kernel), inputs, outputs),)


def _tensors(torch: Any, values: Any) -> list[Any]:
    from torch.utils._pytree import tree_leaves

    return [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


def _attribute(module: Any, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)
