"""What the judged output of a model holds, and its translation into answers that metrics read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.brief import OutputKind
from equipoise.errors import DataError, ModelError
from equipoise.preprocess.person import person_scores
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
ClassLabel = str | bool | int | float


@dataclass(frozen=True)
class OutputMeaning:
    """What the judged output holds.

    Attributes:
        output: Its name.
        kind: `logits` or `probabilities` (a column a class, or one column for the second of two classes), `labels`, or
            `value`.
        labels: Classes in the order of its columns (multi-label: names of the labels); null for numbers.
        multilabel: Whether a row has several labels, each there or not.
        function: The person's own metric, `module:function`, which judges all outputs itself.
    """

    output: str
    kind: OutputKind
    labels: tuple[ClassLabel, ...] | None
    multilabel: bool
    function: str | None = None


def decode(
    outputs: Mapping[str, Any], meaning: OutputMeaning, target: Array | None = None, rows: int | None = None
) -> Predictions:
    """Translate a model's outputs into answers.

    Args:
        outputs: Output name to [n, ...].
        meaning: What the judged output holds.
        target: True answers as they stand in the data, [n] or [n, L]; read by a person's own metric only.
        rows: How many rows were asked; null to take the output's word for it.

    Returns:
        Class indices and probabilities, or numbers, or the person's own figures. A label that is none of
        `meaning.labels` becomes the index after the last.

    Raises:
        ModelError: The output is missing, ragged, no answer to each row, no finite number, or has another number of
            columns than there are classes.
        BriefError: The person's own metric failed.
    """
    if meaning.function is not None:
        arrays = {name: checked(name, values, rows) for name, values in outputs.items()}
        return Predictions(scores=person_scores(meaning.function, arrays, target))
    if meaning.output not in outputs:
        raise ModelError(f"output {meaning.output!r}", f"not among {', '.join(outputs)}", "needed the judged output")
    array = flat(meaning.output, checked(meaning.output, outputs[meaning.output], rows), meaning.multilabel)
    if meaning.kind == "labels":
        return Predictions(labels=_label_codes(array, meaning))
    scores = array.astype(np.float64)
    require_finite(meaning.output, scores)
    if meaning.kind == "value":
        return Predictions(values=scores.reshape(len(scores)))
    labels = meaning.labels or ()
    if meaning.multilabel:
        _require_columns(meaning.output, scores, len(labels))
        return Predictions(labels=present(scores, meaning.kind), probabilities=positive_shares(scores, meaning.kind))
    if scores.ndim == 1:
        positive = positive_shares(scores, meaning.kind)
        return Predictions(
            labels=present(scores, meaning.kind), probabilities=np.stack([1 - positive, positive], axis=1)
        )
    _require_columns(meaning.output, scores, len(labels))
    # The class comes from the scores themselves: a softmax can round two different ones to the same probability.
    return Predictions(labels=scores.argmax(axis=1), probabilities=class_shares(scores, meaning.kind))


def present(scores: Array, kind: str) -> NDArray[np.int64]:
    """1 where a label is there, or the second of two classes: a logit of at least 0, a probability of at least 0.5."""
    return (scores >= (0 if kind == "logits" else 0.5)).astype(np.int64)


def positive_shares(scores: Array, kind: str) -> Array:
    """Probability of each label, or of the second of two classes: the logistic function of logits."""
    return np.asarray(0.5 * (1 + np.tanh(scores / 2))) if kind == "logits" else scores


def class_shares(scores: Array, kind: str) -> Array:
    """Probability of each class, [n, C]: the softmax of logits."""
    if kind != "logits":
        return scores
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def encode_target(target: Array, meaning: OutputMeaning) -> Array:
    """Translate true answers into what metrics compare with.

    Args:
        target: True answers as they stand in the data, [n] or [n, L].
        meaning: What the judged output holds.

    Returns:
        Class indices, int64 [n]; for multi-label 0 or 1, int64 [n, L]; for numbers float64 [n]. For a person's own
        metric, the target itself.

    Raises:
        DataError: The target has classes that the model does not have, or is no number where numbers are predicted.
    """
    if meaning.function is not None:
        return target
    if meaning.kind == "value":
        if target.dtype.kind not in "biuf" or target.ndim != 1:
            text = target.dtype == object
            found = f"it is text, {target.ravel()[0]!r} for example" if text else f"shape {target.shape}"
            raise DataError("the target", found, f"output {meaning.output!r} holds one number a row")
        return target.astype(np.float64)
    labels = meaning.labels or ()
    if meaning.multilabel:
        ok = target.ndim == 2 and target.shape[1] == len(labels) and target.dtype.kind in "biuf"
        if not ok or not np.isin(target, (0, 1)).all():
            raise DataError(
                "the target",
                f"shape {target.shape} of {target.dtype}",
                f"needed 0 or 1 for each of the {len(labels)} labels in every row",
            )
        return target.astype(np.int64)
    if target.ndim != 1:
        raise DataError("the target", f"shape {target.shape}", "needed one class a row")
    classes, inverse = np.unique(comparable(target), return_inverse=True)
    codes = _codes(classes, labels)
    if codes is None:
        strangers = [value.item() for value in classes if _codes(np.array([value]), labels) is None]
        raise DataError(
            "the target",
            f"it has classes [{shown(strangers)}] that are not among the model's [{shown(labels)}]",
            "needed the same classes: correct the target, or name the model's classes in order with --labels",
        )
    return codes[inverse.reshape(-1)]


def checked(name: str, values: Any, rows: int | None = None) -> Array:
    """An output as an array with one entry a row.

    Raises:
        ModelError: It is ragged (its rows have different shapes), or has not one entry for each of `rows`.
    """
    if isinstance(values, np.ndarray) and values.dtype != object:
        array = values
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            array = np.empty(0, dtype=object)
        if array.size == 0 or (array.dtype == object and not all(isinstance(value, str) for value in array.ravel())):
            raise ModelError(
                f"output {name!r}",
                "it is ragged: its rows have different shapes",
                "needed the same shape in every row; judge another output with --output",
            )
    if array.ndim == 0:
        raise ModelError(f"output {name!r}", "it is a single value", "needed one answer a row: choose another --output")
    if rows is not None and len(array) != rows:
        raise ModelError(
            f"output {name!r}",
            f"{len(array):,} answers to {rows:,} rows",
            "needed one answer a row: choose another --output",
        )
    return array


def flat(name: str, array: Array, multilabel: bool) -> Array:
    """[n] where there is one column a row, [n, C] otherwise."""
    if array.ndim > 2 and array.size == len(array) * array.shape[1]:
        array = array.reshape(len(array), -1)
    if array.ndim > 2:
        raise ModelError(
            f"output {name!r}",
            f"it has the shape {list(array.shape[1:])} a row",
            "needed one number, label or row of scores; judge others through your own --metric module:function",
        )
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and not multilabel else array


def _label_codes(array: Array, meaning: OutputMeaning) -> Array:
    labels = meaning.labels or ()
    if meaning.multilabel:
        _require_columns(meaning.output, array, len(labels))
        return array.astype(np.int64)
    values, inverse = np.unique(comparable(array), return_inverse=True)
    codes = _codes(values, labels)
    if codes is None:
        index = {str(label): code for code, label in enumerate(labels)}
        codes = np.array([index.get(str(value), len(labels)) for value in values.tolist()], dtype=np.int64)
    return codes[inverse.reshape(-1)]


def _codes(values: Array, labels: Sequence[ClassLabel]) -> NDArray[np.int64] | None:
    """Index of each value among the labels: by value, by spelling, or as an index itself where labels are names."""
    found = values.tolist()
    for spell in (lambda value: value, str):
        index = {spell(label): code for code, label in enumerate(labels)}
        if all(spell(value) in index for value in found):
            return np.array([index[spell(value)] for value in found], dtype=np.int64)
    names = all(isinstance(label, str) and not label.lstrip("-").isdigit() for label in labels)
    if names and values.dtype.kind in "iu" and all(0 <= value < len(labels) for value in found):
        return values.astype(np.int64)
    return None


def comparable(array: Array) -> Array:
    """Text as text, truth values and whole floats as integers, so that `1`, `1.0` and `True` are one class."""
    if array.dtype == object or array.dtype.kind == "U":
        return array.astype(str)
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and bool((array == np.round(array)).all())):
        return array.astype(np.int64)
    return array


def require_finite(name: str, array: Array) -> None:
    """Refuse an output with NaN or infinite numbers.

    Raises:
        ModelError: It has some.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        first = int(bad.argmax()) + 1
        raise ModelError(
            f"output {name!r}",
            f"it is not a finite number in {int(bad.sum()):,} of {len(array):,} rows, first in row {first}",
            "needed an answer to every row: does the model take these inputs?",
        )


def _require_columns(name: str, array: Array, classes: int) -> None:
    if array.ndim != 2 or array.shape[1] != classes:
        raise ModelError(
            f"output {name!r}", f"it has the shape {list(array.shape[1:])} a row", f"needed {classes} columns"
        )


def shown(values: Sequence[Any], most: int = 12) -> str:
    """Values for a message, the first few of many."""
    return ", ".join(str(value) for value in values[:most]) + (", ..." if len(values) > most else "")
