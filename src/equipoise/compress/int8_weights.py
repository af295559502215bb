"""Weights alone in 8 bits: linear and embedding layers read a quarter of the memory, and compute as before."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import load_onnx, save_onnx
from equipoise.compress.weights_only import compress_ir, compress_onnx, has_large_matrices
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format

MODES = {"asymmetric": "INT8_ASYM", "symmetric": "INT8_SYM"}
BLOCK = 128


class Int8Weights:
    """Large linear and embedding layers with weights of 8 bits.

    `target=openvino` writes IR through NNCF, without data (`scheme`: `asymmetric` or `symmetric`, a scale each output
    channel). `target=onnx` writes `MatMulNBits`, ONNX Runtime's own operator (`block` weights share a scale), and
    embeddings as rows of 8 bits.
    """

    name: ClassVar[str] = "int8_weights"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For networks with a million floating-point weights or more in matrices of 65,536 or more each."""
        if model.format not in ("onnx", "openvino", "tflite") or not has_large_matrices(model, recipe):
            return []
        steps = [Step(technique=self.name, parameters={"target": "openvino", "scheme": "asymmetric"})]
        if model.format == "onnx":
            steps.append(Step(technique=self.name, parameters={"target": "onnx", "block": BLOCK}))
        return steps

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the model with smaller weights.

        Raises:
            TechniqueError: No layer is large enough, or a tool could not finish.
        """
        if step.parameters.get("target", "openvino") == "openvino":
            compress_ir(source, context.folder, MODES[str(step.parameters.get("scheme", "asymmetric"))], None)
            return "openvino"
        model = load_onnx(source)
        compress_onnx(model, bits=8, block=int(str(step.parameters.get("block", BLOCK))))
        save_onnx(model, context.folder)
        return "onnx"
