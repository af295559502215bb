"""A metric as a mean over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class UndefinedMetric(ValueError):  # noqa: N818 - reads as what happened
    """A metric has no value on the rows at hand: one class only for an AUROC, equal targets for an R2, no rows."""


@dataclass(frozen=True)
class Linear:
    """A metric as a mean over rows: exactly, or to first order around the rows at hand.

    For a functional T the row's figure is T plus its influence, the derivative of T as that row's weight grows (the
    infinitesimal jackknife; for an AUROC, DeLong's placements). Differences of two models' rows then behave like
    differences of any paired mean, so that one test serves every metric.

    Attributes:
        rows: One figure a row, [n]; their mean is the metric.
        harm: The most that the mean of `rows` would lose, times n, if the answer to one row were spoilt; null where
            the metric has no bound.
    """

    rows: NDArray[np.float64]
    harm: float | None

    @property
    def scale(self) -> float:
        """`harm`; where that is unbounded, the range of the rows' figures, or their size where they do not differ."""
        if self.harm is not None:
            return self.harm
        if len(self.rows) == 0:
            return 0.0
        spread = float(np.ptp(self.rows))
        return spread if spread > 0 else float(np.abs(self.rows).max())
