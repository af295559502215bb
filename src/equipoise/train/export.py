"""A trained module as the ONNX artifact of a variant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from equipoise.compress.tools import ONNX_FILE, load_onnx, save_onnx, tool
from equipoise.core.tensor import ModelSpec, TensorSpec

OPSET = 17


def write_onnx(module: nn.Module, spec: ModelSpec, folder: Path) -> None:
    """Write a module as `model.onnx` that takes and gives what the model under study does, in batches of any size.

    Args:
        module: Takes the inputs in the order of `spec`, gives the outputs in its order.
        spec: Of the model under study.
        folder: Where to.

    Raises:
        TechniqueError: torch could not export it.
    """
    inputs = [tensor.name for tensor in spec.inputs]
    outputs = [tensor.name for tensor in spec.outputs]
    free = {
        tensor.name: {axis: "batch" if axis == 0 else f"axis{axis}" for axis in _free_axes(tensor)}
        for tensor in (*spec.inputs, *spec.outputs)
    }
    with tool("torch's ONNX export"), torch.inference_mode():
        torch.onnx.export(
            module.eval(),
            tuple(_example(tensor) for tensor in spec.inputs),
            folder / ONNX_FILE,
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: axes for name, axes in free.items() if axes},
        )
    model = load_onnx(folder)
    _drop_sources(model)
    save_onnx(model, folder)


def _free_axes(tensor: TensorSpec) -> list[int]:
    return [0, *(axis for axis, size in enumerate(tensor.shape) if axis > 0 and size is None)] if tensor.shape else []


def _example(tensor: TensorSpec) -> torch.Tensor:
    """Two rows of zeros; a free axis has the size that images and sequences are unlikely to mistake for another."""
    shape = [2, *(32 if size is None else size for size in tensor.shape[1:])]
    return torch.from_numpy(np.zeros(shape, dtype=tensor.dtype))


def _drop_sources(model: Any) -> None:
    """Leave out where in which source file each node was made: the same student must be the same file."""
    for node in model.graph.node:
        node.doc_string = ""
