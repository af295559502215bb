"""Whether a figure that was read again and again grows: a slope with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
BLOCKS = 24
MINUTE_S = 60.0


@dataclass(frozen=True)
class Slope:
    """Growth a minute, with a 95% interval: one that holds 0 cannot be told from none."""

    value: float
    low: float
    high: float


def slope_per_minute(at_s: Array, value: Array) -> Slope:
    """A least-squares slope of the means of 24 blocks of time.

    Readings one after another resemble each other, and an interval that takes them for independent is too narrow; the
    means of blocks are nearly so.

    Args:
        at_s: When each was read, ascending: float64[n], n >= 48.
        value: What was read: float64[n].
    """
    blocks = min(BLOCKS, len(at_s) // 2)
    if blocks < 4:
        return Slope(float("nan"), float("nan"), float("nan"))
    x = np.array([part.mean() for part in np.array_split(np.asarray(at_s), blocks)]) / MINUTE_S
    y = np.array([part.mean() for part in np.array_split(np.asarray(value, dtype=np.float64), blocks)])
    if np.ptp(y) == 0:
        return Slope(0.0, 0.0, 0.0)
    fit = stats.linregress(x, y)
    half = float(stats.t.ppf(0.975, blocks - 2)) * float(fit.stderr)
    return Slope(float(fit.slope), float(fit.slope) - half, float(fit.slope) + half)
