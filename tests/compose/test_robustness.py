"""A forest and its linear student: as good on clean rows, and apart as soon as some cells come in another unit.

Real models on scikit-learn's digits: 200 trees, and the logistic regression that they taught, far smaller and faster.
A tree only asks whether a number passes a threshold; a linear model multiplies it, ten times too large or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, judge
from equipoise.compose.robustness import robustness_figures
from equipoise.compose.wording import quality_reason
from equipoise.core.certificate import Margin
from equipoise.core.corruption import STRENGTHS, Corruption
from equipoise.corrupt.rows import STRENGTH, Corruptible
from equipoise.preprocess.rows import Rows
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

MARGIN = Margin(drop=0.05)
SET = "unit_x10"


@dataclass(frozen=True)
class Case:
    """Rows as they are and corrupted ones, and what both models answer to them."""

    target: NDArray[Any]
    strengths: NDArray[np.intp]
    forest: Predictions
    student: Predictions

    def evidence(self, *, counts: bool = True, corrupted: bool = True) -> Evidence:
        claims = [Claim("main", "metric", MARGIN, np.flatnonzero(self.strengths == 0))]
        if corrupted:
            claims.append(Claim(SET, "corruption", MARGIN, np.flatnonzero(self.strengths > 0), counts=counts))
        return Evidence(metric_named("accuracy"), self.forest, self.target, None, tuple(claims))


@pytest.fixture(scope="module")
def case() -> Case:
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.float32), y[order]
    forest = RandomForestClassifier(200, random_state=0).fit(x[:800], y[:800])
    student = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    student.fit(x[:800], forest.predict(x[:800]))
    rows = Rows({"x": x[800:]}, y[800:], {}, np.full(len(x) - 800, "main", dtype=object))
    spoilt = Corruptible(rows).corrupted(rows, Corruption(name=SET), seed=0)
    both = np.concatenate([rows.feeds["x"], spoilt.feeds["x"]])
    return Case(
        target=np.concatenate([y[800:], y[800:]]),
        strengths=np.concatenate([np.zeros(rows.n, np.intp), spoilt.extra[STRENGTH]]),
        forest=Predictions(labels=forest.predict(both)),
        student=Predictions(labels=student.predict(both)),
    )


def test_a_student_that_passes_on_clean_rows_is_blocked_by_corrupted_ones(case: Case) -> None:
    assert judge(case.student, case.evidence(corrupted=False)).passed
    found = judge(case.student, case.evidence())
    assert not found.passed
    assert found.blocked_by == (SET,)
    assert [(each.name, each.kind, each.verdict, each.blocks) for each in found.verdicts] == [
        (SET, "corruption", "worse", True)
    ]
    assert f"blocked by {SET} (worse: 997 rows)" in quality_reason(found)


def test_a_set_that_is_only_reported_is_judged_and_blocks_nothing(case: Case) -> None:
    found = judge(case.student, case.evidence(counts=False))
    assert found.passed
    assert found.p_value == judge(case.student, case.evidence(corrupted=False)).p_value
    assert [(each.verdict, each.blocks) for each in found.verdicts] == [("worse", False)]


def test_both_models_are_shown_side_by_side_by_strength(case: Case) -> None:
    clean, whole, *parts = robustness_figures(case.student, case.evidence(), case.strengths)
    assert (clean.set_name, clean.strength, whole.strength) == ("main", 0, None)
    assert [part.strength for part in parts] == list(STRENGTHS)
    assert sum(part.n for part in parts) == whole.n == clean.n == 997
    assert whole.verdict == "worse"
    assert whole.blocks
    assert {part.verdict for part in parts} == {None}
    for each in (clean, whole, *parts):
        assert each.baseline is not None
        assert each.candidate is not None
        assert each.difference is not None
        assert each.difference.value == pytest.approx(each.baseline.value - each.candidate.value)
    losses = [part.difference.value for part in parts if part.difference is not None]
    assert losses[-1] > losses[0] > MARGIN.drop
    assert clean.difference is not None
    assert clean.difference.high is not None
    assert clean.difference.high < MARGIN.drop


def test_a_set_of_which_no_row_is_left_has_no_figures_and_blocks(case: Case) -> None:
    whole = case.evidence()
    empty = replace(whole, claims=(whole.main, Claim(SET, "corruption", MARGIN, np.empty(0, np.intp))))
    _, found = robustness_figures(case.forest, empty, case.strengths)
    assert (found.n, found.baseline, found.candidate, found.difference) == (0, None, None, None)
    assert found.blocks


def test_a_model_that_answers_like_the_original_passes_on_both(case: Case) -> None:
    assert judge(case.forest, case.evidence()).passed
