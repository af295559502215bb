"""Times what a prediction cache does for every request, with the functions that the server calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.actions import LookedUp
from equipoise.policy.cache import Lru, cache_key

Array = NDArray[Any]
TIMED_ROWS = 256
DIGEST = "0" * 64
OVERHEAD_BYTES = 400
"""Of one entry beside its arrays: its key, the array objects, and its place in the order of use."""


def look_up(
    sample: Mapping[str, Array], outputs: Mapping[str, Array], near: Mapping[str, float] | None = None
) -> LookedUp:
    """Time making the key of a request of one row and looking it up, and weigh a remembered answer.

    Args:
        sample: Real rows, input name to [n, ...].
        outputs: A plan's answers to some rows, output name to [n, ...].
        near: Steps that inputs are rounded to, by input name.

    Returns:
        The median of the seconds, and bytes of one entry.
    """
    n = len(next(iter(sample.values())))
    remembered: Lru[bool] = Lru(TIMED_ROWS)
    seconds = []
    for row in range(min(n, TIMED_ROWS)):
        request = {name: array[row : row + 1] for name, array in sample.items()}
        begin = time.perf_counter()
        key = cache_key(DIGEST, "1", DIGEST, outputs, request, near)
        if remembered.get(key) is None:
            remembered.put(key, True)
        seconds.append(time.perf_counter() - begin)
    row_bytes = sum(array[:1].nbytes for array in outputs.values())
    return LookedUp(lookup_s=float(np.median(seconds)), entry_bytes=row_bytes + OVERHEAD_BYTES)
