"""What became of each request and each batch, told to whoever keeps count: metrics, traces, the log of observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from equipoise.errors import DeadlineExceeded, Overloaded, StageFailed, Unavailable
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.work import Answer

Outcome = Literal["answered", "shed", "late", "left", "unavailable", "failed"]
"""`shed`: refused at once; `late`: its deadline passed; `left`: its client went away; `failed`: a runtime raised."""
OUTCOMES: tuple[Outcome, ...] = ("answered", "shed", "late", "left", "unavailable", "failed")
OUTCOME_OF: dict[type[BaseException], Outcome] = {
    Overloaded: "shed",
    DeadlineExceeded: "late",
    Unavailable: "unavailable",
    StageFailed: "failed",
}


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """A request is over.

    Attributes:
        plan: What it was asked of.
        outcome: What became of it.
        rows: Its rows.
        request_id: The client's own name for it.
        total_s: Seconds from its arrival to its end.
        queued_s: Of those, seconds in the queues of stages.
        computing_s: Of those, seconds in batches.
        stages: Places of the stages that it was asked, in order; empty for a remembered answer.
        answer: What it got; null where it got none.
        joined: Whether it waited for an equal request's answer, so that its rows were computed for that one.
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


@dataclass(frozen=True, slots=True)
class BatchEnd:
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
    """Is told what happened, in the event loop's thread: it must return at once, and never raise."""

    def request_ended(self, end: RequestEnd) -> None:
        """A request is over."""

    def batch_ended(self, end: BatchEnd) -> None:
        """A batch is over."""
