"""Static int8 through ONNX Runtime: weights and activations quantised ahead, from calibration rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.int8 import has_low_precision, needs_reduced_range, taken
from equipoise.compress.tools import ONNX_FILE, calibration_batches, load_onnx, open_natively, save_onnx, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array
from equipoise.telemetry import silence

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
MOST_ROWS = 300
# Entropy and percentile keep every activation of every row in memory.
MOST_ROWS_KEPT = 100


class Int8Static:
    """ONNX Runtime's static quantisation in QDQ form, for networks with convolutions or matrix products.

    QDQ is plain ONNX (`QuantizeLinear`, `DequantizeLinear`): OpenVINO reads it as well. Without VNNI, products of 8-bit
    numbers saturate 16-bit sums; `reduce_range` keeps weights to 7 bits there (onnxruntime#6004).
    """

    name: ClassVar[str] = "int8_static"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For ONNX networks: per channel by minimum and maximum, then by percentile, entropy, and per tensor."""
        done = has_low_precision(model, recipe)
        if model.format != "onnx" or done or not {"Conv", "MatMul", "Gemm"} & set(model.operators):
            return []
        narrow = needs_reduced_range(model)
        return [
            Step(
                technique=self.name,
                parameters={"calibration": method, "per_channel": per_channel, "reduce_range": narrow},
            )
            for method, per_channel in (("minmax", True), ("percentile", True), ("entropy", True), ("minmax", False))
        ]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the quantised model.

        Raises:
            TechniqueError: There is nothing to quantise, no calibration row, or ONNX Runtime could not finish.
        """
        silence()
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        load_onnx(source)  # refuses what is no ONNX model, and weights outside their folder
        method = str(step.parameters.get("calibration", "minmax"))
        most = MOST_ROWS if method == "minmax" else MOST_ROWS_KEPT
        batches = calibration_batches(context.calibration, open_natively(source).spec, most)
        with tempfile.TemporaryDirectory(dir=context.folder) as work, tool("ONNX Runtime's quantize_static"):
            prepared, written = Path(work) / "prepared.onnx", Path(work) / "quantized.onnx"
            quant_pre_process(str(source / ONNX_FILE), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(written),
                _Reader(batches),
                quant_format=QuantFormat.QDQ,
                per_channel=bool(step.parameters.get("per_channel", True)),
                reduce_range=bool(step.parameters.get("reduce_range", False)),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=getattr(CalibrationMethod, METHODS[method]),
            )
            quantised = taken(written)
        if not any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
            raise TechniqueError("nothing to quantise: no convolution or matrix product with constant weights")
        save_onnx(quantised, context.folder)
        return "onnx"


class _Reader:
    """Hands calibration batches out one by one, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, batches: list[dict[str, Array]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)
