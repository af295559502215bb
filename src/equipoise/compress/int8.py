"""What the int8 techniques share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from equipoise.compress.base import ModelFacts
from equipoise.core.recipe import Recipe

DOT_PRODUCT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
X86_FLAGS = frozenset({"sse4_2", "avx", "avx2", "avx512f"})
QUANTIZED_OPERATORS = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
        "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
        "FakeQuantize", "MatMulNBits",
    }
)  # fmt: skip


def is_quantized(operators: Iterable[str]) -> bool:
    """Whether the operators are those of a quantised graph."""
    return not QUANTIZED_OPERATORS.isdisjoint(operators)


def has_low_precision(model: ModelFacts, recipe: Recipe) -> bool:
    """Whether the model, or a step of its recipe, left float32 behind already."""
    names = [step.technique for step in recipe.steps]
    return is_quantized(model.operators) or any(name.startswith(("int8", "int4", "fp16")) for name in names)


def needs_reduced_range(model: ModelFacts) -> bool:
    """Whether 8-bit products would saturate on the model's machine: an x86 CPU without dot-product instructions."""
    flags = set(model.environment.cpu_flags)
    return bool(flags & X86_FLAGS) and not flags & DOT_PRODUCT_FLAGS


def taken(path: Path) -> Any:
    """Load an ONNX file that a tool wrote, with whatever weight files it put beside it, and remove them all."""
    import onnx

    model = onnx.load(path)
    for written in path.parent.glob(f"{path.name}*"):
        written.unlink()
    return model
