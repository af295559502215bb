"""A model's outputs as columns that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import Distrust, Plan
from equipoise.errors import DataError
from equipoise.execute.stages import CONFIDENCE, STAGE, TRUSTED
from equipoise.preprocess.answers import class_shares, positive_shares, present

Array = NDArray[Any]


def answers(outputs: Mapping[str, Array], plan: Plan, labels: Sequence[str] | None) -> dict[str, Array]:
    """Turn outputs into `label` and `confidence`, or into `value`.

    Confidence is the probability that the model itself gives to the label it names: the softmax of logits (the logistic
    function where there is one logit a row). It is only as honest as the model is.

    Args:
        outputs: Output name to array of shape [n, ...].
        plan: Which output is judged, and what it holds.
        labels: Class names in the order of the output's columns; null where classes are numbered from 0.

    Returns:
        Column name to array of shape [n]: `label` (text, or int64 where classes are numbered) and, where the model
        gives one, `confidence` (0 to 1); `value`, or `value_0`, `value_1`, ... for a model that predicts numbers. A
        model that gives a row several labels has one column `label` with their names, joined by `;` (numbers where
        they have no names): those of a probability of at least 0.5, or a logit of at least 0. A plan of several stages
        adds `stage`, the number of the stage that answered, from 1, and one that may distrust its answer `trusted`:
        what is not trusted is left empty (not a number, for numbers) where it is referred to a person, or is the
        plan's default.

    Raises:
        DataError: Scores of some rows are not finite.
    """
    _require_confidence(outputs)
    found = _own(outputs, plan, labels)
    if len(plan.stages) > 1:
        found["stage"] = outputs[STAGE] + 1
    if plan.distrust is not None:
        found = _without_untrusted(found, ~outputs[TRUSTED], plan.distrust) | {"trusted": outputs[TRUSTED]}
    return found


def _require_confidence(outputs: Mapping[str, Array]) -> None:
    """Refuse rows of which a stage that was asked could not say how sure it is: its scores were no numbers."""
    confidence = outputs.get(CONFIDENCE)
    if confidence is None:
        return
    asked = np.arange(confidence.shape[1]) <= outputs[STAGE][:, None]
    unknown: Array = np.any(asked & ~np.isfinite(confidence), axis=1)
    if unknown.any():
        raise DataError(
            "the data",
            f"a stage's scores are not finite for {unknown.sum():,} of {len(unknown):,} rows, "
            f"first in row {int(unknown.argmax()) + 1} of them",
            "such rows have no answer: look for missing or huge values in them",
        )


def _own(outputs: Mapping[str, Array], plan: Plan, labels: Sequence[str] | None) -> dict[str, Array]:
    output = outputs[plan.output]
    if plan.output_kind == "value":
        return _values(output)
    if plan.output_kind == "labels" and not plan.multilabel:
        return _labels(output, outputs, labels)
    scores = np.asarray(output, dtype=np.float64).reshape(len(output), -1)
    unknown = ~np.isfinite(scores).all(axis=1)
    if unknown.any():
        raise DataError(
            "the data",
            f"the model's scores are not finite for {unknown.sum():,} of {len(scores):,} rows",
            "such rows have no answer: look for missing or huge values in them",
        )
    if plan.multilabel:
        marked = scores != 0 if plan.output_kind == "labels" else present(scores, plan.output_kind) == 1
        return {"label": _joined(marked, labels)}
    if scores.shape[1] == 1:
        chosen = present(scores[:, 0], plan.output_kind)
        positive = positive_shares(scores[:, 0], plan.output_kind)
        confidence = np.where(chosen == 1, positive, 1 - positive)
    else:
        # The class comes from the scores themselves: a softmax can round two different ones to the same probability.
        chosen = scores.argmax(axis=1)
        confidence = class_shares(scores, plan.output_kind).max(axis=1)
    return {"label": chosen if labels is None else _text([labels[i] for i in chosen]), "confidence": confidence}


def _without_untrusted(found: dict[str, Array], untrusted: Array, distrust: Distrust) -> dict[str, Array]:
    """The answers with what is not trusted replaced; the simple stage's answers stand in their places already."""
    if distrust.answer == "simple":
        return found
    replaced = {}
    for name, column in found.items():
        number = column.dtype.kind == "f"
        changed = column.astype(np.float64 if number else object)
        if name.startswith(("label", "value")):
            instead: object = np.nan if number else ""
            if distrust.answer == "default":
                instead = float(distrust.default or "nan") if number else distrust.default
            changed[untrusted] = instead
            column = changed if number else _text([str(value) for value in changed])
        replaced[name] = column
    return replaced


def _values(output: Array) -> dict[str, Array]:
    flat = output.reshape(len(output), -1)
    if flat.shape[1] == 1:
        return {"value": flat[:, 0]}
    return {f"value_{index}": flat[:, index] for index in range(flat.shape[1])}


def _labels(output: Array, outputs: Mapping[str, Array], labels: Sequence[str] | None) -> dict[str, Array]:
    columns = {"label": _names(output.reshape(len(output)), labels)}
    probabilities = outputs.get("probabilities")
    if probabilities is not None and probabilities.ndim == 2:
        columns["confidence"] = probabilities.max(axis=1).astype(np.float64)
    return columns


def _joined(marked: NDArray[np.bool_], labels: Sequence[str] | None) -> Array:
    names = np.asarray(labels or [str(index) for index in range(marked.shape[1])])
    return _text([";".join(names[row]) for row in marked])


def _names(classes: Array, labels: Sequence[str] | None) -> Array:
    # A label output may hold the class names themselves, and those may be numbers: only what is no name is an index.
    if classes.dtype.kind in "OUS":
        return _text([str(value) for value in classes])
    whole = classes.astype(np.int64) if classes.dtype.kind in "iub" else classes
    if labels is None:
        return whole
    known = set(labels)
    return _text(
        [
            str(value) if str(value) in known or not 0 <= value < len(labels) else labels[int(value)]
            for value in whole.tolist()
        ]
    )


def _text(values: list[str]) -> Array:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
