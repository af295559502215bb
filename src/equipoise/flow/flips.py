"""Whose answers the chosen plan changes: named by slice, class and row, for the answer and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Evidence
from equipoise.compose.choice import Choice
from equipoise.core.flips import AffectedRow, Flips
from equipoise.corrupt.images import ImageForm
from equipoise.flow.corrupting import image_forms
from equipoise.flow.evidence import ROW
from equipoise.flow.prepare import Prepared
from equipoise.flow.workbench import Workbench
from equipoise.preprocess.rows import Rows
from equipoise.report.png import png_uri
from equipoise.stats.flips import PairedLabels, error_rates, flip_counts, hardest_hit, label_flips
from equipoise.stats.predictions import Predictions

MOST_ROWS = 20
MOST_FIGURES, MOST_CHARACTERS = 12, 300
"""Of an input that is shown: a longer one is named by its shape, or cut."""


def flips_of(choice: Choice, prepared: Prepared, workbench: Workbench, evidence: Evidence | None) -> Flips | None:
    """Answers of the chosen plan against the original's, on the certify rows of the brief's own distribution.

    Args:
        choice: Where the search ended.
        prepared: What it started from.
        workbench: Holds the outputs.
        evidence: The original's answers to the certify rows.

    Returns:
        Null where the original is kept, or answers are no single labels.
    """
    if evidence is None or prepared.judge is None or choice.chosen is None or choice.decision != "replace":
        return None
    outputs = workbench.outputs(choice.certify_actions[choice.chosen.name])
    main = evidence.main.rows
    before = evidence.baseline.take(main)
    after = prepared.judge.predictions(outputs, "certify").take(main)
    if before.labels is None or after.labels is None or before.labels.ndim != 1:
        return None
    truth = None if evidence.target is None else evidence.target[main]
    place_of = {row: place for place, row in enumerate(main.tolist())}
    slices = {
        claim.name: np.isin(np.arange(len(main)), [place_of[row] for row in claim.rows.tolist()])
        for claim in evidence.claims
        if claim.kind == "slice"
    }
    names = _names(prepared, before, after, truth)
    labels = PairedLabels(
        before=before.labels,
        after=after.labels,
        truth=truth,
        names=names,
        slices=slices,
        confidence=evidence.confidence,
    )
    fall = _fall(before, after, before.labels if truth is None else truth)
    positive = prepared.brief.quality.positive_class
    rows = prepared.material.splits["certify"].take(main)
    numbers = rows.extra[ROW].astype(int).tolist()
    forms = image_forms(rows, prepared.preprocessing)
    return Flips(
        n=len(main),
        confidence=evidence.confidence,
        counts=flip_counts(labels),
        labels=label_flips(labels),
        rates=error_rates(labels, None if positive is None else names.index(positive)),
        rows=tuple(
            AffectedRow(
                row=numbers[place],
                file=prepared.files[numbers[place]] if prepared.files else None,
                truth=None if truth is None else names[int(truth[place])],
                before=names[int(before.labels[place])],
                after=names[int(after.labels[place])],
                fall=None if fall is None else float(fall[place]),
                content=content_of(rows, int(place), forms) if prepared.brief.data.show_rows else None,
            )
            for place in hardest_hit(labels, fall, MOST_ROWS)
        ),
        clustered=evidence.groups is not None,
    )


def content_of(rows: Rows, place: int, forms: Mapping[str, ImageForm]) -> dict[str, str]:
    """What a row holds, as text: its inputs, or the text that they were made of.

    Args:
        rows: Rows.
        place: Which of them.
        forms: How inputs hold images, which become small pictures; other large arrays are named by their shape.

    >>> content_of(Rows({"age": np.array([[31]]), "spectrum": np.zeros((1, 500))}, None), 0, {})
    {'age': '31', 'spectrum': 'float64 [500]'}
    """
    if rows.texts is not None:
        return {"text": _cut(str(rows.texts[place]))}
    found = {}
    for name, array in rows.feeds.items():
        value = array[place]
        if name in forms:
            pixels = forms[name].pixels(array[place : place + 1])[0]
            found[name] = png_uri(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
            continue
        flat = np.asarray(value, dtype=array.dtype).ravel()
        if flat.size > MOST_FIGURES:
            found[name] = f"{array.dtype} {list(value.shape)}"
        else:
            found[name] = _cut(", ".join(_spelled(each) for each in flat.tolist()))
    return found


def _spelled(value: Any) -> str:
    return "missing" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _names(prepared: Prepared, before: Predictions, after: Predictions, truth: NDArray[Any] | None) -> list[str]:
    known = prepared.meaning.labels
    if known is not None:
        return [str(label) for label in known]
    parts = [part for part in (before.labels, after.labels, truth) if part is not None]
    return [str(number) for number in range(1 + max(int(part.max()) for part in parts))]


def _fall(before: Predictions, after: Predictions, right: NDArray[Any]) -> NDArray[np.floating[Any]] | None:
    """By how much the probability of the right label fell."""
    shares = [each.probabilities for each in (before, after)]
    if shares[0] is None or shares[1] is None or shares[0].shape != shares[1].shape:
        return None
    rows = np.arange(len(right))
    fallen: NDArray[np.floating[Any]] = shares[0][rows, right] - shares[1][rows, right]
    return fallen
