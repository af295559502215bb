"""Synthetic rows on which models of one family answer, with losses and confidences that are known exactly.

A row is easy or hard, and hard for every model. A model is right on it with a probability that depends on the model,
the row's kind and its slice; who is right together is correlated. How sure a model is says much about the row's kind,
though not everything, and nothing beyond it about being right. What a cascade truly loses is then a sum over kinds of
row: how often each stage answers rows of that kind, times what that stage loses on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import numpy as np
from false_accepts import ALPHA, GROUP_SIZE, METRIC, SLICE_SHARE, normal_scores
from numpy.typing import NDArray
from scipy.special import ndtri, softmax

from equipoise.compose.certify import Claim, Evidence
from equipoise.core.certificate import Margin
from equipoise.core.plan import AcceptRule, Measure
from equipoise.policy.batch import ServiceModel
from equipoise.policy.cascade import calibrated, raw_confidence, stands
from equipoise.stats import paired
from equipoise.stats.predictions import Predictions

CLASSES = 3
HARD_SHARE = 0.25
RIGHT = np.array([0.95, 0.62])
"""How often the original is right on easy and on hard rows."""
SHARED = 0.8
"""Share of the variance of who is right that all models have in common."""
APART = 1.5
"""Distance of an easy and of a hard row's mean confidence from their middle, in standard deviations."""
POPULATION = 200_000
TOUCHING = 1e-9
"""At the margin is already too much; rounding must not let a candidate off."""


@dataclass(frozen=True)
class World:
    """What the models of a study are really like; the first is the original.

    Attributes:
        loss: Of each model against the original, on rows outside and inside the slice (second axis), easy and hard
            ones (third axis), [M, 2, 2].
        cost: Milliseconds a row, [M].
        firsts: Models that a cascade may ask first, the cheapest first.
        lasts: Models that it may ask last.
        margin: On all rows.
        slice_margin: On the slice; null where nothing is claimed of it.
    """

    loss: NDArray[np.float64]
    cost: NDArray[np.float64]
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]
    margin: float
    slice_margin: float | None = None

    def service(self, model: int) -> ServiceModel:
        """A batch costs as much as its rows and two more."""
        return ServiceModel([(rows, 1e-3 * self.cost[model] * (rows + 2)) for rows in (1, 16, 256)])

    def true_loss(self, stages: Sequence[int], accepts: Sequence[AcceptRule | None]) -> NDArray[np.float64]:
        """Of a cascade, outside and inside the slice, [2]."""
        hard, sure = self._in_population(stages, accepts)
        by = answered_by(sure)
        kinds = np.array([1 - HARD_SHARE, HARD_SHARE])
        loss = np.zeros(2)
        for place, stage in enumerate(stages):
            reached = [float(np.mean(by[hard == kind] == place)) for kind in (False, True)]
            loss += self.loss[stage] @ (kinds * reached)
        return loss

    def true_quality(self, stages: Sequence[int], accepts: Sequence[AcceptRule | None]) -> float:
        """Share of right answers among those given, where the last stage gives only the ones that it trusts."""
        hard, sure = self._in_population(stages, accepts)
        by = answered_by(sure)
        given = (by < len(stages) - 1) | sure[-1]
        slices = np.array([1 - SLICE_SHARE, SLICE_SHARE])
        right = answered = 0.0
        for kind, weight in enumerate((1 - HARD_SHARE, HARD_SHARE)):
            for place, stage in enumerate(stages):
                share = weight * float(np.mean((by == place)[hard == kind] & given[hard == kind]))
                answered += share
                right += share * float(RIGHT[kind] - slices @ self.loss[stage, :, kind])
        return right / answered

    def is_unacceptable(self, stages: Sequence[int], accepts: Sequence[AcceptRule | None]) -> bool:
        """Whether a cascade, or a model alone, loses a margin or more."""
        rest, on_slice = self.true_loss(stages, accepts)
        overall = (1 - SLICE_SHARE) * rest + SLICE_SHARE * on_slice
        past_slice = self.slice_margin is not None and on_slice >= self.slice_margin - TOUCHING
        return bool(overall >= self.margin - TOUCHING or past_slice)

    def _in_population(
        self, stages: Sequence[int], accepts: Sequence[AcceptRule | None]
    ) -> tuple[NDArray[np.bool_], list[NDArray[np.bool_]]]:
        """Which of many rows are hard, and of which each stage is sure."""
        models = len(self.loss)
        hard, probabilities = population(models)
        sure = []
        for stage, rule in zip(stages, accepts, strict=True):
            if rule is None or rule.calibration.temperature != 1:
                sure.append(trusted(Predictions(probabilities=probabilities[stage]), rule))
            else:
                raw = population_confidence(models, stage, rule.measure)
                sure.append(stands(calibrated(raw, rule.calibration), rule))
        return hard, sure


@dataclass(frozen=True)
class Sample:
    """One split, and what every model answers to it.

    Attributes:
        target: True classes, [n].
        in_slice: Which rows are in the slice, [n].
        groups: Which rows belong together, [n]; null where rows are independent.
        answers: Of each model, M of them.
        right: Whether each model is right, [M, n].
    """

    target: NDArray[np.intp]
    in_slice: NDArray[np.bool_]
    groups: NDArray[np.intp] | None
    answers: tuple[Predictions, ...]
    right: NDArray[np.bool_]


def draw(world: World, n: int, grouped: bool, rng: np.random.Generator) -> Sample:
    """Answers of all models to n rows; with groups half of all that rows share is the group's."""
    groups = np.arange(n) // GROUP_SIZE if grouped else None
    models = len(world.loss)
    in_slice = rng.permutation(n) < SLICE_SHARE * n
    hard = normal_scores(n, groups, rng) < ndtri(HARD_SHARE)
    target = rng.integers(0, CLASSES, n)
    scores = np.sqrt(SHARED) * normal_scores(n, groups, rng) + np.sqrt(1 - SHARED) * rng.standard_normal((models, n))
    right = scores < ndtri(RIGHT - world.loss)[:, in_slice.astype(np.intp), hard.astype(np.intp)]
    labels = np.where(right, target, (target + 1) % CLASSES)
    sure = confidence_logits(hard, models, normal_scores(n, groups, rng), rng)
    answers = tuple(
        Predictions(labels=own, probabilities=as_probabilities(logits, own))
        for own, logits in zip(labels, sure, strict=True)
    )
    return Sample(target, in_slice, groups, answers, right)


def confidence_logits(
    hard: NDArray[np.bool_], models: int, shared: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Logits of each model, the answer's own first, [M, n, 3]: sharper at some models than they have a right to be."""
    n = len(hard)
    score = np.where(hard, -APART, APART) + np.sqrt(0.5) * (shared + rng.standard_normal((models, n)))
    sharpness = np.resize([1.5, 0.8], models)[:, None]
    gap = sharpness * np.logaddexp(0, score)
    return np.stack([gap, np.zeros_like(gap), -np.abs(rng.standard_normal((models, n)))], axis=2)


def as_probabilities(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Probabilities by class, [n, 3], of logits that begin with the answer's."""
    places = (np.arange(CLASSES) - labels[:, None]) % CLASSES
    return np.take_along_axis(softmax(logits, axis=1), places, axis=1)


@cache
def population(models: int) -> tuple[NDArray[np.bool_], tuple[NDArray[np.float64], ...]]:
    """Which of many rows are hard, and the probabilities that each model gives; the same in every world."""
    rng = np.random.default_rng(2024)
    hard = rng.random(POPULATION) < HARD_SHARE
    logits = confidence_logits(hard, models, rng.standard_normal(POPULATION), rng)
    return hard, tuple(softmax(each, axis=1) for each in logits)


@cache
def population_confidence(models: int, model: int, measure: Measure) -> NDArray[np.floating]:
    """How sure a model is of many rows, before calibration."""
    return np.asarray(raw_confidence(measure, probabilities=population(models)[1][model]))


def answered_by(sure: Sequence[NDArray[np.bool_]]) -> NDArray[np.intp]:
    """Place of the stage whose answer stands, [n], from what each is sure of; the last one's always does."""
    by = np.zeros(len(sure[-1]), dtype=np.intp)
    left = np.ones(len(by), dtype=bool)
    for accepted in sure[:-1]:
        left &= ~accepted
        by += left
    return by


def trusted(answers: Predictions, rule: AcceptRule | None) -> NDArray[np.bool_]:
    """Whose answers are sure enough, [n], by the rule that is served."""
    if rule is None:
        return np.ones(answers.n, dtype=bool)
    shares, temperature = answers.probabilities, rule.calibration.temperature
    raw = raw_confidence(rule.measure, probabilities=shares, temperature=temperature)
    return stands(calibrated(raw, rule.calibration), rule)


def evidence_of(sample: Sample, world: World) -> Evidence:
    """What is claimed on a split."""
    claims = [Claim("main", "metric", Margin(drop=world.margin), np.arange(len(sample.target)))]
    if world.slice_margin is not None:
        rows = np.flatnonzero(sample.in_slice)
        claims.append(Claim("part=a", "slice", Margin(drop=world.slice_margin), rows))
    return Evidence(METRIC, sample.answers[0], sample.target, sample.groups, tuple(claims), 1 - ALPHA)


@contextmanager
def remembered_bounds() -> Iterator[None]:
    """Confidence bounds are computed once a table: thousands of studies ask for those of the same few thousand."""
    with patch.object(paired, "tango_bounds", cache(paired.tango_bounds)):
        yield
