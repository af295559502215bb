"""What a simulation of a plan found."""

from __future__ import annotations

from typing import Literal

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun


class SimulatedStage(Noun):
    """What one stage did.

    Attributes:
        name: `stage 1`, `stage 2` ... or `fallback`.
        answered_share: Share of all requests that it answered, 0 to 1.
        batches: Rows of a batch and how many such batches there were, by rows.
    """

    name: str
    answered_share: float
    batches: tuple[tuple[int, int], ...]

    @property
    def mean_rows(self) -> float | None:
        """Mean rows of its batches; null where there were none."""
        count = sum(number for _, number in self.batches)
        return sum(rows * number for rows, number in self.batches) / count if count else None


class SimulatedFleet(Noun):
    """What became of the traffic with some number of machines.

    Attributes:
        machines: How many.
        requests: How many came.
        answered: How many were answered.
        duration_s: From the start of the traffic to its end, or to the last answer where that is later.
        p50_s: Median seconds from intended arrival to answer; null where there are too few answers, as for the others.
        p95_s: 95 of 100 answers came within it.
        p99_s: 99 of 100 answers came within it.
        latency_quantiles_s: Shares of answers and the seconds within which they came.
        late_share: Share of requests that got no answer within the limit; null without a limit.
        goodput_rps: Answers within the limit (without one: answers), a second.
        utilisation: Share of the time that a lane was computing.
        hit_share: Share of requests answered from the cache.
        shed_share: Share of requests that were refused.
        degraded_share: Share of requests that the fallback answered.
        usd_per_million: Cost of a million answers, whole machines and their idle time paid; null without answers.
        stages: What each stage did, the fallback last.
    """

    machines: int
    requests: int
    answered: int
    duration_s: float
    p50_s: Estimate | None
    p95_s: Estimate | None
    p99_s: Estimate | None
    latency_quantiles_s: tuple[tuple[float, float], ...]
    late_share: float | None
    goodput_rps: float
    utilisation: float
    hit_share: float
    shed_share: float
    degraded_share: float
    usd_per_million: float | None
    stages: tuple[SimulatedStage, ...]


class SimulatedLoad(Noun):
    """What becomes of steady traffic on one machine.

    Attributes:
        capacity_share: Its rate over what one machine kept full would answer.
        rate_rps: Requests a second.
        p99_s: 99 of 100 answers came within it.
        late_share: Share of requests that got no answer within the limit; null without a limit.
        shed_share: Share of requests that were refused.
        degraded_share: Share of requests that the fallback answered.
    """

    capacity_share: float
    rate_rps: float
    p99_s: Estimate | None
    late_share: float | None
    shed_share: float
    degraded_share: float


class SimulationResult(Noun):
    """What `simulation.json` holds.

    Attributes:
        version: Of this layout.
        plan: Name of the plan.
        traffic: What came, in words.
        rate_rps: Mean requests a second.
        limit_s: The p99 limit; null for none.
        usd_per_hour: Price of one machine.
        capacity_rps: Requests a second that one machine kept full would answer.
        seed: Of all draws.
        fleets: With one machine, and with as many as were asked for.
        loads: One machine under more and more traffic.
        notes: What else one should know.
    """

    version: Literal[1] = 1
    plan: str
    traffic: str
    rate_rps: float
    limit_s: float | None
    usd_per_hour: float
    capacity_rps: float
    seed: int
    fleets: tuple[SimulatedFleet, ...]
    loads: tuple[SimulatedLoad, ...]
    notes: tuple[str, ...]
