"""Which stages are broken, found out with rows that they are known to answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray

from equipoise.serve.cores import CoreShare
from equipoise.serve.lanes import Asked, Lanes, raised

Array = NDArray[Any]
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0

log = logging.getLogger(__name__)


class Probes:
    """Finds broken stages of one plan.

    A stage that raised on every request of a batch may have met rows that it could never take, or be broken itself. It
    is asked a golden row of its bundle, which it answered when it was loaded: where it raises on that one too it is
    broken, and is asked again after 0.5 s, after twice as long each time, at most 30 s, until it answers.

    Args:
        golden: Golden inputs, name to [n, ...].
        names: What each stage is called.
        lanes: Where stages are asked.
        cores: What a batch needs.
        wake: Called when a stage is to be asked.
        ended: Called with a stage that was and why it did not answer, null if it did, once its lane is free again.

    Attributes:
        due: Stages that are to be asked now.
        trouble: What the last broken stage raised.
    """

    def __init__(
        self,
        golden: Mapping[str, Array],
        names: Sequence[str],
        lanes: Lanes,
        cores: CoreShare,
        wake: Callable[[], object],
        ended: Callable[[int, str | None], object],
    ) -> None:
        self.due: list[int] = []
        self.trouble = ""
        self._row = {name: array[:1] for name, array in golden.items()}
        self._names, self._lanes, self._cores = names, lanes, cores
        self._wake, self._ended = wake, ended
        self._failures: dict[int, int] = {}
        self._suspects: set[int] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def broken(self) -> frozenset[int]:
        """Places of the stages that are."""
        return frozenset(self._failures)

    def suspect(self, stage: int) -> None:
        """A stage raised on all that it was asked."""
        if stage not in self._failures and stage not in self._suspects:
            self._suspects.add(stage)
            self.due.append(stage)

    def start(self, ends_s: float) -> None:
        """Ask a stage that is due, in a free lane, on cores that were taken for it."""
        stage = self.due.pop()
        self._lanes.start(stage, [(self._row, None)], ends_s, partial(self._asked, stage))

    def close(self) -> None:
        """Ask no more."""
        self.due.clear()
        for timer in self._timers.values():
            timer.cancel()

    def _asked(self, stage: int, lane: int, asked: list[Asked]) -> None:
        loop = asyncio.get_running_loop()
        self._lanes.end(lane, loop.time())
        (found,) = asked
        self._suspects.discard(stage)
        why = str(found) if isinstance(found, Exception) else None
        if raised(found):
            why = self.trouble = f"{self._names[stage]} fails on a golden row of its own bundle ({found})"
            failures = self._failures[stage] = self._failures.get(stage, 0) + 1
            if failures == 1:
                log.error("%s", self.trouble, extra={"event": "stage_broken"})
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * float(2 ** min(failures - 1, 16)))
            self._timers[stage] = loop.call_later(wait_s, self._again, stage)
        else:
            if self._failures.pop(stage, 0):
                log.info("%s answers its golden row again", self._names[stage], extra={"event": "stage_back"})
        self._ended(stage, why)
        self._cores.give()

    def _again(self, stage: int) -> None:
        self.due.append(stage)
        self._wake()
