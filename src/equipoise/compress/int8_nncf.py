"""Static int8 through NNCF, for OpenVINO and for ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.int8 import has_low_precision, needs_reduced_range
from equipoise.compress.quantization_error import ir_layer_errors, onnx_layer_errors
from equipoise.compress.tools import (
    calibration_batches,
    load_onnx,
    open_natively,
    quiet_nncf,
    read_ir,
    save_ir,
    save_onnx,
    tool,
)
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array

MOST_ROWS = 300
RANKING_ROWS = 64


class Int8Nncf:
    """NNCF's post-training quantisation: per channel, with bias correction, for OpenVINO or ONNX.

    Parameters of a step: `target` (`openvino` writes IR, `onnx` writes QDQ ONNX), `preset` (`performance`: symmetric
    activations; `mixed`: asymmetric ones, which follow ReLU-less activations better), `transformer` (attention patterns
    and SmoothQuant, arXiv 2211.10438, with strength `smooth_quant_alpha`), `fast_bias_correction`, and
    `ignore_worst`: so many layers stay in floating point, those with the largest quantisation error of their own. A
    search raises it while quality is short of the margin; the order is the same for the same source and rows.
    """

    name: ClassVar[str] = "int8_nncf"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For networks with convolutions or matrix products: both presets for OpenVINO, then one for ONNX."""
        layers = {"Conv", "Convolution", "GroupConvolution", "MatMul", "Gemm"} & set(model.operators)
        done = has_low_precision(model, recipe)
        if model.format == "sklearn" or not layers or done:
            return []
        attention = model.operators.get("MatMul", 0) > 1 and "Softmax" in model.operators
        shared: dict[str, Any] = {"overflow_fix": True} if needs_reduced_range(model) else {}
        steps: list[dict[str, Any]] = [{"target": "openvino", "preset": preset} for preset in ("performance", "mixed")]
        if attention:
            steps = [
                {"target": "openvino", "preset": "mixed", "transformer": True, "smooth_quant_alpha": alpha}
                for alpha in (0.95, 0.5)
            ] + steps[:1]
        steps.append({"target": "openvino", "preset": "mixed", "fast_bias_correction": False})
        if model.format == "onnx":
            steps.insert(2, {"target": "onnx", "preset": "mixed"} | ({"transformer": True} if attention else {}))
        return [Step(technique=self.name, parameters=parameters | shared) for parameters in steps]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the quantised model.

        Raises:
            TechniqueError: There is nothing to quantise or to leave out, no calibration row, or NNCF could not finish.
        """
        nncf = quiet_nncf()
        to_onnx = step.parameters.get("target", "openvino") == "onnx"
        model = _named(load_onnx(source)) if to_onnx else read_ir(source)
        spec = open_natively(source).spec
        batches = calibration_batches(context.calibration, spec, MOST_ROWS)
        worst = int(str(step.parameters.get("ignore_worst", 0)))
        ignored = _worst_layers(nncf, model, batches, step, worst, context) if worst else []
        with tool("NNCF"):
            quantised = _quantize(nncf, model, batches, step, ignored, context.seed)
        if to_onnx:
            if not any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
                raise TechniqueError("nothing to quantise")
            save_onnx(quantised, context.folder)
            return "onnx"
        if not any(node.get_type_name() == "FakeQuantize" for node in quantised.get_ops()):
            raise TechniqueError("nothing to quantise")
        save_ir(quantised, context.folder, half=False)
        return "openvino"


def _quantize(
    nncf: Any, model: Any, batches: list[dict[str, Array]], step: Step, ignored: list[str], seed: int, **advanced: Any
) -> Any:
    np.random.seed(seed)  # noqa: NPY002 - NNCF draws from the global generator
    asked = step.parameters
    transformer = bool(asked.get("transformer", False))
    if transformer and "smooth_quant_alpha" in asked:
        alpha = float(str(asked["smooth_quant_alpha"]))
        advanced["smooth_quant_alphas"] = nncf.AdvancedSmoothQuantParameters(matmul=alpha)
    if asked.get("overflow_fix", False):
        advanced["overflow_fix"] = nncf.OverflowFix.ENABLE
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset(str(asked.get("preset", "performance"))),
        subset_size=len(batches),
        fast_bias_correction=bool(asked.get("fast_bias_correction", True)),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        ignored_scope=nncf.IgnoredScope(names=ignored, validate=False) if ignored else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(**advanced),
    )


def _worst_layers(
    nncf: Any, model: Any, batches: list[dict[str, Array]], step: Step, count: int, context: BuildContext
) -> list[str]:
    """Names of the `count` layers that quantisation hurts most, measured on a plain quantisation of the same model."""
    few = batches[:RANKING_ROWS]
    with tool("NNCF"):
        draft = _quantize(nncf, model, few, step, [], context.seed, disable_bias_correction=True)
        measure = onnx_layer_errors if hasattr(model, "graph") else ir_layer_errors
        errors = measure(model, draft, few)
    if count >= len(errors):
        raise TechniqueError(f"leaving {count} layers in floating point leaves none of {len(errors)} to quantise")
    return sorted(errors, key=lambda name: (-errors[name], name))[:count]


def _named(model: Any) -> Any:
    """Give every node a name of its own, by which NNCF can be told to leave it alone."""
    seen = set()
    for position, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{position}"
        seen.add(node.name)
    return model
