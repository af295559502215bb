"""Instant batches: those that are over before another thread would have begun them."""

from __future__ import annotations

INSTANT_S = 1e-4
"""A batch that is to take no longer is computed in the loop's thread: handing it to another and back would keep the
loop, and the client, for longer than the batch does."""
LATE_S, MOST_LATE, LATE_MEMORY = 1e-3, 0.25, 0.1
"""An instant batch that takes longer is late. Where more than this share of a stage's last ten or so are, as after
three in a row, none of them is taken to be instant any more."""


class Instant:
    """Tells which batches of a plan are instant, until they are not.

    Args:
        stages: How many stages the plan has.
        in_process: Whether this process computes them; no batch is instant that another process computes.
    """

    def __init__(self, stages: int, *, in_process: bool) -> None:
        self._in_process = in_process
        self._late_share = [0.0] * stages

    def expects(self, stage: int, seconds: float) -> bool:
        """Whether a batch that is to take so long should be computed at once."""
        return self._in_process and seconds <= INSTANT_S and self._late_share[stage] <= MOST_LATE

    def took(self, stage: int, seconds: float) -> None:
        """What a batch took that was computed at once."""
        self._late_share[stage] += LATE_MEMORY * ((seconds > LATE_S) - self._late_share[stage])
