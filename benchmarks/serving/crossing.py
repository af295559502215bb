"""Where a rising figure crosses a bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def crossing(at: Sequence[float], figure: Sequence[float], bound: float) -> float:
    """Where a figure crosses a bound, between two readings in proportion to its logarithm; not a number where nowhere.

    Noise may let a figure fall where it should rise: each reading is raised to the largest before it.

    Example:
        >>> crossing([10.0, 20.0, 30.0], [0.01, 0.1, 1.0], 0.1)
        20.0
    """
    raised = np.maximum.accumulate(np.log(np.asarray(figure, dtype=np.float64)))
    level = float(np.log(bound))
    if not raised[0] <= level <= raised[-1]:
        return float("nan")
    place = int(np.searchsorted(raised, level))
    if place == 0 or raised[place] == raised[place - 1]:
        return float(at[place])
    weight = (level - raised[place - 1]) / (raised[place] - raised[place - 1])
    return float(at[place - 1] + weight * (at[place] - at[place - 1]))
