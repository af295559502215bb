"""Whose answers changed between the original and the plan that replaces it, and in which direction."""

from __future__ import annotations

from typing import Literal

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun


class FlipCounts(Noun):
    """Answers that changed among the rows of one place.

    Attributes:
        place: `all rows`, a slice (`sex=Female`) or a true class (`class=cat`).
        kind: Which of the three.
        n: Rows.
        changed: Share whose answer is another.
        right_to_wrong: Share that only the original answers right; null, like the three below, without true answers.
        wrong_to_right: Share that only the new plan answers right.
        loss: The first less the second, with a one-sided bound each way.
        p_value: Of the hypothesis that answers turn wrong here as often as on all other rows (Fisher's exact test,
            Holm's correction for the number of places of a kind); null for all rows.
    """

    place: str
    kind: Literal["all", "slice", "class"]
    n: int
    changed: Estimate
    right_to_wrong: Estimate | None = None
    wrong_to_right: Estimate | None = None
    loss: Estimate | None = None
    p_value: float | None = None


class LabelFlip(Noun):
    """Rows that the original gives one label and the new plan another.

    Attributes:
        before: The original's label.
        after: The new plan's.
        count: Rows.
        share: Of the rows that the original gives that label.
        turned_wrong: How many of them the original had right; null, like the next, without true answers.
        turned_right: How many of them the new plan has right.
    """

    before: str
    after: str
    count: int
    share: Estimate
    turned_wrong: int | None = None
    turned_right: int | None = None


class ErrorRates(Noun):
    """How often a class is given where it is not (false positive) and not given where it is (false negative).

    Attributes:
        place: `all rows`, or a slice.
        positive: The class that counts as positive.
        n_negative: Rows of other classes.
        n_positive: Rows of that class.
        false_positive: Share of the first that the new plan gives the class, less the original's share: above 0 is more
            of them. Null where there are no such rows.
        false_negative: Share of the second that it does not give the class, less the original's share.
        baseline_false_positive: The original's share.
        baseline_false_negative: The original's share.
    """

    place: str
    positive: str
    n_negative: int
    n_positive: int
    false_positive: Estimate | None
    false_negative: Estimate | None
    baseline_false_positive: float | None
    baseline_false_negative: float | None


class AffectedRow(Noun):
    """A row that only the original answers right; without true answers, one whose answer changed.

    Attributes:
        row: Its number in the data file, from 0.
        file: The image that it is, where rows are files of their own; null for others.
        truth: Its true label; null without true answers.
        before: The original's label.
        after: The new plan's.
        fall: By how much the probability of the label that was right (without true answers, the original's) fell; null
            where a model gives no probabilities.
        content: What it holds, input name to text, or to a small picture of an image as a data URI; null unless it was
            asked for.
    """

    row: int
    truth: str | None
    before: str
    after: str
    fall: float | None
    content: dict[str, str] | None = None
    file: str | None = None


class Flips(Noun):
    """Whose answers changed, on the certify rows, which were opened for the proof anyway.

    Attributes:
        n: Certify rows of the brief's own distribution.
        confidence: Of each interval by itself: of twenty at 95%, one is off by chance.
        counts: All rows first, then slices, then true classes.
        labels: Pairs of labels, the most frequent first.
        rates: For two classes of the one that counts as positive, on all rows and by slice; for more of each class.
        rows: The rows that are hit hardest, hardest first.
        clustered: Whether rows come in groups: then the intervals, which take rows as independent, are too narrow.
    """

    n: int
    confidence: float
    counts: tuple[FlipCounts, ...]
    labels: tuple[LabelFlip, ...]
    rates: tuple[ErrorRates, ...]
    rows: tuple[AffectedRow, ...]
    clustered: bool = False
