"""What was proved about a candidate, on which rows, and how."""

from __future__ import annotations

from typing import Literal

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun

SliceVerdictName = Literal["within", "worse", "too few"]


class Margin(Noun):
    """The largest drop that is acceptable, towards worse.

    Attributes:
        drop: In the metric's units; a share of the baseline's figure where `relative`.
        relative: Whether `drop` is a share of the baseline's figure.
    """

    drop: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.drop * 100:g}%" if self.relative else f"{self.drop:g}"


class SliceVerdict(Noun):
    """The verdict on one slice of the data, on one out-of-distribution set, or on one set of corrupted rows.

    Attributes:
        name: `sex=Female`, the name of the out-of-distribution set, or the corruption: `jpeg`, `jpeg:3`.
        kind: Which of the three it is.
        margin: The drop that was allowed.
        n: Rows that were compared.
        needed: Rows that would have been needed, where there were too few.
        difference: Baseline minus candidate, towards worse: positive is a loss.
        verdict: `within` the margin, `worse` (evidence of harm), or `too few` rows to say.
        blocks: Whether this verdict forbids the candidate.
    """

    name: str
    kind: Literal["slice", "ood", "corruption"]
    margin: Margin
    n: int
    needed: int | None
    difference: Estimate | None
    verdict: SliceVerdictName
    blocks: bool


class Certificate(Noun):
    """The claim that the chosen candidate loses at most the margin, and the evidence for it.

    Attributes:
        metric: Name of the metric.
        margin: The drop that is acceptable.
        confidence: Probability with which the claim may be relied on.
        n: Rows of the certify split that were compared.
        groups: Number of groups, where rows are grouped.
        baseline: The baseline's metric on those rows.
        chosen: The chosen candidate's metric on those rows.
        difference: Loss from baseline to chosen, towards worse: positive is a loss. `high` is the proved bound.
        method: The test.
        candidates_tried: How many candidates were tried against the search split.
        candidates_certified: How many were tested on the certify split, in their fixed order.
        slices: Verdicts on slices and out-of-distribution sets.
        reused: How many earlier studies opened the same rows.
        passed: Whether the claim holds.
    """

    metric: str
    margin: Margin
    confidence: float
    n: int
    groups: int | None = None
    baseline: Estimate
    chosen: Estimate
    difference: Estimate
    method: str
    candidates_tried: int
    candidates_certified: int
    slices: tuple[SliceVerdict, ...]
    reused: int
    passed: bool


class Provable(Noun):
    """The tightest drop that these data can prove, and the plan for it.

    Attributes:
        drop: The smallest margin that would have been certified, in the metric's units.
        plan: Name of the candidate it holds for; null where no candidate was tested.
        n: Rows it was proved on.
        rows_for_margin: Rows of the certify split that the wished margin needs at the losses seen; null where no number
            of rows would do, since the loss itself is at the margin.
        total_rows_for_margin: The same, counted in rows of the whole data file.
    """

    drop: float | None
    plan: str | None
    n: int
    rows_for_margin: int | None
    total_rows_for_margin: int | None = None


class FloorCertificate(Noun):
    """The claim that a degraded mode, by itself, is no worse than a floor, and the evidence for it.

    Attributes:
        metric: Name of the metric.
        floor: The least that is acceptable (for metrics where lower is better: the most), in the metric's units.
        confidence: Probability with which the claim may be relied on.
        n: Rows of the certify split that it answered.
        quality: The mode's metric on those rows; `low` and `high` are one-sided bounds at the confidence each.
        p_value: Of the hypothesis that it is worse than the floor.
        method: The test.
        passed: Whether the claim holds.
    """

    metric: str
    floor: float
    confidence: float
    n: int
    quality: Estimate
    p_value: float
    method: str
    passed: bool
