"""Writes one observation a request into a log, from a thread of its own: no request ever waits for a disk."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from equipoise.observe.observed import Seen, observations
from equipoise.observe.origin import ORIGIN
from equipoise.serve.events import BatchEnd, RequestEnd
from equipoise.store.observations import Segment, tidy

FLUSH_S = 0.5
"""Between writes: half of the second that may be lost with a process that is killed."""
MOST_WAITING, MOST_WAITING_BYTES = 100_000, 64 << 20
WAKE_BYTES = MOST_WAITING_BYTES // 4
MOST_AT_ONCE = 128
"""Rows that are made in one go, a millisecond's work: the event loop gets the interpreter's lock in between."""
TIDY_S = 600.0
DAY_S = 86_400.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObservationSettings:
    """What is logged, and for how long.

    Attributes:
        folder: Where.
        share: Share of requests that are kept, above 0, up to 1; which ones is left to chance.
        inputs: Whether what they asked about is kept too.
        keep_s: How long a file is kept; null for ever.
        keep_bytes: Most bytes of all files together; null for no bound.
        segment_bytes: A segment of this size is ended.
        segment_s: So is one of this age.
    """

    folder: Path
    share: float = 1.0
    inputs: bool = False
    keep_s: float | None = 30 * DAY_S
    keep_bytes: int | None = 10_000_000_000
    segment_bytes: int = 64 << 20
    segment_s: float = 3600.0


class ObservationLog:
    """An observer that logs. It writes between being entered and left.

    What waits to be written is bounded: where a disk cannot keep up, or takes nothing, observations are dropped and
    counted, and serving goes on.

    Args:
        settings: What is logged.
        chance: Numbers from 0 to 1 that decide which requests are kept.

    Attributes:
        written: Observations that were written.
        dropped: Those that were not, by reason: too many waited, or the disk took none.
    """

    def __init__(self, settings: ObservationSettings, chance: Callable[[], float] = random.random) -> None:
        self._settings, self._chance = settings, chance
        self.written = 0
        self.dropped = {"queue_full": 0, "not_written": 0}
        self._waiting: deque[Seen] = deque()
        # Each of the two is only ever raised by one thread, so that no lock is needed.
        self._bytes_in = self._bytes_out = 0
        self._segment: Segment | None = None
        self._segment_since_s = self._tidied_s = 0.0
        self._failing = self._ending = False
        self._wake = Event()
        self._writer = Thread(target=self._write_on, name="equipoise-observations", daemon=True)
        self._tidier = ThreadPoolExecutor(1, thread_name_prefix="equipoise-observations-tidy")

    def __enter__(self) -> ObservationLog:
        self._tidy_soon()
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake.set()
        self._writer.join()
        self._tidier.shutdown()

    def request_ended(self, end: RequestEnd) -> None:
        """Take note of a request."""
        if self._settings.share < 1 and self._chance() >= self._settings.share:
            return
        seen = Seen(
            time.time(),
            ORIGIN.get(),
            end.plan,
            end.outcome,
            end.rows,
            end.request_id,
            end.total_s,
            end.queued_s,
            end.computing_s,
            end.stages,
            end.answer,
            end.joined,
            end.inputs if self._settings.inputs else None,
        )
        held = seen.held_bytes
        waiting_bytes = self._bytes_in - self._bytes_out + held
        if len(self._waiting) >= MOST_WAITING or waiting_bytes > MOST_WAITING_BYTES:
            self.dropped["queue_full"] += 1
            return
        self._bytes_in += held
        self._waiting.append(seen)
        if waiting_bytes > WAKE_BYTES:
            self._wake.set()

    def batch_ended(self, end: BatchEnd) -> None:
        """Nothing is logged of a batch."""

    def _write_on(self) -> None:
        more = True
        while more:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            more = not self._ending
            for _ in range(0, len(self._waiting), MOST_AT_ONCE):  # not what comes meanwhile: segments must end too
                self._write([self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))])
            if self._segment is not None and (not more or self._is_full(self._segment)):
                self._segment.close()
                self._segment = None
                self._tidy_soon()
            elif time.monotonic() - self._tidied_s >= TIDY_S:
                self._tidy_soon()  # files have their time even where nobody asks anything

    def _write(self, seen: list[Seen]) -> None:
        self._bytes_out += sum(each.held_bytes for each in seen)
        try:
            batch = observations(seen, self._settings.share)
            if self._segment is None:
                self._segment, self._segment_since_s = Segment(self._settings.folder), time.monotonic()
            self._segment.append(batch)
        except Exception as error:  # whatever one request brought must not end the log of all others
            self.dropped["not_written"] += len(seen)
            self._tell("observations cannot be written to %s and are dropped: %s", error)
        else:
            self.written += len(seen)
            self._failing = False

    def _is_full(self, segment: Segment) -> bool:
        age_s = time.monotonic() - self._segment_since_s
        return segment.torn or segment.bytes >= self._settings.segment_bytes or age_s >= self._settings.segment_s

    def _tidy_soon(self) -> None:
        self._tidied_s = time.monotonic()
        self._tidier.submit(self._tidy)

    def _tidy(self) -> None:
        settings = self._settings
        try:
            tidy(settings.folder, settings.keep_s, settings.keep_bytes)
        except Exception as error:  # what is not tidied now is tried again when the next segment ends
            self._tell("the observations in %s cannot be put in order: %s", error)

    def _tell(self, message: str, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.error(message, self._settings.folder, error)
