"""Token sequences that look like the data's and contain none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.preprocess.lengths import MASK, lengths_of

Array = NDArray[Any]
COMMON_ENOUGH = 10  # a token that this many rows share says nothing about one of them


def holds_tokens(feeds: Mapping[str, Array]) -> bool:
    """Whether inputs are token sequences with a mask of the usual name."""
    mask = feeds.get(MASK)
    return (
        mask is not None
        and mask.ndim == 2
        and all(array.shape == mask.shape and array.dtype.kind in "iu" for array in feeds.values())
    )


def synthetic_tokens(feeds: Mapping[str, Array], n: int, random: np.random.Generator) -> dict[str, Array]:
    """Draw token sequences.

    Their lengths are spread as the data's are, so that they cost what real ones do. Their tokens are drawn evenly from
    those that at least 10 rows share, or from all numbers up to the largest where there are none; what all rows begin
    and end with stands at their ends too.

    Args:
        feeds: The data: name to whole numbers, [rows, tokens], `MASK` among them.
        n: How many rows to draw.
        random: Draws.

    Returns:
        Name to array of shape [n, tokens], as wide as the longest row that was drawn.
    """
    lengths = lengths_of(feeds)
    drawn = np.quantile(lengths, (np.arange(n) + 0.5) / n, method="nearest").astype(np.intp)
    random.shuffle(drawn)
    shown = np.arange(int(drawn.max())) < drawn[:, None]
    found = {MASK: shown.astype(feeds[MASK].dtype)}
    for name, array in feeds.items():
        if name != MASK:
            found[name] = np.where(shown, _tokens(array, lengths, drawn, random), _filling(array, lengths))
            found[name] = found[name].astype(array.dtype)
    return {name: found[name] for name in feeds}


def _tokens(array: Array, lengths: NDArray[np.intp], drawn: NDArray[np.intp], random: np.random.Generator) -> Array:
    real = np.arange(array.shape[1]) < lengths[:, None]
    pairs = np.unique(np.stack([np.nonzero(real)[0], array[real]], axis=1), axis=0)
    tokens, rows = np.unique(pairs[:, 1], return_counts=True)
    common = tokens[rows >= COMMON_ENOUGH]
    choice = common if len(common) else np.arange(int(array.max(initial=0)) + 1)
    made = random.choice(choice, size=(len(drawn), int(drawn.max())))
    first, last = array[:, 0], np.take_along_axis(array, lengths[:, None] - 1, axis=1)[:, 0]
    if (first == first[0]).all():
        made[:, 0] = first[0]
    if (last == last[0]).all():
        made[np.arange(len(drawn)), drawn - 1] = last[0]
    return np.asarray(made)


def _filling(array: Array, lengths: NDArray[np.intp]) -> int:
    beyond = array[np.arange(array.shape[1]) >= lengths[:, None]]
    return int(beyond[0]) if len(beyond) else 0
