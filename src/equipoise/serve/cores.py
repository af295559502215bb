"""Cores: how many of them a plan may take here, and whose turn it is where several plans want the same ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

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

    def share(self, threads: int, wake: Callable[[], object]) -> CoreShare:
        """What a plan asks for cores with.

        Args:
            threads: Of one batch.
            wake: Called when it is its turn, after it had to wait: it then takes, or leaves.
        """
        return CoreShare(self, min(threads, self.cores), wake)

    def _take(self, share: CoreShare) -> bool:
        if share.threads > self.free or (self._waiting and self._waiting[0] is not share):
            if not share.waits:
                share.waits = True
                self._waiting.append(share)
            return False
        self.free -= share.threads
        self._leave(share)
        return True

    def _give(self, threads: int) -> None:
        self.free += threads
        self._call_next()

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
    """

    __slots__ = ("_budget", "threads", "waits", "wake")

    def __init__(self, budget: CoreBudget, threads: int, wake: Callable[[], object]) -> None:
        self._budget = budget
        self.threads = threads
        self.wake = wake
        self.waits = False

    def take(self) -> bool:
        """Take the cores of one batch; where that is not possible yet, `wake` is called when it is."""
        return self._budget._take(self)

    def give(self) -> None:
        """A batch has ended."""
        self._budget._give(self.threads)

    def leave(self) -> None:
        """Nothing is to be started any more."""
        self._budget._leave(self)
