"""What became of each request and each batch, told to whoever keeps count: metrics, traces, the log of observations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from numpy.typing import NDArray

from equipoise.errors import DeadlineExceeded, Overloaded, StageFailed, Unavailable
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.work import Answer, Part, Waiter, Work

Outcome = Literal["answered", "shed", "late", "left", "unavailable", "failed"]
"""`shed`: refused at once; `late`: its deadline passed; `left`: its client went away; `failed`: a runtime raised."""
OUTCOMES: tuple[Outcome, ...] = ("answered", "shed", "late", "left", "unavailable", "failed")
OUTCOME_OF: dict[type[BaseException], Outcome] = {
    Overloaded: "shed",
    DeadlineExceeded: "late",
    Unavailable: "unavailable",
    StageFailed: "failed",
}

log = logging.getLogger(__name__)


class RequestEnd(NamedTuple):
    """A request is over.

    Attributes:
        plan: What it was asked of.
        outcome: What became of it.
        rows: Its rows; 0 where it was refused before it was read.
        request_id: The client's own name for it.
        total_s: Seconds from its arrival to its end.
        queued_s: Of those, seconds in the queues of stages.
        computing_s: Of those, seconds in batches.
        stages: Places of the stages that it was asked, in order; empty for a remembered answer.
        answer: What it got; null where it got none.
        joined: Whether it waited for an equal request's answer, so that its rows were computed for that one.
        parts: What each of these stages answered, and when.
        inputs: What it asked about, input name to [n, ...].
    """

    plan: LoadedPlan
    outcome: Outcome
    rows: int
    request_id: str | None
    total_s: float
    queued_s: float = 0.0
    computing_s: float = 0.0
    stages: tuple[int, ...] = ()
    answer: Answer | None = None
    joined: bool = False
    parts: Sequence[Part] = ()
    inputs: Mapping[str, NDArray[Any]] | None = None


class BatchEnd(NamedTuple):
    """A batch is over.

    Attributes:
        plan: Whose.
        stage: Place of its stage in `Plan.all_stages`.
        rows: Its rows.
        requests: Its requests.
        seconds: How long it kept its lane.
    """

    plan: LoadedPlan
    stage: int
    rows: int
    requests: int
    seconds: float


class Observer(Protocol):
    """Is told what happened, in the event loop's thread: it must return at once."""

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""

    def batch_ended(self, end: BatchEnd) -> None:
        """A batch is over."""


class Audience:
    """Tells all observers, and goes on where one of them raises: that is logged once, and no request notices."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._failed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""
        for observer in self._observers:
            try:
                observer.request_ended(end)
            except Exception:  # a stranger's code
                self._note(observer)

    def batch_ended(self, end: BatchEnd) -> None:
        """A batch is over."""
        for observer in self._observers:
            try:
                observer.batch_ended(end)
            except Exception:  # a stranger's code
                self._note(observer)

    def _note(self, observer: Observer) -> None:
        if id(observer) not in self._failed:
            self._failed.add(id(observer))
            log.exception("%s raised; requests go on, and it is not said again", type(observer).__qualname__)


def request_end(
    plan: LoadedPlan, work: Work, waiter: Waiter, future: asyncio.Future[Answer], now_s: float
) -> RequestEnd:
    """What became of one who waited for a request.

    Args:
        plan: What was asked.
        work: The request.
        waiter: Who waited.
        future: Is done.
        now_s: The time, on the loop's clock.
    """
    error = None if future.cancelled() else future.exception()
    answer = None if future.cancelled() or error is not None else future.result()
    return RequestEnd(
        plan,
        "answered" if answer is not None else "left" if error is None else OUTCOME_OF.get(type(error), "failed"),
        work.n,
        waiter.request_id,
        now_s - waiter.arrival_s,
        work.queued_s,
        work.computing_s,
        tuple(part.stage for part in work.parts),
        answer,
        joined=waiter.arrival_s > work.arrival_s,
        parts=work.parts,
        inputs=work.feeds,
    )
