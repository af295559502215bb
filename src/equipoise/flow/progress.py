"""What a study tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a study stands.

    Attributes:
        doing: What is being done, in a few words.
        elapsed_s: Wall time so far, earlier sittings included.
        budget_s: Wall time it may take.
        tried: Candidates that have been looked at.
        best: The best so far; empty before there is one.
        usd_per_million: What the best so far costs; null before there is one.
        baseline_usd_per_million: What the original costs with its best settings; null before it was timed.
        proved: Whether the best so far has been certified.
    """

    doing: str
    elapsed_s: float
    budget_s: float
    tried: int = 0
    best: str = ""
    usd_per_million: float | None = None
    baseline_usd_per_million: float | None = None
    proved: bool = False


Watcher = Callable[[Progress], None]


def nobody_watches(progress: Progress) -> None:
    """A watcher that looks away."""
