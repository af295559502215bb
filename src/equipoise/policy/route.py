"""Where a request goes: which stage it enters, where it goes from there, and which machine takes it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from equipoise.policy.served import ServedPlan


class End(Enum):
    """How a request's way through a plan ends."""

    ANSWER = "answer"
    UNAVAILABLE = "unavailable"


ANSWER, UNAVAILABLE = End.ANSWER, End.UNAVAILABLE


def entry_stage(plan: ServedPlan, high: bool, degrade: bool = False, down: Collection[int] = ()) -> int | End:
    """The stage that a request enters.

    A request of high priority is always answered by the complex model: it enters at the last stage, and where that one
    is down it is refused rather than degraded. Any other request enters at the first stage; under pressure, or where a
    stage of the plan is down, the fallback's. Where there is no fallback, a plan with a stage down answers nobody: what
    was certified is the whole plan, not the part of it that still runs.

    Args:
        plan: What is served.
        high: Whether the request has high priority.
        degrade: Whether the overload policy says that the fallback must do.
        down: Places of the stages that cannot run.

    Returns:
        Place of the stage, or `UNAVAILABLE`.

    Raises:
        ValueError: `degrade` for a request of high priority, or without a fallback.

    Example:
        >>> from equipoise.core.plan import BatchRule
        >>> from equipoise.policy.batch import ServiceModel
        >>> from equipoise.policy.served import serve_stages
        >>> one = ServiceModel([(1, 0.01)])
        >>> plan = serve_stages([BatchRule(max_rows=1)] * 3, [one] * 3, [1.0, 0.2], fallback=True)
        >>> entry_stage(plan, high=False), entry_stage(plan, high=True), entry_stage(plan, high=False, down={1})
        (0, 1, 2)
        >>> entry_stage(plan, high=True, down={1})
        <End.UNAVAILABLE: 'unavailable'>
    """
    if high:
        if degrade:
            raise ValueError("a request of high priority is never degraded")
        return UNAVAILABLE if plan.last in down else plan.last
    if degrade and plan.fallback is None:
        raise ValueError("a plan without a fallback never degrades")
    if degrade or (down and any(place in down for place in range(plan.nominal))):
        return UNAVAILABLE if plan.fallback is None or plan.fallback in down else plan.fallback
    return 0


def next_stage(plan: ServedPlan, stage: int, accepted: bool, down: Collection[int] = ()) -> int | End:
    """Where rows go that a stage has answered.

    Accepted answers stand, and so do all answers of the last stage and of the fallback. Other rows go on to the next
    stage; where that one went down meanwhile, to the fallback. They came from an earlier stage, so that none of them
    belongs to a request of high priority.

    Args:
        plan: What is served.
        stage: Place of the stage that has answered.
        accepted: Whether its answer stands by its accept rule.
        down: Places of the stages that cannot run.

    Returns:
        Place of the next stage, `ANSWER`, or `UNAVAILABLE` where none is left.
    """
    if accepted or stage >= plan.last:
        return ANSWER
    if stage + 1 not in down:
        return stage + 1
    return UNAVAILABLE if plan.fallback is None or plan.fallback in down else plan.fallback


def choose_machine(outstanding: Sequence[int], turn: int) -> int:
    """The machine with the fewest requests that it has not answered yet, equal ones in turns.

    Counting what is outstanding takes slow machines and long batches into account without knowing of either, which
    taking turns alone does not; it is all that a balancer in front of machines can see.

    Args:
        outstanding: Unanswered requests of each machine, at least one machine.
        turn: Number of the request, from 0: the first machine at or after `turn % machines` wins a tie.

    Returns:
        Place of the machine.

    Example:
        >>> [choose_machine([2, 1, 1], turn) for turn in (0, 1, 2, 3)]
        [1, 1, 2, 1]
    """
    fewest = min(outstanding)
    first = turn % len(outstanding)
    if outstanding[first] == fewest:
        return first
    later = [place for place in range(first + 1, len(outstanding)) if outstanding[place] == fewest]
    return later[0] if later else outstanding.index(fewest)
