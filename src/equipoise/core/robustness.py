"""How the original and a cheaper plan stand corrupted rows, side by side."""

from __future__ import annotations

from typing import Literal

from equipoise.core.certificate import Margin, SliceVerdictName
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun


class CorruptionFigures(Noun):
    """Both models on the rows of one corruption and strength.

    Attributes:
        set_name: The set that the rows are in, as verdicts name it; `main` for rows as they are.
        name: The corruption; `main` for none.
        strength: 1 to 5; 0 for rows as they are; null for all five together.
        n: Rows that both answered.
        baseline: The original's metric on them; null where it has no value there.
        candidate: The other plan's.
        difference: Loss from the original to it, positive is a loss; `low` and `high` are one-sided bounds at the
            certificate's confidence each.
        margin: The loss that is allowed on the whole set; null for a part of it.
        verdict: Of the whole set, as in the certificate; null for a part of it.
        blocks: Whether that verdict forbids the candidate.
    """

    set_name: str
    name: str
    strength: int | None
    n: int
    baseline: Estimate | None
    candidate: Estimate | None
    difference: Estimate | None
    margin: Margin | None = None
    verdict: SliceVerdictName | None = None
    blocks: bool = False


class Robustness(Noun):
    """How the original and one other plan stand corruptions.

    Attributes:
        candidate: Name of that plan: what was chosen, or the cheapest that was refused for a corruption.
        chosen: Whether it was chosen.
        split: Rows that the figures are of: those of the proof, or those of the search where it did not come to that.
        figures: Rows as they are first, then each set, followed by its strengths where it has several.
    """

    candidate: str
    chosen: bool
    split: Literal["search", "certify"]
    figures: tuple[CorruptionFigures, ...]
