"""How far a training is, by the time and the steps that are left, and how large its steps are there."""

from __future__ import annotations

import math

WARM_UP = 0.05
LAST_FACTOR = 0.01


class Pace:
    """Where a training stands between its first step, 0, and its last, 1.

    Each step moves it on by its share of the steps that are left: as many as the time allows, and no more than are
    wanted. So the last step comes at 1 whether time or steps run out first, and where steps do, time has no influence.

    Example:
        >>> pace = Pace()
        >>> for left in (4, 3, 2, 1):
        ...     pace.move(left, seconds_left=100.0, step_s=1.0)
        >>> pace.progress
        1.0
    """

    def __init__(self) -> None:
        self.progress = 0.0

    def move(self, steps_left: int, seconds_left: float, step_s: float) -> None:
        """One step is done.

        Args:
            steps_left: Steps that were wanted yet, this one included.
            seconds_left: Time left before it.
            step_s: What a step takes, from those so far.
        """
        by_time = seconds_left / step_s if step_s > 0 else math.inf
        self.progress = min(1.0, self.progress + (1 - self.progress) / max(1.0, min(steps_left, by_time)))

    @property
    def factor(self) -> float:
        """Share of the largest learning rate: a short linear rise, then half a cosine down (arXiv 1608.03983)."""
        if self.progress < WARM_UP:
            return 0.1 + 0.9 * self.progress / WARM_UP
        fallen = (self.progress - WARM_UP) / (1 - WARM_UP)
        return LAST_FACTOR + (1 - LAST_FACTOR) * 0.5 * (1 + math.cos(math.pi * fallen))
