"""Bias that compression brings in: whose answers change, in which direction, and whether some are hit more than others.

A model that is as accurate as before may still have moved its errors: to a class, or to people of one kind (Hooker et
al., "Characterising bias in compressed models", arXiv 2010.03058). Everything here is counted on paired rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtri

from equipoise.core.estimate import Estimate
from equipoise.core.flips import ErrorRates, FlipCounts, LabelFlip
from equipoise.stats.intervals import clopper_pearson
from equipoise.stats.tango import tango_bounds

Labels = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
ALL_ROWS = "all rows"
MOST_LABEL_FLIPS = 20
MOST_CLASSES = 50
"""Classes that are listed one by one; of more, the most frequent."""


@dataclass(frozen=True)
class PairedLabels:
    """Both models' labels of the same rows.

    Attributes:
        before: The original's, [n].
        after: The new plan's, [n].
        truth: The true ones, [n]; null where there are none.
        names: What each label is called.
        slices: Name of a slice to its rows, [n] each.
        confidence: Of each interval.
    """

    before: Labels
    after: Labels
    truth: Labels | None
    names: Sequence[str]
    slices: Mapping[str, Mask]
    confidence: float = 0.95


def flip_counts(labels: PairedLabels) -> tuple[FlipCounts, ...]:
    """Changed answers on all rows, by slice, and by true class."""
    everything = np.ones(len(labels.before), dtype=bool)
    by_class = {} if labels.truth is None else {f"class={labels.names[c]}": labels.truth == c for c in _classes(labels)}
    return (
        _counts(labels, ALL_ROWS, "all", everything, None),
        *_by_place(labels, "slice", labels.slices),
        *_by_place(labels, "class", by_class),
    )


def label_flips(labels: PairedLabels) -> tuple[LabelFlip, ...]:
    """Pairs of labels that rows changed between, the most frequent first, 20 at most."""
    moved = labels.before != labels.after
    pairs, counts = np.unique(np.stack([labels.before[moved], labels.after[moved]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_LABEL_FLIPS]
    found = []
    for (before, after), count in zip(pairs[order].tolist(), counts[order].tolist(), strict=True):
        rows = (labels.before == before) & (labels.after == after)
        found.append(
            LabelFlip(
                before=labels.names[before],
                after=labels.names[after],
                count=count,
                share=share_of(count, int((labels.before == before).sum()), labels.confidence),
                turned_wrong=None if labels.truth is None else int((labels.truth[rows] == before).sum()),
                turned_right=None if labels.truth is None else int((labels.truth[rows] == after).sum()),
            )
        )
    return tuple(found)


def error_rates(labels: PairedLabels, positive: int | None = None) -> tuple[ErrorRates, ...]:
    """Differences of false positive and false negative rates.

    Args:
        labels: Of both models.
        positive: For two classes, the one that counts as positive; null for the second.

    Returns:
        For two classes on all rows and on each slice; for more, of each class on all rows. Empty without true labels.
    """
    if labels.truth is None:
        return ()
    everything = {ALL_ROWS: np.ones(len(labels.before), dtype=bool)}
    if len(labels.names) == 2:
        one = 1 if positive is None else positive
        return tuple(_rates(labels, place, rows, one) for place, rows in (everything | dict(labels.slices)).items())
    return tuple(_rates(labels, ALL_ROWS, everything[ALL_ROWS], one) for one in _classes(labels))


def hardest_hit(labels: PairedLabels, fall: NDArray[np.floating[Any]] | None, most: int) -> NDArray[np.intp]:
    """Rows that only the original answers right, those whose right label lost most probability first.

    Args:
        labels: Of both models; without true labels, the original's are taken for right.
        fall: By how much the probability of the right label fell, [n]; null where it is not known.
        most: Rows at most.
    """
    right = labels.before if labels.truth is None else labels.truth
    rows = np.flatnonzero((labels.before == right) & (labels.after != right))
    if fall is not None:
        rows = rows[np.argsort(-fall[rows], kind="stable")]
    return rows[:most]


def share_of(count: int, n: int, confidence: float) -> Estimate:
    """A share with its exact interval (Clopper-Pearson), both ends at the confidence together."""
    low, high = clopper_pearson(count, n, confidence)
    return Estimate(value=count / n, low=low, high=high, n=n, method="Clopper-Pearson interval")


def fisher(hits: int, drawn: int, marked: int, n: int) -> float:
    """Fisher's exact test, two-sided: the chance of a draw that is no likelier than the one that was seen.

    Args:
        hits: Marked rows among those drawn.
        drawn: Rows drawn.
        marked: Marked rows in all.
        n: Rows in all.

    >>> round(fisher(3, 4, 4, 8), 4)
    0.4857
    """
    possible = np.arange(max(0, drawn + marked - n), min(drawn, marked) + 1)

    def log_choose(total: NDArray[Any] | int, part: NDArray[Any] | int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (
            gammaln(np.add(total, 1)) - gammaln(np.add(part, 1)) - gammaln(np.subtract(total, part) + 1)
        )
        return found

    logs = log_choose(marked, possible) + log_choose(n - marked, drawn - possible) - log_choose(n, drawn)
    seen = logs[possible == hits]
    return float(min(1.0, np.exp(logs[logs <= seen + 1e-7]).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being the smallest of many (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - place)))
        found[index] = running
    return found


def _classes(labels: PairedLabels) -> list[int]:
    if labels.truth is None:
        return []
    counts = np.bincount(labels.truth, minlength=len(labels.names))
    most = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    return sorted(int(each) for each in most if counts[each] > 0)


def _turned_wrong(labels: PairedLabels) -> Mask:
    right = labels.before if labels.truth is None else labels.truth
    wrong: Mask = (labels.before == right) & (labels.after != right)
    return wrong


def _by_place(
    labels: PairedLabels, kind: Literal["slice", "class"], places: Mapping[str, Mask]
) -> tuple[FlipCounts, ...]:
    there = {place: rows for place, rows in places.items() if rows.any()}
    wrong = _turned_wrong(labels)
    tests = [_unlike_the_rest(wrong, rows) for rows in there.values()]
    return tuple(
        _counts(labels, place, kind, rows, p_value)
        for (place, rows), p_value in zip(there.items(), holm(tests), strict=True)
    )


def _unlike_the_rest(wrong: Mask, rows: Mask) -> float:
    return fisher(int((wrong & rows).sum()), int(rows.sum()), int(wrong.sum()), len(rows))


def _counts(
    labels: PairedLabels, place: str, kind: Literal["all", "slice", "class"], rows: Mask, p_value: float | None
) -> FlipCounts:
    before, after, n = labels.before[rows], labels.after[rows], int(rows.sum())
    changed = share_of(int((before != after).sum()), n, labels.confidence)
    if labels.truth is None:
        return FlipCounts(place=place, kind=kind, n=n, changed=changed, p_value=p_value)
    truth = labels.truth[rows]
    harmed = int(((before == truth) & (after != truth)).sum())
    helped = int(((before != truth) & (after == truth)).sum())
    return FlipCounts(
        place=place,
        kind=kind,
        n=n,
        changed=changed,
        right_to_wrong=share_of(harmed, n, labels.confidence),
        wrong_to_right=share_of(helped, n, labels.confidence),
        loss=_difference(harmed, helped, n, labels.confidence),
        p_value=p_value,
    )


def _rates(labels: PairedLabels, place: str, rows: Mask, positive: int) -> ErrorRates:
    assert labels.truth is not None
    before, after = labels.before[rows] == positive, labels.after[rows] == positive
    is_positive = labels.truth[rows] == positive

    def more(wrong_before: Mask, wrong_after: Mask) -> tuple[Estimate | None, float | None]:
        n = len(wrong_before)
        if n == 0:
            return None, None
        harmed, helped = int((wrong_after & ~wrong_before).sum()), int((wrong_before & ~wrong_after).sum())
        return _difference(harmed, helped, n, labels.confidence), float(wrong_before.mean())

    false_positive, baseline_positive = more(before[~is_positive], after[~is_positive])
    false_negative, baseline_negative = more(~before[is_positive], ~after[is_positive])
    return ErrorRates(
        place=place,
        positive=labels.names[positive],
        n_negative=int((~is_positive).sum()),
        n_positive=int(is_positive.sum()),
        false_positive=false_positive,
        false_negative=false_negative,
        baseline_false_positive=baseline_positive,
        baseline_false_negative=baseline_negative,
    )


def _difference(harmed: int, helped: int, n: int, confidence: float) -> Estimate:
    """Rows harmed less rows helped, as a share, with Tango's score bounds, one-sided at the confidence each."""
    value = (harmed - helped) / n
    low, high = tango_bounds(harmed, helped, n, float(ndtri(confidence)))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n, method="Tango score bounds")
