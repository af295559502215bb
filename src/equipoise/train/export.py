"""A trained module as the ONNX artifact of a variant, compared with the module before it is one."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equipoise.compress.base import BuildContext
from equipoise.compress.conversion import check_conversion
from equipoise.compress.tools import ONNX_FILE, load_onnx, open_natively, save_onnx, tool
from equipoise.compress.torch_onnx import TorchOnnx
from equipoise.core.recipe import Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.runtimes.torch_program import export_program, save_program

OPSET = 17
CHECKED_ROWS = 21
"""No number that a batch or an axis of a model is likely to have: a size that an export took for fixed shows."""
FREE_AXIS = 32


def write_student(student: nn.Module, spec: ModelSpec, inputs: Mapping[str, Tensor], folder: Path) -> None:
    """Write a student as `model.onnx` that takes and gives what the model under study does, in batches of any size.

    Args:
        student: Takes the inputs in the order of `spec`, gives the outputs in its order.
        spec: Of the model under study.
        inputs: Input name to rows; what was written answers the first of them like the student, or is refused.
        folder: Where to.

    Raises:
        TechniqueError: torch could not export it.
        ConversionError: What it exported answers otherwise.
    """
    write_traced(student, spec, folder)
    _check(student, spec, inputs, folder)


def write_changed(model: nn.Module, spec: ModelSpec, inputs: Mapping[str, Tensor], context: BuildContext) -> None:
    """Write a changed form of a torch program, as `torch_onnx` writes the program itself.

    Its graph computes with the sizes of its inputs, which tracing (`write_traced`) would take for fixed.

    Args:
        model: Takes the inputs in the order of `spec`, gives the outputs in its order.
        spec: Of the model under study.
        inputs: Input name to rows; as for `write_student`.
        context: Where to.

    Raises:
        TechniqueError: torch could not export it.
        ModelError: torch could not trace it.
        ConversionError: What it exported answers otherwise.
    """
    model.eval()
    example = {name: tensor[:4] for name, tensor in inputs.items()}
    free = {tensor.name: tuple(_free_axes(tensor)[1:]) for tensor in spec.inputs}
    with tempfile.TemporaryDirectory(prefix="equipoise-trained-") as scratch:
        with tool("torch"):
            program = export_program(_Named(model, spec), example, "the trained model", free)
            save_program(program, Path(scratch), "the trained model")
        TorchOnnx().apply(Path(scratch), Step(technique=TorchOnnx.name), context)
    _check(model, spec, inputs, context.folder)


def write_traced(module: nn.Module, spec: ModelSpec, folder: Path, *, batch: int | None = None) -> None:
    """Write a module as `model.onnx` by tracing it once, which is quick.

    Args:
        module: Takes the inputs in the order of `spec`, gives the outputs in its order.
        spec: Of the model under study.
        folder: Where to.
        batch: Rows a batch, the only number that is sure to do; null for any, of modules that take no notice of it.

    Raises:
        TechniqueError: torch could not export it.
    """
    outputs = [tensor.name for tensor in spec.outputs]
    free = {
        tensor.name: {axis: "batch" if axis == 0 else f"axis{axis}" for axis in _free_axes(tensor)}
        for tensor in (*spec.inputs, *spec.outputs)
        if batch is None
    }
    with tool("torch's ONNX export"), torch.no_grad():
        torch.onnx.export(
            module.eval(),
            tuple(_example(tensor, batch or 2) for tensor in spec.inputs),
            folder / ONNX_FILE,
            dynamo=False,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=outputs,
            dynamic_axes=free,
        )
    model = load_onnx(folder)
    for node in model.graph.node:
        node.doc_string = ""  # lines of source files: the same student must be the same file
    save_onnx(model, folder)


class _Named(nn.Module):
    """A model that takes its inputs, and gives its outputs, by name."""

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        given: Any = self.model(*(inputs[tensor.name] for tensor in self.spec.inputs))
        given = given if isinstance(given, tuple) else (given,)
        return {tensor.name: output for tensor, output in zip(self.spec.outputs, given, strict=True)}


def _check(module: nn.Module, spec: ModelSpec, inputs: Mapping[str, Tensor], folder: Path) -> None:
    """Compare what was written with the module, on real rows."""
    some = {name: tensor[:CHECKED_ROWS] for name, tensor in inputs.items()}
    with torch.no_grad():
        given = module.eval()(*(some[tensor.name] for tensor in spec.inputs))
    given = given if isinstance(given, tuple) else (given,)
    expected = {tensor.name: output.numpy() for tensor, output in zip(spec.outputs, given, strict=True)}
    with tool("ONNX Runtime"):
        session = open_natively(folder)
        found = session.run(session.prepare({name: tensor.numpy() for name, tensor in some.items()}))
    check_conversion(expected, found, "exact")


def _free_axes(tensor: TensorSpec) -> list[int]:
    return [0, *(axis for axis, size in enumerate(tensor.shape) if axis > 0 and size is None)] if tensor.shape else []


def _example(tensor: TensorSpec, rows: int) -> Tensor:
    shape = [rows, *(FREE_AXIS if size is None else size for size in tensor.shape[1:])]
    return torch.from_numpy(np.zeros(shape, dtype=tensor.dtype))
