"""Evidence for a cascade from rows that did not choose its thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.compose.cascade import StageRows, promising, search_thresholds
from equipoise.compose.certify import Claim, Evidence, judge
from equipoise.compose.cross_fitting import cross_fitted
from equipoise.core.certificate import Margin
from equipoise.policy.batch import ServiceModel
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

ROWS, CLASSES = 800, 4


def stage(right: np.ndarray, sure: np.ndarray, target: np.ndarray, seconds: float) -> StageRows:
    """Answers that are right where `right` says so, with the probability `sure`."""
    labels = np.where(right, target, (target + 1) % CLASSES)
    shares = np.repeat(((1 - sure) / (CLASSES - 1))[:, None], CLASSES, axis=1)
    shares[np.arange(len(labels)), labels] = sure
    return StageRows(Predictions(labels=labels, probabilities=shares), ServiceModel([(1, seconds), (32, 20 * seconds)]))


def world(seed: int, informative: bool, groups: int | None = None) -> tuple[list[StageRows], Evidence]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES, ROWS)
    hard = rng.random(ROWS) < 0.12
    sure = np.where(hard, rng.uniform(0.3, 0.6, ROWS), rng.uniform(0.6, 1.0, ROWS))
    if not informative:
        sure = np.minimum(rng.uniform(0.3, 0.9, ROWS) + 0.1 * ~hard, 1.0)
    last = rng.random(ROWS) < 0.95
    evidence = Evidence(
        metric=metric_named("accuracy"),
        baseline=stage(last, np.full(ROWS, 0.9), target, 1.0).predictions,
        target=target,
        groups=None if groups is None else rng.integers(0, groups, ROWS),
        claims=(
            Claim("main", "metric", Margin(drop=0.03), np.arange(ROWS)),
            Claim("part=a", "slice", Margin(drop=0.1), np.arange(0, ROWS, 3)),
        ),
    )
    return [stage(~hard, sure, target, 0.001), stage(last, np.full(ROWS, 0.9), target, 0.01)], evidence


def test_rows_that_choose_thresholds_flatter_them_and_others_do_not() -> None:
    flattered, honest = [], []
    for seed in range(25):
        stages, evidence = world(seed, informative=False)
        found = search_thresholds(stages, evidence)
        best = max(found, key=lambda each: each.power)
        flattered.append(best.judgement.main.difference.value)  # type: ignore[union-attr]
        honest.append(cross_fitted(stages, evidence, power=0.9).main.difference.value)  # type: ignore[union-attr]
    assert np.mean(honest) > np.mean(flattered)


def test_a_cascade_that_knows_its_hard_rows_stands_either_way() -> None:
    stages, evidence = world(0, informative=True)
    (chosen, *_) = promising(search_thresholds(stages, evidence), 2)
    assert chosen.power >= 0.9
    judgement = cross_fitted(stages, evidence, power=0.9)
    assert judgement.passed
    assert judgement.main.n == ROWS


@pytest.mark.parametrize("groups", [None, 60])
def test_each_half_is_answered_with_the_thresholds_of_the_other(groups: int | None) -> None:
    stages, evidence = world(1, informative=True, groups=groups)
    blocks = np.arange(ROWS) if groups is None else np.unique(evidence.groups, return_inverse=True)[1]
    sure = np.where(blocks % 2 == 0, 0.99, 0.31)  # one half is always sure, the other never
    target = np.asarray(evidence.target)
    wrong = np.zeros(ROWS, dtype=bool)
    stages = [stage(wrong, sure, target, 0.001), stages[1]]
    judgement = cross_fitted(stages, evidence, power=0.9)
    # The sure half is above every threshold of the unsure one, whose answers are all wrong.
    assert judgement.main.difference is not None
    assert judgement.main.difference.value > 0.4
    assert not judgement.passed


def test_the_same_rows_give_the_same_judgement() -> None:
    stages, evidence = world(2, informative=True)
    first, again = (cross_fitted(stages, evidence, power=0.9) for _ in range(2))
    assert first.p_value == again.p_value
    assert first.main.difference == again.main.difference
    everything = judge(stages[1].predictions, evidence)
    assert everything.main.n == first.main.n
