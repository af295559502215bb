"""Until when each phase of a search may begin something new."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phases:
    """Shares of the budget, 0 to 1.

    Attributes:
        build: After which nothing more is built.
        screen: After which nothing more is screened, what was built included.
        tune: After which finalists keep the settings that screening found.
    """

    build: float
    screen: float
    tune: float


JUDGED = Phases(build=0.45, screen=0.58, tune=0.62)
UNJUDGED = Phases(build=0.55, screen=0.68, tune=0.75)
"""Where nothing is judged there is no proof to leave time for."""
