"""A certificate's claims, tested again on rows that came after it.

The new rows chose nothing, and one plan is tested on them: each claim by one test at the certificate's own level, and
all of them must pass. So a plan that loses the margin, or more, on any claim passes with probability at most alpha.
What is not proved again fails, even where the rows are only too few: a gate that lets through what it could not see is
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, SmallSlices, judge
from equipoise.core.certificate import Certificate, FloorCertificate, SliceVerdictName
from equipoise.core.check import CheckedClaim
from equipoise.core.estimate import Estimate
from equipoise.stats.floor import floor_test
from equipoise.stats.metrics import Metric, UndefinedMetric, metric_estimate
from equipoise.stats.paired import DropTest
from equipoise.stats.predictions import Predictions

NO_ORIGINAL = "it is a claim about the loss against the original, which was not given (--baseline)"


def recheck(
    evidence: Evidence, answers: Predictions, certified: Certificate, seed: int = 0
) -> tuple[CheckedClaim, ...]:
    """Test the claims beside the original, on rows that both answered.

    Args:
        evidence: The new rows, the original's answers to them, and the certificate's claims.
        answers: The bundle's answers to the same rows.
        certified: The certificate.
        seed: Of the bootstrap, where there is one.

    Returns:
        The metric's claim, then slices and out-of-distribution sets in the evidence's order.

    Raises:
        ValueError: The metric may not be certified, or answers are missing.
    """
    judgement = judge(answers, evidence, seed)
    main = judgement.main
    checked = [
        CheckedClaim(
            name=evidence.main.name,
            kind="metric",
            outcome="holds" if main.p_value <= evidence.alpha else "fails",
            verdict=_verdict(main, evidence.alpha),
            margin=certified.margin,
            quality=_quality(evidence, answers, evidence.main.rows, seed),
            difference=main.difference,
            p_value=main.p_value,
            n=main.n,
            needed=None if main.p_value <= evidence.alpha else main.needed,
            details=(main.method,),
        )
    ]
    for found in judgement.verdicts:
        test = judgement.tests.get(found.name)
        checked.append(
            CheckedClaim(
                name=found.name,
                kind=found.kind,
                outcome="holds" if found.verdict == "within" else "fails" if found.blocks else "not tested",
                verdict=found.verdict,
                margin=found.margin,
                difference=found.difference,
                p_value=None if test is None else test.p_value,
                n=found.n,
                needed=found.needed,
                details=() if test is None else (test.method,),
            )
        )
    return tuple(checked)


def recheck_alone(
    metric: Metric,
    claims: Sequence[Claim],
    answers: Predictions,
    target: NDArray[Any] | None,
    groups: NDArray[np.integer[Any]] | None,
    certified: Certificate,
    seed: int = 0,
) -> tuple[CheckedClaim, ...]:
    """Test what can be tested without the original: the bundle's figure against the floor that its certificate implies.

    The floor is the figure that the original had on the certify rows, less the margin. This is a weaker claim than the
    certificate's: rows that are harder for both models fail it, and rows that are easier may hide a loss. Claims about
    slices and out-of-distribution sets need the original.

    Args:
        metric: What is compared.
        claims: The certificate's.
        answers: The bundle's answers to the new rows.
        target: True answers, [n] or [n, L].
        groups: Which rows belong together, [n]; null where rows are independent.
        certified: The certificate.
        seed: Of the bootstrap, where there is one.

    Raises:
        ValueError: The metric may not be certified, or answers are missing.
    """
    floor = implied_floor(metric, certified)
    main = next(claim for claim in claims if claim.kind == "metric")
    rows = main.rows
    found = floor_test(
        metric,
        answers.take(rows),
        None if target is None else target[rows],
        floor,
        None if groups is None else groups[rows],
        certified.confidence,
        seed,
    )
    checked = CheckedClaim(
        name=main.name,
        kind="metric",
        outcome="holds" if found.passed else "fails",
        verdict=_floor_verdict(metric, found),
        margin=main.margin,
        floor=floor,
        quality=found.quality,
        p_value=found.p_value,
        n=found.n,
        details=(found.method,),
    )
    others = tuple(
        CheckedClaim(
            name=claim.name,
            kind=claim.kind,
            outcome="not tested",
            margin=claim.margin,
            n=len(claim.rows),
            details=(NO_ORIGINAL,),
        )
        for claim in claims
        if claim is not main
    )
    return (checked, *others)


def implied_floor(metric: Metric, certified: Certificate) -> float:
    """The original's figure on the certify rows, less the margin (more, where lower is better)."""
    figure, margin = certified.baseline.value, certified.margin
    room = margin.drop * abs(figure) if margin.relative else margin.drop
    return figure - room if metric.higher_is_better else figure + room


def small_slices_of(certified: Certificate) -> SmallSlices:
    """What became of small slices when the certificate was written, as its verdicts show."""
    if any(verdict.name.endswith("=(pooled small)") for verdict in certified.slices):
        return "pool"
    slices = [verdict for verdict in certified.slices if verdict.kind == "slice"]
    spared = any(verdict.verdict != "within" and not verdict.blocks for verdict in slices)
    return "report" if spared else "block"


def _verdict(test: DropTest, alpha: float) -> SliceVerdictName:
    if test.p_value <= alpha:
        return "within"
    return "worse" if test.harm_p_value <= alpha else "too few"


def _floor_verdict(metric: Metric, found: FloorCertificate) -> SliceVerdictName:
    if found.passed:
        return "within"
    best = found.quality.high if metric.higher_is_better else found.quality.low
    past = best is not None and (best < found.floor if metric.higher_is_better else best > found.floor)
    return "worse" if past else "too few"


def _quality(evidence: Evidence, answers: Predictions, rows: NDArray[np.intp], seed: int) -> Estimate | None:
    agreement = evidence.metric.name == "agreement"
    target = evidence.baseline.labels if agreement else evidence.target
    try:
        return metric_estimate(
            evidence.metric,
            answers.take(rows),
            None if target is None else target[rows],
            None if evidence.groups is None else evidence.groups[rows],
            evidence.confidence,
            seed,
        )
    except UndefinedMetric:
        return None
