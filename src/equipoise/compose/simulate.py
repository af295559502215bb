"""What a plan would do under some traffic, by simulation of every request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.fleet import CACHED, SHED, Fleet, Requests
from equipoise.compose.service_times import Samples, ServiceTimes
from equipoise.core.estimate import Estimate
from equipoise.core.plan import BatchRule, CacheRule, Plan
from equipoise.policy.cost import MILLION, SECONDS_PER_HOUR
from equipoise.policy.served import ServedPlan, default_queue_rows, serve_stages
from equipoise.stats.intervals import quantile_estimate

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class StageTimes:
    """A stage of a plan and how long its batches took.

    Attributes:
        rule: How rows that reach it are put together.
        seconds: Batch size in rows to measured seconds of such batches: float64[samples].
        share: Share of rows that reach it, 0 to 1.
    """

    rule: BatchRule
    seconds: Samples
    share: float = 1.0


@dataclass(frozen=True)
class Machine:
    """A machine that runs a plan.

    Attributes:
        stages: Stages in the order in which they are asked.
        lanes: Batches that are computed at the same time.
        fallback: What answers under pressure; null for nothing.
        cache: What is remembered of answers; null for nothing.
        lookup_s: Seconds that a look-up takes, of every request; counted with a cache only.
        queue_rows: Most rows that may wait; null for no bound.
    """

    stages: tuple[StageTimes, ...]
    lanes: int = 1
    fallback: StageTimes | None = None
    cache: CacheRule | None = None
    lookup_s: float = 0.0
    queue_rows: int | None = None

    @property
    def all_stages(self) -> tuple[StageTimes, ...]:
        """The stages, and the fallback's at the end."""
        return self.stages if self.fallback is None else (*self.stages, self.fallback)

    @property
    def limit_s(self) -> float | None:
        """The p99 limit that its batches are sized for."""
        return self.stages[0].rule.limit_s


@dataclass(frozen=True)
class Traffic:
    """Requests.

    Attributes:
        arrival_s: Intended arrivals, ascending, not negative: float64[n].
        key: Equal keys are equal requests, [n]; null where that is not known.
        high: Whether each request has high priority, bool[n]; null where none has.
        deadline_s: Seconds from arrival within which each request needs its answer, float64[n], NaN for the plan's
            limit; null where none has a deadline of its own.
        rows: Rows of each request, int64[n]; null for one each.
        depth: Deepest stage that each request is asked, int64[n]; null to draw it by the stages' shares.
        duration_s: How long the traffic lasts; null until the last arrival.
    """

    arrival_s: Seconds
    key: NDArray[np.generic] | None = None
    high: NDArray[np.bool_] | None = None
    deadline_s: Seconds | None = None
    rows: NDArray[np.int64] | None = None
    depth: NDArray[np.int64] | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        at_s = self.arrival_s
        if not len(at_s) or not np.isfinite(at_s).all() or at_s[0] < 0 or np.any(np.diff(at_s) < 0):
            raise ValueError(f"arrivals must be ascending, not negative and at least 1, found {len(at_s)}")
        for name in ("key", "high", "deadline_s", "rows", "depth"):
            values = getattr(self, name)
            if values is not None and len(values) != len(at_s):
                raise ValueError(f"{name} needs a value for each of {len(at_s)} requests, found {len(values)}")
        if self.rows is not None and self.rows.min() < 1:
            raise ValueError(f"a request has at least 1 row, found {self.rows.min()}")


@dataclass(frozen=True)
class Simulation:
    """What became of each request, and of the machines.

    Attributes:
        latency_s: From intended arrival to answer, NaN where there was none: float64[n].
        computing_s: The part of it in which the request's batches were computed, 0 where it waited for an equal
            request's answer: float64[n].
        outcome: Place of the stage that answered; -1 from the cache, -2 refused, -3 unavailable (a stage is down):
            int64[n].
        limit_s: Seconds within which each request needed its answer; infinite for no limit: float64[n].
        batch_rows: Rows of each stage's batches, in the order in which they were started: int64[batches] each.
        fallback: Place of the fallback's stage; null where there is none.
        machines: How many there were.
        lanes: Of each machine.
        busy_s: Seconds that lanes computed, all machines together.
        duration_s: From the start of the traffic to its end, or to the last answer where that is later.
    """

    latency_s: Seconds
    computing_s: Seconds
    outcome: NDArray[np.int64]
    limit_s: Seconds
    batch_rows: tuple[NDArray[np.int64], ...]
    fallback: int | None
    machines: int
    lanes: int
    busy_s: float
    duration_s: float

    @property
    def requests(self) -> int:
        """How many came."""
        return len(self.outcome)

    @property
    def answered(self) -> int:
        """How many were answered."""
        return int(np.count_nonzero(self.outcome > SHED))

    @cached_property
    def answer_s(self) -> Seconds:
        """Latencies of answered requests."""
        found: Seconds = self.latency_s[self.outcome > SHED]
        return found

    def quantile_s(self, q: float) -> Estimate | None:
        """A quantile of the latency of answered requests; null where they are too few to bound it."""
        return quantile_estimate(self.answer_s, q) if len(self.answer_s) else None

    @property
    def goodput_rps(self) -> float:
        """Answers within their limit, a second."""
        return float(np.count_nonzero(self.latency_s <= self.limit_s)) / self.duration_s

    @property
    def late_share(self) -> float:
        """Share of requests without an answer within their limit, refused ones among them."""
        return 1.0 - float(np.count_nonzero(self.latency_s <= self.limit_s)) / self.requests

    @property
    def utilisation(self) -> float:
        """Share of the time that a lane was computing."""
        return self.busy_s / (self.duration_s * self.lanes * self.machines)

    @property
    def hit_share(self) -> float:
        """Share of requests that were answered from the cache."""
        return self._share(CACHED)

    @property
    def shed_share(self) -> float:
        """Share of requests that were refused, or met a plan that was down."""
        return 1.0 - self.answered / self.requests

    @property
    def degraded_share(self) -> float:
        """Share of requests that the fallback answered."""
        return 0.0 if self.fallback is None else self._share(self.fallback)

    @property
    def stage_shares(self) -> tuple[float, ...]:
        """Share of requests that each stage answered, the fallback's last."""
        return tuple(self._share(stage) for stage in range(len(self.batch_rows)))

    def usd_per_million(self, usd_per_hour: float) -> float | None:
        """Cost of a million answers with these machines, idle time paid; null where nothing was answered.

        `machines * usd_per_hour * duration_s / 3600 / answered * 1e6`.

        Args:
            usd_per_hour: Price of one machine, > 0.
        """
        if not self.answered:
            return None
        return self.machines * usd_per_hour * self.duration_s / SECONDS_PER_HOUR / self.answered * MILLION

    def _share(self, outcome: int) -> float:
        return float(np.count_nonzero(self.outcome == outcome)) / self.requests


def simulate(
    machine: Machine,
    traffic: Traffic,
    *,
    limit_s: float | None = None,
    machines: int = 1,
    down: Collection[int] = (),
    seed: int = 0,
    levels: Sequence[float] | None = None,
) -> Simulation:
    """Answer every request of some traffic with a plan, as its server would.

    What is decided (stage, batch, admission, machine, cache) is decided by the functions of `policy/` that the server
    calls, from medians of the measured seconds, as the server knows them. What happens is drawn: the seconds of each
    batch from the samples of its size, how far a row goes from the stages' shares, hits of a cache from its share where
    requests have no keys. With keys, each machine has a cache of its own that is empty at first; an answer is found in
    it from the moment it was given, whoever comes while an equal request is being answered waits for that answer, and
    the fallback's answers are not kept.

    Several machines stand behind a balancer that gives each request to the one with the fewest unanswered requests.

    Args:
        machine: The machine and the plan that it runs.
        traffic: The requests.
        limit_s: The p99 limit, seconds; null for the one that the plan's batches are sized for, if any.
        machines: How many such machines there are, >= 1.
        down: Places of stages that cannot run (the fallback's comes after the last).
        seed: For all draws: the same seed gives the same simulation.
        levels: How slow each batch is among those of its size, in the order in which they start, again from the first
            after the last (`compose.service_times.levels_of` a run that is replayed); null to draw that too.

    Returns:
        What became of each request.

    Raises:
        ValueError: A figure is out of its range.

    Example:
        >>> machine = Machine((StageTimes(BatchRule(max_rows=1), {1: np.array([0.010])}),))
        >>> simulate(machine, Traffic(np.array([0.0, 0.001, 0.5]))).latency_s.round(6)
        array([0.01 , 0.019, 0.01 ])
    """
    if machines < 1:
        raise ValueError(f"machines must be at least 1, found {machines}")
    if limit_s is not None and not 0 < limit_s < np.inf:
        raise ValueError(f"limit_s must be a positive number, found {limit_s}")
    times = [ServiceTimes(stage.seconds) for stage in machine.all_stages]
    plan = served_machine(machine)
    limits_s = _limits(traffic, machine.limit_s if limit_s is None else limit_s)
    keys = None
    if traffic.key is not None and machine.cache is not None:
        keys = np.unique(traffic.key, return_inverse=True)[1].ravel().tolist()
    given_s = limits_s if traffic.deadline_s is not None else limits_s[:1]
    requests = Requests(
        arrival_s=traffic.arrival_s.tolist(),
        limit_s=[None if value == np.inf else value for value in given_s.tolist()],
        rows=None if traffic.rows is None else traffic.rows.tolist(),
        high=None if traffic.high is None else traffic.high.tolist(),
        keys=keys,
        depth=None if traffic.depth is None else traffic.depth.tolist(),
    )
    fleet = Fleet(
        requests,
        plan,
        times,
        [stage.share for stage in machine.stages],
        machines,
        machine.cache.max_entries if machine.cache is not None and keys is not None else None,
        machine.cache.hit_share if machine.cache is not None else 0.0,
        machine.lookup_s if machine.cache is not None else 0.0,
        frozenset(down),
        np.random.default_rng(seed),
        levels,
    )
    fleet.run()
    return _result(fleet, traffic, limits_s)


def served_machine(machine: Machine) -> ServedPlan:
    """What deciding needs to know of a machine's plan: its seconds are the medians of what was measured."""
    return serve_stages(
        [stage.rule for stage in machine.all_stages],
        [ServiceTimes(stage.seconds).medians() for stage in machine.all_stages],
        [stage.share for stage in machine.stages],
        machine.lanes,
        fallback=machine.fallback is not None,
        queue_rows=machine.queue_rows,
    )


def plan_machine(plan: Plan, service: Sequence[Mapping[int, Seconds]], lookup_s: float = 0.0) -> Machine:
    """A machine that runs a plan, from what was measured of its stages.

    Args:
        plan: The plan.
        service: Batch size to measured seconds, of each of `plan.all_stages`.
        lookup_s: Seconds that a look-up in the cache takes.
    """
    stages = tuple(
        StageTimes(stage.batch_rule.model_copy(update={"max_rows": stage.rows}), seconds, stage.share)
        for stage, seconds in zip(plan.all_stages, service, strict=True)
    )
    lanes = plan.stages[0].lanes
    return Machine(
        stages=stages[: len(plan.stages)],
        lanes=lanes,
        fallback=None if plan.fallback is None else stages[-1],
        cache=plan.cache,
        lookup_s=lookup_s,
        queue_rows=default_queue_rows(max(stage.rule.max_rows for stage in stages), lanes),
    )


def _limits(traffic: Traffic, limit_s: float | None) -> Seconds:
    limits = np.full(len(traffic.arrival_s), np.inf if limit_s is None else limit_s)
    if traffic.deadline_s is not None:
        own = ~np.isnan(traffic.deadline_s)
        limits[own] = traffic.deadline_s[own]
    return limits


def _result(fleet: Fleet, traffic: Traffic, limits_s: Seconds) -> Simulation:
    latency_s = np.asarray(fleet.latency_s)
    ends_s = traffic.arrival_s + np.nan_to_num(latency_s)
    return Simulation(
        latency_s=latency_s,
        computing_s=np.asarray(fleet.computing_s),
        outcome=np.asarray(fleet.outcome, dtype=np.int64),
        limit_s=limits_s,
        batch_rows=tuple(np.asarray(rows, dtype=np.int64) for rows in fleet.batch_rows),
        fallback=fleet.plan.fallback,
        machines=len(fleet.machines),
        lanes=fleet.plan.lanes,
        busy_s=fleet.busy_s,
        duration_s=max(float(ends_s.max()), traffic.duration_s or 0.0),
    )
