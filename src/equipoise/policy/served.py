"""A plan as deciding needs it: of each stage its batch rule and its measured seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from equipoise.core.plan import BatchRule, Plan
from equipoise.policy.batch import ServiceModel

LEAST_QUEUE_ROWS = 1024
QUEUE_BATCHES = 16


@dataclass(frozen=True)
class ServedStage:
    """What deciding needs to know of a stage.

    Attributes:
        rule: How rows that reach it are put together.
        own: Seconds that a batch keeps a lane.
        whole: Seconds from the start of a batch to the last answer of its rows: its own, and those that are expected of
            the stages after it. Of a last stage and of the fallback it is `own`.
    """

    rule: BatchRule
    own: ServiceModel
    whole: ServiceModel


@dataclass(frozen=True)
class ServedPlan:
    """What deciding needs to know of a plan. Stages go by their place in `Plan.all_stages`.

    Attributes:
        stages: The stages in the order in which they are asked, and the fallback's at the end.
        nominal: How many of them are not the fallback's, >= 1.
        lanes: Batches that are computed at the same time; a lane can run any stage.
        queue_rows: Most rows that may wait, all stages together; null for no bound.
    """

    stages: tuple[ServedStage, ...]
    nominal: int
    lanes: int
    queue_rows: int | None

    @cached_property
    def last(self) -> int:
        """Place of the last stage, the complex model's."""
        return self.nominal - 1

    @cached_property
    def fallback(self) -> int | None:
        """Place of the fallback's stage; null where there is none."""
        return self.nominal if len(self.stages) > self.nominal else None


def serve_stages(
    rules: Sequence[BatchRule],
    services: Sequence[ServiceModel],
    shares: Sequence[float],
    lanes: int = 1,
    *,
    fallback: bool = False,
    queue_rows: int | None = None,
) -> ServedPlan:
    """Put together what is known of each stage.

    Args:
        rules: Batch rule of each stage.
        services: Measured seconds of each stage's batches.
        shares: Share of rows that reach each of the stages that are not the fallback's, the first 1, never rising.
        lanes: Batches that are computed at the same time, >= 1.
        fallback: Whether the last rule and service are the fallback's.
        queue_rows: Most rows that may wait; null for no bound.

    Raises:
        ValueError: Not as many of one as of the other, no stage, no lane, or shares that rise or leave 0 to 1.

    Example:
        >>> fast, slow = ServiceModel([(1, 0.001), (8, 0.002)]), ServiceModel([(1, 0.010), (8, 0.040)])
        >>> plan = serve_stages([BatchRule(max_rows=8)] * 2, [fast, slow], [1.0, 0.25])
        >>> plan.last, plan.fallback, round(plan.stages[0].whole.seconds(1), 4)
        (1, None, 0.0035)
    """
    nominal = len(rules) - fallback
    if nominal < 1 or len(services) != len(rules) or len(shares) != nominal:
        raise ValueError(
            f"each stage needs a rule, seconds and a share, found {len(rules)} rules, {len(services)} services and "
            f"{len(shares)} shares{' with a fallback' if fallback else ''}"
        )
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, found {lanes}")
    if not all(0 <= share <= 1 for share in shares) or any(b > a for a, b in pairwise(shares)):
        raise ValueError(f"shares must lie between 0 and 1 and never rise, found {list(shares)}")
    stages: list[ServedStage] = []
    for place, (rule, own) in enumerate(zip(rules, services, strict=True)):
        later = range(place + 1, nominal) if place < nominal else ()
        steps = [(continuing(shares[place], shares[k]), rules[k].max_rows, services[k]) for k in later]
        stages.append(ServedStage(rule, own, _whole(own, steps)))
    return ServedPlan(tuple(stages), nominal, lanes, queue_rows)


def served_plan(plan: Plan, services: Sequence[ServiceModel]) -> ServedPlan:
    """A plan with the measured seconds of its stages and a bounded queue.

    The bound is 1024 rows, or 16 full batches a lane of the largest batch where that is more. With a p99 limit it is
    admission that keeps the queue shorter than that; the bound is for plans without one.

    Args:
        plan: The plan.
        services: Measured seconds of the batches of each of `plan.all_stages`.

    Raises:
        ValueError: Not one service for each stage, or shares that rise.
    """
    stages = plan.all_stages
    rules = [stage.batch_rule.model_copy(update={"max_rows": stage.rows}) for stage in stages]
    lanes = plan.stages[0].lanes
    shares = [stage.share for stage in plan.stages]
    bound = default_queue_rows(max(rule.max_rows for rule in rules), lanes)
    return serve_stages(rules, services, shares, lanes, fallback=plan.fallback is not None, queue_rows=bound)


def default_queue_rows(max_rows: int, lanes: int) -> int:
    """Most rows that may wait where nobody said: 1024, or 16 full batches a lane where that is more.

    Example:
        >>> default_queue_rows(1, 2), default_queue_rows(256, 2)
        (1024, 8192)
    """
    return max(LEAST_QUEUE_ROWS, QUEUE_BATCHES * max_rows * lanes)


def continuing(share: float, later: float) -> float:
    """Share of a stage's rows that go on to a later stage, `later / share`, from the shares of all rows.

    Example:
        >>> continuing(0.5, 0.25), continuing(0.0, 0.0)
        (0.5, 0.0)
    """
    return later / share if share > 0 else 0.0


def _whole(own: ServiceModel, later: Sequence[tuple[float, int, ServiceModel]]) -> ServiceModel:
    """Own seconds, and of each later stage those of the rows that are expected there."""
    if not later:
        return own
    powers = (2**power for power in range(own.largest_rows.bit_length()))
    sizes = sorted({*powers, *(rows for rows, _ in own.points)})
    return ServiceModel([(n, own.seconds(n) + sum(_later_s(n, *step) for step in later)) for n in sizes])


def _later_s(rows: int, share: float, max_rows: int, service: ServiceModel) -> float:
    # Nothing is computed there if no row goes on; if some do, they are more than the mean says.
    any_goes_on = 1.0 if share >= 1 else -math.expm1(rows * math.log1p(-share))
    if any_goes_on <= 0:
        return 0.0
    going_on = max(1, math.ceil(share * rows / any_goes_on - 1e-9))
    full, rest = divmod(going_on, max_rows)
    return any_goes_on * (full * service.seconds(max_rows) + (service.seconds(rest) if rest else 0.0))
