"""Half precision: weights in 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.int8 import has_low_precision
from equipoise.compress.tools import load_onnx, read_ir, save_ir, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError

# Without float16 arithmetic ONNX Runtime casts every operator to float32 and back, which only costs.
F16_ARITHMETIC = frozenset({"asimdhp", "avx512_fp16"})
LARGE_F16 = 1e4


class Fp16:
    """Stores weights in half precision.

    `target=openvino` writes OpenVINO IR: half the artifact, and computed in whatever precision the compile is told, so
    that it is never slower. `target=onnx` computes in half precision as well, and is proposed only where the CPU has
    arithmetic for it. bfloat16 needs no artifact of its own: OpenVINO converts at compile time.
    """

    name: ClassVar[str] = "fp16"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For models with weights to halve: networks, not trees, and not what is quantised already."""
        if model.format == "sklearn" or not {"Conv", "Convolution", "MatMul", "Gemm", "LSTM", "GRU"} & set(
            model.operators
        ):
            return []
        if has_low_precision(model, recipe):
            return []
        steps = [Step(technique=self.name, parameters={"target": "openvino"})]
        if model.format == "onnx" and F16_ARITHMETIC & set(model.environment.cpu_flags):
            steps.insert(0, Step(technique=self.name, parameters={"target": "onnx"}))
        return steps

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the model with halved weights.

        Raises:
            TechniqueError: The tool cannot read the model, or a weight is too large for half precision.
        """
        if step.parameters.get("target", "openvino") == "openvino":
            save_ir(read_ir(source), context.folder, half=True)
            return "openvino"
        model = load_onnx(source)
        if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
            raise TechniqueError("the model is quantised already")
        with tool("onnxruntime.transformers"):
            from onnxruntime.transformers.float16 import convert_float_to_float16

            model = convert_float_to_float16(model, keep_io_types=True, max_finite_val=LARGE_F16)
        save_onnx(model, context.folder)
        return "onnx"
