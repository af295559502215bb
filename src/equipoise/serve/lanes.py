"""Threads that compute batches: as many as the plan has lanes, each free again only when its batch has really ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import Unavailable
from equipoise.execute.stages import rows_of
from equipoise.serve.opening import Ask
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
        asks: For each lane, what computes each stage there.

    Attributes:
        free_at_s: When each lane is expected to be free, on the loop's clock; infinite for one that is down.
        free: Lanes that are free now.
    """

    def __init__(self, name: str, asks: Sequence[Sequence[Ask]]) -> None:
        self.free_at_s = [0.0] * len(asks)
        self.free = list(range(len(asks)))
        self._asks = asks
        self._busy: set[int] = set()
        self._down: set[int] = set()
        self._threads = ThreadPoolExecutor(len(asks), thread_name_prefix=f"equipoise-{name}")

    @property
    def idle(self) -> bool:
        """Whether nothing is being computed."""
        return not self._busy

    @property
    def all_down(self) -> bool:
        """Whether no lane can compute."""
        return len(self._down) == len(self._asks)

    def start(self, stage: int, pieces: Sequence[Piece], ends_s: float) -> tuple[int, asyncio.Future[list[Asked]]]:
        """Compute a batch of a stage in a free lane, and say in which."""
        lane = self.free.pop()
        self._busy.add(lane)
        self.free_at_s[lane] = ends_s
        return lane, asyncio.get_running_loop().run_in_executor(self._threads, ask, self._asks[lane][stage], pieces)

    def end(self, lane: int, now_s: float) -> None:
        """A batch has ended."""
        self._busy.discard(lane)
        if lane not in self._down:
            self.free_at_s[lane] = now_s
            self.free.append(lane)

    def take_down(self, lanes: Iterable[int]) -> None:
        """Nothing can be computed in these lanes any more; what is being computed there still ends, somehow."""
        for lane in lanes:
            self._down.add(lane)
            self.free_at_s[lane] = inf
            if lane in self.free:
                self.free.remove(lane)

    def bring_back(self, lanes: Iterable[int], now_s: float) -> None:
        """These lanes compute again."""
        for lane in self._down.intersection(lanes):
            self._down.discard(lane)
            self.free_at_s[lane] = now_s
            if lane not in self._busy:
                self.free.append(lane)

    def close(self) -> None:
        """End the threads, without waiting for what they compute."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def ask(stage: Ask, pieces: Sequence[Piece]) -> list[Asked]:
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


def asked_of(job: asyncio.Future[list[Asked]], pieces: int) -> list[Asked]:
    """What came of each piece of a batch that has ended, however it did."""
    if job.cancelled():
        return [RuntimeError("the server is being closed")] * pieces
    error = job.exception()
    return job.result() if error is None else [RuntimeError(repr(error))] * pieces


def raised(asked: Asked) -> bool:
    """Whether a runtime raised on a piece."""
    return isinstance(asked, Exception) and not isinstance(asked, Unavailable)


def _by_shape(feeds: Sequence[Mapping[str, Array]]) -> list[list[int]]:
    if len(feeds) == 1:
        return [[0]]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, inputs in enumerate(feeds):
        groups.setdefault(tuple(array.shape[1:] for array in inputs.values()), []).append(place)
    return list(groups.values())


def _ask_together(stage: Ask, feeds: Sequence[Mapping[str, Array]]) -> list[Asked]:
    together = feeds[0] if len(feeds) == 1 else {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}
    try:
        outputs, confidence = stage(together)
    except Unavailable as error:  # nobody computes here any more
        return [error] * len(feeds)
    except Exception as error:  # a runtime's own exceptions: whatever it raised, there is no answer
        return [error] if len(feeds) == 1 else [asked for one in feeds for asked in _ask_together(stage, [one])]
    if len(feeds) == 1:
        return [(outputs, confidence)]
    ends = np.cumsum([rows_of(one) for one in feeds]).tolist()
    slices = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return [({name: array[part] for name, array in outputs.items()}, confidence[part]) for part in slices]
