"""Columns of a file as the arrays that a model takes, with its names, dtypes and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError

Array = NDArray[Any]
Column = Array
TARGETS = ("label", "y", "target")


def wanted_columns(
    found: Sequence[str],
    spec: ModelSpec,
    where: str,
    columns: Sequence[str] = (),
    whole_arrays: bool = False,
) -> dict[str, str]:
    """Which columns of a file a model needs, with the dtype of each.

    Args:
        found: Names in the file.
        spec: What the model takes.
        where: The file, for the error.
        columns: Columns that make up a single array [n, k], in order; empty to tell from `found`.
        whole_arrays: The file holds arrays, not columns: names are input names.

    Raises:
        DataError: An input is missing.
    """
    of_columns = _takes_one_array(spec, found) and (not whole_arrays or (columns and set(columns) <= set(found)))
    if of_columns:
        only = spec.inputs[0]
        names = list(columns) or _feature_columns(found, only, where)
        _require(names, found, where)
        return dict.fromkeys(names, only.dtype)
    _require([tensor.name for tensor in spec.inputs], found, where)
    return {tensor.name: tensor.dtype for tensor in spec.inputs}


def bind(
    table: Mapping[str, Column], spec: ModelSpec, where: str, first_row: int = 0, columns: Sequence[str] = ()
) -> dict[str, Array]:
    """Turn columns, or arrays, into what a model is fed.

    Args:
        table: Name to [n] (or, for an array that is an input by itself, [n, ...]).
        spec: What the model takes.
        where: The file, for errors.
        first_row: Number of the first row in the file, from 0, for errors.
        columns: Columns that make up a single array [n, k], in order; empty for the table's own order.

    Returns:
        Input name to array of shape [n, ...] in the model's dtype; text as `object` arrays, None where missing.

    Raises:
        DataError: A value that the model does not take, or another shape.
    """
    if _takes_one_array(spec, list(table)):
        only = spec.inputs[0]
        parts = [_cast(table[name], only, name, where, first_row) for name in columns or table]
        return {only.name: np.stack(parts, axis=1)}
    return {
        tensor.name: _shaped(_cast(table[tensor.name], tensor, tensor.name, where, first_row), tensor, where)
        for tensor in spec.inputs
    }


def _takes_one_array(spec: ModelSpec, found: Sequence[str]) -> bool:
    return len(spec.inputs) == 1 and len(spec.inputs[0].shape) == 2 and spec.inputs[0].name not in found


def _feature_columns(found: Sequence[str], only: TensorSpec, where: str) -> list[str]:
    width = only.shape[1]
    if width is None or width == len(found):
        return list(found)
    without_target = [name for name in found if name.lower() not in TARGETS]
    if width != len(without_target):
        raise DataError(
            where,
            f"{len(found)} columns",
            f"the model takes {width} in one array {only.name!r}; give exactly those, in the order it was fitted with",
        )
    return without_target


def _require(names: Sequence[str], found: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(
            where,
            f"no {', '.join(map(repr, missing[:8]))}{' ...' if len(missing) > 8 else ''}; it has "
            f"{', '.join(map(repr, list(found)[:12]))}{' ...' if len(found) > 12 else ''}",
            f"the model takes {len(names)} inputs by name; rename or add what is missing",
        )


def fits(row: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether rows of that shape fit an input's; a single number a row fits one column, too."""
    if len(row) == 0 and len(wanted) == 1:
        row = (1,)
    return len(row) == len(wanted) and all(want is None or want == have for want, have in zip(wanted, row, strict=True))


def _shaped(array: Array, tensor: TensorSpec, where: str) -> Array:
    if array.ndim == 1 and len(tensor.shape) == 2 and tensor.shape[1] in (1, None):
        array = array[:, None]
    if not fits(array.shape[1:], tensor.shape[1:]):
        needed = ", ".join("any" if size is None else str(size) for size in tensor.shape[1:])
        raise DataError(
            f"{where}, input {tensor.name!r}",
            f"rows of shape [{', '.join(map(str, array.shape[1:]))}]",
            f"the model takes rows of shape [{needed}]",
        )
    return array


def _cast(array: Column, tensor: TensorSpec, name: str, where: str, first_row: int) -> Array:
    where = f"{where}, {name!r}"
    if tensor.dtype == "string":
        return _text(array, where)
    dtype = np.dtype("float32" if tensor.dtype == "bfloat16" else tensor.dtype)
    if array.dtype.kind not in "iufb":
        array = _numbers(array, dtype, where, first_row)
    with np.errstate(invalid="ignore", over="ignore"):
        if array.dtype == dtype or dtype.kind == "f":
            return array.astype(dtype, copy=False)
        cast = array.astype(dtype)
    changed = cast != array
    if changed.any():
        row = int(np.argwhere(changed)[0][0])
        raise DataError(where, f"row {first_row + row + 1} holds {array[row]}", f"the model takes {tensor.dtype} here")
    return cast


def _text(array: Column, where: str) -> Array:
    if array.dtype.kind in "US":
        return array.astype(str).astype(object)
    if array.dtype != object:
        raise DataError(where, f"numbers ({array.dtype})", "the model takes text here; store the column as text")
    text = np.empty(array.shape, dtype=object)  # truth values and dates beside missing ones are text to a study, too
    text[...] = [None if value is None else str(value) for value in array.ravel()] if array.ndim == 1 else array
    return text


def _numbers(array: Column, dtype: np.dtype[Any], where: str, first_row: int) -> Array:
    missing = dtype.type("nan") if dtype.kind == "f" else None
    values = []
    for row, value in enumerate(array.ravel().tolist()):
        if value is None and missing is None:
            raise DataError(
                where, f"row {first_row + row + 1} is empty", f"the model takes {dtype} here, never nothing"
            )
        try:
            values.append(missing if value is None else _number(value, dtype))
        except (TypeError, ValueError):
            found = f"row {first_row + row + 1} holds {value!r}"
            raise DataError(where, found, f"the model takes numbers ({dtype}) here") from None
    return np.asarray(values).reshape(array.shape)


def _number(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "b":
        truth = {"true": True, "false": False, "1": True, "0": False}.get(str(value).strip().lower())
        if truth is None:
            raise ValueError(value)
        return truth
    if isinstance(value, bool | int | float):
        return value
    return float(value)
