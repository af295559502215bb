"""Threads that compute batches: as many as the plan has lanes, each free again only when its batch has really ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.execute.stages import OpenStage, rows_of
from equipoise.serve.work import Rows

Array = NDArray[Any]
Piece = tuple[Mapping[str, Array], Rows | None]
"""Inputs of a request, and which of its rows are asked: null for all."""
Asked = tuple[dict[str, Array], Array] | Exception
"""Outputs of a piece and how sure the stage is of each row, or what its runtime raised."""


class Lanes:
    """A plan's lanes.

    Args:
        name: Of the model, for the names of the threads.
        lanes: How many.

    Attributes:
        free_at_s: When each lane is expected to be free, on the loop's clock.
        free: Lanes that are free now.
    """

    def __init__(self, name: str, lanes: int) -> None:
        self.free_at_s = [0.0] * lanes
        self.free = list(range(lanes))
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix=f"equipoise-{name}")

    @property
    def all_free(self) -> bool:
        """Whether nothing is being computed."""
        return len(self.free) == len(self.free_at_s)

    def start(
        self, stage: OpenStage, pieces: Sequence[Piece], ends_s: float
    ) -> tuple[int, asyncio.Future[list[Asked]]]:
        """Compute a batch in a free lane, and say in which."""
        lane = self.free.pop()
        self.free_at_s[lane] = ends_s
        return lane, asyncio.get_running_loop().run_in_executor(self._threads, ask, stage, pieces)

    def end(self, lane: int, now_s: float) -> None:
        """A batch has ended."""
        self.free_at_s[lane] = now_s
        self.free.append(lane)

    def close(self) -> None:
        """End the threads, without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def ask(stage: OpenStage, pieces: Sequence[Piece]) -> list[Asked]:
    """Ask a stage the rows of several requests at once, and give each its own.

    Requests whose rows have another shape cannot share an array, and are asked one shape after the other. Where the
    runtime raises on rows of several requests, each is asked alone, so that one that a model cannot take fails by
    itself.

    Returns:
        What came of each piece, in order.
    """
    feeds = [inputs if rows is None else {name: a[rows] for name, a in inputs.items()} for inputs, rows in pieces]
    found: list[Asked | None] = [None] * len(feeds)
    for places in _by_shape(feeds):
        for place, asked in zip(places, _ask_together(stage, [feeds[place] for place in places]), strict=True):
            found[place] = asked
    return [asked for asked in found if asked is not None]


def _by_shape(feeds: Sequence[Mapping[str, Array]]) -> list[list[int]]:
    if len(feeds) == 1:
        return [[0]]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, inputs in enumerate(feeds):
        groups.setdefault(tuple(array.shape[1:] for array in inputs.values()), []).append(place)
    return list(groups.values())


def _ask_together(stage: OpenStage, feeds: Sequence[Mapping[str, Array]]) -> list[Asked]:
    together = feeds[0] if len(feeds) == 1 else {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}
    try:
        outputs, confidence = _asked(stage, together)
    except Exception as error:  # a runtime's own exceptions: whatever it raised, there is no answer
        return [error] if len(feeds) == 1 else [asked for one in feeds for asked in _ask_together(stage, [one])]
    if len(feeds) == 1:
        return [(outputs, confidence)]
    ends = np.cumsum([rows_of(one) for one in feeds]).tolist()
    slices = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return [({name: array[part] for name, array in outputs.items()}, confidence[part]) for part in slices]


def _asked(stage: OpenStage, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
    n = rows_of(feeds)
    outputs, confidence = stage.ask(feeds, stage.prepare(feeds))
    whole = {name: array for name, array in outputs.items() if array.ndim and len(array) == n}
    if not whole or len(confidence) != n:
        raise ValueError(f"the model gave no output with one entry for each of {n} rows")
    return whole, confidence
