"""Which rows of a batch run together, where rows are sequences of different lengths and shorter ones are filled up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RUN_TOKENS = 64
"""What starting a run costs besides its tokens, in tokens: more groups fill less and start more runs."""


def length_groups(lengths: Sequence[int] | NDArray[np.intp], run_tokens: int = RUN_TOKENS) -> list[NDArray[np.intp]]:
    """Divide rows into runs so that tokens, filling and the starts of runs together are fewest.

    Rows are put in the order of their lengths, and that order is cut where `sum(run_tokens + rows * longest)` over the
    runs is least, found exactly by dynamic programming over the distinct lengths.

    Args:
        lengths: Tokens of each row, each at least 1, [n].
        run_tokens: What starting a run costs, in tokens.

    Returns:
        Places of the rows of each run, shortest rows first; in ascending order within a run.

    Example:
        >>> [group.tolist() for group in length_groups([3, 120, 4, 118])]
        [[0, 2], [1, 3]]
        >>> [group.tolist() for group in length_groups([3, 12, 4, 10])]
        [[0, 1, 2, 3]]
    """
    sizes, rows = np.unique(np.asarray(lengths), return_inverse=True)
    counts = np.bincount(rows)
    before = np.concatenate([[0], np.cumsum(counts)])
    best = np.zeros(len(sizes) + 1)
    start_of = np.zeros(len(sizes) + 1, dtype=np.intp)
    for end in range(1, len(sizes) + 1):
        cost = best[:end] + run_tokens + (before[end] - before[:end]) * sizes[end - 1]
        start_of[end] = int(cost.argmin())
        best[end] = cost[start_of[end]]
    groups: list[NDArray[np.intp]] = []
    end = len(sizes)
    while end:
        start = int(start_of[end])
        groups.append(np.flatnonzero((rows >= start) & (rows < end)))
        end = start
    return groups[::-1]
