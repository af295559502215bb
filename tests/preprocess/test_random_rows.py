from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BriefError
from equipoise.preprocess.random_rows import random_rows, row_shapes

SPEC = ModelSpec(
    inputs=(
        TensorSpec(name="ids", dtype="int64", shape=(None, None)),
        TensorSpec(name="mask", dtype="int64", shape=(None, None)),
        TensorSpec(name="image", dtype="uint8", shape=(None, 4, 4, 3)),
        TensorSpec(name="real", dtype="float32", shape=(None, 2)),
        TensorSpec(name="flag", dtype="bool", shape=(None,)),
    ),
    outputs=(),
)


def test_rows_have_the_shapes_and_types_that_the_model_takes():
    shapes = row_shapes(SPEC, {"mask": (7,)}, 5)
    assert shapes == {"ids": (5,), "mask": (7,), "image": (4, 4, 3), "real": (2,), "flag": ()}
    rows = random_rows(SPEC, shapes, 3, {"ids": 11}, seed=0)
    assert {name: (array.shape, array.dtype.name) for name, array in rows.items()} == {
        "ids": ((3, 5), "int64"),
        "mask": ((3, 7), "int64"),
        "image": ((3, 4, 4, 3), "uint8"),
        "real": ((3, 2), "float32"),
        "flag": ((3,), "bool"),
    }
    assert rows["ids"].min() >= 0
    assert rows["ids"].max() < 11
    assert len(np.unique(rows["ids"])) > 1
    assert (rows["mask"] == 1).all()
    assert rows["image"].max() > 127
    again = random_rows(SPEC, shapes, 3, {"ids": 11}, seed=0)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)


@pytest.mark.parametrize(
    ("given", "length", "expected"),
    [
        ({}, None, "--length"),
        ({"ids": (5,)}, None, "mask"),
        ({"image": (4, 4)}, 5, "takes .4, 4, 3. a row"),
        ({"image": (4, 5, 3)}, 5, "takes .4, 4, 3. a row"),
        ({"nobody": (4,)}, 5, "takes ids, mask"),
    ],
)
def test_a_shape_that_does_not_fit_says_what_does(given, length, expected):
    with pytest.raises(BriefError, match=expected):
        row_shapes(SPEC, given, length)


@pytest.mark.parametrize("dtype", ["string", "bfloat16"])
def test_no_text_is_made_up(dtype):
    spec = ModelSpec(inputs=(TensorSpec(name="x", dtype=dtype, shape=(None, 1)),), outputs=())
    with pytest.raises(BriefError, match="--data"):
        random_rows(spec, {"x": (1,)}, 2, {}, seed=0)
