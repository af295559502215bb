"""Figures as people read them: money, time, size, quality."""

from __future__ import annotations

import math
from collections.abc import Callable

from equipoise.core.certificate import FloorCertificate, Margin
from equipoise.core.estimate import Estimate

LEAST_CHANCE = 0.0001
NOTHING = "–"
SHARES = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_binary", "agreement"})
LOWER_IS_BETTER = frozenset({"log_loss", "ece", "mae", "rmse"})
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1 (macro)",
    "f1_weighted": "F1 (weighted)",
    "f1_binary": "F1",
    "auroc": "AUROC",
    "log_loss": "log loss",
    "ece": "calibration error",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "agreement": "agreement with the original",
}


def money(usd: float | None) -> str:
    """US dollars with the digits that matter.

    Example:
        >>> [money(usd) for usd in (4.9, 0.4137, 0.00123, 12345.6, 0, None)]
        ['$4.90', '$0.414', '$0.0012', '$12,346', '$0.00', '–']
    """
    if usd is None:
        return NOTHING
    if usd < 0:
        return f"-{money(-usd)}"
    if usd == 0 or usd >= 0.995:
        return f"${usd:,.0f}" if usd >= 1000 else f"${usd:.2f}"
    digits = 3 if usd >= 0.01 else 2
    return f"${usd:.{digits - 1 - math.floor(math.log10(usd))}f}".rstrip("0")


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits.

    Example:
        >>> [duration(seconds) for seconds in (0.000042, 0.0183, 2.5, 200.0, None)]
        ['42 µs', '18.3 ms', '2.5 s', '3 min 20 s', '–']
    """
    if seconds is None:
        return NOTHING
    if seconds >= 120:
        return f"{int(seconds // 60)} min {round(seconds % 60)} s"
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{significant(seconds * factor)} {unit}"
    return f"{significant(seconds * 1e6)} µs"


def size(count: float | None) -> str:
    """Bytes in the unit that fits.

    Example:
        >>> [size(count) for count in (512, 3_400_000, 2.1e9)]
        ['512 B', '3.4 MB', '2.1 GB']
    """
    if count is None:
        return NOTHING
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count:.0f} B"


def significant(value: float | None, digits: int = 3) -> str:
    """A number with three digits that matter, thousands set apart, never in powers of ten.

    Example:
        >>> [significant(value) for value in (1234.5, 12.345, 5.0, 0.01234, 0)]
        ['1,234', '12.3', '5', '0.0123', '0']
    """
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def chance(value: float) -> str:
    """A p-value: below one in ten thousand, how far below says nothing.

    Example:
        >>> chance(0.0321), chance(3e-40)
        ('p = 0.0321', 'p < 0.0001')
    """
    return f"p = {significant(value)}" if value >= LEAST_CHANCE else f"p < {LEAST_CHANCE:g}"


def quality(metric: str, value: float | None) -> str:
    """A figure of a metric: shares as percent, others as they are.

    Example:
        >>> quality("accuracy", 0.8302), quality("mae", 0.41234)
        ('83.02%', '0.4123')
    """
    if value is None:
        return NOTHING
    return f"{value * 100:.2f}%" if metric in SHARES else significant(value, 4)


def loss(metric: str, value: float | None) -> str:
    """A loss, or a margin, of a metric.

    Example:
        >>> loss("accuracy", 0.01), loss("accuracy", 0.0023), loss("mae", 0.05), loss("accuracy", -0.002)
        ('1 point', '0.23 points', '0.05', 'a gain of 0.2 points')
    """
    if value is None:
        return NOTHING
    amount = abs(value)
    if metric not in SHARES:
        text = significant(amount)
    else:
        text = f"{significant(amount * 100)} point{'' if round(amount * 100, 9) == 1 else 's'}"
    return f"a gain of {text}" if value < 0 else text


def allowed(metric: str, margin: Margin) -> str:
    """A margin in plain words.

    Example:
        >>> allowed("mae", Margin(drop=0.02, relative=True))
        "2% of the original's figure"
    """
    return (
        f"{significant(margin.drop * 100)}% of the original's figure" if margin.relative else loss(metric, margin.drop)
    )


def metric_name(metric: str) -> str:
    """The metric's name for people; a person's own function by its name."""
    return METRICS.get(metric, metric)


def interval(estimate: Estimate, unit: Callable[[float], str]) -> str:
    """The ends of an estimate's interval, empty where it has none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{unit(estimate.low)} to {unit(estimate.high)}"


def times(ratio: float | None) -> str:
    """How many times cheaper.

    Example:
        >>> times(11.95), times(1.04), times(None)
        ('12×', '1.04×', '–')
    """
    return NOTHING if ratio is None else f"{significant(ratio, 3 if ratio < 10 else 2)}×"


def percent(share: float) -> str:
    """A share as percent.

    Example:
        >>> percent(0.803), percent(0.00012), percent(1.0)
        ('80.3%', '0.012%', '100%')
    """
    return f"{significant(share * 100)}%"


def floor_bound(certificate: FloorCertificate) -> str:
    """How good a degraded mode surely is, towards worse; empty where no bound is known.

    Example:
        >>> from equipoise.core.estimate import Estimate
        >>> found = Estimate(value=0.791, low=0.781, high=0.8, n=3000, method="")
        >>> floor_bound(FloorCertificate(metric="accuracy", floor=0.75, confidence=0.95, n=3000, quality=found,
        ...                              p_value=0.001, method="", passed=True))
        'surely at least 78.10%'
    """
    low, high, metric = certificate.quality.low, certificate.quality.high, certificate.metric
    # A person's own metric does not say which way is worse: a figure that passed lies on the better side of its floor.
    falling = metric in LOWER_IS_BETTER or (
        metric not in METRICS and certificate.passed and certificate.quality.value < certificate.floor
    )
    bound = high if falling else low
    return "" if bound is None else f"surely at {'most' if falling else 'least'} {quality(metric, bound)}"
