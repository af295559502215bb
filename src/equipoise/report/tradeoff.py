"""What a looser limit would buy, from the candidates that were measured."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from equipoise.report.details import ScreenedPoint


@dataclass(frozen=True)
class StairStep:
    """From this limit on, this candidate is the cheapest.

    Attributes:
        limit: The loosest that the candidate needs: seconds, or units of the metric.
        point: The candidate.
    """

    limit: float
    point: ScreenedPoint


def staircase(points: Sequence[ScreenedPoint], needs: Callable[[ScreenedPoint], float | None]) -> tuple[StairStep, ...]:
    """The cheapest candidate for each value of a limit: its cost never rises as the limit loosens.

    Args:
        points: Candidates.
        needs: The tightest limit that a candidate meets; null for one that cannot be placed, which is left out.

    Returns:
        Steps from the tightest limit to the loosest, each cheaper than the one before.
    """
    placed = [StairStep(limit, point) for point in points if (limit := needs(point)) is not None]
    steps: list[StairStep] = []
    for step in sorted(placed, key=lambda step: (step.limit, step.point.usd_per_million)):
        if not steps or step.point.usd_per_million < steps[-1].point.usd_per_million:
            steps.append(step)
    return tuple(steps)


def cheapest_within(steps: Sequence[StairStep], limit: float) -> ScreenedPoint | None:
    """The cheapest candidate that meets a limit; null where none does."""
    index = bisect_right([step.limit for step in steps], limit * (1 + 1e-9))
    return steps[index - 1].point if index else None
