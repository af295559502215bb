"""How many operations an operator takes, from its shapes: one formula for each kind.

A multiplication and an addition are two; an elementary function (exp, erf, a square root) is one, a comparison too.
Integers count like real numbers. What only moves numbers takes none; an operator without a formula is not known, which
is not the same as none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from equipoise.runtimes.layers import Operation, Shape

MOVES = frozenset(
    {
        "Broadcast", "Cast", "Concat", "Constant", "ConstantOfShape", "Convert", "ConvertLike", "DepthToSpace",
        "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "OneHot", "Pad", "Range",
        "Reorder", "ReorderInput", "ReorderOutput", "Reshape", "ScatterElements", "ScatterND", "ScatterNDUpdate",
        "ScatterUpdate", "Select", "Shape", "ShapeOf", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze",
        "StridedSlice", "Tile", "Transpose", "Unsqueeze", "VariadicSplit", "Where",
    }
)  # fmt: skip
SOFTMAX, NORMALISATION, AFFINE, REQUANTISE = 5, 8, 2, 3
EACH_OUTPUT: dict[str, int] = {
    **dict.fromkeys(
        (
            "Abs", "Add", "And", "Ceil", "Ceiling", "Cos", "Div", "Divide", "Eltwise", "Equal", "Erf", "Exp", "Floor",
            "Greater", "GreaterEqual", "GreaterOrEqual", "Less", "LessEqual", "LessOrEqual", "Log", "LogicalAnd",
            "LogicalNot", "LogicalOr", "Max", "Maximum", "Min", "Minimum", "Mod", "Mul", "Multiply", "Neg", "Negative",
            "Not", "NotEqual", "Or", "Pow", "Power", "Reciprocal", "Relu", "ReLU", "Round", "Sign", "Sin", "Sqrt",
            "Sub", "Subtract", "Tan", "Tanh", "Xor",
        ),
        1,
    ),
    **dict.fromkeys(("Clamp", "Clip", "DequantizeLinear", "LeakyRelu", "PRelu", "PowerStatic", "Scaler"), 2),
    "SquaredDifference": 2,
    **dict.fromkeys(("Elu", "HardSigmoid", "QuantizeLinear", "Softplus", "SoftPlus"), REQUANTISE),
    **dict.fromkeys(("HSwish", "HardSwish", "Selu", "Sigmoid"), 4),
    **dict.fromkeys(("DynamicQuantizeLinear", "FakeQuantize", "Gelu", "QuickGelu", "Silu", "Swish"), 5),
    **dict.fromkeys(("BiasGelu", "Mish"), 6),
    "FastGelu": 8,
    **dict.fromkeys(("LogSoftmax", "SoftMax", "Softmax"), SOFTMAX),
    **dict.fromkeys(("BatchNormInference", "BatchNormalization"), AFFINE),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization", "MVN"), NORMALISATION),
    **dict.fromkeys(("LpNormalization", "NormalizeL2", "RMS", "RMSNormalization", "SimplifiedLayerNormalization"), 5),
    "SkipSimplifiedLayerNormalization": 6,
    "SkipLayerNormalization": NORMALISATION + 1,
    "EmbedLayerNormalization": NORMALISATION + 2,
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), 2 * AFFINE + 1 + REQUANTISE),
    "QLinearConcat": AFFINE + REQUANTISE,
    "QLinearLeakyRelu": AFFINE + 2 + REQUANTISE,
    "QLinearSigmoid": AFFINE + 4 + REQUANTISE,
    "QLinearSoftmax": AFFINE + SOFTMAX + REQUANTISE,
}  # fmt: skip
EACH_INPUT: dict[str, int] = {
    **dict.fromkeys(
        (
            "ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool", "Reduce",
            "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
        ),
        1,
    ),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare", "QLinearReduceMean"), 2),
}  # fmt: skip
ACTIVATION = "activation"
Formula = Callable[[Operation], int]


class _NotKnown(Exception):  # noqa: N818 - the reason why there is no figure
    """A shape that the formula needs is not known."""


def flops(operation: Operation) -> int | None:
    """Operations that one operator takes.

    Args:
        operation: The operator with its shapes.

    Returns:
        A multiplication and an addition counted as two; null where no formula is known for it, or a shape is not.

    Example:
        >>> flops(Operation("MatMul", ((128, 768), (768, 3072)), ((128, 3072),)))
        603979776
        >>> flops(Operation("Transpose", ((128, 768),), ((768, 128),)))
        0
    """
    operator = operation.operator
    if operator in MOVES:
        return 0
    try:
        if operator in EACH_OUTPUT:
            return EACH_OUTPUT[operator] * _count(operation.outputs, 0)
        if operator in EACH_INPUT:
            return EACH_INPUT[operator] * _count(operation.inputs, 0)
        formula = FORMULAS.get(operator)
        return None if formula is None else formula(operation)
    except (_NotKnown, IndexError, ZeroDivisionError):
        return None


def _at(shapes: tuple[Shape | None, ...], place: int) -> Shape:
    shape = shapes[place] if place < len(shapes) else None
    if shape is None:
        raise _NotKnown
    return shape


def _count(shapes: tuple[Shape | None, ...], place: int) -> int:
    return math.prod(_at(shapes, place))


def _given(operation: Operation, place: int) -> bool:
    return place < len(operation.inputs) and operation.inputs[place] is not None


def _convolution(weight: int, bias: int, more: int = 0) -> Formula:
    """Kernels [after, before / groups, ...] at input `weight`; `more` operations for each output besides."""

    def formula(operation: Operation) -> int:
        out = _count(operation.outputs, 0)
        each = 2 * math.prod(_at(operation.inputs, weight)[1:]) + more
        each += _given(operation, bias) + (ACTIVATION in operation.attributes)
        added = bias == 2 and _given(operation, 3)  # ONNX Runtime adds a shortcut on the way
        return out * (each + added)

    return formula


def _group_convolution(operation: Operation) -> int:
    """OpenVINO's kernels are [groups, after / groups, before / groups, ...]."""
    return 2 * _count(operation.outputs, 0) * math.prod(_at(operation.inputs, 1)[2:])


def _transposed_convolution(operation: Operation) -> int:
    """Each input meets all kernels of its channel: [before, after / groups, ...]."""
    weight = _at(operation.inputs, 1)
    grouped = operation.operator == "GroupConvolutionBackpropData"
    each = 2 * math.prod(weight[2 if grouped else 1 :])
    return _count(operation.inputs, 0) * each + _given(operation, 2) * _count(operation.outputs, 0) * (not grouped)


def _product(right: int, more: int = 0) -> Formula:
    """A matrix product of input 0 and the one at `right`; `more` operations for each output besides."""

    def formula(operation: Operation) -> int:
        left = _at(operation.inputs, 0)
        turned = operation.attributes.get("transA") or operation.attributes.get("transpose_a")
        depth = left[-2] if turned and len(left) > 1 else left[-1]
        _at(operation.inputs, right)
        return _count(operation.outputs, 0) * (2 * depth + more)

    return formula


def _general_product(addend: int) -> Formula:
    """The product of A, turned or not, and B, to which C may be added."""

    def formula(operation: Operation) -> int:
        out = _at(operation.outputs, 0)
        depth = _count(operation.inputs, 0) // out[0]
        each = 2 * depth + _given(operation, addend) + (ACTIVATION in operation.attributes)
        return math.prod(out) * each

    return formula


def _einstein_sum(operation: Operation) -> int:
    """One multiplication and addition for each choice of all indices, more with more factors."""
    equation = str(operation.attributes.get("equation", "")).replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if "..." in equation or len(terms) != len(operation.inputs):
        raise _NotKnown
    size: dict[str, int] = {}
    for place, term in enumerate(terms):
        size |= dict(zip(term, _at(operation.inputs, place), strict=False))
    return max(1, len(terms)) * math.prod(size.values())


def _pooled(operation: Operation) -> int:
    kernel = operation.attributes.get("kernel_shape") or operation.attributes.get("kernel")
    if not isinstance(kernel, (list, tuple)):
        raise _NotKnown
    return _count(operation.outputs, 0) * math.prod(int(size) for size in kernel)


def _recurrent(operation: Operation) -> int:
    """Every step multiplies input and state by their weights: x [steps, batch, k], w and r [directions, ...]."""
    steps_rows = math.prod(_at(operation.inputs, 0)[:2])
    weights = _count(operation.inputs, 1) + _count(operation.inputs, 2)
    gates = math.prod(_at(operation.inputs, 1)[:2])
    return steps_rows * (2 * weights + 4 * gates)


def _attention(operation: Operation) -> int:
    """Input [batch, length, k] and weights [k, 3 width] of query, key and value together."""
    rows, length, _ = _at(operation.inputs, 0)
    depth, triple = _at(operation.inputs, 1)
    heads = int(operation.attributes.get("num_heads", 1))
    projections = rows * length * triple * (2 * depth + 1)
    return projections + _scores(rows, heads, length, length, triple // 3 // heads, triple // 3 // heads)


def _attention_of_parts(operation: Operation) -> int:
    """Query, key and value apart, [batch, length, width] or [batch, heads, length, width of a head]."""
    query, key, value = (_at(operation.inputs, place) for place in range(3))
    if len(query) == 4:
        rows, heads, length, width = query
        return _scores(rows, heads, length, key[2], width, value[3])
    rows, length, width = query
    heads = int(operation.attributes.get("num_heads", operation.attributes.get("q_num_heads", 1)))
    return _scores(rows, heads, length, key[-2], width // heads, value[-1] // heads)


def _scores(rows: int, heads: int, queries: int, keys: int, width: int, value_width: int) -> int:
    """Query times key, scaled, softmax, times value."""
    return rows * heads * queries * keys * (2 * width + 1 + SOFTMAX + 2 * value_width)


def _linear_regressor(operation: Operation) -> int:
    coefficients = operation.attributes.get("coefficients")
    if not isinstance(coefficients, (list, tuple)):
        raise _NotKnown
    return 2 * len(coefficients) * _at(operation.inputs, 0)[0]


FORMULAS: dict[str, Formula] = {
    "Conv": _convolution(weight=1, bias=2),
    "FusedConv": _convolution(weight=1, bias=2),
    "NhwcFusedConv": _convolution(weight=1, bias=2),
    "Convolution": _convolution(weight=1, bias=2),
    "ConvInteger": _convolution(weight=1, bias=9),
    "QLinearConv": _convolution(weight=3, bias=8, more=REQUANTISE),
    "GroupConvolution": _group_convolution,
    "ConvTranspose": _transposed_convolution,
    "ConvolutionBackpropData": _transposed_convolution,
    "GroupConvolutionBackpropData": _transposed_convolution,
    "MatMul": _product(right=1),
    "FusedMatMul": _product(right=1, more=1),
    "FullyConnected": _product(right=1),
    "MatMulInteger": _product(right=1),
    "MatMulIntegerToFloat": _product(right=1, more=AFFINE),
    "MatMulNBits": _product(right=1),
    "DynamicQuantizeMatMul": _product(right=1, more=AFFINE),
    "QLinearMatMul": _product(right=3, more=REQUANTISE),
    "Gemm": _general_product(addend=2),
    "FusedGemm": _general_product(addend=2),
    "QGemm": _general_product(addend=6),
    "Einsum": _einstein_sum,
    **dict.fromkeys(
        ("AveragePool", "AvgPool", "LpPool", "MaxPool", "NhwcMaxPool", "Pooling", "QLinearAveragePool"), _pooled
    ),
    **dict.fromkeys(("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("Attention", "QAttention"), _attention),
    **dict.fromkeys(("MultiHeadAttention", "ScaledDotProductAttention"), _attention_of_parts),
    "LinearRegressor": _linear_regressor,
}
