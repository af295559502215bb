"""Weights alone in 4 bits: linear layers read an eighth of the memory; embeddings stay in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import load_onnx, save_onnx
from equipoise.compress.weights_only import compress_ir, compress_onnx, has_large_matrices
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format

MODES = {"asymmetric": "INT4_ASYM", "symmetric": "INT4_SYM"}
GROUP, BLOCK = 128, 32


class Int4Weights:
    """Large linear layers with weights of 4 bits, a scale for each group of them.

    `target=openvino` writes IR through NNCF, without data (`scheme`: `symmetric` or `asymmetric`, `group` weights share
    a scale; embeddings and the last layer keep 8 bits). `target=onnx` writes `MatMulNBits`, ONNX Runtime's own operator
    (`block` weights share a scale), and embeddings as rows of 8 bits. Smaller groups answer better and are larger.
    """

    name: ClassVar[str] = "int4_weights"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For networks with a million floating-point weights or more in matrices of 65,536 or more each."""
        if model.format not in ("onnx", "openvino", "tflite") or not has_large_matrices(model, recipe):
            return []
        found = [{"target": "openvino", "scheme": "symmetric", "group": GROUP}]
        if model.format == "onnx":
            found.append({"target": "onnx", "block": BLOCK})
        found.append({"target": "openvino", "scheme": "asymmetric", "group": GROUP // 2})
        return [Step(technique=self.name, parameters=parameters) for parameters in found]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the model with smaller weights.

        Raises:
            TechniqueError: No layer is large enough, or a tool could not finish.
        """
        if step.parameters.get("target", "openvino") == "openvino":
            mode = MODES[str(step.parameters.get("scheme", "symmetric"))]
            compress_ir(source, context.folder, mode, int(str(step.parameters.get("group", GROUP))))
            return "openvino"
        model = load_onnx(source)
        compress_onnx(model, bits=4, block=int(str(step.parameters.get("block", BLOCK))))
        save_onnx(model, context.folder)
        return "onnx"
