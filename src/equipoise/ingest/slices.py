"""Which slice of the data a row belongs to, and which of the slices that were made before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError
from equipoise.ingest.table import Table
from equipoise.preprocess.columns import text_array

Array = NDArray[Any]
MOST_DISTINCT_NUMBERS = 20
MOST_DISTINCT_VALUES = 200
MISSING = "missing"
_QUARTILE = re.compile(r"^\[(?P<least>[^,\]]+), (?P<greatest>[^,\]]+)\]$")


def slice_values(table: Table, column: str) -> Array:
    """The slice of each row, as text: values as they are, numbers of many values by quartile.

    Raises:
        DataError: The column has too many different values to slice by.
    """
    values = table.columns[column]
    if values.dtype.kind in "iuf" and len(np.unique(values[np.isfinite(values)])) > MOST_DISTINCT_NUMBERS:
        return _quartiles(values)
    named = spelled(values)
    named[[value is None for value in named]] = MISSING
    distinct = len(set(named.tolist()))
    if distinct > MOST_DISTINCT_VALUES:
        raise DataError(
            table.source,
            f"column {column!r} has {distinct:,} different values",
            f"needed at most {MOST_DISTINCT_VALUES} to slice by it: group them into fewer",
        )
    return named


def sliced_like(values: Array, names: Sequence[str]) -> Array:
    """The slice of each row among slices that were made of other rows.

    Quartiles keep their upper ends: a number belongs to the first quartile that it does not pass, and to the last where
    it passes them all.

    Args:
        values: A column, [n].
        names: The slices, as `slice_values` named them.

    Returns:
        A name for each row, [n]; a row that belongs to none of them has its own value, as text.
    """
    ends = {name: found for name in names if (found := _greatest(name)) is not None}
    named = spelled(values)
    named[[value is None for value in named]] = MISSING
    if not ends or values.dtype.kind not in "iuf" or len(ends) + (MISSING in names) < len(names):
        return named
    order = sorted(ends, key=ends.__getitem__)
    place = np.searchsorted([ends[name] for name in order], values, side="left").clip(max=len(order) - 1)
    known = np.isfinite(values)
    named[known] = np.array(order, dtype=object)[place[known]]
    return named


def spelled(values: Array) -> Array:
    """Values as text, None where missing; 3.0 as `3`, so that a column with a missing value spells like one without."""
    if values.dtype.kind == "f":
        return text_array([int(value) if value == np.round(value) else value for value in values.tolist()])
    return text_array(values.tolist())


def _quartiles(values: Array) -> Array:
    """Each number's quartile, named by the least and greatest number in it, `[17, 28]`."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75], method="lower"))
    part = np.searchsorted(edges, values, side="left")
    named = np.full(len(values), MISSING, dtype=object)
    for number in np.unique(part[known]):
        inside = known & (part == number)
        named[inside] = f"[{values[inside].min():.6g}, {values[inside].max():.6g}]"
    return named


def _greatest(name: str) -> float | None:
    """The upper end of a quartile's name; null where it is none."""
    found = _QUARTILE.match(name)
    try:
        return None if found is None else float(found["greatest"])
    except ValueError:
        return None
