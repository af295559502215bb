"""What search rows say of a cascade whose thresholds they did not choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.cascade import StageRows, likeliest, pick, search_thresholds
from equipoise.compose.certify import Evidence, Judgement, judge
from equipoise.core.plan import AcceptRule
from equipoise.policy.cascade import calibrated, raw_confidence, stands
from equipoise.stats.predictions import Predictions


def cross_fitted(
    stages: Sequence[StageRows],
    evidence: Evidence,
    *,
    power: float,
    replicas: int = 1,
    longest_s: float = np.inf,
    scale: float = 1.0,
    seed: int = 0,
) -> Judgement:
    """Judge a cascade on rows that did not choose its thresholds.

    The rows that choose a threshold flatter it: it stands where they happened to be kind. So the rows are halved (whole
    groups together), thresholds are chosen on each half as they are on all rows, and each half is answered with those
    of the other. What that says of a cascade can be held against a model for which nothing was chosen.

    Args:
        stages: As for `search_thresholds`, like all that follows.
        evidence: The search rows.
        power: At which thresholds are chosen; the likeliest where none is that likely.
        replicas: Batches that are computed at the same time.
        longest_s: Longest that one batch may take.
        scale: Certify rows for each search row.
        seed: Of bootstraps.

    Returns:
        The judgement on all rows.
    """
    n = evidence.baseline.n
    blocks = np.arange(n) if evidence.groups is None else np.unique(evidence.groups, return_inverse=True)[1]
    answered_by = np.zeros(n, dtype=np.int64)
    for half in (blocks % 2 == 0, blocks % 2 == 1):
        mine, others = np.flatnonzero(half), np.flatnonzero(~half)
        if not len(mine) or not len(others):
            continue
        there = [_taken(stage, mine) for stage in stages]
        found = search_thresholds(
            there,
            _half(evidence, mine),
            replicas=replicas,
            longest_s=longest_s,
            scale=scale * n / len(mine),
            seed=seed,
        )
        if found:
            chosen = pick(found, power) or likeliest(found)
            answered_by[others] = _answered_by([_taken(stage, others) for stage in stages], chosen.accepts)
    answers = Predictions.chosen([stage.predictions for stage in stages], answered_by)
    return judge(answers, evidence, seed)


def _answered_by(stages: Sequence[StageRows], accepts: Sequence[AcceptRule | None]) -> NDArray[np.int64]:
    """Which stage answers each row, [n]."""
    left = np.ones(stages[0].predictions.n, dtype=bool)
    answered_by = np.zeros(len(left), dtype=np.int64)
    for stage, rule in zip(stages, accepts, strict=True):
        if rule is not None:
            left &= ~stands(_confidence(stage, rule), rule)
            answered_by[left] += 1
    return answered_by


def _confidence(stage: StageRows, rule: AcceptRule) -> NDArray[np.float64]:
    if rule.measure == "spread":
        raw = raw_confidence("spread", members=np.stack([np.asarray(member.values) for member in stage.members]))
    elif rule.measure == "agreement":
        members = np.stack([np.asarray(member.labels) for member in stage.members])
        raw = raw_confidence("agreement", members=members, answer=stage.predictions.labels)
    else:
        temperature = rule.calibration.temperature
        raw = raw_confidence(rule.measure, probabilities=stage.predictions.probabilities, temperature=temperature)
    return np.asarray(calibrated(raw, rule.calibration))


def _taken(stage: StageRows, rows: NDArray[np.intp]) -> StageRows:
    return StageRows(stage.predictions.take(rows), stage.service, tuple(member.take(rows) for member in stage.members))


def _half(evidence: Evidence, rows: NDArray[np.intp]) -> Evidence:
    """The evidence of some rows alone; claims of which none is left say nothing and are left out."""
    place = np.full(evidence.baseline.n, -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))
    claims = [replace(claim, rows=place[claim.rows][place[claim.rows] >= 0]) for claim in evidence.claims]
    return replace(
        evidence,
        baseline=evidence.baseline.take(rows),
        target=None if evidence.target is None else evidence.target[rows],
        groups=None if evidence.groups is None else evidence.groups[rows],
        claims=tuple(claim for claim in claims if claim.kind == "metric" or len(claim.rows)),
    )
