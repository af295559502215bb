"""Which stage's queue a free lane serves.

The stages of a plan share its lanes: all its models have the same threads and replicas, so that a lane can run any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equipoise.policy.batch import Dispatch, QueueState, WaitUntil, decide
from equipoise.policy.served import ServedPlan


@dataclass(frozen=True)
class Start:
    """Start a batch of a stage in a free lane now: its oldest `requests` requests, `rows` rows together."""

    stage: int
    requests: int
    rows: int


def next_batch(plan: ServedPlan, queues: Sequence[QueueState], now_s: float) -> Start | WaitUntil:
    """Start the batch that matters most, or wait.

    Each stage decides for itself whether a batch is ready (`policy.batch.decide`). The deepest stage that has one goes
    first: rows that went on to it have already used a part of their time, and each batch that ends there is answers,
    where a batch of an earlier stage is only more rows for the later ones. The fallback stands beside the plan and
    counts by age: it goes before the stage that would be next where its oldest request is older.

    Args:
        plan: What is served.
        queues: What waits for each stage, by intended arrival of its request, and the lanes that are free, the same
            number in each.
        now_s: The time, on the clock of the arrivals, seconds.

    Returns:
        What to do now.

    Example:
        >>> from equipoise.core.plan import BatchRule
        >>> from equipoise.policy.batch import ServiceModel
        >>> from equipoise.policy.served import serve_stages
        >>> plan = serve_stages([BatchRule(max_rows=4)] * 2, [ServiceModel([(1, 0.01)])] * 2, [1.0, 0.5])
        >>> next_batch(plan, [QueueState([0.1, 0.2], [1, 1], 1), QueueState([0.0], [1], 1)], now_s=0.2)
        Start(stage=1, requests=1, rows=1)
    """
    best: Start | None = None
    wake_s: float | None = None
    for stage in range(plan.nominal - 1, -1, -1):
        queue = queues[stage]
        if not len(queue.arrival_s):
            continue
        served = plan.stages[stage]
        step = decide(queue, served.rule, served.whole, now_s)
        if isinstance(step, Dispatch):
            best = Start(stage, step.requests, step.rows)
            break
        wake_s = _earlier(wake_s, step.at_s)
    fallback = plan.fallback
    if fallback is not None and len(queues[fallback].arrival_s):
        queue, served = queues[fallback], plan.stages[fallback]
        if best is not None and queues[best.stage].arrival_s[0] <= queue.arrival_s[0]:
            return best
        step = decide(queue, served.rule, served.whole, now_s)
        if isinstance(step, Dispatch):
            return Start(fallback, step.requests, step.rows)
        wake_s = _earlier(wake_s, step.at_s)
    return best if best is not None else WaitUntil(wake_s)


def _earlier(first_s: float | None, other_s: float | None) -> float | None:
    if first_s is None or other_s is None:
        return other_s if first_s is None else first_s
    return min(first_s, other_s)
