"""One request on its way through a plan: what was asked, what the stages have answered so far, who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equipoise.execute.stages import NOT_ASKED, replaced

Array = NDArray[Any]
Rows = NDArray[np.intp]


class Answer(NamedTuple):
    """What a request gets.

    Attributes:
        model: Name of the model that answered.
        version: Its version.
        outputs: Output name to array of shape [n, ...], in the order of the request's rows. Not to be written to: equal
            requests may share it.
        stage: Place of the stage that answered each row in `Plan.all_stages`, int64[n].
        confidence: How sure each stage of the plan was of each row, float64[n, stages]; not a number where it was not
            asked.
        trusted: Whether the plan trusts each answer, bool[n].
        degraded: Whether the fallback answered, since the plan could not have in time.
        cached: Whether the answer was remembered.
        request_id: The request's own.
    """

    model: str
    version: str
    outputs: dict[str, Array]
    stage: NDArray[np.int64]
    confidence: NDArray[np.float64]
    trusted: NDArray[np.bool_]
    degraded: bool = False
    cached: bool = False
    request_id: str | None = None


class Part(NamedTuple):
    """What one stage answered.

    Attributes:
        stage: Its place.
        rows: Which of the request's rows it was asked; null for all.
        outputs: Output name to [rows, ...].
        confidence: How sure it was of each, [rows].
        start_s: When their batch was started, on the loop's clock.
        end_s: When it was over.
    """

    stage: int
    rows: Rows | None
    outputs: Mapping[str, Array]
    confidence: Array
    start_s: float
    end_s: float


@dataclass(slots=True, eq=False)
class Waiter:
    """A client that waits.

    Attributes:
        future: Where it gets its answer, or its error.
        request_id: Its own.
        arrival_s: When it came, on the loop's clock.
        deadline_s: When it no longer wants the answer, on that clock; infinite for never.
        timer: Fires then; null without a deadline.
    """

    future: asyncio.Future[Answer]
    request_id: str | None
    arrival_s: float
    deadline_s: float
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True, eq=False)
class Work:
    """A request that is being answered, for one client or for several that asked the same.

    All of its rows that have no answer yet are in one place at any time: in the queue of a stage, or in a batch.

    Attributes:
        feeds: Input name to [n, ...].
        n: Its rows.
        arrival_s: When the first client came, on the loop's clock.
        high: Whether it has high priority.
        outputs: Outputs that are wanted, in order.
        key: What its answer is remembered under; null for nowhere.
        left: Rows without an answer that stands; null for all.
        parts: What stages have answered, in the order they were asked.
        waiters: Who waits for it.
        queued_at: Stage whose queue it is in; null where it is in none.
        since_s: When it came into that queue, or the batch it is in was started, on the loop's clock.
        queued_s: Seconds that it has spent in queues.
        computing_s: Seconds that it has spent in batches.
        over: Answered, failed, or left by everybody.
    """

    feeds: Mapping[str, Array]
    n: int
    arrival_s: float
    high: bool
    outputs: tuple[str, ...]
    key: bytes | None
    left: Rows | None = None
    parts: list[Part] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    queued_at: int | None = None
    since_s: float = 0.0
    queued_s: float = 0.0
    computing_s: float = 0.0
    over: bool = False

    @property
    def rows(self) -> int:
        """Rows without an answer that stands."""
        return self.n if self.left is None else len(self.left)

    @property
    def deadline_s(self) -> float:
        """When nobody wants its answer any more."""
        latest_s = -np.inf
        for waiter in self.waiters:
            if waiter.deadline_s > latest_s and not waiter.future.done():
                latest_s = waiter.deadline_s
        return latest_s

    def answer(self, answer: Answer) -> None:
        """Give all who wait the answer, each with its own name for the request."""
        for waiter in self.waiters:
            if not waiter.future.done():
                named = answer if waiter.request_id is None else answer._replace(request_id=waiter.request_id)
                waiter.future.set_result(named)

    def fail(self, error: Exception) -> None:
        """Tell all who wait why there is no answer."""
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)


def assembled(
    work: Work, model: str, version: str, stages: int, untrusted: Rows, *, simple_where_untrusted: bool
) -> Answer:
    """Put together what the stages answered, as `execute.stages.OpenStages.run` does for rows that come together.

    Args:
        work: Its last stage has answered.
        model: Name that is served.
        version: Version that is served.
        stages: Stages of the plan without the fallback.
        untrusted: Rows whose last answer the plan does not trust.
        simple_where_untrusted: Whether those get the first stage's answer. A request of high priority, which that stage
            was not asked, keeps the last one's.

    Raises:
        ValueError: Two stages give a row answers of different shapes.
    """
    first, *later = work.parts
    if not later and stages == 1 and first.stage == 0 and not len(untrusted):
        answered_by, trusted = _from_the_first(work.n)
        outputs = {name: first.outputs[name] for name in work.outputs if name in first.outputs}
        return Answer(model, version, outputs, answered_by, first.confidence[:, None], trusted)
    outputs = {name: first.outputs[name] for name in work.outputs if name in first.outputs}
    answered_by = np.full(work.n, first.stage, dtype=np.int64)
    confidence = np.full((work.n, stages), NOT_ASKED)
    if first.stage < stages:
        confidence[:, first.stage] = first.confidence
    for part in later:
        rows = part.rows if part.rows is not None else np.arange(work.n)
        outputs = {
            name: replaced(array, rows, part.outputs[name]) for name, array in outputs.items() if name in part.outputs
        }
        answered_by[rows] = part.stage
        if part.stage < stages:
            confidence[rows, part.stage] = part.confidence
    trusted = np.ones(work.n, dtype=np.bool_)
    trusted[untrusted] = False
    if simple_where_untrusted and later and len(untrusted):
        outputs = {name: replaced(array, untrusted, first.outputs[name][untrusted]) for name, array in outputs.items()}
    degraded = work.parts[-1].stage >= stages
    return Answer(model, version, outputs, answered_by, confidence, trusted, degraded=degraded)


@lru_cache(maxsize=64)
def _from_the_first(n: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """That the first stage answers all `n` rows, and all are trusted: shared, so not to be written to."""
    answered_by, trusted = np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.bool_)
    answered_by.flags.writeable = trusted.flags.writeable = False
    return answered_by, trusted
