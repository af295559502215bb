"""The original and a candidate side by side on corrupted rows, as a whole and by strength."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, judge
from equipoise.core.certificate import SliceVerdict
from equipoise.core.corruption import Corruption
from equipoise.core.estimate import Estimate
from equipoise.core.robustness import CorruptionFigures
from equipoise.stats.metrics import UndefinedMetric, metric_estimate
from equipoise.stats.paired import paired_drop
from equipoise.stats.predictions import Predictions

Index = NDArray[np.intp]


def robustness_figures(
    candidate: Predictions, evidence: Evidence, strengths: NDArray[np.integer[Any]], seed: int = 0
) -> tuple[CorruptionFigures, ...]:
    """Both models' figures on rows as they are, and on each set of corrupted rows.

    They are for looking at: each interval holds by itself. What is proved, or refused, are the sets' verdicts.

    Args:
        candidate: Its answers to the evidence's rows.
        evidence: The rows, the original's answers, and the claims; those of kind `corruption` are looked at.
        strengths: Strength of each row's corruption, 0 where there is none: [n].
        seed: Of the bootstrap, where there is one.
    """
    main = evidence.main
    found = [_figures(main, main.rows, 0, candidate, evidence, seed)]
    verdicts = {verdict.name: verdict for verdict in judge(candidate, evidence, seed).verdicts}
    for claim in evidence.claims:
        if claim.kind != "corruption":
            continue
        corruption = Corruption.of_set(claim.name)
        found.append(_figures(claim, claim.rows, corruption.strength, candidate, evidence, seed, verdicts[claim.name]))
        if corruption.strength is None:
            of_row = strengths[claim.rows]
            found += [
                _figures(claim, claim.rows[of_row == strength], int(strength), candidate, evidence, seed)
                for strength in np.unique(of_row)
            ]
    return tuple(found)


def _figures(
    claim: Claim,
    rows: Index,
    strength: int | None,
    candidate: Predictions,
    evidence: Evidence,
    seed: int,
    verdict: SliceVerdict | None = None,
) -> CorruptionFigures:
    baseline = evidence.baseline.take(rows)
    metric = evidence.metric
    target = baseline.labels if metric.name == "agreement" else None
    if metric.name != "agreement" and evidence.target is not None:
        target = evidence.target[rows]
    groups = None if evidence.groups is None else evidence.groups[rows]
    test = paired_drop(metric, baseline, candidate.take(rows), target, claim.margin, groups, evidence.confidence, seed)

    def quality(answers: Predictions) -> Estimate | None:
        if len(rows) == 0:  # a short budget was left with rows of other sets alone
            return None
        try:
            return metric_estimate(metric, answers, target, groups, evidence.confidence, seed)
        except UndefinedMetric:
            return None

    return CorruptionFigures(
        set_name=claim.name,
        name=claim.name.partition(":")[0],
        strength=strength,
        n=len(rows),
        baseline=quality(baseline),
        candidate=quality(candidate.take(rows)),
        difference=test.difference,
        margin=None if verdict is None else verdict.margin,
        verdict=None if verdict is None else verdict.verdict,
        blocks=verdict is not None and verdict.blocks,
    )
