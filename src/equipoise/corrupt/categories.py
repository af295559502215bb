"""Typos in the categories of a table: a value that the model may never have seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.corrupt.text import LEAST_LETTERS, misspelt

MOST_CATEGORIES = 200
MOST_WORDS = 4
"""A value of more words is a text."""

Array = NDArray[Any]


def category_typos(cells: Array, mask: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Categories with a typo in the cells of a mask; missing values and words of fewer than three letters stay.

    Args:
        cells: Text, None where missing: [n] or [n, columns], dtype object.
        mask: Which cells, of that shape.
        rng: Draws the typos.
    """
    found = cells.copy()
    for place in zip(*np.nonzero(mask), strict=True):
        value = cells[place]
        found[place] = value if value is None else misspelt(str(value), rng)
    return found


def is_category(cells: Array) -> bool:
    """Whether a column of text holds categories that can be misspelt: few different short values, some with letters.

    >>> is_category(np.array(["nurse", "clerk", None], dtype=object)), is_category(np.array(["A1", "A2"], dtype=object))
    (True, False)
    """
    values = {value for value in cells.ravel().tolist() if value is not None}
    if not values or len(values) > MOST_CATEGORIES:
        return False
    if any(len(str(value).split()) > MOST_WORDS for value in values):
        return False
    return any(sum(letter.isalpha() for letter in str(value)) >= LEAST_LETTERS for value in values)
