"""Any batch size for a model that was converted for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import read_ir, save_ir, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError

FREE = -1


class FreeBatch:
    """Makes the batch axis of an OpenVINO IR or TensorFlow Lite model free, where its graph allows.

    Converters write the batch size of their example, mostly 1, into inputs and, where a network flattens its features,
    into the graph as well. Such a model answers one row at a time, and what a machine saves by batches is lost. Inputs
    are given a free batch axis, and each reshape to the old size takes the size of what it reshapes instead. What else
    holds the old size ends the attempt; whether rows are still answered as before is checked on real ones.
    """

    name: ClassVar[str] = "free_batch"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "exact"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """First of all, for what OpenVINO alone opens and takes one batch size."""
        if model.format not in ("openvino", "tflite") or model.spec.fixed_batch is None or recipe.steps:
            return []
        return [Step(technique=self.name)]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:  # noqa: ARG002
        """Write the model with a free batch axis.

        Raises:
            TechniqueError: OpenVINO cannot reshape it, or an output still has the old size.
        """
        model = read_ir(source)
        rows = model.inputs[0].get_partial_shape()[0].get_length()
        with tool("OpenVINO"):
            model.reshape({port: _freed(port) for port in model.inputs})
            for node in model.get_ordered_ops():
                if node.get_type_name() == "Reshape" and _holds(node, rows):
                    _take_rows_of_input(node)
                    model.validate_nodes_and_infer_types()
        for port in model.outputs:
            if not port.get_partial_shape().rank.is_static or port.get_partial_shape()[0].is_static:
                raise TechniqueError(
                    f"the batch size {rows} is written into its graph: output {port.get_any_name()!r} has the shape "
                    f"{port.get_partial_shape()} whatever it is given"
                )
        save_ir(model, context.folder, half=False)
        return "openvino"


def _freed(port: Any) -> Any:
    import openvino

    return openvino.PartialShape([FREE, *list(port.get_partial_shape())[1:]])


def _holds(node: Any, rows: int) -> bool:
    """Whether a reshape of something with a free first axis gives it the old batch size."""
    shape = node.input_value(0).get_partial_shape()
    pattern = node.input_value(1).get_node()
    if pattern.get_type_name() != "Constant" or shape.rank.is_dynamic or shape.rank.get_length() == 0:
        return False
    sizes = pattern.get_data().ravel()
    return bool(shape[0].is_dynamic and len(sizes) and sizes[0] == rows and not np.any(sizes == 0))


def _take_rows_of_input(node: Any) -> None:
    """Let a reshape copy the first axis of what it is given: a zero says so."""
    import openvino

    sizes = node.input_value(1).get_node().get_data().ravel().astype(np.int64)
    pattern = openvino.op.Constant(np.array([0, *sizes[1:]], dtype=np.int64))
    node.input(1).replace_source_output(pattern.output(0))
    node.set_special_zero(True)
