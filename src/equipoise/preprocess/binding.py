"""Columns of a file as the arrays that a model takes: one set of rules for studies and for predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess.columns import listed

Array = NDArray[Any]
Sources = Mapping[str, tuple[str, ...]]
"""Input name to the columns it is made from: one, or several that stand side by side."""


def input_sources(
    shapes: Mapping[str, tuple[int, ...]],
    spec: ModelSpec,
    where: str,
    choices: Sequence[Sequence[str]],
    target: str | None = None,
    columns: Sequence[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Find the columns that a model's inputs are made from.

    Inputs are found by name. A model with a single input also takes the one array that fits it, whatever its name; one
    whose single input is [n, k] takes k columns, side by side.

    Args:
        shapes: Name of each column, or array, to the shape of its rows; () for a column.
        spec: What the model takes.
        where: The file, for errors.
        choices: Columns that may make up a single input, in order; where its width is free, the first choice is taken.
        target: Column of the true answers, which is no input.
        columns: Columns that made up the single input in the study's main file, in order: if they are here too they do
            so again, wherever they stand; if they are not, only an array may take their place.

    Raises:
        DataError: There is no column, or another number of them, for an input.
    """
    found = [name for name in shapes if name != target]
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in found]
    if not missing:
        return {tensor.name: (tensor.name,) for tensor in spec.inputs}
    if len(spec.inputs) > 1:
        raise DataError(
            where,
            f"no column {listed(missing)}",
            f"the model takes {listed([one.name for one in spec.inputs])}; it has {listed(list(shapes))}",
        )
    tensor = spec.inputs[0]
    if columns:
        choices = _as_before(shapes, choices, columns, where)
    names = _single(shapes, tensor, choices) or _side_by_side(shapes, tensor, choices)
    if names is not None:
        return {tensor.name: names}
    wanted = min(choices, key=len)
    if wanted and len(tensor.shape) == 2 and not any(shapes[name] for name in wanted):
        raise DataError(
            where,
            f"{len(wanted)} columns besides the target ({listed(wanted)})",
            f"input {tensor.name!r} takes {tensor.shape[1]}: give exactly those, in the order the model was trained on",
        )
    raise DataError(
        where,
        f"no array {tensor.name!r} among {listed(list(shapes))}",
        f"name the model's input {tensor.name!r}, {_described(tensor)}",
    )


def bind(
    columns: Mapping[str, Array],
    spec: ModelSpec,
    sources: Sources,
    where: str,
    first_row: int = 0,
    holds_floats: Callable[[str], bool] = lambda name: False,  # noqa: ARG005
) -> dict[str, Array]:
    """Turn columns into what a model is fed.

    Numbers become the input's type only where that changes none of them, save that float64 may be rounded to float32.

    Args:
        columns: Name to array of shape [n, ...].
        spec: What the model takes.
        sources: As `input_sources` found them.
        where: The file, for errors.
        first_row: How many rows of the file come before these.
        holds_floats: Whether a column whose numbers are whole in these rows holds other ones elsewhere in its file: a
            column of a file has one type, whichever of its rows are read.

    Returns:
        Input name to array of shape [n, ...] in the model's type; text as `object` arrays of str, None where missing.

    Raises:
        DataError: A column has another shape or type than the model takes, or a value that it cannot hold.
    """
    feeds = {}
    for tensor in spec.inputs:
        names = sources[tensor.name]
        cast = _Cast(tensor, names, where, first_row, holds_floats)
        if len(names) == 1:
            array = cast.shaped(columns[names[0]])
        else:
            parts = [_Cast(tensor, (name,), where, first_row, holds_floats).checked(columns[name]) for name in names]
            array = cast.shaped(np.stack(parts, axis=1))
        feeds[tensor.name] = cast(array)
    return feeds


def _as_before(
    shapes: Mapping[str, tuple[int, ...]], choices: Sequence[Sequence[str]], columns: Sequence[str], where: str
) -> Sequence[Sequence[str]]:
    missing = [name for name in columns if name not in shapes]
    if not missing:
        return (columns,)
    arrays = [name for name in choices[0] if shapes[name]]
    if arrays:
        return (arrays,)
    raise DataError(
        where, f"no column {listed(missing)}", f"the model takes {listed(columns)}; it has {listed(list(shapes))}"
    )


def _single(
    shapes: Mapping[str, tuple[int, ...]], tensor: TensorSpec, choices: Sequence[Sequence[str]]
) -> tuple[str, ...] | None:
    for names in choices:
        fitting = [name for name in names if _fits(shapes[name], tensor.shape[1:])]
        if len(fitting) == 1:
            return (fitting[0],)
    narrow = len(tensor.shape) <= 1 or tensor.shape[1] in (1, None)
    sole = (names[0] for names in choices if len(names) == 1 and (shapes[names[0]] or narrow))
    name = next(sole, None)  # it does not fit, and the message about its shape says so best
    return None if name is None else (name,)


def _side_by_side(
    shapes: Mapping[str, tuple[int, ...]], tensor: TensorSpec, choices: Sequence[Sequence[str]]
) -> tuple[str, ...] | None:
    if len(tensor.shape) != 2:
        return None
    for names in choices:
        if names and tensor.shape[1] in (None, len(names)) and not any(shapes[name] for name in names):
            return tuple(names)
    return None


def _fits(row: tuple[int, ...], wanted: Sequence[int | None]) -> bool:
    if not row and len(wanted) == 1:
        row = (1,)
    elif row == (1,) and not wanted:
        row = ()
    return len(row) == len(wanted) and all(need is None or need == have for need, have in zip(wanted, row, strict=True))


class _Cast:
    """Checks and converts one column, or several side by side, for one input."""

    def __init__(
        self,
        tensor: TensorSpec,
        names: tuple[str, ...],
        where: str,
        first_row: int,
        holds_floats: Callable[[str], bool],
    ) -> None:
        self._tensor = tensor
        self._names = names
        self._where = where
        self._first_row = first_row
        self._holds_floats = holds_floats

    @property
    def _name(self) -> str:
        return listed(self._names)

    def __call__(self, array: Array) -> Array:
        tensor = self._tensor
        array = self.checked(array)
        if tensor.dtype == "string":
            return array
        if tensor.dtype == "bfloat16":
            raise self._error(f"input {tensor.name!r} takes bfloat16", "export the model with a float32 input")
        wanted = np.dtype(tensor.dtype)
        if array.dtype == wanted:
            return array
        return self._from_float(array, wanted) if array.dtype.kind == "f" else self._from_whole(array, wanted)

    def shaped(self, array: Array) -> Array:
        """Rows of the input's shape; one number a row serves as one column, and the reverse."""
        wanted = self._tensor.shape[1:]
        if not _fits(array.shape[1:], wanted):
            found = f"{self._name!r} has the shape {_shape(array.shape[1:])} a row"
            raise self._error(found, f"input {self._tensor.name!r} takes {_shape(wanted)}")
        if array.ndim == 1 and len(wanted) == 1:
            return array[:, None]
        return array[:, 0] if array.ndim == 2 and not wanted else array

    def checked(self, array: Array) -> Array:
        """Text where the input takes text, numbers where it takes numbers."""
        if self._tensor.dtype == "string":
            return self._text(array)
        if array.dtype == object:
            values = array.ravel().tolist()
            row = next((index for index, value in enumerate(values) if value is not None and not _is_number(value)), 0)
            raise self._error(
                f"column {self._name!r} holds text, {values[row]!r} in row {self._row(array, row)} for example",
                f"input {self._tensor.name!r} takes {self._tensor.dtype}; a CSV cell is missing only where it is empty",
            )
        return array

    def _text(self, array: Array) -> Array:
        if array.dtype == object:
            return array
        if array.dtype.kind == "b":  # beside missing ones, truth values are text already
            return np.where(array, "True", "False").astype(object)
        if array.dtype.kind == "f" and np.isnan(array).all():  # a column without a single value has no type of its own
            return np.full(array.shape, None, dtype=object)
        raise self._error(
            f"column {self._name!r} holds numbers ({array.dtype})",
            f"input {self._tensor.name!r} takes text, as in the data the model was fitted on",
        )

    def _from_whole(self, array: Array, wanted: np.dtype[Any]) -> Array:
        with np.errstate(all="ignore"):
            cast = array.astype(wanted)
            same = (cast.astype(array.dtype) == array) & ((cast < 0) == (array < 0))  # -1 does not become 2**64 - 1
        if wanted.kind == "f":
            same &= np.isfinite(cast)
            if not same.all() and any(map(self._holds_floats, self._names)):
                return self._from_float(array.astype(np.float64), wanted)
        self._require_all(array, same)
        return cast

    def _from_float(self, array: Array, wanted: np.dtype[Any]) -> Array:
        with np.errstate(all="ignore"):
            cast = array.astype(wanted)
            if wanted.kind == "f":
                if not np.isfinite(cast).all():
                    self._require_all(array, np.isfinite(cast) | ~np.isfinite(array))
                return cast
            missing = np.isnan(array)
            if missing.any():
                raise self._error(
                    f"column {self._name!r} has {int(missing.sum()):,} missing values, first in row "
                    f"{self._row(array, int(missing.argmax()))}",
                    f"input {self._tensor.name!r} takes {self._tensor.dtype}, which has no missing value: fill them in",
                )
            same = cast.astype(array.dtype) == array
            if wanted == np.int64:  # smaller numbers than there are become just this one when they are read
                same &= array != float(np.iinfo(wanted).min)
            self._require_all(array, same)
        return cast

    def _require_all(self, array: Array, same: Array) -> None:
        if not same.all():
            index = int((~same).argmax())
            raise self._error(
                f"column {self._name!r} holds {array.ravel()[index]} in row {self._row(array, index)} ({array.dtype})",
                f"input {self._tensor.name!r} takes {self._tensor.dtype}, which cannot hold it",
            )

    def _row(self, array: Array, index: int) -> int:
        """Number of the row, from 1, that holds the value at a flat index."""
        return self._first_row + index * len(array) // array.size + 1

    def _error(self, found: str, needed: str) -> DataError:
        return DataError(self._where, found, needed)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _described(tensor: TensorSpec) -> str:
    """An input's type and the shape of its rows, for a message."""
    return f"{tensor.dtype} {_shape(tensor.shape[1:])} a row"


def _shape(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"
