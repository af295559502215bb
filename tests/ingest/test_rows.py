from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.ingest.rows import bind_rows
from equipoise.ingest.table import Table


def _spec(**inputs: tuple[DType, tuple[int | None, ...]]) -> ModelSpec:
    tensors = (TensorSpec(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items())
    return ModelSpec(inputs=tuple(tensors), outputs=())


def _table(**columns: Any) -> Table:
    return Table({name: np.asarray(values) for name, values in columns.items()}, "data.csv")


def _texts(*values: str | None) -> np.ndarray:
    return np.array(values, dtype=object)


def test_columns_by_name() -> None:
    table = _table(age=[30, 40], job=_texts("cook", None), extra=[1, 2], y=[0, 1])
    rows = bind_rows(table, _spec(job=("string", (None, 1)), age=("int64", (None, 1))), extra=("extra",))
    assert list(rows.feeds) == ["job", "age"]
    assert rows.feeds["age"].shape == (2, 1)
    assert rows.feeds["job"].ravel().tolist() == ["cook", None]
    assert rows.target is not None
    assert rows.target.tolist() == [0, 1]
    assert rows.extra["extra"].tolist() == [1, 2]
    assert rows.population.tolist() == ["main", "main"]


def test_the_sole_array_whatever_its_name() -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    rows = bind_rows(_table(x=images, y=[0, 1]), _spec(image=("uint8", (None, 28, 28))))
    assert rows.feeds["image"] is not None
    assert rows.feeds["image"].shape == (2, 28, 28)


def test_columns_side_by_side_in_the_order_of_the_file() -> None:
    table = _table(b=[1, 2], a=[0.5, 1.5], patient=[7, 8], label=[0, 1])
    rows = bind_rows(table, _spec(x=("float32", (None, 2))), extra=("patient",))
    assert rows.feeds["x"].tolist() == [[1.0, 0.5], [2.0, 1.5]]
    rows = bind_rows(table, _spec(x=("float32", (None, 3))), extra=("patient",))
    assert rows.feeds["x"].tolist() == [[1.0, 0.5, 7.0], [2.0, 1.5, 8.0]]


def test_the_target_is_named_or_label_or_y() -> None:
    spec = _spec(x=("float64", (None,)))
    table = _table(x=[1.0, 2.0], y=[1, 2], label=[3, 4], z=[5, 6])
    assert bind_rows(table, spec).target.tolist() == [3, 4]  # type: ignore[union-attr]
    assert bind_rows(table, spec, "z").target.tolist() == [5, 6]  # type: ignore[union-attr]
    assert bind_rows(_table(x=[1.0]), spec).target is None
    assert bind_rows(_table(y=[1.0]), _spec(y=("float64", (None,)))).target is None  # `y` is the model's own input


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], np.uint8), "float32"),
        (np.array([0.1, np.nan]), "float32"),
        (np.array([1.0, 2.0]), "int64"),
        (np.array([1, 0]), "bool"),
        (np.array([True, False]), "float64"),
        (np.array([1, 2**31]), "uint32"),
        (np.array([0.1, 0.2]), "float16"),
    ],
)
def test_numbers_that_fit(values: np.ndarray, dtype: DType) -> None:
    found = bind_rows(_table(x=values), _spec(x=(dtype, (None,)))).feeds["x"]
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(np.float64), values.astype(np.float64), rtol=1e-3)


@pytest.mark.parametrize(
    ("values", "dtype", "says"),
    [
        (np.array([1, 2**24 + 1]), "float32", "16777217 in row 2"),
        (np.array([1.0, 1e300]), "float32", "1e+300 in row 2"),
        (np.array([0.5]), "int64", "0.5 in row 1"),
        (np.array([1.0, np.nan]), "int64", "1 missing values, first in row 2"),
        (np.array([300]), "uint8", "300 in row 1"),
        (np.array([-1]), "uint64", "-1 in row 1"),
        (np.array([2]), "bool", "2 in row 1"),
        (np.array([1]), "string", "holds numbers"),
        (_texts("1", None, "blue"), "float64", "'blue' in row 3"),
    ],
)
def test_values_that_do_not(values: np.ndarray, dtype: DType, says: str) -> None:
    with pytest.raises(DataError) as caught:
        bind_rows(Table({"x": values}, "data.csv"), _spec(x=(dtype, (None,))))
    assert says in str(caught.value)
    assert "'x'" in caught.value.found
    assert dtype in caught.value.needed or "text" in caught.value.needed


def test_a_text_column_without_a_single_value() -> None:
    rows = bind_rows(_table(t=[np.nan, np.nan]), _spec(t=("string", (None, 1))))
    assert rows.feeds["t"].ravel().tolist() == [None, None]


def test_a_missing_column_among_several() -> None:
    spec = _spec(a=("int64", (None, 1)), b=("int64", (None, 1)))
    with pytest.raises(DataError, match=r"no column b; the model takes a, b; it has a, c"):
        bind_rows(_table(a=[1], c=[2]), spec)


def test_missing_values_in_a_text_target() -> None:
    with pytest.raises(DataError, match="no finite value in 1 of 2 rows, first in row 2"):
        bind_rows(_table(x=[1.0, 2.0], y=_texts("a", None)), _spec(x=("float64", (None,))))
