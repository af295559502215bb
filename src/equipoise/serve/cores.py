"""Cores: how many of them a plan may take here, and whose turn it is where several plans want the same ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from equipoise.core.plan import Plan, PlanStage


def within_cores(plan: Plan, cores: int, visible: int) -> tuple[Plan, str | None]:
    """A plan that takes no more threads than this process has cores, and what the person should know of it.

    Batches are kept as they were measured as long as that is possible: there are fewer lanes before a lane has fewer
    threads. A runtime that was left to take a thread for each core that it sees is told how many, where it would see
    more than the quota allows.

    Args:
        plan: As it was made; all of its models have the same threads and replicas.
        cores: Cores that this process may use (`host.environment.cores`).
        visible: Cores that a library sees: the process's affinity, whatever its quota.

    Returns:
        The plan as it runs here, and a note; null where it runs as it was made.
    """
    settings = plan.stages[0].models[0].settings
    threads = min(settings.threads, cores)
    lanes = min(settings.replicas, max(1, cores // threads))
    sees_too_many = settings.default and visible > cores
    if (threads, lanes) == (settings.threads, settings.replicas) and not sees_too_many:
        return plan, None
    changed = {"threads": threads, "replicas": lanes, "default": False}
    note = (
        f"it runs {lanes} batches at a time with {threads} threads each, instead of {settings.replicas} with "
        f"{'as many as the runtime sees' if sees_too_many else settings.threads}: this process may use {cores} cores"
    )
    return with_settings(plan, **changed), note


def with_settings(plan: Plan, **changed: Any) -> Plan:
    """A plan with some settings of all its models changed."""

    def stage(old: PlanStage) -> PlanStage:
        models = [
            model.model_copy(update={"settings": model.settings.model_copy(update=changed)}) for model in old.models
        ]
        return old.model_copy(update={"models": tuple(models)})

    fallback = plan.fallback
    if fallback is not None:
        fallback = fallback.model_copy(update={"stage": stage(fallback.stage)})
    return plan.model_copy(update={"stages": tuple(map(stage, plan.stages)), "fallback": fallback})


class CoreBudget:
    """Cores that all plans of an engine share.

    A batch starts when as many cores are free as it has threads. Who finds too few waits for its turn: first come,
    first served, nobody overtakes, so that a plan of many threads gets its turn beside one that is always busy. Who
    has just had a turn and wants another stands at the end. All of it runs in the event loop's thread.

    Args:
        cores: How many there are.

    Attributes:
        cores: How many there are.
        free: How many no batch computes on.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.free = cores
        self._waiting: deque[CoreShare] = deque()
        self._shares: WeakSet[CoreShare] = WeakSet()

    def share(self, threads: int, wake: Callable[[], object]) -> CoreShare:
        """What a plan asks for cores with.

        Args:
            threads: Of one batch.
            wake: Called when it is its turn, after it had to wait: it then takes, or leaves.
        """
        share = CoreShare(self, min(threads, self.cores), wake)
        self._shares.add(share)
        return share

    def _take(self, share: CoreShare, ends_s: float) -> bool:
        if share.threads > self.free or (self._waiting and self._waiting[0] is not share):
            if not share.waits:
                share.waits = True
                self._waiting.append(share)
            return False
        self.free -= share.threads
        share.ends_s.append(ends_s)
        self._leave(share)
        return True

    def _give(self, share: CoreShare) -> None:
        self.free += share.threads
        share.ends_s.popleft()
        self._call_next()

    def _free_at_s(self, threads: int) -> float:
        free = self.free
        running = sorted((at_s, share.threads) for share in self._shares for at_s in share.ends_s)
        for at_s, more in running:
            free += more
            if free >= threads:
                return at_s
        return 0.0

    def _leave(self, share: CoreShare) -> None:
        if share.waits:
            share.waits = False
            self._waiting.remove(share)
            self._call_next()

    def _call_next(self) -> None:
        if self._waiting and self._waiting[0].threads <= self.free:
            self._waiting[0].wake()


class CoreShare:
    """One plan's claim on the cores.

    Args:
        budget: Whose.
        threads: Of one batch.
        wake: Called when it is its turn.

    Attributes:
        threads: Of one batch.
        waits: Whether it waits for its turn.
        ends_s: When its batches are expected to end, on the loop's clock.
    """

    __slots__ = ("__weakref__", "_budget", "ends_s", "threads", "waits", "wake")

    def __init__(self, budget: CoreBudget, threads: int, wake: Callable[[], object]) -> None:
        self._budget = budget
        self.threads = threads
        self.wake = wake
        self.waits = False
        self.ends_s: deque[float] = deque()

    def take(self, ends_s: float) -> bool:
        """Take the cores of a batch that is expected to end then; where that must wait, `wake` is called in time."""
        return self._budget._take(self, ends_s)

    def give(self) -> None:
        """A batch has ended."""
        self._budget._give(self)

    def lanes(self, free_at_s: Sequence[float], free: int) -> tuple[Sequence[float], int]:
        """When a plan's lanes can be expected to start a batch, and how many of them could now.

        Args:
            free_at_s: When they are free themselves.
            free: How many of them are free now.
        """
        if not free or self.threads <= self._budget.free:
            return free_at_s, free
        at_s = self._budget._free_at_s(self.threads)
        return [max(at_s, each_s) for each_s in free_at_s], 0

    def leave(self) -> None:
        """Nothing is to be started any more."""
        self._budget._leave(self)
