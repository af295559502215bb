"""The metrics by name: what they measure, of which answers, and in which of two forms a test can use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.core.estimate import Estimate
from equipoise.stats import label_metrics, number_metrics, ranking
from equipoise.stats.intervals import wilson
from equipoise.stats.linear import Linear, UndefinedMetric
from equipoise.stats.mean_test import mean_interval
from equipoise.stats.predictions import Predictions

__all__ = ["METRIC_NAMES", "Metric", "UndefinedMetric", "metric_estimate", "metric_named", "metric_value"]

Array = NDArray[np.float64]
Kind = Literal["proportion", "mean", "functional"]
Task = Literal["classes", "numbers", "any"]
Needs = Literal["labels", "probabilities", "values", "scores"]


@dataclass(frozen=True)
class Metric:
    """A figure of merit of a model on a set of rows.

    A proportion or a mean is the average of one figure a row. A functional (F1, AUROC, RMSE ...) is not, but near the
    rows at hand it moves like one: `linear` gives each row's influence, and `weighted` the exact figure for rows that
    count several times or not at all, many such weightings at once, which is what a bootstrap asks.

    Attributes:
        name: As in a brief; `module:function` for a person's own.
        higher_is_better: Which way is worse.
        kind: Whether rows are right or wrong, each have a figure, or only their set has one.
        bounds: Least and greatest figure there is; null where it has no end.
        certifiable: Whether a drop of it may be proved; calibration error is reported only.
        task: What kind of answer it judges.
        needs: The field of `Predictions` that it reads.
    """

    name: str
    higher_is_better: bool
    kind: Kind
    bounds: tuple[float | None, float | None]
    certifiable: bool
    task: Task
    needs: Needs
    row_figure: Callable[[Predictions, Any], Array] | None = None
    linear_form: Callable[[Predictions, Any], Linear] | None = None
    weighted_form: Callable[[Predictions, Any, Array], Array] | None = None

    @property
    def bounded(self) -> bool:
        """Whether the best possible figure is 1, so that a drop above 0.5 can hardly be meant."""
        return self.bounds[1] is not None

    def per_row(self, predictions: Predictions, target: NDArray[Any] | None) -> Array:
        """The figure of each row, [n], whose mean is the metric.

        Args:
            predictions: Answers to n rows.
            target: True answers, [n] or [n, L]; ignored by a person's own metric.

        Raises:
            ValueError: The metric is a functional, or the answers it reads are missing.
        """
        if self.row_figure is None:
            raise ValueError(f"{self.name} is not a mean over rows")
        self._require(predictions)
        return self.row_figure(predictions, target)

    def linear(self, predictions: Predictions, target: NDArray[Any] | None) -> Linear:
        """The metric as a mean over rows, exact or to first order, and how much one row could spoil it.

        Raises:
            UndefinedMetric: The metric has no value on these rows.
            ValueError: The answers it reads are missing, or it has no such form.
        """
        if self.linear_form is None:
            if self.row_figure is None:
                raise ValueError(f"{self.name} has no linear form: it can be reported, not certified")
            return Linear(rows=self.per_row(predictions, target), harm=1.0 if self.kind == "proportion" else None)
        self._require(predictions)
        return self.linear_form(predictions, target)

    def weighted(self, predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
        """The metric with each row counted `weights` times, for many weightings at once.

        A class that a weighting leaves without rows is left out of that weighting's average, as a class that is missing
        from the rows is; where a weighting leaves the metric undefined (one class only, for an AUROC), it gives NaN.

        Args:
            predictions: Answers to n rows.
            target: True answers, [n] or [n, L].
            weights: Counts, [B, n], not negative, no row of them all zero.

        Returns:
            One figure a weighting, [B].

        Raises:
            ValueError: The answers it reads are missing.
        """
        weights = np.asarray(weights, dtype=np.float64)
        if self.weighted_form is None:
            return np.asarray(weights @ self.per_row(predictions, target) / weights.sum(axis=1))
        self._require(predictions)
        return self.weighted_form(predictions, target, weights)

    def loss(self, baseline: Array, candidate: Array) -> Array:
        """How much worse `candidate` is than `baseline`, in the metric's units: positive is a loss."""
        return baseline - candidate if self.higher_is_better else candidate - baseline

    def _require(self, predictions: Predictions) -> None:
        if getattr(predictions, self.needs) is None:
            raise ValueError(f"{self.name} needs {self.needs}, which these predictions do not have")


def _accuracy(predictions: Predictions, target: NDArray[Any] | None) -> Array:
    labels, truth = np.asarray(predictions.labels), np.asarray(target)
    if truth.shape != labels.shape:
        raise ValueError(f"labels of shape {labels.shape} cannot be compared with a target of shape {truth.shape}")
    same = labels == truth
    right: Array = (same if same.ndim == 1 else same.all(axis=1)).astype(np.float64)
    return right


def _person(predictions: Predictions, target: NDArray[Any] | None) -> Array:  # noqa: ARG001 - one signature for all
    return np.asarray(predictions.scores, dtype=np.float64)


_UNIT: tuple[float | None, float | None] = (0.0, 1.0)
_LOSS: tuple[float | None, float | None] = (0.0, None)

METRIC_NAMES = (
    "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary", "auroc", "log_loss", "ece",
    "mae", "rmse", "r2", "agreement",
)  # fmt: skip


def metric_named(name: str, positive_class: int | None = None) -> Metric:
    """Look a metric up.

    Args:
        name: One of `METRIC_NAMES`; `person`, or a person's own `module:function`, for the mean of
            `Predictions.scores`.
        positive_class: Index of the class that counts as positive, for `f1_binary` and a two-class `auroc`; null for
            class 1.

    Raises:
        ValueError: There is no such metric.

    >>> metric_named("mae").higher_is_better
    False
    """
    positive = 1 if positive_class is None else positive_class
    if name in ("accuracy", "agreement"):
        return Metric(name, True, "proportion", _UNIT, True, "classes", "labels", row_figure=_accuracy)
    if name in ("balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary"):
        return Metric(
            name, True, "functional", _UNIT, True, "classes", "labels",
            linear_form=partial(label_metrics.linear, name, positive),
            weighted_form=partial(label_metrics.weighted, name, positive),
        )  # fmt: skip
    if name == "auroc":
        return Metric(
            name, True, "functional", _UNIT, True, "classes", "probabilities",
            linear_form=partial(ranking.linear, positive), weighted_form=partial(ranking.weighted, positive),
        )  # fmt: skip
    if name == "log_loss":
        return Metric(
            name, False, "mean", _LOSS, True, "classes", "probabilities", row_figure=number_metrics.log_losses
        )
    if name == "ece":
        return Metric(
            name, False, "functional", _UNIT, False, "classes", "probabilities",
            weighted_form=number_metrics.weighted_ece,
        )  # fmt: skip
    if name == "mae":
        return Metric(name, False, "mean", _LOSS, True, "numbers", "values", row_figure=number_metrics.absolute_errors)
    if name == "rmse":
        return Metric(
            name, False, "functional", _LOSS, True, "numbers", "values",
            linear_form=number_metrics.linear_rmse, weighted_form=number_metrics.weighted_rmse,
        )  # fmt: skip
    if name == "r2":
        return Metric(
            name, True, "functional", (None, 1.0), True, "numbers", "values",
            linear_form=number_metrics.linear_r2, weighted_form=number_metrics.weighted_r2,
        )  # fmt: skip
    if name == "person" or ":" in name:
        return Metric(name, True, "mean", (None, None), True, "any", "scores", row_figure=_person)
    raise ValueError(f"no metric is called {name!r}; there are {', '.join(METRIC_NAMES)}, and module:function")


def metric_value(metric: Metric, predictions: Predictions, target: NDArray[Any] | None) -> float:
    """The metric on these rows.

    Args:
        metric: What to measure.
        predictions: Answers to n rows, at least one.
        target: True answers, [n] or [n, L]; for `agreement` the baseline's labels.

    Raises:
        UndefinedMetric: The metric has no value on these rows (no rows, one class only for an AUROC ...).
        ValueError: The answers it reads are missing.
    """
    n = predictions.n
    if n == 0:
        raise UndefinedMetric(f"{metric.name} has no value on no rows")
    if metric.row_figure is not None:
        return float(metric.per_row(predictions, target).mean())
    value = float(metric.weighted(predictions, target, np.ones((1, n)))[0])
    if np.isnan(value):
        metric.linear(predictions, target)  # says why in its error
        raise UndefinedMetric(f"{metric.name} has no value on these {n} rows")
    return value


def metric_estimate(
    metric: Metric,
    predictions: Predictions,
    target: NDArray[Any] | None,
    groups: NDArray[np.integer[Any]] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """The metric on these rows with a two-sided interval.

    Wilson's interval for ungrouped proportions; otherwise Student's t on the rows' figures or influences, by group
    where there are groups; a percentile bootstrap for calibration error, which has no influences.

    Args:
        metric: What to measure.
        predictions: Answers to n rows, at least one.
        target: True answers, [n] or [n, L]; for `agreement` the baseline's labels.
        groups: Which rows belong together, [n]; null where rows are independent.
        confidence: Two-sided.
        seed: Of the bootstrap.

    Raises:
        UndefinedMetric: The metric has no value on these rows.
        ValueError: The answers it reads are missing.
    """
    value = metric_value(metric, predictions, target)
    n = predictions.n
    if metric.kind == "proportion" and groups is None:
        low, high = wilson(round(value * n), n, confidence)
        return Estimate(value=value, low=low, high=high, n=n, method="Wilson interval")
    if metric.linear_form is None and metric.row_figure is None:
        return _bootstrap_estimate(metric, predictions, target, groups, confidence, seed)
    linear = metric.linear(predictions, target)
    interval = mean_interval(linear.rows, linear.scale, groups, confidence)
    least, greatest = metric.bounds
    low_end, high_end = interval.low, interval.high
    return interval.model_copy(
        update={
            "value": value,
            "low": low_end if low_end is None or least is None else min(value, max(low_end, least)),
            "high": high_end if high_end is None or greatest is None else max(value, min(high_end, greatest)),
        }
    )


def _bootstrap_estimate(
    metric: Metric,
    predictions: Predictions,
    target: NDArray[Any] | None,
    groups: NDArray[np.integer[Any]] | None,
    confidence: float,
    seed: int,
) -> Estimate:
    rng = np.random.default_rng(seed)
    n, replicates = predictions.n, 999
    block = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    blocks = int(block.max()) + 1
    figures = []
    for _ in range(0, replicates, 100):
        counts = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=100).astype(np.float64)
        figures.append(metric.weighted(predictions, target, counts[:, block]))
    drawn = np.concatenate(figures)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = metric_value(metric, predictions, target)
    of_what = "rows" if groups is None else "groups"
    return Estimate(
        value=value,
        low=min(value, float(low)),
        high=max(value, float(high)),
        n=n,
        method=f"percentile bootstrap over {of_what}",
    )
