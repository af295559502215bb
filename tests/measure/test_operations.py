from __future__ import annotations

import pytest

from equipoise.measure.operations import EACH_INPUT, EACH_OUTPUT, FORMULAS, MOVES, flops
from equipoise.runtimes.layers import Operation

X = (1, 64, 56, 56)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        # The first 3 x 3 convolution of a ResNet-50: 56 x 56 x 64 outputs, 64 x 9 products each.
        (Operation("Conv", (X, (64, 64, 3, 3)), (X,)), 2 * 56 * 56 * 64 * 64 * 9),
        (Operation("Conv", (X, (64, 64, 3, 3), (64,)), (X,)), 56 * 56 * 64 * (2 * 64 * 9 + 1)),
        (Operation("Conv", (X, (64, 1, 3, 3)), (X,), {"group": 64}), 2 * 56 * 56 * 64 * 9),
        (Operation("Conv", (X, (64, 64, 1, 1), (64,), X), (X,), {"activation": "Relu"}), 56 * 56 * 64 * (128 + 3)),
        (Operation("GroupConvolution", (X, (64, 1, 1, 3, 3)), (X,)), 2 * 56 * 56 * 64 * 9),
        (Operation("QLinearConv", (X, (), (), (64, 64, 1, 1), (), (), (), (), (64,)), (X,)), 56 * 56 * 64 * (128 + 4)),
        (Operation("ConvInteger", (X, (64, 64, 1, 1)), (X,)), 2 * 56 * 56 * 64 * 64),
        (Operation("ConvTranspose", ((1, 8, 4, 4), (8, 2, 3, 3)), ((1, 2, 9, 9),)), 2 * 8 * 16 * 2 * 9),
        (Operation("MatMul", ((2, 12, 128, 64), (2, 12, 64, 128)), ((2, 12, 128, 128),)), 2 * 24 * 128 * 128 * 64),
        (Operation("MatMul", ((5, 7), (5, 3)), ((7, 3),), {"transpose_a": True}), 2 * 7 * 3 * 5),
        (Operation("FusedMatMul", ((5, 7), (5, 3)), ((7, 3),), {"transA": 1}), 7 * 3 * (2 * 5 + 1)),
        (Operation("MatMulInteger", ((4, 8), (8, 2)), ((4, 2),)), 2 * 4 * 8 * 2),
        (Operation("QLinearMatMul", ((4, 8), (), (), (8, 2)), ((4, 2),)), 4 * 2 * (2 * 8 + 3)),
        (Operation("Gemm", ((4, 8), (2, 8), (2,)), ((4, 2),), {"transB": 1}), 4 * 2 * (16 + 1)),
        (Operation("Gemm", ((8, 4), (8, 2)), ((4, 2),), {"transA": 1}), 4 * 2 * 16),
        (Operation("Einsum", ((2, 3, 4), (2, 4, 5)), ((2, 3, 5),), {"equation": "bik,bkj->bij"}), 2 * 2 * 3 * 4 * 5),
        (Operation("MaxPool", ((1, 8, 8, 8),), ((1, 8, 4, 4),), {"kernel_shape": [3, 3]}), 8 * 16 * 9),
        (Operation("GlobalAveragePool", ((1, 8, 7, 7),), ((1, 8, 1, 1),)), 8 * 49),
        (Operation("LSTM", ((5, 2, 3), (1, 16, 3), (1, 16, 4)), (None,)), 5 * 2 * (2 * 16 * 7 + 4 * 16)),
        (Operation("Softmax", ((2, 10),), ((2, 10),)), 5 * 20),
        (Operation("LayerNormalization", ((2, 10),), ((2, 10),)), 8 * 20),
        (Operation("Relu", ((2, 10),), ((2, 10),)), 20),
        (Operation("Transpose", ((2, 10),), ((10, 2),)), 0),
        (Operation("LinearRegressor", ((6, 4),), ((6, 1),), {"coefficients": [1.0] * 4}), 2 * 6 * 4),
    ],
)
def test_operations_of_a_kind(operation: Operation, expected: int) -> None:
    assert flops(operation) == expected


def test_attention_is_the_sum_of_its_parts() -> None:
    rows, length, width, heads = 2, 16, 32, 4
    x, parts = (rows, length, width), (rows, length, width)
    projections = rows * length * 3 * width * (2 * width + 1)
    scores = flops(Operation("MultiHeadAttention", (parts,) * 3, (parts,), {"num_heads": heads}))
    whole = flops(Operation("Attention", (x, (width, 3 * width)), (x,), {"num_heads": heads}))
    split = (rows, heads, length, width // heads)
    assert scores == rows * heads * length * length * (4 * (width // heads) + 6)
    assert whole == projections + scores
    assert flops(Operation("ScaledDotProductAttention", (split,) * 3, (split,))) == scores


@pytest.mark.parametrize(
    "operation",
    [
        Operation("TreeEnsembleClassifier", ((2, 10),), ((2,),)),
        Operation("SomebodysOwn", ((2, 10),), ((2, 10),)),
        Operation("MatMul", (None, (10, 2)), ((2, 2),)),
        Operation("MatMul", ((2, 10),), ((2, 2),)),
        Operation("MatMul", ((2, 10), (10, 2)), (None,)),
        Operation("MaxPool", ((1, 8, 8, 8),), ((1, 8, 4, 4),)),
        Operation("Einsum", ((2, 3), (3, 4)), ((2, 4),), {"equation": "...i,ij->...j"}),
        Operation("Gemm", ((0, 4), (4, 2)), ((0, 2),)),
        Operation("Relu", (), ()),
    ],
)
def test_what_is_not_known_is_never_none_at_all(operation: Operation) -> None:
    assert flops(operation) is None


def test_each_operator_has_one_formula() -> None:
    tables = [set(MOVES), set(EACH_OUTPUT), set(EACH_INPUT), set(FORMULAS)]
    assert len(set.union(*tables)) == sum(map(len, tables))
