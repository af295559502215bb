"""Binds the columns of a data file to a model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.ingest.table import Table, listed
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]
TARGET_NAMES = ("label", "y")


def bind_rows(
    table: Table,
    spec: ModelSpec,
    target: str | None = None,
    *,
    extra: Sequence[str] = (),
    population: str = "main",
    needs_target: str | None = None,
) -> Rows:
    """Bind a table's columns to a model's inputs, by name.

    A model with a single input takes the sole array that is not the target, whatever its name; one whose single input
    is [n, k] also takes k columns of numbers, in the file's order. Numbers become the input's type only where that
    changes none of them, save that float64 may be rounded to float32.

    Args:
        table: The data file.
        spec: What the model takes.
        target: Column of the true answers; None to look for `label`, then `y`.
        extra: Columns wanted besides (slices, groups).
        population: `main`, or the name of an out-of-distribution set.
        needs_target: Why there must be a target; None where there need be none.

    Raises:
        DataError: A column is missing, or has another shape or type than the model takes; the target is missing, or
            has missing values.
    """
    answers = target_name(table, spec, target, needs_target)
    return Rows(
        feeds={tensor.name: _fitted(table, tensor, spec, answers, extra) for tensor in spec.inputs},
        target=None if answers is None else _target(table, answers),
        extra={name: table.require(name, "a slice or the group") for name in extra},
        population=np.full(table.n, population, dtype=object),
    )


def target_name(table: Table, spec: ModelSpec, target: str | None, needs_target: str | None) -> str | None:
    """The column of the true answers: the one that was named, else `label`, else `y`; None where there is none.

    Raises:
        DataError: The named one is missing, or `needs_target` says why there must be one and there is none.
    """
    if target is not None:
        if target in table.columns or needs_target:
            table.require(target, "the true answers (--target)")
            return target
        return None
    inputs = {tensor.name for tensor in spec.inputs}
    found = next((name for name in TARGET_NAMES if name in table.columns and name not in inputs), None)
    if found is None and needs_target:
        raise DataError(
            table.source,
            f"no column {' or '.join(TARGET_NAMES)}",
            f"{needs_target} needs the true answers: name their column with --target; it has {listed(table.columns)}",
        )
    return found


def _target(table: Table, name: str) -> Array:
    array = table.columns[name]
    if array.dtype.kind == "f":
        missing = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    elif array.dtype == object:
        missing = np.fromiter((value is None for value in array.ravel()), bool, array.size)
        missing = missing.reshape(len(array), -1).any(axis=1)
    else:
        return array
    if missing.any():
        raise DataError(
            table.source,
            f"the target {name!r} has no finite value in {missing.sum():,} of {len(array):,} rows, first in row "
            f"{int(missing.argmax()) + 1}",
            "needed a true answer in every row: remove those rows, or fill them in",
        )
    return array


def _fitted(table: Table, tensor: TensorSpec, spec: ModelSpec, target: str | None, extra: Sequence[str]) -> Array:
    name, array = _found(table, tensor, spec, target, extra)
    array = _shaped(table, name, array, tensor)
    return _cast(table, name, array, tensor)


def _found(
    table: Table, tensor: TensorSpec, spec: ModelSpec, target: str | None, extra: Sequence[str]
) -> tuple[str, Array]:
    """The array for an input, and the name it goes by in messages."""
    if tensor.name in table.columns and tensor.name != target:
        return tensor.name, table.columns[tensor.name]
    features = [name for name in table.columns if name != target]
    if len(spec.inputs) > 1:
        missing = [one.name for one in spec.inputs if one.name not in features]
        raise DataError(
            table.source,
            f"no column {listed(missing)}",
            f"the model takes {listed([one.name for one in spec.inputs])}; it has {listed(table.columns)}",
        )
    wanted = [name for name in features if name not in extra] or features
    for names in (wanted, features):
        if len(names) == 1 and (
            table.columns[names[0]].ndim > 1 or len(tensor.shape) <= 1 or tensor.shape[1] in (1, None)
        ):
            return names[0], table.columns[names[0]]
    if len(tensor.shape) == 2 and all(table.columns[name].ndim == 1 for name in wanted):
        for names in (features, wanted):
            if tensor.shape[1] is None or len(names) == tensor.shape[1]:
                return listed(names), _side_by_side(table, names, tensor)
        raise DataError(
            table.source,
            f"{len(wanted)} columns besides the target ({listed(wanted)})",
            f"input {tensor.name!r} takes {tensor.shape[1]}: give exactly those, in the order the model was trained on",
        )
    raise DataError(
        table.source,
        f"no array {tensor.name!r} among {listed(table.columns)}",
        f"name the model's input {tensor.name!r}, {described(tensor)}",
    )


def _side_by_side(table: Table, names: Sequence[str], tensor: TensorSpec) -> Array:
    if tensor.dtype != "string":
        for name in names:
            _refuse_text(table, name, table.columns[name], tensor)
    return np.stack([table.columns[name] for name in names], axis=1)


def _shaped(table: Table, name: str, array: Array, tensor: TensorSpec) -> Array:
    wanted = tensor.shape[1:]
    if array.ndim == 1 and wanted in ((1,), (None,)):
        array = array[:, None]
    elif array.shape[1:] == (1,) and wanted == ():
        array = array[:, 0]
    found = array.shape[1:]
    fits = len(found) == len(wanted) and all(
        need is None or have == need for have, need in zip(found, wanted, strict=True)
    )
    if not fits:
        raise DataError(
            table.source,
            f"{name!r} has the shape {_shape(array.shape[1:])} a row",
            f"input {tensor.name!r} takes {_shape(wanted)}",
        )
    return array


def _cast(table: Table, name: str, array: Array, tensor: TensorSpec) -> Array:
    if tensor.dtype == "string":
        return _as_text(table, name, array, tensor)
    _refuse_text(table, name, array, tensor)
    if tensor.dtype == "bfloat16":
        raise DataError(table.source, f"input {tensor.name!r} takes bfloat16", "export the model with a float32 input")
    wanted = np.dtype(tensor.dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind == "f":
        return _from_float(table, name, array, tensor, wanted)
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
        same = (cast.astype(array.dtype) == array) & ((cast < 0) == (array < 0))  # -1 does not become 2**64 - 1
    if wanted.kind == "f":
        same &= np.isfinite(cast)
    _require_all(table, name, array, tensor, same)
    return cast


def _from_float(table: Table, name: str, array: Array, tensor: TensorSpec, wanted: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
        if wanted.kind == "f":
            _require_all(table, name, array, tensor, np.isfinite(cast) | ~np.isfinite(array))
            return cast
        missing = np.isnan(array)
        if missing.any():
            first = int(missing.reshape(len(array), -1).any(axis=1).argmax()) + 1
            raise DataError(
                table.source,
                f"column {name!r} has {int(missing.sum()):,} missing values, first in row {first}",
                f"input {tensor.name!r} takes {tensor.dtype}, which has no missing value: fill them in",
            )
        _require_all(table, name, array, tensor, cast.astype(array.dtype) == array)
    return cast


def _require_all(table: Table, name: str, array: Array, tensor: TensorSpec, same: Array) -> None:
    if same.all():
        return
    row = int((~same).reshape(len(array), -1).any(axis=1).argmax())
    value = array.ravel()[int((~same).argmax())]
    raise DataError(
        table.source,
        f"column {name!r} holds {value} in row {row + 1} ({array.dtype})",
        f"input {tensor.name!r} takes {tensor.dtype}, which cannot hold it",
    )


def _as_text(table: Table, name: str, array: Array, tensor: TensorSpec) -> Array:
    if array.dtype == object:
        return array
    if array.dtype.kind == "f" and np.isnan(array).all():  # a column without a single value has no type of its own
        return np.full(array.shape, None, dtype=object)
    raise DataError(
        table.source,
        f"column {name!r} holds numbers ({array.dtype})",
        f"input {tensor.name!r} takes text, as in the data the model was fitted on",
    )


def _refuse_text(table: Table, name: str, array: Array, tensor: TensorSpec) -> None:
    if array.dtype == object:
        values = array.ravel().tolist()
        row = next((index for index, value in enumerate(values) if value is not None and not _is_number(value)), 0)
        raise DataError(
            table.source,
            f"column {name!r} holds text, {values[row]!r} in row {row * len(array) // len(values) + 1} for example",
            f"input {tensor.name!r} takes {tensor.dtype}; a CSV cell is missing only where it is empty",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def described(tensor: TensorSpec) -> str:
    """An input's type and the shape of its rows, for a message."""
    return f"{tensor.dtype} {_shape(tensor.shape[1:])} a row"


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
