"""What the report's pictures need beyond the result: every measured point, and the limits they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from equipoise.core.anatomy import Anatomy
from equipoise.core.candidate import CandidateStage
from equipoise.core.certificate import Margin
from equipoise.core.estimate import Estimate
from equipoise.core.training import TrainingRecord


@dataclass(frozen=True)
class ScreenedPoint:
    """A candidate that was measured, whether or not it was chosen.

    Attributes:
        name: As in the result.
        settings: How it ran, in a few words, for the person who points at it.
        usd_per_million: By the basis that decides.
        quality: The metric on the search rows; null with the metric `none`.
        p99_s: Seconds within which 99 of 100 requests were answered; null where too few were timed.
        drop_high: Upper bound of its loss against the baseline on the search rows, in the metric's units, positive is
            worse; null with the metric `none`.
        certified: Whether it passed on the certify rows; null where it was not put to that test.
        stages: Of a composed one, where they are known; the result's own candidates bring theirs.
    """

    name: str
    settings: str
    usd_per_million: float
    quality: Estimate | None = None
    p99_s: float | None = None
    drop_high: float | None = None
    certified: bool | None = None
    stages: tuple[CandidateStage, ...] = ()


@dataclass(frozen=True)
class BeforeAfter:
    """Where the time goes in the original and in what was chosen.

    Attributes:
        anatomies: Of the original in its best settings, and of each model of what was chosen; `model` says which it is.
        missing: What is not there, and why.
    """

    anatomies: tuple[Anatomy, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportDetails:
    """What the report says besides the result.

    Attributes:
        model: Name of the model's file.
        data: Name of the data's file.
        metric: Name of the metric; `none` where speed alone was asked for.
        margin: The largest loss that is acceptable; null with the metric `none`.
        higher_is_better: Whether more of the metric is better.
        p99_limit_s: Null for no limit.
        memory_limit_bytes: Null for no limit.
        rate_rps: The traffic; null where nothing is known of it.
        screened: Every candidate with a measured cost, the baseline among them.
        latency_samples_s: Raw samples of latency by candidate name: float64[n].
        sustained_rps: Requests a second that one machine answers within the limit, by candidate name; where a name is
            missing its full throughput is taken.
        trainings: How each student was trained, by recipe; empty where nothing was.
        layers: Where the time goes in the original and in what was chosen.
    """

    model: str
    data: str
    metric: str = "none"
    margin: Margin | None = None
    higher_is_better: bool = True
    p99_limit_s: float | None = None
    memory_limit_bytes: int | None = None
    rate_rps: float | None = None
    screened: tuple[ScreenedPoint, ...] = ()
    latency_samples_s: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    sustained_rps: Mapping[str, float] = field(default_factory=dict)
    layers: BeforeAfter = field(default_factory=BeforeAfter)
    trainings: Mapping[str, TrainingRecord] = field(default_factory=dict)
