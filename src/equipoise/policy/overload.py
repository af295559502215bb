"""Whether a request is taken in, answered by the fallback, or refused at once.

A machine that takes in more than it can answer answers everybody late. Refusing early is kinder: who is refused knows
it at once and when to come again, and who is taken in is answered in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from equipoise.policy.batch import LIMIT_SHARE
from equipoise.policy.served import ServedPlan, ServedStage


class Load(NamedTuple):
    """What a machine has to do already.

    Attributes:
        waiting_rows: Rows that wait for each stage.
        lane_free_s: When each lane is expected to be free, on the clock of `now_s`; a time that has passed for a lane
            that is free, and for one whose batch takes longer than was expected.
        free_lanes: Lanes that are free now.
    """

    waiting_rows: Sequence[int]
    lane_free_s: Sequence[float]
    free_lanes: int


@dataclass(frozen=True)
class Admit:
    """Take it in."""


@dataclass(frozen=True)
class Degrade:
    """Take it in for the fallback."""


@dataclass(frozen=True)
class Shed:
    """Refuse it; it may be worth trying again after `retry_after_s` seconds."""

    retry_after_s: float


ADMIT, DEGRADE = Admit(), Degrade()


def admit(
    plan: ServedPlan,
    load: Load,
    entry: int,
    now_s: float,
    *,
    rows: int = 1,
    limit_s: float | None = None,
    waited_s: float = 0.0,
    may_degrade: bool = True,
) -> Admit | Degrade | Shed:
    """Decide on a request that has just come.

    It is taken in where its answer is expected within its limit. Where it is not, but the fallback's is, the fallback
    answers; where neither is, it is refused. A machine that has nothing to do refuses nobody: a late answer then harms
    no one else. Nor is anything taken in beyond the plan's bound of waiting rows, limit or not.

    Args:
        plan: What is served.
        load: What waits and what is being computed.
        entry: Place of the stage that the request would enter (`policy.route.entry_stage`).
        now_s: The time, seconds.
        rows: Rows of the request, >= 1.
        limit_s: Seconds from its arrival within which it needs its answer: its own deadline, or the plan's p99 limit;
            null for no limit.
        waited_s: Seconds since its intended arrival.
        may_degrade: False for a request of high priority, and where the fallback is down.

    Returns:
        What to do with it. Never `Degrade` without a fallback, nor for a request that enters at it already.

    Example:
        >>> from equipoise.core.plan import BatchRule
        >>> from equipoise.policy.batch import ServiceModel
        >>> from equipoise.policy.served import serve_stages
        >>> slow, fast = ServiceModel([(1, 0.010)]), ServiceModel([(1, 0.001)])
        >>> plan = serve_stages([BatchRule(max_rows=1)] * 2, [slow, fast], [1.0], fallback=True)
        >>> [admit(plan, Load([queued, 0], [0.0], 0), 0, 0.0, limit_s=0.03) for queued in (1, 2)]
        [Admit(), Degrade()]
        >>> round(admit(plan, Load([4, 0], [0.0], 0), 0, 0.0, limit_s=0.03).retry_after_s, 6)
        0.02125
    """
    waiting = sum(load.waiting_rows)
    idle = load.free_lanes > 0 and not waiting
    if plan.queue_rows is not None and waiting + rows > plan.queue_rows and not idle:
        return Shed(_drained_s(plan, load, entry, now_s))
    if limit_s is None:
        return ADMIT
    left_s = limit_s - waited_s
    late_s = expected_s(plan, load, entry, now_s, rows) - left_s
    if late_s <= 0:
        return ADMIT
    fallback = plan.fallback
    if may_degrade and fallback is not None and entry != fallback:
        late_s = expected_s(plan, load, fallback, now_s, rows) - left_s
        if late_s <= 0:
            return DEGRADE
    return ADMIT if idle else Shed(late_s)


def expected_s(plan: ServedPlan, load: Load, entry: int, now_s: float, rows: int = 1) -> float:
    """Seconds until a request that comes now has its answer, as they are expected.

    What is started before it: rows of its own stage in whole batches, those of deeper stages, and those of the
    fallback, which are all older; before a request for the fallback, all that waits. The lanes share that work. Where
    there is a wait at all, the sum counts `1 / 0.8` times: medians hide the scatter of all that is waited for, and the
    batch rule plans for 80% of the limit too.

    Args:
        plan: What is served.
        load: What waits and what is being computed.
        entry: Place of the stage that the request enters.
        now_s: The time, seconds.
        rows: Rows of the request, >= 1.

    Returns:
        Seconds from now.
    """
    stage = plan.stages[entry]
    rule = stage.rule
    full, joined = divmod(load.waiting_rows[entry], rule.max_rows)
    batch_rows = max(rows, min(joined + rows, rule.max_rows))
    ahead_s = full * stage.whole.seconds(rule.max_rows) if full else 0.0
    if len(load.waiting_rows) > 1:
        for place, waiting in enumerate(load.waiting_rows):
            if waiting and place != entry and (place > entry or entry == plan.fallback):
                ahead_s += _work_s(plan.stages[place], waiting)
    own_s = stage.whole.seconds(batch_rows)
    start_s = _start_s([max(0.0, at_s - now_s) for at_s in load.lane_free_s], ahead_s)
    if rule.max_wait_s > start_s and not full and batch_rows < rule.max_rows:
        # It may be held back for others, never past the moment at which it could still be in time.
        room_s = rule.max_wait_s if rule.limit_s is None else min(rule.max_wait_s, rule.limit_s - own_s)
        start_s = max(start_s, room_s)
    return (start_s + own_s) / LIMIT_SHARE if start_s > 0 else own_s


def _work_s(stage: ServedStage, waiting_rows: int) -> float:
    full, rest = divmod(waiting_rows, stage.rule.max_rows)
    work_s = full * stage.whole.seconds(stage.rule.max_rows) if full else 0.0
    return work_s + stage.whole.seconds(rest) if rest else work_s


def _start_s(busy_s: list[float], ahead_s: float) -> float:
    """When a lane takes up what comes after `ahead_s` seconds of work; `busy_s` is how long each lane is busy yet."""
    busy_s.sort()
    level_s = busy_s[0]
    for lanes, next_s in enumerate(busy_s[1:], start=1):
        if ahead_s <= (next_s - level_s) * lanes:
            return level_s + ahead_s / lanes
        ahead_s -= (next_s - level_s) * lanes
        level_s = next_s
    return level_s + ahead_s / len(busy_s)


def _drained_s(plan: ServedPlan, load: Load, entry: int, now_s: float) -> float:
    """When half of what waits will have been started: until then a full queue would only be full again."""
    busy_s = [max(0.0, at_s - now_s) for at_s in load.lane_free_s]
    work_s = sum(_work_s(plan.stages[place], rows) for place, rows in enumerate(load.waiting_rows) if rows)
    return max(_start_s(busy_s, work_s / 2), plan.stages[entry].own.seconds(1))
