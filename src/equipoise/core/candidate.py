"""One way to serve the model, with everything that was measured of it."""

from __future__ import annotations

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.profile import LatencyQuantiles, Precision, RuntimeName
from equipoise.core.recipe import Recipe
from equipoise.core.value import Value
from equipoise.core.variant import DataUse


class CandidateStage(Noun):
    """What one stage of a composed candidate does.

    Attributes:
        name: The configs that it asks.
        accepts: When its answer stands, in words; empty where it always does.
        share_reached: Share of rows that it is asked, 0 to 1.
        share_answered: Share of rows whose answer is its own, 0 to 1.
    """

    name: str
    accepts: str
    share_reached: float
    share_answered: float


class Saving(Noun):
    """What a candidate would cost without one of its parts, by the basis that decides.

    Attributes:
        part: Which.
        usd_per_million_without: Cost of a million answers without it, all else the same.
        note: What is lost besides, or how the figure was found; empty for nothing to say.
    """

    part: str
    usd_per_million_without: float
    note: str = ""


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
        stages: Of a cascade or an ensemble, in the order they are asked; empty for a single model.
        savings: What each part saves, one part removed at a time; empty where that was not asked.
        data_use: The most of the data that went into it: nothing, rows without true answers (calibration), or rows with
            them (the thresholds of a composition).
        value: What a million of its requests are worth; null where the brief prices nothing.
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
    stages: tuple[CandidateStage, ...] = ()
    savings: tuple[Saving, ...] = ()
    data_use: DataUse = "none"
    value: Value | None = None
