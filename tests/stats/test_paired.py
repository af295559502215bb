"""The paired test of a drop."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from equipoise.core.certificate import Margin
from equipoise.stats.metrics import METRIC_NAMES, metric_named
from equipoise.stats.paired import DropTest, paired_drop
from equipoise.stats.predictions import Predictions

ACCURACY = metric_named("accuracy")
CERTIFIABLE = (*(name for name in METRIC_NAMES if name != "ece"), "person")
POINT = Margin(drop=0.01)


def binary(right: NDArray[Any]) -> Predictions:
    """Labels that are right where told, against a target of ones."""
    return Predictions(labels=np.asarray(right).astype(int))


def paired_table(harmed: int, helped: int, n: int) -> tuple[Predictions, Predictions, NDArray[Any]]:
    baseline, candidate = np.ones(n, int), np.ones(n, int)
    candidate[:harmed] = 0
    baseline[harmed : harmed + helped] = 0
    return binary(baseline), binary(candidate), np.ones(n, int)


def two_models(n: int, changed: float = 0.05, seed: int = 0) -> tuple[Predictions, Predictions, NDArray[Any]]:
    """A model and a slightly worse one, with every kind of answer."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, n)
    labels = np.where(rng.random(n) < 0.85, target, rng.integers(0, 3, n))
    other = np.where(rng.random(n) < changed, rng.integers(0, 3, n), labels)

    def answers(given: NDArray[Any], noise: NDArray[Any]) -> Predictions:
        probabilities = 0.1 + 0.7 * np.eye(3)[given] + 0.05 * noise
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Predictions(given, probabilities, given + 0.3 * noise[:, 0], -np.abs(given - target) - noise[:, 1])

    noise = rng.random((n, 3))
    return answers(labels, noise), answers(other, noise + 0.05 * rng.random((n, 3))), target


def test_accuracy_without_loss_takes_268_rows_for_one_point() -> None:
    for n, passes in ((267, False), (268, True)):
        test = paired_drop(ACCURACY, *paired_table(0, 0, n), POINT)
        assert (test.p_value <= 0.05) is passes
        assert test.needed == test.needed_without_loss == 268
        assert test.method.endswith("(Tango 1998)")


def test_agreement_without_change_takes_299_rows_for_one_point() -> None:
    for n, passes in ((298, False), (299, True)):
        baseline, candidate, _ = paired_table(0, 0, n)
        test = paired_drop(metric_named("agreement"), baseline, candidate, None, POINT)
        assert (test.p_value <= 0.05) is passes
        assert test.needed == test.needed_without_loss == 299


@given(st.integers(0, 30), st.integers(31, 400), st.floats(0.01, 0.4))
def test_agreement_is_the_exact_binomial_test(changed: int, n: int, margin: float) -> None:
    baseline, candidate, _ = paired_table(changed, 0, n)
    test = paired_drop(metric_named("agreement"), baseline, candidate, None, Margin(drop=margin))
    assert test.p_value == pytest.approx(stats.binom.cdf(changed, n, margin), abs=1e-9)
    assert test.difference is not None
    assert test.difference.high == pytest.approx(stats.beta.ppf(0.95, changed + 1, n - changed))


def test_harm_is_mcnemars_exact_test() -> None:
    test = paired_drop(ACCURACY, *paired_table(9, 2, 100), POINT)
    assert test.harm_p_value == pytest.approx(stats.binomtest(9, 11, 0.5, alternative="greater").pvalue)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_every_metric_passes_a_wide_margin_and_fails_a_narrow_one(name: str, grouped: bool) -> None:
    baseline, candidate, target = two_models(1200)
    groups = np.arange(1200) // 4 if grouped else None
    metric = metric_named(name)
    wide = paired_drop(metric, baseline, candidate, target, Margin(drop=0.6), groups)
    narrow = paired_drop(metric, baseline, candidate, target, Margin(drop=0.001), groups)
    assert wide.p_value <= 0.05 < narrow.p_value
    assert wide.difference is not None
    assert wide.difference.low is not None
    assert wide.difference.high is not None
    assert wide.difference.low < wide.difference.value < wide.difference.high
    assert wide.difference == narrow.difference
    assert wide.groups == (300 if grouped else None)
    assert wide.n == 1200


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_difference_is_towards_worse(name: str, grouped: bool) -> None:
    baseline, candidate, target = two_models(600, changed=0.3)
    groups = np.arange(600) // 3 if grouped else None
    metric = metric_named(name)
    test = paired_drop(metric, baseline, candidate, target, POINT, groups)
    assert test.difference is not None
    assert test.difference.value > 0
    if name != "agreement":
        back = paired_drop(metric, candidate, baseline, target, POINT, groups)
        assert back.difference is not None
        assert back.difference.value == pytest.approx(-test.difference.value)
        assert back.p_value < test.p_value


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", CERTIFIABLE)
def test_p_value_falls_as_the_margin_grows_and_crosses_at_its_bound(name: str, grouped: bool) -> None:
    baseline, candidate, target = two_models(700)
    groups = np.arange(700) // 5 if grouped else None
    metric = metric_named(name)

    def test(drop: float) -> DropTest:
        return paired_drop(metric, baseline, candidate, target, Margin(drop=drop), groups)

    p_values = [test(drop).p_value for drop in np.linspace(0.0, 0.5, 12)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(p_values))
    difference = test(0.0).difference
    assert difference is not None
    assert difference.high is not None
    assert test(difference.high + 1e-8).p_value <= 0.05
    assert test(difference.high - 1e-5).p_value > 0.05


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_rows_in_another_order_say_the_same(name: str) -> None:
    baseline, candidate, target = two_models(500)
    order = np.random.default_rng(1).permutation(500)
    metric, groups = metric_named(name), np.arange(500) // 4
    for grouping in (None, groups):
        one = paired_drop(metric, baseline, candidate, target, Margin(drop=0.05), grouping)
        other = paired_drop(
            metric,
            baseline.take(order),
            candidate.take(order),
            target[order],
            Margin(drop=0.05),
            None if grouping is None else grouping[order],
        )
        # A bootstrap draws other rows; all else is the same to rounding.
        assert other.p_value == pytest.approx(one.p_value, rel=1e-6, abs=0.02)
        assert one.difference is not None
        assert other.difference is not None
        assert other.difference.value == pytest.approx(one.difference.value, abs=1e-12)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 300), st.floats(0.001, 0.5))
@settings(max_examples=60)
def test_accuracy_bounds_hold_together(harmed: int, helped: int, same: int, margin: float) -> None:
    n = harmed + helped + same
    if n == 0:
        return
    test = paired_drop(ACCURACY, *paired_table(harmed, helped, n), Margin(drop=margin))
    assert test.difference is not None
    assert test.difference.low is not None
    assert test.difference.high is not None
    assert -1 <= test.difference.low <= test.difference.value <= test.difference.high <= 1
    assert (test.p_value <= 0.05) == (test.difference.high <= margin) or abs(test.difference.high - margin) < 1e-6
    assert (test.needed is None) == (test.difference.value >= margin)


@pytest.mark.parametrize(("harmed", "helped", "n"), [(8, 5, 300), (0, 0, 50), (30, 0, 2000), (3, 4, 100)])
@pytest.mark.parametrize("name", ["accuracy", "agreement"])
def test_needed_rows_of_the_same_kind_are_just_enough(name: str, harmed: int, helped: int, n: int) -> None:
    metric, margin = metric_named(name), Margin(drop=0.1)
    seen = paired_drop(metric, *paired_table(harmed, helped, n), margin)
    assert seen.needed is not None
    times = 50
    many = paired_drop(metric, *paired_table(harmed * times, helped * times, n * times), margin)
    assert many.needed == pytest.approx(seen.needed, abs=1)
    assert (seen.p_value <= 0.05) == (seen.needed <= n)


@pytest.mark.parametrize("name", ["f1_macro", "log_loss", "mae", "auroc", "person"])
def test_with_about_the_needed_rows_a_mean_test_is_at_its_level(name: str) -> None:
    metric = metric_named(name)
    baseline, candidate, target = two_models(1500)
    loss = paired_drop(metric, baseline, candidate, target, Margin(drop=9.0)).difference
    assert loss is not None
    margin = Margin(drop=loss.value + 0.02)
    needed = paired_drop(metric, baseline, candidate, target, margin).needed
    assert needed is not None
    for share, passes in ((0.5, False), (2.0, True)):
        rows = np.random.default_rng(2).integers(0, 1500, int(needed * share))
        # A draw of those rows has a loss of its own: put the margin as far from it as it was.
        drawn = baseline.take(rows), candidate.take(rows), target[rows]
        seen = paired_drop(metric, *drawn, margin).difference
        assert seen is not None
        assert (paired_drop(metric, *drawn, Margin(drop=seen.value + 0.02)).p_value <= 0.05) is passes


def test_power_foretells_how_often_another_split_passes() -> None:
    rng = np.random.default_rng(3)
    margin, n_search, n_certify = Margin(drop=0.02), 800, 1200
    foretold, passed = [], []
    for _ in range(400):
        tests = []
        for n in (n_search, n_certify):
            chance = rng.random(n)
            baseline, candidate = np.ones(n, int), (chance > 0.03).astype(int)
            baseline[chance > 0.98] = 0
            tests.append(paired_drop(ACCURACY, binary(baseline), binary(candidate), np.ones(n, int), margin))
        foretold.append(tests[0].power(n_certify))
        passed.append(tests[1].p_value <= 0.05)
    assert np.mean(foretold) == pytest.approx(np.mean(passed), abs=0.1)
    assert paired_drop(ACCURACY, *paired_table(0, 0, 1000), POINT).power(267) == 0


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "auroc"])
def test_relative_margin_is_a_share_of_the_baselines_figure(name: str) -> None:
    baseline, candidate, target = two_models(1500)
    metric = metric_named(name)
    values = [
        paired_drop(metric, baseline, candidate, target, Margin(drop=m, relative=True)).p_value for m in (0.02, 0.2)
    ]
    assert values[0] > 0.05 >= values[1]


def test_relative_margins_by_hand() -> None:
    baseline, candidate, target = two_models(900)
    for name, sign in (("person", 1.0), ("mae", -1.0)):
        metric = metric_named(name)
        before, after = metric.per_row(baseline, target), metric.per_row(candidate, target)
        offset = 10.0 if name == "person" else 0.0
        shifted = [
            Predictions(values=p.values, scores=None if p.scores is None else p.scores + offset)
            for p in (baseline, candidate)
        ]
        test = paired_drop(metric, shifted[0], shifted[1], target, Margin(drop=0.05, relative=True))
        rows = (1 - 0.05) * (before + offset) - (after + offset) if sign > 0 else after - (1 + 0.05) * before
        assert test.p_value >= stats.ttest_1samp(rows, 0.0, alternative="less").pvalue - 1e-9
        assert (test.p_value <= 0.05) == (rows.mean() + 2.2 * rows.std() / 900**0.5 < 0)


def test_fewer_than_thirty_groups_certify_nothing() -> None:
    baseline, candidate, target = two_models(2900, changed=0.0)
    test = paired_drop(ACCURACY, baseline, candidate, target, Margin(drop=0.5), np.arange(2900) // 100)
    assert test.p_value == 1
    assert "29 groups, 30 are needed" in test.method
    assert test.needed == 3000
    enough = paired_drop(ACCURACY, baseline, candidate, target, Margin(drop=0.5), np.arange(2900) // 96)
    assert enough.p_value <= 0.05


def test_groups_that_fail_together_are_worth_few_rows() -> None:
    groups = np.repeat(np.arange(100), 50)
    right = np.ones(5000, int)
    worse = right.copy()
    worse[groups < 2] = 0
    rows = (binary(right), binary(worse), right, Margin(drop=0.03))
    assert paired_drop(ACCURACY, *rows).p_value <= 0.05
    assert paired_drop(ACCURACY, *rows, groups).p_value > 0.05


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_identical_answers_on_few_rows_prove_little(name: str) -> None:
    baseline, _, target = two_models(12)
    test = paired_drop(metric_named(name), baseline, baseline, target, POINT)
    assert test.p_value > 0.05
    assert test.difference is not None
    assert test.difference.value == 0
    assert test.harm_p_value > 0.05
    assert test.needed_without_loss is not None
    assert test.needed_without_loss > 12


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_identical_answers_on_many_rows_pass(name: str) -> None:
    baseline, _, target = two_models(6000)
    test = paired_drop(metric_named(name), baseline, baseline, target, Margin(drop=0.02))
    assert test.p_value <= 0.05
    assert test.needed is not None
    assert test.needed <= 6000


@pytest.mark.parametrize("name", CERTIFIABLE)
def test_no_rows_and_one_row_prove_nothing(name: str) -> None:
    baseline, candidate, target = two_models(5)
    none, one = np.empty(0, np.intp), np.array([0])
    empty = paired_drop(metric_named(name), baseline.take(none), candidate.take(none), target[none], POINT)
    assert (empty.p_value, empty.n, empty.difference) == (1.0, 0, None)
    assert paired_drop(metric_named(name), baseline.take(one), candidate.take(one), target[one], POINT).p_value > 0.05


def test_rows_on_which_the_metric_is_undefined_prove_nothing() -> None:
    baseline, candidate, target = two_models(50)
    test = paired_drop(metric_named("auroc"), baseline, candidate, np.zeros_like(target), POINT)
    assert test.p_value == 1
    assert "only class 0" in test.method
    assert test.power(1000) == 0


def test_perfect_regressors_of_unknown_scale_prove_little_from_little() -> None:
    zeros = Predictions(values=np.zeros(20))
    assert paired_drop(metric_named("mae"), zeros, zeros, np.zeros(20), POINT).p_value > 0.05


def test_no_margin_passes_no_loss() -> None:
    test = paired_drop(ACCURACY, *paired_table(0, 0, 1000), Margin(drop=0.0))
    assert test.p_value > 0.05
    assert test.needed is None


def test_wrong_input_is_refused() -> None:
    baseline, candidate, target = two_models(10)
    with pytest.raises(ValueError, match="reported, not certified"):
        paired_drop(metric_named("ece"), baseline, candidate, target, POINT)
    with pytest.raises(ValueError, match="pair up"):
        paired_drop(ACCURACY, baseline, candidate.take(np.arange(4)), target, POINT)
    numbers = Predictions(values=np.zeros(10))
    with pytest.raises(ValueError, match="agreement compares labels"):
        paired_drop(metric_named("agreement"), numbers, numbers, None, POINT)


def test_a_seed_fixes_the_answer() -> None:
    baseline, candidate, target = two_models(400)
    arguments = (metric_named("log_loss"), baseline, candidate, target, Margin(drop=0.1))
    assert paired_drop(*arguments, seed=5) == paired_drop(*arguments, seed=5)


def rare_class(rng: np.random.Generator, n: int) -> tuple[Predictions, Predictions, NDArray[Any]]:
    """A perfect baseline; of the rare class (one row in twenty) the candidate loses one in ten."""
    target = (rng.random(n) < 0.05).astype(int)
    lost = (target == 1) & (rng.random(n) < 0.1)
    return Predictions(labels=target), Predictions(labels=np.where(lost, 0, target)), target


def test_level_of_balanced_accuracy_where_harm_hides_in_a_rare_class() -> None:
    """The true drop is 0.1 / 2: with 20 rows of the class, one study in eight sees no harm at all."""
    rng = np.random.default_rng(8)
    metric, margin = metric_named("balanced_accuracy"), Margin(drop=0.05)
    passed = [paired_drop(metric, *rare_class(rng, 400), margin).p_value <= 0.05 for _ in range(500)]
    assert np.mean(passed) <= 0.05 + 2.33 * (0.05 * 0.95 / 500) ** 0.5
