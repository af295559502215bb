"""Dynamic int8: weights quantised ahead, activations at each call."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.int8 import has_low_precision, needs_reduced_range, taken
from equipoise.compress.tools import load_onnx, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.telemetry import silence

DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")
QUANTISED = ("MatMul", "Gemm", "LSTM", "Attention", "Gather")


class Int8Dynamic:
    """ONNX Runtime's dynamic quantisation, for models whose time goes into matrix products.

    It needs no data, and suits activations whose range changes from row to row (text). Convolutions are left alone:
    their dynamic form is slower than float32.
    """

    name: ClassVar[str] = "int8_dynamic"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For ONNX models in which matrix products outnumber convolutions."""
        products = sum(model.operators.get(operator, 0) for operator in ("MatMul", "Gemm", "LSTM", "Attention"))
        done = has_low_precision(model, recipe)
        if model.format != "onnx" or done or products <= model.operators.get("Conv", 0):
            return []
        narrow = needs_reduced_range(model)
        return [
            Step(technique=self.name, parameters={"per_channel": per_channel, "reduce_range": narrow})
            for per_channel in (True, False)
        ]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the quantised model.

        Raises:
            TechniqueError: There is nothing to quantise, or ONNX Runtime could not finish.
        """
        silence()
        from onnxruntime.quantization import QuantType, quantize_dynamic

        model = load_onnx(source)
        before = sum(node.op_type in DYNAMIC for node in model.graph.node)
        written = context.folder / "quantized.onnx"
        with tool("ONNX Runtime's quantize_dynamic"):
            quantize_dynamic(
                model,
                str(written),
                op_types_to_quantize=list(QUANTISED),
                per_channel=bool(step.parameters.get("per_channel", True)),
                reduce_range=bool(step.parameters.get("reduce_range", False)),
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        quantised = taken(written)
        if sum(node.op_type in DYNAMIC for node in quantised.graph.node) <= before:
            raise TechniqueError("nothing to quantise: no matrix product with constant weights")
        save_onnx(quantised, context.folder)
        return "onnx"
