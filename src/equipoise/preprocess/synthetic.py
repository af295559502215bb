"""Rows that look like the data and contain none of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.preprocess.rows import Rows
from equipoise.preprocess.synthetic_tokens import holds_tokens, synthetic_tokens

Array = NDArray[Any]
COMMON_ENOUGH = 10  # a text that this many rows share says nothing about one of them
FALLBACK_TEXT = "synthetic"


def synthetic_rows(rows: Rows, n: int, seed: int) -> dict[str, Array]:
    """Draw inputs that contain no real row, for golden answers.

    Each column is drawn by itself: numbers evenly between its lowest and highest, whole numbers staying whole; arrays
    (images, plain feature arrays) evenly over each feature's range where they are [n, k], over the whole array's range
    otherwise; text evenly from the values that at least 10 rows share, else the word `synthetic`. Nothing is missing.
    Of token sequences see `synthetic_tokens`.

    Args:
        rows: The data.
        n: How many rows to draw.
        seed: The same seed draws the same rows.

    Returns:
        Input name to array of shape [n, ...], in the dtypes of `rows.feeds`.
    """
    random = np.random.default_rng(seed)
    if holds_tokens(rows.feeds):
        return synthetic_tokens(rows.feeds, n, random)
    return {name: _drawn(array, n, random) for name, array in rows.feeds.items()}


def _drawn(array: Array, n: int, random: np.random.Generator) -> Array:
    if array.dtype.kind in "OUS":
        return _texts(array, n, random)
    shape = (n, *array.shape[1:])
    axis = 0 if array.ndim <= 2 else None
    if array.dtype.kind == "f":
        known = np.where(np.isfinite(array), array, np.nan)
        empty = np.isnan(known).all(axis=axis, keepdims=axis == 0)
        known = np.where(empty, 0, known)
        low, high = np.nanmin(known, axis=axis), np.nanmax(known, axis=axis)
        return np.asarray(low + (high - low) * random.random(shape), dtype=array.dtype)
    if array.dtype == bool:
        return random.random(shape) < 0.5
    low, high = array.min(axis=axis), array.max(axis=axis)
    return random.integers(low, high, size=shape, dtype=array.dtype, endpoint=True)


def _texts(array: Array, n: int, random: np.random.Generator) -> Array:
    known = [str(value) for value in array.ravel() if value is not None]
    values, counts = (
        np.unique(np.asarray(known, dtype=str), return_counts=True) if known else (np.empty(0), np.empty(0))
    )
    common = [str(value) for value, count in zip(values, counts, strict=True) if count >= COMMON_ENOUGH]
    drawn = np.empty((n, *array.shape[1:]), dtype=object)
    drawn[...] = random.choice(np.asarray(common or [FALLBACK_TEXT], dtype=object), size=drawn.shape)
    return drawn
