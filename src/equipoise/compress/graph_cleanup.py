"""Graph clean-up: constants folded, dead and redundant nodes removed, batch normalisation folded into weights."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import ONNX_FILE, load_onnx, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.onnx_tensors import nodes
from equipoise.telemetry import silence

CLEANABLE = frozenset(
    {"BatchNormalization", "Cast", "Constant", "ConstantOfShape", "Dropout", "Identity", "Pad", "Shape", "Unsqueeze"}
)


class GraphCleanup:
    """Cleans a graph once, offline, so that every runtime and every quantiser starts from the clean form.

    It is ONNX Runtime's basic level, whose result is plain ONNX: no fused operators of its own, so OpenVINO and the
    quantisers read it as well. ONNX Runtime does the same at each start; what is gained there is a faster start.
    """

    name: ClassVar[str] = "graph_cleanup"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "exact"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """Once, for an ONNX model that holds what can be folded or removed."""
        trees = any(operator.startswith("TreeEnsemble") for operator in model.operators)
        if model.format != "onnx" or trees or any(step.technique == self.name for step in recipe.steps):
            return []
        return [] if CLEANABLE.isdisjoint(model.operators) else [Step(technique=self.name)]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:  # noqa: ARG002
        """Write the clean graph.

        Raises:
            TechniqueError: It is no ONNX model, ONNX Runtime cannot open it, or there was nothing to clean.
        """
        silence()
        import onnx
        import onnxruntime

        before = load_onnx(source)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(context.folder / ONNX_FILE)
        options.log_severity_level = 3
        options.intra_op_num_threads = context.threads
        with tool("ONNX Runtime"):
            onnxruntime.InferenceSession(str(source / ONNX_FILE), options, providers=["CPUExecutionProvider"])
            after = onnx.load(context.folder / ONNX_FILE)
        for path in context.folder.iterdir():
            path.unlink()
        count_before, count_after = len(list(nodes(before))), len(list(nodes(after)))
        if count_after >= count_before:
            raise TechniqueError(f"nothing to clean: {count_before} nodes before, {count_after} after")
        after.graph.name = before.graph.name
        save_onnx(after, context.folder)
        return "onnx"
