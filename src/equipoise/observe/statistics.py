"""Counts of what each model version has done since the server started, in Triton's terms; no transport is named."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from equipoise.serve.events import BatchEnd, RequestEnd

EXACT_SIZES = 64
"""Batches up to here are counted by their own size, larger ones by the next power of two: memory is constant."""
MILLISECONDS, NANOSECONDS = 1e3, 1e9


@dataclass(slots=True)
class Total:
    """How often something took place, and how long it took altogether.

    Attributes:
        count: Times.
        seconds: Altogether.
    """

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """It took place once more."""
        self.count += 1
        self.seconds += seconds

    @property
    def ns(self) -> int:
        """Nanoseconds altogether."""
        return round(self.seconds * NANOSECONDS)


@dataclass(slots=True)
class ModelStatistics:
    """What one version of a model has done.

    Preparing a batch, computing it and reading it are timed as one here: Triton's `compute_input` and `compute_output`
    have nothing to say.

    Attributes:
        last_ms: When a request was last over, in milliseconds since 1970; 0 for never.
        rows: Rows that were computed for requests that got their answers; those of cache hits are not among them.
        batches: Batches of all stages.
        success: Requests that got their answers, and their seconds from arrival to answer.
        fail: Requests that did not: refused, late, failed, or left by their clients.
        queue: Their seconds in queues, of those that got computed answers.
        compute: Their seconds in batches, likewise.
        cache_hit: Requests whose answers were remembered, or being computed for an equal request already.
        cache_miss: Requests whose answers were neither; none where the plan remembers nothing.
        sizes: Rows of a batch to how many there were and their seconds.
    """

    last_ms: int = 0
    rows: int = 0
    batches: int = 0
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    compute: Total = field(default_factory=Total)
    cache_hit: Total = field(default_factory=Total)
    cache_miss: Total = field(default_factory=Total)
    sizes: dict[int, Total] = field(default_factory=lambda: defaultdict(Total))


class Statistics:
    """An observer that counts, by model and version; both stay counted when a plan is swapped for another one."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelStatistics] = defaultdict(ModelStatistics)

    def of(self, model: str, version: str) -> ModelStatistics:
        """What a version of a model has done until now."""
        return self._models.get((model, version)) or ModelStatistics()

    def request_ended(self, end: RequestEnd) -> None:
        """Count a request."""
        model = self._models[end.plan.name, end.plan.version]
        model.last_ms = int(time.time() * MILLISECONDS)
        if end.answer is None:
            model.fail.add(end.total_s)
            return
        model.success.add(end.total_s)
        if end.answer.cached or end.joined:
            model.cache_hit.add(end.total_s)
            return
        model.rows += end.rows
        model.queue.add(end.queued_s)
        model.compute.add(end.computing_s)
        if end.plan.bundle.plan.cache is not None:
            model.cache_miss.add(end.total_s)

    def batch_ended(self, end: BatchEnd) -> None:
        """Count a batch."""
        model = self._models[end.plan.name, end.plan.version]
        model.batches += 1
        size = end.rows if end.rows <= EXACT_SIZES else 1 << (end.rows - 1).bit_length()
        model.sizes[size].add(end.seconds)
