"""What happens to the numbers of a table on their way: cells go missing, and arrive in another unit.

Errors of data as Jenga makes them (Schelter, Rukat and Biessmann, "JENGA: a framework to study the impact of data
errors on the predictions of machine learning models", EDBT 2021): each cell is spoilt by itself, with a probability
that grows with the strength.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Share of the cells that are spoilt, by strength."""
OFFSET_RANGES = 2.0
"""What `offset` adds, in widths of the column's middle half: what lies there then lies outside."""
LEAST_DISTINCT = 10
"""A column with fewer different numbers holds codes or flags, which have no unit."""

Array = NDArray[Any]


def spoilt(shape: tuple[int, ...], strengths: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which cells are spoilt.

    Args:
        shape: Of the column or matrix, [n] or [n, columns].
        strengths: Of each row, 1 to 5: [n].
        rng: Draws the cells.

    Returns:
        Truth values of that shape.
    """
    share = np.asarray(SHARES)[strengths - 1].reshape(-1, *[1] * (len(shape) - 1))
    chosen: NDArray[np.bool_] = rng.random(shape) < share
    return chosen


def holed(cells: Array, mask: NDArray[np.bool_]) -> Array:
    """Cells with holes: NaN in numbers, None in text.

    >>> holed(np.array([1.0, 2.0]), np.array([True, False]))
    array([nan,  2.])
    """
    found = cells.copy()
    found[mask] = None if cells.dtype == object else np.nan
    return found


def rescaled(cells: Array, mask: NDArray[np.bool_], factor: float) -> Array:
    """Cells in another unit: grams for tenths of them.

    >>> rescaled(np.array([1, 2]), np.array([True, False]), 10.0)
    array([10,  2])
    """
    return np.where(mask, _like(cells * np.float64(factor), cells), cells)


def shifted(cells: Array, mask: NDArray[np.bool_], like: Array) -> Array:
    """Cells on a scale with another zero, as Celsius and Kelvin have: twice the width of the column's middle half up.

    Args:
        cells: A column or matrix.
        mask: Which cells, of that shape.
        like: Rows that tell the width, of each column by itself; where the middle half is one number, it is the
            standard deviation.
    """
    known = like.astype(np.float64)
    low, high = np.nanquantile(known, [0.25, 0.75], axis=0)
    width = np.where(high > low, high - low, np.nanstd(known, axis=0))
    return np.where(mask, _like(cells + OFFSET_RANGES * width, cells), cells)


def has_unit(cells: Array) -> NDArray[np.bool_]:
    """Which columns hold quantities, with enough different numbers to have a unit: [columns].

    Args:
        cells: A matrix, [n, columns].
    """
    return np.array([len(np.unique(column[np.isfinite(column)])) > LEAST_DISTINCT for column in cells.T], bool)


def _like(values: NDArray[np.float64], cells: Array) -> Array:
    """Values in the type of the cells, rounded and cut to its range where that holds whole numbers."""
    if cells.dtype.kind not in "iu":
        return values.astype(cells.dtype)
    limits = np.iinfo(cells.dtype)
    return np.clip(np.rint(values), float(limits.min), float(limits.max)).astype(cells.dtype)
