"""What is served: stages, how they batch, and what is forecast of them."""

from __future__ import annotations

from equipoise.core.noun import Noun
from equipoise.core.profile import Settings


class BatchRule(Noun):
    """How requests are put together.

    Attributes:
        max_rows: Most rows in one batch.
        max_wait_s: Longest that the first request waits for others while a replica is free.
        limit_s: The p99 limit that batches are sized for; null for none.
    """

    max_rows: int
    max_wait_s: float = 0.0
    limit_s: float | None = None


class PlanStage(Noun):
    """One variant in its setting."""

    artifact: str
    format: str
    settings: Settings
    batch_rule: BatchRule


class Forecast(Noun):
    """What the plan is expected to do on the machine it was measured on."""

    quality: float | None
    p99_s: float | None
    throughput_rps: float
    usd_per_million_packed: float
    usd_per_million_provisioned: float | None


class Plan(Noun):
    """What is served.

    Attributes:
        name: Name of the candidate it serves.
        output: The output that is judged and returned.
        output_kind: What that output holds.
        multilabel: Whether a row has several labels, each there or not.
        stages: What answers, in the order it is asked.
        forecast: What is expected of it.
    """

    name: str
    output: str
    output_kind: str
    multilabel: bool = False
    stages: tuple[PlanStage, ...]
    forecast: Forecast
