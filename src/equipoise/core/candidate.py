"""One way to serve the model, with everything that was measured of it."""

from __future__ import annotations

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.profile import LatencyQuantiles, Precision, RuntimeName
from equipoise.core.recipe import Recipe


class Candidate(Noun):
    """A variant in a setting, as the result reports it.

    Attributes:
        name: Readable and unique within the study.
        digest: SHA-256 of the artifact's files, the name of its folder in `bundle/artifacts` if it was chosen.
        quality: The metric: on the certify split where it was opened for this candidate, on the search split otherwise;
            null with the metric `none`.
        usd_per_million_packed: Cost of a million answers with the machine kept full.
        usd_per_million_provisioned: Cost of a million answers at the brief's traffic, whole machines and idle time
            paid; null without traffic.
        usd_per_million_correct: Cost of a million *correct* answers, by the basis that decides; null where the metric
            does not count correct answers.
    """

    name: str
    digest: str
    recipe: Recipe
    runtime: RuntimeName
    precision: Precision
    threads: int
    replicas: int
    batch: int
    quality: Estimate | None
    latency_s: LatencyQuantiles
    throughput_rps: Estimate
    peak_memory_bytes: Estimate
    artifact_bytes: int
    cold_start_s: Estimate
    usd_per_million_packed: float
    usd_per_million_provisioned: float | None
    usd_per_million_correct: float | None
