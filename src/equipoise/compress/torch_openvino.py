"""PyTorch programs as OpenVINO IR."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import load_torch, quiet_torch, save_ir, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format

NUMBERED = re.compile(r"[A-Z][A-Za-z]*_\d+")


class TorchOpenVino:
    """Converts a program to OpenVINO IR directly, without ONNX in between.

    Some operators come out of it better, some worse, than through ONNX: both forms are made, compared with the program
    on real rows, and measured.
    """

    name: ClassVar[str] = "torch_openvino"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "exact"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For every PyTorch model as it was given."""
        return [Step(technique=self.name)] if model.format == "torch" and not recipe.steps else []

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:  # noqa: ARG002
        """Write the IR.

        Raises:
            TechniqueError: OpenVINO lacks one of its operators.
        """
        program, spec = load_torch(source)
        with tool("OpenVINO"), quiet_torch():
            import openvino

            model = openvino.convert_model(program)
            shapes = {}
            for port, tensor in zip(model.inputs, spec.inputs, strict=True):
                port.get_node().set_friendly_name(tensor.name)
                shapes[port] = openvino.PartialShape([-1 if axis is None else axis for axis in tensor.shape])
            model.reshape(shapes)  # the converter leaves every axis free
            for port, tensor in zip(model.outputs, spec.outputs, strict=True):
                port.get_tensor().set_names({tensor.name})
                port.get_node().set_friendly_name(tensor.name)
            _number_anew(model)
        save_ir(model, context.folder, half=False)
        return "openvino"


def _number_anew(model: Any) -> None:
    """OpenVINO numbers models and nodes through the life of a process; the same program must be the same file."""
    model.set_friendly_name("model")
    for position, node in enumerate(model.get_ordered_ops()):
        if NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_unnamed_{position}")
