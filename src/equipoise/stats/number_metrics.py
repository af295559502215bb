"""Errors of predicted numbers, and losses and calibration of predicted probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.stats.linear import Linear, UndefinedMetric
from equipoise.stats.predictions import Predictions

Array = NDArray[np.float64]

# Resolution of float32 near 1: the same answer has the same loss in float32 and float64, and at most 15.9 nats.
PROBABILITY_FLOOR = 2.0**-23
ECE_BINS = 15


def log_losses(predictions: Predictions, target: NDArray[Any] | None) -> Array:
    """Minus the logarithm of the true class's probability, in nats, [n]; for multi-label the mean over labels.

    Probabilities are held to [2^-23, 1 - 2^-23]. A true class that the model has no column for has probability 0.
    """
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    truth = np.asarray(target)
    if len(truth) != len(probabilities):
        raise ValueError(f"{len(probabilities)} rows of probabilities cannot be compared with {len(truth)} targets")
    if truth.ndim == 2:
        given = np.where(truth == 1, probabilities, 1 - probabilities)
        return np.asarray(-np.log(np.clip(given, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)).mean(axis=1))
    known = (truth >= 0) & (truth < probabilities.shape[1])
    column = np.where(known, truth, 0).astype(np.intp)
    given = np.where(known, np.take_along_axis(probabilities, column[:, None], axis=1)[:, 0], 0.0)
    return np.asarray(-np.log(np.clip(given, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)))


def weighted_ece(predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
    """Expected calibration error in each weighting, [B, n] to [B]: 15 equal-width bins of the largest probability.

    The sum over bins of (rows in the bin / rows) times |share right - mean confidence|.
    """
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    truth = np.asarray(target)
    if truth.ndim == 2:
        raise ValueError("ece is not defined for multi-label answers")
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * ECE_BINS).astype(np.intp) - 1, 0, ECE_BINS - 1)
    gap = np.zeros((len(confidence), ECE_BINS))
    gap[np.arange(len(confidence)), bins] = confidence - right
    return np.asarray(np.abs(weights @ gap).sum(axis=1) / weights.sum(axis=1))


def _errors(predictions: Predictions, target: NDArray[Any] | None) -> Array:
    values = np.asarray(predictions.values, dtype=np.float64)
    truth = np.asarray(target, dtype=np.float64)
    if values.shape != truth.shape:
        raise ValueError(f"values of shape {values.shape} cannot be compared with a target of shape {truth.shape}")
    return np.asarray(values - truth)


def absolute_errors(predictions: Predictions, target: NDArray[Any] | None) -> Array:
    """Size of each row's error, [n]."""
    return np.abs(_errors(predictions, target))


def weighted_rmse(predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
    """Root mean squared error in each weighting, [B, n] to [B]."""
    return np.asarray(np.sqrt(weights @ _errors(predictions, target) ** 2 / weights.sum(axis=1)))


def linear_rmse(predictions: Predictions, target: NDArray[Any] | None) -> Linear:
    """Root mean squared error as a mean over rows, to first order: a row's influence is (e^2 - mse) / (2 rmse)."""
    squared = _errors(predictions, target) ** 2
    if len(squared) == 0:
        raise UndefinedMetric("rmse has no value on no rows")
    mse = float(squared.mean())
    rmse = mse**0.5
    return Linear(rows=rmse + (squared - mse) / (2 * rmse) if rmse > 0 else np.zeros(len(squared)), harm=None)


def weighted_r2(predictions: Predictions, target: NDArray[Any] | None, weights: Array) -> Array:
    """Coefficient of determination in each weighting, [B, n] to [B]; NaN where its targets do not differ."""
    squared = _errors(predictions, target) ** 2
    centred = np.asarray(target, dtype=np.float64) - np.mean(np.asarray(target, dtype=np.float64))
    total = weights.sum(axis=1)
    spread = weights @ centred**2 - (weights @ centred) ** 2 / total
    defined = spread > 1e-12 * max(float((centred**2).sum()), np.finfo(np.float64).tiny)
    return np.where(defined, 1 - (weights @ squared) / np.where(defined, spread, 1), np.nan)


def linear_r2(predictions: Predictions, target: NDArray[Any] | None) -> Linear:
    """Coefficient of determination as a mean over rows, to first order.

    With u the share of variance left unexplained, a row's influence is (u (y - mean y)^2 - e^2) / variance of y.
    """
    squared = _errors(predictions, target) ** 2
    truth = np.asarray(target, dtype=np.float64)
    if len(truth) == 0:
        raise UndefinedMetric("r2 has no value on no rows")
    centred = (truth - truth.mean()) ** 2
    variance = float(centred.mean())
    if variance == 0:
        raise UndefinedMetric(f"r2 needs targets that differ, all {len(truth)} are {truth[0]:g}")
    unexplained = float(squared.mean()) / variance
    return Linear(rows=1 - unexplained + (unexplained * centred - squared) / variance, harm=None)
