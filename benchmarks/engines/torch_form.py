"""An ONNX graph of these shapes as a PyTorch module: the same layers, the same weights, computed by torch.

Nodes become torch's own functions one by one, so that torch.export and torch.compile see an ordinary network.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

from equipoise.compress.tools import ONNX_FILE
from equipoise.runtimes.torch_program import export_program, save_program


class OnnxModule(nn.Module):
    """A network that computes what an ONNX graph says.

    Args:
        model: With operators among those below only.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._places: dict[str, str] = {}
        self._numbers: dict[str, Any] = {}
        for position, tensor in enumerate(model.graph.initializer):
            values = np.array(numpy_helper.to_array(tensor))
            if values.dtype == np.float32 and values.ndim:
                self._places[tensor.name] = f"weight_{position}"
                self.register_parameter(f"weight_{position}", nn.Parameter(torch.from_numpy(values)))
            else:
                self._numbers[tensor.name] = values.item() if values.ndim == 0 else values.tolist()
        self._nodes = [
            (
                OPERATORS[node.op_type],
                list(node.input),
                node.output[0],
                {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
            )
            for node in model.graph.node
        ]
        self._output = model.graph.output[0].name

    def forward(self, **feeds: torch.Tensor) -> dict[str, torch.Tensor]:
        """Answer rows."""
        values: dict[str, Any] = {**feeds, **self._numbers}
        values |= {name: getattr(self, place) for name, place in self._places.items()}
        for compute, inputs, output, attributes in self._nodes:
            values[output] = compute(*(values[name] for name in inputs), **attributes)
        return {self._output: values[self._output]}


def _cast(x: Any, to: int) -> Any:
    return x.to({onnx.TensorProto.FLOAT: torch.float32}[to])


def _convolution(
    x: Any, weight: Any, bias: Any, strides: list[int], pads: list[int], group: int, **_kernel: Any
) -> Any:
    return functional.conv2d(x, weight, bias, stride=strides, padding=pads[:2], groups=group)


def _gather(table: Any, index: Any, axis: int = 0) -> Any:
    if isinstance(table, torch.Size):
        return table[index]
    return table.select(axis, index) if isinstance(index, int) else functional.embedding(index, table)


def _gemm(x: Any, weight: Any, bias: Any, **transposed: int) -> Any:
    return functional.linear(x, weight if transposed.get("transB") else weight.T, bias)


def _reshape(x: Any, shape: list[int]) -> Any:
    return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(shape)])


def _transpose(x: Any, perm: list[int]) -> Any:
    """Keys of attention in two steps, as people write it: inductor (torch 2.13) takes one step for another layout."""
    if list(perm) == [0, 2, 3, 1]:
        return x.permute(0, 2, 1, 3).transpose(-2, -1)
    return x.permute(*perm)


def _unsqueeze(x: Any, axes: list[int]) -> Any:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Cast": _cast,
    "Clip": torch.clamp,
    "Conv": _convolution,
    "Div": operator.truediv,
    "Erf": torch.erf,
    "Flatten": lambda x, axis: x.flatten(axis),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "LayerNormalization": lambda x, scale, shift, axis, epsilon: functional.layer_norm(
        x, x.shape[axis:], scale, shift, epsilon
    ),
    "MatMul": operator.matmul,
    "MaxPool": lambda x, kernel_shape, strides, pads: functional.max_pool2d(x, kernel_shape, strides, pads[:2]),
    "Mul": operator.mul,
    "Range": torch.arange,
    "Relu": functional.relu,
    "Reshape": _reshape,
    "Shape": lambda x: x.shape,
    "Sigmoid": torch.sigmoid,
    "Softmax": lambda x, axis: functional.softmax(x, axis),
    "Sub": operator.sub,
    "Tanh": torch.tanh,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""ONNX operator to what computes it, given its inputs in order and its attributes by name."""


def write_program(source: Path, rows: dict[str, Any], folder: Path) -> None:
    """Write the model of an artifact folder as `model.pt2` of another.

    Args:
        source: Holds `model.onnx`.
        rows: A few rows for it, input name to [n, ...], n at least 2.
        folder: An empty folder.
    """
    module = OnnxModule(onnx.load(source / ONNX_FILE)).eval()
    example = {name: torch.from_numpy(np.ascontiguousarray(array[:2])) for name, array in rows.items()}
    program = export_program(module, example, str(source))
    save_program(program, folder, str(source))
