"""How long batches take, drawn from measured samples."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from equipoise.policy.batch import ServiceModel

Samples = Mapping[int, NDArray[np.float64]]


def levels_of(groups: Sequence[Hashable], seconds: NDArray[np.float64]) -> list[float]:
    """How slow each batch of a run was among those of its own kind: quantile levels, to be given to `draw`.

    A machine has slow moments: what is started then takes long, whatever it is, and waits add up as they would not if
    slow batches came one at a time. Levels in the order of a run keep that; levels drawn at random lose it.

    Args:
        groups: Kind of each batch (its stage and rows), in the order of the run.
        seconds: What each took, float64[n].

    Returns:
        Levels from [0, 1).

    Example:
        >>> levels_of(["a", "b", "a", "a"], np.array([0.3, 9.0, 0.1, 0.2]))
        [0.8333333333333334, 0.5, 0.16666666666666666, 0.5]
    """
    found = np.empty(len(seconds))
    for group in set(groups):
        of_group = np.array([each == group for each in groups])
        ranks = np.argsort(np.argsort(seconds[of_group], kind="stable"), kind="stable")
        found[of_group] = (ranks + 0.5) / len(ranks)
    return [float(level) for level in found]


class ServiceTimes:
    """Draws the seconds of a batch from what was measured at some batch sizes.

    A mean would hide what makes queues long: a single slow batch delays all behind it. So a time is a measured one.
    Between two measured sizes it lies in proportion between their empirical quantiles at one and the same draw, which
    keeps the shape of both; beyond the largest size it grows in proportion to the rows, and below the smallest it is
    that one's.

    Args:
        samples: Batch size in rows to measured seconds, [n] each, in any order.

    Raises:
        ValueError: No batch size, one without samples, or a figure that is out of range.

    Example:
        >>> times = ServiceTimes({1: np.array([0.010, 0.030]), 3: np.array([0.020, 0.050])})
        >>> [round(times.draw(rows, 0.9), 6) for rows in (1, 2, 3, 6)]
        [0.03, 0.04, 0.05, 0.1]
    """

    def __init__(self, samples: Samples) -> None:
        if not samples:
            raise ValueError("service times need at least one measured batch size, found none")
        self.sizes = sorted(samples)
        self._ordered = [np.sort(np.asarray(samples[rows], dtype=np.float64).ravel()) for rows in self.sizes]
        for rows, seconds in zip(self.sizes, self._ordered, strict=True):
            if rows < 1 or not len(seconds) or not (np.isfinite(seconds).all() and seconds[0] > 0):
                raise ValueError(
                    f"a batch has at least 1 row and samples that are more than 0 s, found {len(seconds)} samples of "
                    f"{rows} rows" + (f" between {seconds[0]} and {seconds[-1]} s" if len(seconds) else "")
                )
        self._lists = [seconds.tolist() for seconds in self._ordered]
        self._places: dict[int, tuple[list[float], list[float], float, float]] = {}

    def draw(self, rows: int, uniform: float) -> float:
        """Seconds of one batch.

        Args:
            rows: Rows of the batch, >= 1.
            uniform: A draw from [0, 1): the level of the quantile.
        """
        place = self._places.get(rows)
        if place is None:
            place = self._places[rows] = self._place(rows)
        low, high, weight, factor = place
        seconds = low[int(uniform * len(low))]
        if weight:
            seconds += (high[int(uniform * len(high))] - seconds) * weight
        return seconds * factor

    def medians(self) -> ServiceModel:
        """The service model that decisions are made with."""
        return ServiceModel(
            [(rows, float(np.median(seconds))) for rows, seconds in zip(self.sizes, self._ordered, strict=True)]
        )

    def mean_s(self, rows: int) -> float:
        """Mean seconds of a batch of `rows` rows."""
        low, high, weight, factor = self._place(rows)
        mean = float(np.mean(low)) * (1 - weight) + float(np.mean(high)) * weight
        return mean * factor

    def _place(self, rows: int) -> tuple[list[float], list[float], float, float]:
        after = bisect_left(self.sizes, rows)
        if after == len(self.sizes):
            return self._lists[-1], self._lists[-1], 0.0, rows / self.sizes[-1]
        if after == 0 or self.sizes[after] == rows:
            return self._lists[after], self._lists[after], 0.0, 1.0
        low, high = self.sizes[after - 1], self.sizes[after]
        return self._lists[after - 1], self._lists[after], (rows - low) / (high - low), 1.0
