"""Finds out which output of a model is judged, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.core.brief import OutputKind
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BriefError, DataError
from equipoise.preprocess.answers import (
    ClassLabel,
    OutputMeaning,
    checked,
    comparable,
    encode_target,
    flat,
    require_finite,
    shown,
)

Array = NDArray[Any]
Task = Literal["classes", "numbers"]

NUMBER_METRICS = ("mae", "rmse", "r2")
PROBABILITY_METRICS = ("auroc", "log_loss", "ece")
SUM_TOLERANCE = 1e-2  # float16 and int8 probabilities do not sum to 1 exactly
MOST_CLASSES_BY_GUESS = 2  # a single column of scores is a class only where the target has two of them


def infer_meaning(
    spec: ModelSpec,
    outputs: Mapping[str, Any],
    *,
    target: Array | None = None,
    metric: str | None = None,
    output: str | None = None,
    output_kind: OutputKind | None = None,
    labels: Sequence[str] | None = None,
    class_labels: Sequence[ClassLabel] | None = None,
    task: Task | None = None,
    multilabel: bool = False,
    rows: int | None = None,
) -> OutputMeaning:
    """Find out which output is judged and what it holds, from what is said and what is seen.

    Args:
        spec: What the model gives.
        outputs: Its answers to some rows: output name to [n, ...].
        target: True answers of *all* rows, [n] or [n, L]; null where there are none.
        metric: From the brief; null to choose by the target.
        output: From the brief: the output that is judged.
        output_kind: From the brief: what it holds.
        labels: From the brief: class names in the order of its columns.
        class_labels: Classes in the order of its columns, as the model's file says them.
        task: Whether the model predicts classes or numbers, as its file says.
        multilabel: Whether the model gives several labels, as its file says.
        rows: How many rows were asked; null to take the outputs' word for it.

    Raises:
        BriefError: The brief names an output that is not there, contradicts what it holds, or must say more.
        ModelError: An output is ragged, or is no answer to each row.
        DataError: The target has classes that the model does not have.
    """
    arrays = {name: checked(name, values, rows) for name, values in outputs.items()}
    if metric is not None and ":" in metric:
        name = _chosen(spec, arrays, output) if output or len(arrays) == 1 else spec.outputs[0].name
        return OutputMeaning(name, output_kind or "value", None, multilabel=False, function=metric)
    several = multilabel or (target is not None and target.ndim == 2)
    name = _chosen(spec, arrays, output, class_labels, metric)
    array = flat(name, arrays[name], several)
    numbers = task == "numbers" or metric in NUMBER_METRICS
    kind = output_kind or _kind(array, target, numbers, several, metric, labels or class_labels)
    _check_kind(name, array, kind, several)
    if kind == "value":
        return OutputMeaning(name, kind, None, multilabel=False)
    named = _labels(name, array, kind, several, labels, class_labels, target)
    meaning = OutputMeaning(name, kind, named, several)
    if target is not None and metric not in ("agreement", "none"):
        encode_target(target, meaning)
    return meaning


def _chosen(
    spec: ModelSpec,
    arrays: Mapping[str, Array],
    output: str | None,
    class_labels: Sequence[ClassLabel] | None = None,
    metric: str | None = None,
) -> str:
    names = [tensor.name for tensor in spec.outputs if tensor.name in arrays]
    if output is not None:
        if output not in names:
            raise BriefError("--output", f"found {output!r}", f"needed one of the model's outputs: {', '.join(names)}")
        return output
    if len(names) == 1:
        return names[0]
    pair = _classifier_pair(arrays, names)
    if pair is not None:
        label, probabilities = pair
        codes = arrays[probabilities].argmax(axis=1)
        same = class_labels is not None and len(class_labels) == arrays[probabilities].shape[1]
        if same:
            expected = [str(class_labels[code]) for code in codes]  # type: ignore[index]
            same = expected == [str(value) for value in arrays[label].reshape(-1).tolist()]
        # A classifier whose `predict` is not its most probable class (an SVM's) is judged by what it predicts.
        return probabilities if same or metric in PROBABILITY_METRICS else label
    if metric == "none":
        return names[0]
    described = ", ".join(f"{name} {list(arrays[name].shape[1:])}" for name in names)
    raise BriefError(
        "--output", f"the model has {len(names)} outputs: {described}", "name the one to judge: --output NAME"
    )


def _classifier_pair(arrays: Mapping[str, Array], names: Sequence[str]) -> tuple[str, str] | None:
    """The outputs of a classifier that gives both its label and the probabilities behind it."""
    labels = [name for name in names if arrays[name].dtype.kind in "biuOU" and arrays[name].size == len(arrays[name])]
    shares = [name for name in names if arrays[name].dtype.kind == "f" and arrays[name].ndim == 2]
    return (labels[0], shares[0]) if len(names) == 2 and len(labels) == len(shares) == 1 else None


def _kind(
    array: Array,
    target: Array | None,
    numbers: bool,
    multilabel: bool,
    metric: str | None,
    named: Sequence[ClassLabel] | None,
) -> OutputKind:
    if numbers:
        return "value"
    if array.dtype.kind in "iu" and array.ndim == 2 and not multilabel:
        return "logits"  # scores of a model that was quantised to its very end: their order is what they say
    if array.dtype.kind != "f":
        return "labels"
    if array.ndim == 1:
        classes = named is not None or metric not in (None, "none", "agreement")
        if not classes and target is not None:
            classes = target.dtype.kind != "f" and len(np.unique(comparable(target))) <= MOST_CLASSES_BY_GUESS
        if not classes:
            return "value"
        return "probabilities" if ((array >= 0) & (array <= 1)).all() else "logits"
    inside = bool(((array >= 0) & (array <= 1)).all())
    if multilabel:
        return "probabilities" if inside else "logits"
    sums = array.astype(np.float64).sum(axis=1)
    return "probabilities" if inside and np.abs(sums - 1).max() <= SUM_TOLERANCE else "logits"


def _check_kind(name: str, array: Array, kind: OutputKind, multilabel: bool) -> None:
    where, found = f"output {name!r}", f"it holds {array.dtype} {list(array.shape[1:])} a row"
    if kind == "labels":
        if array.ndim == 2 and not multilabel:
            raise BriefError(where, found, "needed one label a row for the kind labels")
        return
    if array.dtype.kind not in "biuf":
        raise BriefError(where, found, f"needed numbers for the kind {kind}")
    require_finite(name, array)
    if kind == "value" and array.ndim != 1:
        raise BriefError(
            where, found, "needed one number a row; judge several through your own --metric module:function"
        )
    if kind == "probabilities" and not ((array >= -SUM_TOLERANCE) & (array <= 1 + SUM_TOLERANCE)).all():
        raise BriefError(where, f"it holds {array.min():g} to {array.max():g}", "needed 0 to 1: is its kind logits?")


def _labels(
    name: str,
    array: Array,
    kind: OutputKind,
    multilabel: bool,
    labels: Sequence[str] | None,
    class_labels: Sequence[ClassLabel] | None,
    target: Array | None,
) -> tuple[ClassLabel, ...]:
    columns = None if kind == "labels" and not multilabel else 2 if array.ndim == 1 else array.shape[1]
    if labels is not None:
        if columns is not None and len(labels) != columns:
            raise BriefError("--labels", f"found {len(labels)} names", f"output {name!r} has {columns} classes")
        return tuple(labels)
    if class_labels is not None and columns in (None, len(class_labels)):
        return tuple(class_labels)
    if columns is not None:
        return tuple(range(columns))
    values = comparable(array)
    known = set(values.tolist())
    if target is not None:
        answers = set(comparable(target).tolist())
        if {type(value) for value in answers} != {type(value) for value in known}:
            raise DataError(
                "the target",
                f"its classes are [{shown(sorted(answers, key=str))}]",
                f"output {name!r} gives labels such as [{shown(sorted(known, key=str))}]: needed the same spelling",
            )
        known |= answers
    return tuple(sorted(known))
