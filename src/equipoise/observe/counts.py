"""What each model version has done since the server started, counted so that a dashboard can ask for it."""

from __future__ import annotations

import time
import weakref
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from equipoise.serve.events import OUTCOMES, BatchEnd, Outcome, RequestEnd
from equipoise.serve.loading import LoadedPlan

EDGES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Edges of every histogram of seconds, beside a plan's own p99 limit."""


class Histogram:
    """How many values lie below each of some edges.

    Args:
        edges: Ascending; a value that equals an edge lies below it.

    Attributes:
        counts: How many lie in each gap between edges, and above the last.
        total: All values added up.
    """

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value


@dataclass(slots=True, eq=False)
class ModelCounts:
    """What one version of a model has done.

    Attributes:
        model: Its name.
        version: Its version.
        limit_s: The p99 limit of its plan; null for none.
        stages: What each place in `Plan.all_stages` is called: its number from 1, or `fallback`.
        most_rows: Rows of the largest batch of each.
        lanes: Batches that are computed at the same time.
        remembers: Whether its plan has a cache.
        since_s: When counting began, on the clock of `Counts`.
        outcomes: Requests by what became of them.
        rows: Rows of requests that got answers.
        untrusted_rows: Of those, rows that the plan does not trust its answers to.
        degraded: Requests that the fallback answered.
        hits: Requests whose answers were remembered.
        joined: Requests that waited for an equal request's answer.
        request_s: Seconds from arrival to answer, of requests that got answers.
        queue_s: Seconds in queues, of those that were computed for themselves.
        compute_s: Seconds in batches, likewise.
        depth: Stages that were asked, likewise.
        answered_rows: Rows that each stage gave the answer to, likewise.
        batch_rows: Rows of each stage's batches.
        busy_s: Seconds that each stage's batches kept their lanes.
    """

    model: str
    version: str
    limit_s: float | None
    stages: tuple[str, ...]
    most_rows: tuple[int, ...]
    lanes: int
    remembers: bool
    since_s: float
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    rows: int = 0
    untrusted_rows: int = 0
    degraded: int = 0
    hits: int = 0
    joined: int = 0
    request_s: Histogram = field(init=False)
    queue_s: Histogram = field(init=False)
    compute_s: Histogram = field(init=False)
    depth: Histogram = field(init=False)
    answered_rows: list[int] = field(init=False)
    batch_rows: list[Histogram] = field(init=False)
    busy_s: list[float] = field(init=False)

    def __post_init__(self) -> None:
        edges = EDGES_S if self.limit_s is None else sorted({*EDGES_S, self.limit_s})
        self.request_s, self.queue_s, self.compute_s = Histogram(edges), Histogram(edges), Histogram(edges)
        self.depth = Histogram(range(1, len(self.stages) + 1))
        self.answered_rows = [0] * len(self.stages)
        self.batch_rows = [Histogram(_row_edges(rows)) for rows in self.most_rows]
        self.busy_s = [0.0] * len(self.stages)

    @classmethod
    def of(cls, loaded: LoadedPlan, since_s: float) -> ModelCounts:
        """Nothing yet, of a plan that is served."""
        plan = loaded.plan
        numbers = tuple(str(place + 1) for place in range(len(plan.stages)))
        return cls(
            model=loaded.name,
            version=loaded.version,
            limit_s=plan.stages[0].batch_rule.limit_s,
            stages=numbers if plan.fallback is None else (*numbers, "fallback"),
            most_rows=tuple(stage.rows for stage in plan.all_stages),
            lanes=plan.stages[0].lanes,
            remembers=plan.cache is not None,
            since_s=since_s,
        )

    @property
    def asked(self) -> int:
        """Requests, whatever became of them."""
        return sum(self.outcomes.values())

    @property
    def misses(self) -> int:
        """Requests whose answers were neither remembered nor on their way; 0 where the plan remembers nothing."""
        return self.asked - self.hits - self.joined if self.remembers else 0

    @property
    def within_limit(self) -> int | None:
        """Requests that got answers within the p99 limit; null where there is none."""
        if self.limit_s is None:
            return None
        return sum(self.request_s.counts[: self.request_s.edges.index(self.limit_s) + 1])

    def lane_s(self, now_s: float) -> float:
        """Seconds that its lanes could have computed until now."""
        return self.lanes * (now_s - self.since_s)

    def goes_on_as(self, other: ModelCounts) -> bool:
        """Whether another plan's counts can be added to these."""
        return (self.limit_s, self.stages, self.most_rows, self.lanes, self.remembers) == (
            other.limit_s, other.stages, other.most_rows, other.lanes, other.remembers,
        )  # fmt: skip


class Counts:
    """An observer that counts, by model and version.

    A plan that takes another one's place goes on with its counts, unless it has another p99 limit or other stages.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_name: dict[tuple[str, str], ModelCounts] = {}
        self._by_plan: dict[int, ModelCounts] = {}

    def of(self, loaded: LoadedPlan) -> ModelCounts:
        """What a plan has done until now; counting begins when it is first asked for."""
        counts = self._by_plan.get(id(loaded))
        return self._begin(loaded) if counts is None else counts

    def keep_only(self, served: Sequence[LoadedPlan]) -> None:
        """Forget model versions that are not served any more."""
        kept = {(loaded.name, loaded.version) for loaded in served}
        self._by_name = {name: counts for name, counts in self._by_name.items() if name in kept}

    def request_ended(self, end: RequestEnd) -> None:
        """Count a request."""
        counts = self._by_plan.get(id(end.plan)) or self._begin(end.plan)
        counts.outcomes[end.outcome] += 1
        if end.joined:
            counts.joined += 1
        answer = end.answer
        if answer is None:
            return
        counts.rows += end.rows
        counts.request_s.add(end.total_s)
        if end.plan.bundle.plan.distrust is not None:
            counts.untrusted_rows += end.rows - int(np.count_nonzero(answer.trusted))
        if answer.degraded:
            counts.degraded += 1
        if answer.cached:
            counts.hits += 1
        elif not end.joined:
            counts.queue_s.add(end.queued_s)
            counts.compute_s.add(end.computing_s)
            counts.depth.add(len(end.stages))
            if len(end.stages) == 1:
                counts.answered_rows[end.stages[0]] += end.rows
            else:
                for place, rows in enumerate(np.bincount(answer.stage).tolist()):
                    counts.answered_rows[place] += rows

    def batch_ended(self, end: BatchEnd) -> None:
        """Count a batch."""
        counts = self._by_plan.get(id(end.plan)) or self._begin(end.plan)
        counts.batch_rows[end.stage].add(end.rows)
        counts.busy_s[end.stage] += end.seconds

    def _begin(self, loaded: LoadedPlan) -> ModelCounts:
        name = loaded.name, loaded.version
        new = ModelCounts.of(loaded, self._clock())
        before = self._by_name.get(name)
        counts = before if before is not None and before.goes_on_as(new) else new
        self._by_name[name] = self._by_plan[id(loaded)] = counts
        # Plans hold whole models: one that is no longer served must not be kept alive for its counts.
        weakref.finalize(loaded, self._by_plan.pop, id(loaded), None)
        return counts


def _row_edges(most: int) -> list[int]:
    """1, 2, 4 ... up to and with the largest batch; what a single large request brings in lies above."""
    return sorted({*(1 << power for power in range(most.bit_length())), most})
