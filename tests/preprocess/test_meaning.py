from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BriefError, DataError, ModelError
from equipoise.preprocess.answers import OutputMeaning
from equipoise.preprocess.meaning import infer_meaning

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.standard_normal((6, 3))
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
CLASSES = np.arange(6) % 3
TEXT = np.array(["a", "b", "c"], dtype=object)[CLASSES]


def _infer(outputs: dict[str, Any], **known: Any) -> OutputMeaning:
    tensors = tuple(TensorSpec(name=name, dtype="float32", shape=(None,)) for name in outputs)
    return infer_meaning(ModelSpec(inputs=(), outputs=tensors), outputs, **known)


@pytest.mark.parametrize(
    ("output", "known", "kind", "labels"),
    [
        (LOGITS, {"target": CLASSES}, "logits", (0, 1, 2)),
        (SHARES, {"target": CLASSES}, "probabilities", (0, 1, 2)),
        (SHARES.astype(np.float16), {"target": CLASSES}, "probabilities", (0, 1, 2)),
        (SHARES, {"target": CLASSES, "output_kind": "logits"}, "logits", (0, 1, 2)),
        (LOGITS, {"target": TEXT, "labels": ("a", "b", "c")}, "logits", ("a", "b", "c")),
        (LOGITS, {"target": TEXT, "class_labels": ("a", "b", "c")}, "logits", ("a", "b", "c")),
        (LOGITS, {"target": None, "metric": "agreement"}, "logits", (0, 1, 2)),
        ((20 * LOGITS).astype(np.int8), {"target": CLASSES}, "logits", (0, 1, 2)),
        (TEXT, {"target": TEXT}, "labels", ("a", "b", "c")),
        (TEXT[:, None], {"target": TEXT}, "labels", ("a", "b", "c")),
        (CLASSES + 5, {"target": np.arange(6) % 2 + 5}, "labels", (5, 6, 7)),
        (LOGITS[:, :1], {"target": CLASSES % 2}, "logits", (0, 1)),
        (SHARES[:, 0], {"target": CLASSES % 2}, "probabilities", (0, 1)),
        (SHARES[:, 0], {"target": TEXT[CLASSES % 2], "labels": ("a", "b")}, "probabilities", ("a", "b")),
        (LOGITS[:, 0], {"target": CLASSES % 2, "metric": "mae"}, "value", None),
        (LOGITS[:, 0], {"target": CLASSES % 2, "task": "numbers"}, "value", None),
        (LOGITS[:, 0], {"target": LOGITS[:, 1]}, "value", None),
        (LOGITS[:, 0], {"target": np.arange(6) * 7}, "value", None),
        (LOGITS[:, 0], {}, "value", None),
    ],
)
def test_what_an_output_holds(output: np.ndarray, known: dict[str, Any], kind: str, labels: Any) -> None:
    found = _infer({"out": output}, **known)
    assert (found.output, found.kind, found.labels, found.multilabel) == ("out", kind, labels, False)


def test_several_labels_a_row() -> None:
    target = (LOGITS > 0).astype(int)
    assert _infer({"out": LOGITS}, target=target) == OutputMeaning("out", "logits", (0, 1, 2), multilabel=True)
    assert _infer({"out": 1 / (1 + np.exp(-LOGITS))}, target=target).kind == "probabilities"
    assert _infer({"out": target}, target=target).kind == "labels"
    assert _infer({"out": target}, multilabel=True).multilabel


def test_a_classifier_is_judged_by_the_probabilities_that_agree_with_its_label() -> None:
    agreeing = np.array(["a", "b", "c"], dtype=object)[SHARES.argmax(axis=1)]
    outputs = {"label": agreeing, "probabilities": SHARES}
    classes = ("a", "b", "c")
    assert _infer(outputs, target=TEXT, class_labels=classes).output == "probabilities"
    assert _infer(outputs, target=TEXT, class_labels=classes, output="label").kind == "labels"
    other = np.roll(agreeing, 1)
    assert _infer({"label": other, "probabilities": SHARES}, target=TEXT, class_labels=classes).output == "label"
    for metric in ("auroc", "log_loss"):
        found = _infer({"label": other, "probabilities": SHARES}, target=TEXT, class_labels=classes, metric=metric)
        assert found.output == "probabilities"


def test_several_candidates_are_named() -> None:
    outputs = {"logits": LOGITS, "embedding": RANDOM.standard_normal((6, 8))}
    with pytest.raises(BriefError, match=r"2 outputs: logits \[3\], embedding \[8\]; name the one to judge: --output"):
        _infer(outputs, target=CLASSES)
    assert _infer(outputs, target=CLASSES, output="logits").kind == "logits"
    assert _infer(outputs, metric="none").output == "logits"


@pytest.mark.parametrize(
    ("output", "known", "error", "says"),
    [
        (LOGITS, {"target": CLASSES + 1}, DataError, r"classes \[3\] that are not among the model's \[0, 1, 2\]"),
        (LOGITS, {"target": TEXT}, DataError, r"classes \[a, b, c\].*--labels"),
        (LOGITS, {"labels": ("a", "b")}, BriefError, "found 2 names; output 'out' has 3 classes"),
        (CLASSES, {"target": TEXT}, DataError, r"classes are \[a, b, c\].*gives labels such as \[0, 1, 2\]"),
        (LOGITS, {"output_kind": "probabilities"}, BriefError, "needed 0 to 1: is its kind logits"),
        (LOGITS, {"output_kind": "labels"}, BriefError, "needed one label a row"),
        (LOGITS, {"output_kind": "value"}, BriefError, "needed one number a row"),
        (TEXT, {"output_kind": "logits"}, BriefError, "needed numbers for the kind logits"),
        (LOGITS, {"metric": "rmse"}, BriefError, "needed one number a row"),
        (LOGITS, {"output": "gone"}, BriefError, "found 'gone'"),
        (LOGITS, {"rows": 7}, ModelError, "6 answers to 7 rows"),
        ([[1.0], [1.0, 2.0]], {}, ModelError, "ragged"),
        (np.full((6, 3), np.nan), {}, ModelError, "not a finite number in 6 of 6 rows"),
        (np.zeros((6, 3, 3)), {}, ModelError, r"\[3, 3\] a row.*--metric module:function"),
    ],
)
def test_what_cannot_be_judged(output: Any, known: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        _infer({"out": output}, **known)


def test_ones_own_metric_takes_any_output() -> None:
    found = _infer({"boxes": np.zeros((6, 3, 4)), "scores": np.zeros((6, 3))}, metric="mine:score", target=TEXT)
    assert (found.function, found.labels) == ("mine:score", None)
