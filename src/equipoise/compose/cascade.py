"""Thresholds of a cascade: how sure each stage must be, chosen together on the search rows.

A threshold is a candidate like any other: it is chosen where the search split says that the cascade is cheap and very
likely to pass, and the certify split, which it has not seen, decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import WANTED_POWER, Evidence, Judgement, judge, power_on
from equipoise.core.plan import AcceptRule, Calibration, Measure
from equipoise.policy.batch import ServiceModel
from equipoise.policy.cascade import calibrated, raw_confidence, stands
from equipoise.stats.calibration import LEAST_PROBABILITY, fit_isotonic, fit_temperature
from equipoise.stats.predictions import Predictions

ESCALATED = (0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.17, 0.2, 0.23, 0.27, 0.31, 0.36, 0.42, 0.5, 0.6, 0.7)
"""Shares of rows passed on that are tried: finer where a cascade saves most."""
FEW_ESCALATED = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
"""The same where one judgement is dear: a bootstrap, or three stages."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SURE_POWER, LEAST_POWER = 0.99, 0.5
POWERS = (0.7, 0.8, WANTED_POWER, 0.95, SURE_POWER)
ALMOST_ALL = 0.97
"""A batch this near to the most rows a second is as good, and its answers come sooner."""


@dataclass(frozen=True)
class StageRows:
    """What a stage answers to the search rows, and how fast.

    Attributes:
        predictions: Its answers.
        members: Those of each member, where it is an ensemble; empty for one model.
        service: Seconds of its batches.
    """

    predictions: Predictions
    service: ServiceModel
    members: tuple[Predictions, ...] = ()


@dataclass(frozen=True)
class Thresholds:
    """A cascade with its thresholds.

    Attributes:
        accepts: When each stage's answer stands; null for the last.
        shares: Share of the main rows that reaches each stage; 1 for the first.
        rows_per_s: Forecast, in its best batch.
        judgement: On the search rows.
        power: Estimated probability to pass on the certify rows.
    """

    accepts: tuple[AcceptRule | None, ...]
    shares: tuple[float, ...]
    rows_per_s: float
    judgement: Judgement
    power: float


def search_thresholds(
    stages: Sequence[StageRows],
    evidence: Evidence,
    *,
    replicas: int = 1,
    longest_s: float = np.inf,
    scale: float = 1.0,
    seed: int = 0,
) -> list[Thresholds]:
    """Judge a cascade at many thresholds, all stages' together, and with every measure of confidence.

    Args:
        stages: At least 2, in the order they are asked.
        evidence: The search rows.
        replicas: Batches that are computed at the same time.
        longest_s: Longest that one batch may take, through all stages.
        scale: Certify rows for each search row.
        seed: Of bootstraps.

    Returns:
        Every combination that was judged; none where a stage has no measure of confidence.
    """
    dear = _bootstraps(evidence) or len(stages) > 2
    grid = FEW_ESCALATED if dear else ESCALATED
    options = [confidences(stage, evidence, cheap=dear) for stage in stages[:-1]]
    # The rest of the answers is not judged, and putting it together hundreds of times would cost as much as judging.
    field = evidence.metric.needs
    answers = [Predictions(**{field: getattr(stage.predictions, field)}) for stage in stages]
    services = [stage.service for stage in stages]
    found = []
    for measured in itertools.product(*options):
        # Where few values of confidence are possible, several shares come to the same thresholds.
        thresholds = dict.fromkeys(
            _thresholds(measured, escalated, evidence) for escalated in itertools.product(grid, repeat=len(measured))
        )
        found += [
            _judged(answers, services, measured, at_least, evidence, replicas, longest_s, scale, seed)
            for at_least in thresholds
            if at_least is not None
        ]
    return found


def promising(found: Sequence[Thresholds], most: int) -> list[Thresholds]:
    """The cheapest that is likely to pass, and surer ones behind it; where none is, the likeliest, if it may.

    The cheapest of many that look likely is the luckiest of them, and less likely than it looks. So the measure of
    confidence is chosen by what it makes of several powers, not of the one that is wanted; a threshold only counts
    where the surer ones of that measure look likely too; and a surer one goes beside the cheapest.
    """
    chosen = [each for power in (WANTED_POWER, SURE_POWER) if (each := pick(found, power)) is not None]
    if not chosen and found:
        surest = likeliest(found)
        chosen += [surest] if surest.power >= LEAST_POWER else []
    unique = [each for place, each in enumerate(chosen) if each not in chosen[:place]]
    return unique[:most]


def pick(found: Sequence[Thresholds], power: float) -> Thresholds | None:
    """The cheapest that is likely to pass, by the measure that is best over several powers; null where none is."""
    by_measure: dict[tuple[str, ...], list[Thresholds]] = {}
    for each in found:
        by_measure.setdefault(tuple(rule.measure for rule in each.accepts if rule is not None), []).append(each)
    best = max(by_measure.values(), key=_speed_at_several_powers, default=[])
    likely = _likely_with_all_surer(best, power)
    return likely[-1] if likely else None


def likeliest(found: Sequence[Thresholds]) -> Thresholds:
    """The one most likely to pass, the fastest of equals."""
    return max(found, key=lambda each: (each.power, each.rows_per_s))


def _speed_at_several_powers(found: Sequence[Thresholds]) -> float:
    """Mean over several powers of the most rows a second that are likely at that power."""
    return sum(max((each.rows_per_s for each in found if each.power >= power), default=0.0) for power in POWERS)


def _likely_with_all_surer(found: Sequence[Thresholds], power: float) -> list[Thresholds]:
    """Thresholds from the slowest on that are likely to pass, up to the first that is not, once some are."""
    likely: list[Thresholds] = []
    for each in sorted(found, key=lambda each: (each.rows_per_s, -each.power)):
        if each.power >= power:
            likely.append(each)
        elif likely:
            break
    return likely


def confidences(
    stage: StageRows, evidence: Evidence, *, cheap: bool = False
) -> list[tuple[Measure, Calibration, NDArray[np.float64]]]:
    """Every measure of a stage's confidence that its answers allow, calibrated on the evidence's main rows.

    Args:
        stage: What it answers.
        evidence: The search rows.
        cheap: Leave out what is nearly the same as another.

    Returns:
        Measure, its calibration, and the calibrated confidence of all rows, [n]; empty where there is none.
    """
    target = evidence.baseline.labels if evidence.metric.name == "agreement" else evidence.target
    main = evidence.main.rows
    labels, shares = stage.predictions.labels, stage.predictions.probabilities
    if stage.predictions.values is not None and stage.members:
        members = np.stack([np.asarray(member.values) for member in stage.members])
        return [("spread", Calibration(), np.asarray(raw_confidence("spread", members=members)))]
    if labels is None or labels.ndim != 1 or target is None or target.ndim != 1:
        return []
    right = np.asarray(labels == target)
    found: list[tuple[Measure, Calibration, NDArray[np.float64]]] = []
    if stage.members:
        members = np.stack([np.asarray(member.labels) for member in stage.members])
        raw = raw_confidence("agreement", members=members, answer=labels)
        found.append(("agreement", *_isotonic(raw, right, main)))
    if shares is not None and shares.ndim == 2 and shares.shape[1] >= 2:
        found.append(("max_probability", *_max_probability(shares, target, right, main)))
        if shares.shape[1] > 2 and not cheap:
            found += [
                (measure, *_isotonic(raw_confidence(measure, probabilities=shares), right, main))
                for measure in ("margin", "entropy")
            ]
    return found


def batch_for(services: Sequence[ServiceModel], shares: Sequence[float], longest_s: float) -> tuple[int, float]:
    """The first stage's batch in which a cascade answers most rows a second, and the seconds that it takes.

    A batch goes through all stages, smaller at each: `seconds(B) = sum_i seconds_i(shares_i B)`. Sizes that the first
    stage was not measured at are not trusted.

    Args:
        services: Seconds of each stage's batches.
        shares: Share of the rows that reaches each stage.
        longest_s: Longest that a batch may take; a single row where none is that short.

    Returns:
        Rows, and seconds.
    """

    def seconds(rows: int) -> float:
        # Below one expected row, a stage is asked now and then.
        return sum(
            service.seconds(max(1, round(share * rows))) * min(1.0, share * rows)
            for service, share in zip(services, shares, strict=True)
        )

    timed = [(rows, seconds(rows)) for rows in BATCHES if rows <= services[0].largest_rows]
    allowed = [pair for pair in timed if pair[1] <= longest_s] or timed[:1]
    most = max(rows / seconds for rows, seconds in allowed)
    return min((pair for pair in allowed if pair[0] / pair[1] >= ALMOST_ALL * most), key=lambda pair: pair[1])


def _bootstraps(evidence: Evidence) -> bool:
    """Whether one judgement takes a bootstrap."""
    metric = evidence.metric
    if metric.kind == "functional":
        return True
    relative = any(claim.margin.relative for claim in evidence.claims)
    return evidence.groups is None and (metric.kind == "mean" or (relative and metric.name != "agreement"))


def _thresholds(
    measured: Sequence[tuple[Measure, Calibration, NDArray[np.float64]]], escalated: Sequence[float], evidence: Evidence
) -> tuple[float, ...] | None:
    """Confidences that pass on these shares of the main rows that reach each stage; null where ties pass on nobody."""
    main = evidence.main.rows
    left = np.ones(len(main), dtype=bool)
    thresholds: list[float] = []
    for (_, _, confidence), share in zip(measured, escalated, strict=True):
        reached = confidence[main][left]
        place = math.ceil(share * (len(reached) - 1))
        # What is not a number is sorted behind all others: it is never accepted, and says nothing of a threshold.
        at_least = float(np.partition(reached, place)[place])
        left[left] = ~(reached >= at_least)
        if np.isnan(at_least) or not left.any():
            return None
        thresholds.append(at_least)
    return tuple(thresholds)


def _judged(
    answers: Sequence[Predictions],
    services: Sequence[ServiceModel],
    measured: Sequence[tuple[Measure, Calibration, NDArray[np.float64]]],
    thresholds: Sequence[float],
    evidence: Evidence,
    replicas: int,
    longest_s: float,
    scale: float,
    seed: int,
) -> Thresholds:
    """The cascade with these thresholds, as the search rows see it."""
    answered_by = np.zeros(len(measured[0][2]), dtype=np.int64)
    left = np.ones(len(answered_by), dtype=bool)
    accepts: list[AcceptRule | None] = []
    shares = [1.0]
    for (measure, calibration, confidence), at_least in zip(measured, thresholds, strict=True):
        rule = AcceptRule(measure=measure, calibration=calibration, at_least=at_least)
        left &= ~stands(confidence, rule)
        answered_by[left] += 1
        accepts.append(rule)
        shares.append(float(left[evidence.main.rows].mean()))
    rows, seconds = batch_for(services, shares, longest_s)
    judgement = judge(Predictions.chosen(answers, answered_by), evidence, seed)
    power = power_on(judgement, scale)
    return Thresholds((*accepts, None), tuple(shares), replicas * rows / seconds, judgement, power)


def _isotonic(
    raw: NDArray[np.floating], right: NDArray[np.bool_], main: NDArray[np.intp]
) -> tuple[Calibration, NDArray[np.float64]]:
    calibration = Calibration(method="isotonic", knots=fit_isotonic(raw[main], right[main]))
    return calibration, np.asarray(calibrated(raw, calibration))


def _max_probability(
    shares: NDArray[np.floating], target: NDArray[np.integer], right: NDArray[np.bool_], main: NDArray[np.intp]
) -> tuple[Calibration, NDArray[np.float64]]:
    """Temperature or isotonic, whichever says better of rows that it was not fitted on how often answers are right."""

    def fit(method: str, rows: NDArray[np.intp]) -> Calibration:
        if method == "temperature":
            return Calibration(method="temperature", temperature=fit_temperature(shares[rows], target[rows]))
        raw = raw_confidence("max_probability", probabilities=shares[rows])
        return Calibration(method="isotonic", knots=fit_isotonic(raw, right[rows]))

    def confidence(calibration: Calibration, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        raw = raw_confidence("max_probability", probabilities=shares[rows], temperature=calibration.temperature)
        return np.asarray(calibrated(raw, calibration))

    def unseen_loss(method: str) -> float:
        halves = (main[::2], main[1::2])
        if not len(halves[1]):
            return 0.0
        total = 0.0
        for fitted, unseen in (halves, halves[::-1]):
            sure = np.clip(confidence(fit(method, fitted), unseen), LEAST_PROBABILITY, 1 - 1e-6)
            total -= float(np.where(right[unseen], np.log(sure), np.log(1 - sure)).sum())
        return total

    best = min(("temperature", "isotonic"), key=unseen_loss)
    calibration = fit(best, main)
    return calibration, confidence(calibration, np.arange(len(shares)))
