"""Threads that compute batches: as many as the plan has lanes, each free again only when its batch has really ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from math import inf
from queue import SimpleQueue
from threading import Thread
from typing import Any

from numpy.typing import NDArray

from equipoise.errors import Unavailable
from equipoise.preprocess.lengths import joined
from equipoise.serve.lull import Lull
from equipoise.serve.opening import Ask
from equipoise.serve.work import Rows

Array = NDArray[Any]
Piece = tuple[Mapping[str, Array], Rows | None]
"""Inputs of a request, and which of its rows are asked: null for all."""
Answered = tuple[dict[str, Array], Array]
"""Outputs of a piece and how sure the stage is of each row."""
Asked = Answered | Exception
"""What a stage answered, or what its runtime raised."""

Ended = Callable[[int, list[Asked]], object]
"""Is told, in the event loop, which lane has ended its batch and what came of each piece."""
Job = tuple[Ask, Sequence[Piece], asyncio.AbstractEventLoop, Ended]


class Lanes:
    """A plan's lanes, each with a thread of its own: a batch costs the loop one queue and one call, and no future.

    Args:
        name: Of the model, for the names of the threads.
        asks: For each lane, what computes each stage there.
        lull: Ends when a batch does.
        filling: Inputs whose rows may have different lengths, each with what shorter ones are filled up with.

    Attributes:
        free_at_s: When each lane is expected to be free, on the loop's clock; infinite for one that is down.
        free: Lanes that are free now.
    """

    def __init__(
        self, name: str, asks: Sequence[Sequence[Ask]], lull: Lull, filling: Mapping[str, int] | None = None
    ) -> None:
        self.free_at_s = [0.0] * len(asks)
        self.free = list(range(len(asks)))
        self._asks = asks
        self._lull = lull
        self._filling = filling or {}
        self._busy: set[int] = set()
        self._down: set[int] = set()
        self._jobs: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in asks]
        for lane, jobs in enumerate(self._jobs):
            Thread(
                target=_compute, args=(lane, jobs, lull, self._filling), name=f"equipoise-{name}-{lane}", daemon=True
            ).start()

    @property
    def idle(self) -> bool:
        """Whether nothing is being computed."""
        return not self._busy

    @property
    def all_down(self) -> bool:
        """Whether no lane can compute."""
        return len(self._down) == len(self._asks)

    def start(self, stage: int, pieces: Sequence[Piece], ends_s: float, ended: Ended) -> None:
        """Compute a batch of a stage in a free lane.

        Args:
            stage: Place of the stage.
            pieces: What it is asked.
            ends_s: When the batch is expected to end, on the loop's clock.
            ended: Called in the loop when it has.
        """
        lane = self._taken(ends_s)
        self._jobs[lane].put((self._asks[lane][stage], pieces, asyncio.get_running_loop(), ended))

    def compute(
        self, stage: int, pieces: Sequence[Piece], ends_s: float, freed: Callable[[int], object]
    ) -> list[Asked]:
        """Compute a batch at once, in the loop's own thread: one that is over sooner than a thread would have begun it.

        Its lane stays taken for this turn of the loop, so that other requests that have come make a batch together.

        Args:
            stage: Place of the stage.
            pieces: What it is asked.
            ends_s: When the batch is expected to end, on the loop's clock.
            freed: Called in the next turn, with the lane.

        Returns:
            What came of each piece.
        """
        lane = self._taken(ends_s)
        found = _found(self._asks[lane][stage], pieces, self._filling)
        self._lull.batch_ended()
        asyncio.get_running_loop().call_soon(freed, lane)
        return found

    def _taken(self, ends_s: float) -> int:
        lane = self.free.pop()
        self._busy.add(lane)
        self.free_at_s[lane] = ends_s
        return lane

    def end(self, lane: int, now_s: float) -> None:
        """A batch has ended."""
        self._busy.discard(lane)
        self._lull.taken_in()
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
        for jobs in self._jobs:
            jobs.put(None)


def ask(stage: Ask, pieces: Sequence[Piece], filling: Mapping[str, int]) -> list[Asked]:
    """Ask a stage the rows of several requests at once, and give each its own.

    Token sequences of different lengths are filled up. Requests whose rows have another shape beyond that cannot share
    an array, and are asked one shape after the other. Where the runtime raises on rows of several requests, each is
    asked alone, so that one that a model cannot take fails by itself.

    Returns:
        What came of each piece, in order.
    """
    feeds = [inputs if rows is None else {name: a[rows] for name, a in inputs.items()} for inputs, rows in pieces]
    found: list[Asked | None] = [None] * len(feeds)
    for places in _by_shape(feeds, filling):
        together = _ask_together(stage, [feeds[place] for place in places], filling)
        for place, asked in zip(places, together, strict=True):
            found[place] = asked
    return [asked for asked in found if asked is not None]


def raised(asked: Asked) -> bool:
    """Whether a runtime raised on a piece."""
    return isinstance(asked, Exception) and not isinstance(asked, Unavailable)


def _found(stage: Ask, pieces: Sequence[Piece], filling: Mapping[str, int]) -> list[Asked]:
    """What came of each piece, whatever happens: without it the lane would never be free again."""
    try:
        return ask(stage, pieces, filling)
    except KeyboardInterrupt:  # it is not the model's, and only ever comes in the main thread
        raise
    except MemoryError as error:
        return [error] * len(pieces)
    except BaseException as error:
        return [RuntimeError(repr(error))] * len(pieces)


def _compute(lane: int, jobs: SimpleQueue[Job | None], lull: Lull, filling: Mapping[str, int]) -> None:
    while (job := jobs.get()) is not None:
        stage, pieces, loop, ended = job
        found = _found(stage, pieces, filling)
        lull.batch_ended()
        with suppress(RuntimeError):  # the loop is over, and nobody waits any more
            loop.call_soon_threadsafe(ended, lane, found)
        del job, stage, pieces, found


def _by_shape(feeds: Sequence[Mapping[str, Array]], filling: Mapping[str, int]) -> list[list[int]]:
    if filling:
        shapes = [[() if name in filling else a.shape[1:] for name, a in inputs.items()] for inputs in feeds]
    else:
        shapes = [[array.shape[1:] for array in inputs.values()] for inputs in feeds]
    if shapes.count(shapes[0]) == len(shapes):
        return [list(range(len(shapes)))]
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for place, shape in enumerate(shapes):
        groups.setdefault(tuple(shape), []).append(place)
    return list(groups.values())


def _ask_together(stage: Ask, feeds: Sequence[Mapping[str, Array]], filling: Mapping[str, int]) -> list[Asked]:
    together = feeds[0] if len(feeds) == 1 else joined(feeds, filling)
    try:
        outputs, confidence = stage(together)
    except Unavailable as error:  # nobody computes here any more
        return [error] * len(feeds)
    except Exception as error:  # a runtime's own exceptions: whatever it raised, there is no answer
        return (
            [error] if len(feeds) == 1 else [asked for one in feeds for asked in _ask_together(stage, [one], filling)]
        )
    if len(feeds) == 1:
        return [(outputs, confidence)]
    first = next(iter(together))
    ends = list(accumulate([len(one[first]) for one in feeds], initial=0))
    slices = list(map(slice, ends, ends[1:]))
    parts = [[array[part] for part in slices] for array in outputs.values()]
    return [
        (dict(zip(outputs, values, strict=True)), confidence[part])
        for part, *values in zip(slices, *parts, strict=True)
    ]
