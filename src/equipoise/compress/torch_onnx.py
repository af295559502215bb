"""PyTorch programs as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import load_torch, quiet_torch, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import DataUse, Format


class TorchOnnx:
    """Exports a program to ONNX through torch's own exporter, with the names that its inputs and outputs have.

    From there every technique for ONNX goes on. What the exporter made is compared with the program on real rows: an
    export that succeeds is no proof of anything (huggingface/optimum#1755).
    """

    name: ClassVar[str] = "torch_onnx"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "exact"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For every PyTorch model as it was given."""
        return [Step(technique=self.name)] if model.format == "torch" and not recipe.steps else []

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:  # noqa: ARG002
        """Write the ONNX form.

        Raises:
            TechniqueError: torch's exporter lacks one of its operators.
        """
        program, spec = load_torch(source)
        with tool("torch.onnx"), quiet_torch():
            import torch

            exported = torch.onnx.export(program, dynamo=True, optimize=True, verbose=False)
            model = exported.model_proto
        _rename(model, spec)
        save_onnx(model, context.folder)
        return "onnx"


def _rename(model: Any, spec: ModelSpec) -> None:
    """Give inputs and outputs the names of the spec, and leave out what the exporter noted."""
    graph = model.graph
    wanted = dict(
        zip(
            [value.name for value in (*graph.input, *graph.output)],
            [tensor.name for tensor in (*spec.inputs, *spec.outputs)],
            strict=True,
        )
    )
    taken = set(wanted.values()) - set(wanted)
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = wanted.get(name, f"{name}_inner" if name in taken else name)
        del node.metadata_props[:]  # stack traces, which quote the person's source
        node.doc_string = ""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = wanted.get(value.name, f"{value.name}_inner" if value.name in taken else value.name)
        del value.metadata_props[:]
    del graph.metadata_props[:], model.metadata_props[:]
