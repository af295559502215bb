"""Every metric against scikit-learn, its weighted form, and its linear form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from equipoise.stats.metrics import METRIC_NAMES, UndefinedMetric, metric_estimate, metric_named, metric_value
from equipoise.stats.predictions import Predictions

N = 400
FUNCTIONALS = ("balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary", "auroc", "rmse", "r2")


def made_up(classes: int, seed: int = 0, n: int = N) -> tuple[Predictions, NDArray[Any]]:
    """Answers with ties, unequal classes and a fair share of errors."""
    rng = np.random.default_rng(seed)
    target = rng.choice(classes, size=n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = rng.normal(size=(n, classes)).round(1)
    logits[np.arange(n), target] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = logits.argmax(axis=1)
    values = target + rng.normal(size=n)
    return Predictions(labels=labels, probabilities=probabilities, values=values, scores=values**2), target


def made_up_labels(seed: int = 0) -> tuple[Predictions, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    target = (rng.random((N, 4)) < [0.1, 0.3, 0.5, 0.8]).astype(int)
    probabilities = np.clip(0.6 * target + 0.5 * rng.random((N, 4)), 0, 1).round(2)
    return Predictions(labels=(probabilities > 0.55).astype(int), probabilities=probabilities), target


def by_scikit_learn(name: str, p: Predictions, t: NDArray[Any]) -> float:
    multi_label = t.ndim == 2
    figures = {
        "accuracy": lambda: sk.accuracy_score(t, p.labels),
        "agreement": lambda: sk.accuracy_score(t, p.labels),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(t, p.labels),
        "f1_macro": lambda: sk.f1_score(t, p.labels, average="macro"),
        "f1_weighted": lambda: sk.f1_score(t, p.labels, average="weighted"),
        "f1_binary": lambda: sk.f1_score(t == 1, p.labels == 1),
        "auroc": lambda: (
            sk.roc_auc_score(t, p.probabilities[:, 1])
            if not multi_label and p.probabilities.shape[1] == 2
            else sk.roc_auc_score(t, p.probabilities, multi_class="ovr")
        ),
        "log_loss": lambda: sk.log_loss(t, p.probabilities),
        "mae": lambda: sk.mean_absolute_error(t, p.values),
        "rmse": lambda: sk.root_mean_squared_error(t, p.values),
        "r2": lambda: sk.r2_score(t, p.values),
    }
    return float(figures[name]())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", [name for name in METRIC_NAMES if name != "ece"])
def test_equals_scikit_learn(name: str, classes: int) -> None:
    predictions, target = made_up(classes)
    assert metric_value(metric_named(name), predictions, target) == pytest.approx(
        by_scikit_learn(name, predictions, target)
    )


@pytest.mark.parametrize("name", ["accuracy", "agreement", "f1_macro", "f1_weighted", "auroc"])
def test_equals_scikit_learn_on_multi_label_answers(name: str) -> None:
    predictions, target = made_up_labels()
    assert metric_value(metric_named(name), predictions, target) == pytest.approx(
        by_scikit_learn(name, predictions, target)
    )


def test_multi_label_log_loss_is_the_mean_over_labels() -> None:
    predictions, target = made_up_labels()
    assert predictions.probabilities is not None
    each = [sk.log_loss(target[:, k], np.clip(predictions.probabilities[:, k], 2**-23, 1 - 2**-23)) for k in range(4)]
    assert metric_value(metric_named("log_loss"), predictions, target) == pytest.approx(np.mean(each))


def test_positive_class_may_be_any() -> None:
    predictions, target = made_up(2)
    assert predictions.labels is not None
    assert predictions.probabilities is not None
    assert metric_value(metric_named("f1_binary", 0), predictions, target) == pytest.approx(
        sk.f1_score(target, predictions.labels, pos_label=0)
    )
    assert metric_value(metric_named("auroc", 0), predictions, target) == pytest.approx(
        sk.roc_auc_score(target == 0, predictions.probabilities[:, 0])
    )


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    predictions = Predictions(labels=np.array([0, 0, 1, 1]), probabilities=probabilities)
    # Bin of 0.9: 1 of 2 right; bin of 0.6: 2 of 2 right.
    expected = 0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0)
    assert metric_value(metric_named("ece"), predictions, np.array([0, 1, 1, 1])) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_weights_are_repeated_rows(name: str) -> None:
    predictions, target = made_up(3)
    counts = np.random.default_rng(1).multinomial(N, np.full(N, 1 / N), size=4)
    metric = metric_named(name)
    weighted = metric.weighted(predictions, target, counts)
    for count, figure in zip(counts, weighted, strict=True):
        rows = np.repeat(np.arange(N), count)
        assert figure == pytest.approx(metric_value(metric, predictions.take(rows), target[rows]), abs=1e-12)


@pytest.mark.parametrize("name", ["f1_macro", "f1_weighted", "auroc", "accuracy", "log_loss"])
def test_weights_are_repeated_rows_of_multi_label_answers(name: str) -> None:
    predictions, target = made_up_labels()
    counts = np.random.default_rng(2).multinomial(N, np.full(N, 1 / N), size=3)
    metric = metric_named(name)
    for count, figure in zip(counts, metric.weighted(predictions, target, counts), strict=True):
        rows = np.repeat(np.arange(N), count)
        assert figure == pytest.approx(metric_value(metric, predictions.take(rows), target[rows]), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_influences_are_derivatives(name: str, classes: int) -> None:
    predictions, target = made_up(classes, n=60)
    metric = metric_named(name)
    linear = metric.linear(predictions, target)
    value = metric_value(metric, predictions, target)
    step = 1e-6
    nudged = metric.weighted(predictions, target, np.ones((60, 60)) + step * np.eye(60))
    assert linear.rows.mean() == pytest.approx(value)
    # Adding `step` of row i to 60 rows moves the metric by step / 60 of the row's influence.
    assert (nudged - value) / step * 60 == pytest.approx(linear.rows - value, abs=1e-3)


@pytest.mark.parametrize("name", ["f1_macro", "f1_weighted", "auroc"])
def test_influences_are_derivatives_for_multi_label_answers(name: str) -> None:
    predictions, target = made_up_labels()
    predictions, target = predictions.take(slice(0, 60)), target[:60]
    metric = metric_named(name)
    value = metric_value(metric, predictions, target)
    nudged = metric.weighted(predictions, target, np.ones((60, 60)) + 1e-6 * np.eye(60))
    assert (nudged - value) * 60e6 == pytest.approx(metric.linear(predictions, target).rows - value, abs=1e-3)


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary", "auroc"])
def test_harm_is_about_the_most_that_one_row_can_do(name: str) -> None:
    predictions, target = made_up(3, n=200)
    assert predictions.labels is not None
    assert predictions.probabilities is not None
    metric = metric_named(name)
    value = metric_value(metric, predictions, target)
    worst = 0.0
    for row in range(200):
        for spoilt in range(3):
            labels, probabilities = predictions.labels.copy(), predictions.probabilities.copy()
            labels[row], probabilities[row] = spoilt, np.eye(3)[spoilt]
            changed = Predictions(labels=labels, probabilities=probabilities)
            worst = max(worst, value - metric_value(metric, changed, target))
    harm = metric.linear(predictions, target).harm
    assert harm is not None
    assert worst <= 1.05 * harm / 200
    assert worst >= 0.2 * harm / 200


def test_a_class_without_rows_is_left_out() -> None:
    predictions, target = made_up(3)
    seen = target != 2
    target, predictions = target[seen], predictions.take(np.flatnonzero(seen))
    assert predictions.probabilities is not None
    assert predictions.labels is not None
    recalls = [np.mean(predictions.labels[target == k] == k) for k in (0, 1)]
    assert metric_value(metric_named("balanced_accuracy"), predictions, target) == pytest.approx(np.mean(recalls))
    areas = [sk.roc_auc_score(target == k, predictions.probabilities[:, k]) for k in (0, 1)]
    assert metric_value(metric_named("auroc"), predictions, target) == pytest.approx(np.mean(areas))
    f1 = sk.f1_score(target, predictions.labels, labels=[0, 1], average="macro")
    assert metric_value(metric_named("f1_macro"), predictions, target) == pytest.approx(f1)


def test_a_weighting_without_a_class_leaves_it_out_and_without_two_has_no_auroc() -> None:
    predictions, target = made_up(3)
    weights = np.stack([target != 2, target == 0]).astype(float)
    for name in ("balanced_accuracy", "f1_macro"):
        metric = metric_named(name)
        figures = metric.weighted(predictions, target, weights)
        alone = metric_value(metric, predictions.take(np.flatnonzero(target != 2)), target[target != 2])
        assert figures[0] == pytest.approx(alone)
        assert np.isfinite(figures).all()
    assert np.isnan(metric_named("auroc").weighted(predictions, target, weights)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("auroc", np.zeros(N, int), "only class 0"),
        ("auroc", np.full(N, 2), "only class 2"),
        ("r2", np.full(N, 3.0), "targets that differ"),
    ],
)
def test_where_a_metric_has_no_value_it_says_why(name: str, target: NDArray[Any], words: str) -> None:
    predictions, _ = made_up(3)
    with pytest.raises(UndefinedMetric, match=words):
        metric_value(metric_named(name), predictions, target)


def test_no_rows_have_no_metric() -> None:
    with pytest.raises(UndefinedMetric, match="no rows"):
        metric_value(metric_named("accuracy"), Predictions(labels=np.empty(0, int)), np.empty(0, int))


def test_missing_answers_unknown_names_and_odd_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs probabilities"):
        metric_value(metric_named("log_loss"), Predictions(labels=np.zeros(3, int)), np.zeros(3, int))
    with pytest.raises(ValueError, match="no metric is called 'acuracy'"):
        metric_named("acuracy")
    with pytest.raises(ValueError, match="shape"):
        metric_value(metric_named("accuracy"), Predictions(labels=np.zeros(3, int)), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="multi-label"):
        metric_value(metric_named("balanced_accuracy"), *made_up_labels())
    with pytest.raises(ValueError, match="not a mean"):
        metric_named("auroc").per_row(*made_up(2))


def test_float32_answers_have_the_same_log_loss() -> None:
    sure = np.array([[1.0, 0.0], [1e-12, 1 - 1e-12]])
    target = np.array([1, 0])
    figures = [
        metric_value(metric_named("log_loss"), Predictions(probabilities=sure.astype(kind)), target)
        for kind in (np.float32, np.float64)
    ]
    assert figures[0] == pytest.approx(figures[1])


def test_a_true_class_without_a_column_counts_as_probability_zero() -> None:
    predictions = Predictions(probabilities=np.array([[0.5, 0.5]]))
    assert metric_named("log_loss").per_row(predictions, np.array([7])) == pytest.approx(23 * np.log(2))


def test_a_persons_own_metric_is_the_mean_of_its_scores() -> None:
    metric = metric_named("my_module:score")
    predictions, _ = made_up(2)
    assert metric.name == "my_module:score"
    assert predictions.scores is not None
    assert metric_value(metric, predictions, None) == pytest.approx(predictions.scores.mean())


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", METRIC_NAMES)
def test_estimates_hold_the_value_and_stay_in_bounds(name: str, grouped: bool) -> None:
    predictions, target = made_up(3)
    metric = metric_named(name)
    estimate = metric_estimate(metric, predictions, target, np.arange(N) // 8 if grouped else None)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.low < estimate.high
    least, greatest = metric.bounds
    assert least is None or estimate.low >= least
    assert greatest is None or estimate.high <= greatest


def test_ungrouped_proportions_have_wilson_intervals_and_groups_widen_them() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(50), 20)
    labels = (rng.random(50)[groups] < 0.8).astype(int)
    metric, predictions, target = metric_named("accuracy"), Predictions(labels=labels), np.ones(1000, int)
    alone, together = metric_estimate(metric, predictions, target), metric_estimate(metric, predictions, target, groups)
    assert alone.method == "Wilson interval"
    assert "50 groups" in together.method
    assert together.high is not None
    assert together.low is not None
    assert alone.high is not None
    assert alone.low is not None
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_perfect_score_on_few_rows_is_not_certain() -> None:
    target = np.array([0, 1, 0, 1, 0])
    estimate = metric_estimate(metric_named("f1_macro"), Predictions(labels=target), target)
    assert estimate.value == estimate.high == 1
    assert estimate.low is not None
    assert estimate.low < 0.6


@pytest.mark.parametrize("name", ["f1_macro", "balanced_accuracy", "auroc"])
def test_linear_form_has_the_bootstraps_spread(name: str) -> None:
    predictions, target = made_up(3, n=1000)
    metric = metric_named(name)
    counts = np.random.default_rng(4).multinomial(1000, np.full(1000, 1 / 1000), size=600)
    bootstrap = metric.weighted(predictions, target, counts).std()
    linear = metric.linear(predictions, target).rows.std() / 1000**0.5
    assert linear == pytest.approx(bootstrap, rel=0.1)
