"""Who is let in: where a request enters a plan, or why it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from equipoise.errors import Overloaded, Unavailable
from equipoise.policy.overload import Degrade, Load, Shed, admit
from equipoise.policy.route import End, entry_stage
from equipoise.policy.served import ServedPlan
from equipoise.serve.cores import CoreShare
from equipoise.serve.lanes import Lanes
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.queue import StageQueue

PRESSED_S = 0.25
"""Seconds after a refusal in which the next one is looked for before a request is read."""


class Admission:
    """The door of one plan. What is asked of it are the functions of `policy/`.

    Args:
        loaded: The plan.
        plan: It, as the policies see it.
        queues: What waits for each stage.
        lanes: Where batches are computed.
        cores: What a batch needs.
    """

    def __init__(
        self, loaded: LoadedPlan, plan: ServedPlan, queues: Sequence[StageQueue], lanes: Lanes, cores: CoreShare
    ) -> None:
        self._loaded, self._plan = loaded, plan
        self._queues, self._lanes, self._cores = queues, lanes, cores
        self._limit_s = loaded.plan.stages[0].batch_rule.limit_s
        self._pressed_until_s = 0.0

    @property
    def pressed(self) -> bool:
        """Whether requests were refused just now."""
        return monotonic() < self._pressed_until_s

    def entry(
        self,
        outputs: tuple[str, ...],
        n: int,
        now_s: float,
        deadline_s: float | None,
        *,
        high: bool,
        down: frozenset[int],
        why_down: str,
    ) -> int:
        """The stage at which a request enters.

        Args:
            outputs: What it wants.
            n: Its rows.
            now_s: The time on the loop's clock.
            deadline_s: Seconds in which it needs its answer; null for the plan's own limit.
            high: Whether it is of high priority.
            down: Stages that cannot run.
            why_down: Why they cannot.

        Raises:
            Overloaded: It would not be answered in time.
            Unavailable: A stage that it needs is down.
        """
        plan, lanes = self._plan, self._lanes
        entry = entry_stage(plan, high, down=down)
        may_degrade = not high and plan.fallback not in down and self._loaded.fallback_outputs.issuperset(outputs)
        if isinstance(entry, End) or (entry == plan.fallback and not may_degrade):
            raise unavailable(self._loaded.name, why_down)
        step = admit(
            plan,
            Load([queue.waiting_rows for queue in self._queues], *self._cores.lanes(lanes.free_at_s, len(lanes.free))),
            entry,
            now_s,
            rows=n,
            limit_s=self._limit_s if deadline_s is None else deadline_s,
            may_degrade=may_degrade,
        )
        if isinstance(step, Shed):
            self._pressed_until_s = now_s + PRESSED_S
            raise Overloaded(
                f"{self._loaded.name} has more to do than it could answer in time; come again in "
                f"{step.retry_after_s:.3g} s",
                step.retry_after_s,
            )
        if isinstance(step, Degrade):
            entry = entry_stage(plan, high, degrade=True)
            assert not isinstance(entry, End)
        return entry


def unavailable(name: str, why: str) -> Unavailable:
    """What a request is told that a stage cannot answer, and nothing stands in for."""
    return Unavailable(f"{name} cannot answer this now, and nothing stands in for it: {why}")
