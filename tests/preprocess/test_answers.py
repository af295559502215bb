from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.errors import DataError, ModelError
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target

LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 5.0]], np.float32)


def _meaning(kind: Any, labels: Any = None, multilabel: bool = False, function: str | None = None) -> OutputMeaning:
    return OutputMeaning("out", kind, labels, multilabel, function)


def _object(*values: Any) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def test_logits() -> None:
    found = decode({"out": LOGITS, "other": LOGITS}, _meaning("logits", (0, 1, 2)))
    assert found.labels is not None
    assert found.probabilities is not None
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_allclose(found.probabilities[0], np.exp(LOGITS[0]) / np.exp(LOGITS[0]).sum(), rtol=1e-6)


def test_large_logits_do_not_overflow() -> None:
    found = decode({"out": np.array([[1e4, -1e4]])}, _meaning("logits", (0, 1)))
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[1.0, 0.0]]
    found = decode({"out": np.array([1e4, -1e4])}, _meaning("logits", (0, 1)))
    assert found.probabilities is not None
    assert found.probabilities.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_logits_that_softmax_cannot_tell_apart_keep_their_class() -> None:
    found = decode({"out": np.array([[50.0, 50.0 + 1e-14, -900.0]])}, _meaning("logits", (0, 1, 2)))
    assert found.labels is not None
    assert found.labels.tolist() == [1]


def test_one_column_is_the_second_class() -> None:
    for shape in ((3,), (3, 1), (3, 1, 1)):
        found = decode({"out": np.array([0.2, 0.5, 0.9]).reshape(shape)}, _meaning("probabilities", ("no", "yes")))
        assert found.labels is not None
        assert found.probabilities is not None
        assert found.labels.tolist() == [0, 1, 1]
        np.testing.assert_allclose(found.probabilities, [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])


def test_multilabel() -> None:
    found = decode({"out": LOGITS}, _meaning("logits", ("a", "b", "c"), multilabel=True))
    assert found.labels is not None
    assert found.probabilities is not None
    assert found.labels.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert found.probabilities[0, 1] == 0.5
    labels = decode({"out": np.array([[1, 0]])}, _meaning("labels", (0, 1), multilabel=True)).labels
    assert labels is not None
    assert labels.tolist() == [[1, 0]]


def test_values() -> None:
    found = decode({"out": np.array([[1.5], [2.5]], np.float32)}, _meaning("value"))
    assert found.values is not None
    assert found.values.tolist() == [1.5, 2.5]
    assert found.values.dtype == np.float64


@pytest.mark.parametrize(
    ("answers", "labels", "codes"),
    [
        (_object("b", "a", "z"), ("a", "b"), [1, 0, 2]),  # z is none of the classes
        (np.array([3, 1, 2]), (1, 2, 3), [2, 0, 1]),
        (np.array([1, -1]), (-1, 1), [1, 0]),
        (np.array([1, 0]), ("cat", "dog"), [1, 0]),  # indices of names
        (np.array([1, 0]), ("0", "1"), [1, 0]),
        (np.array([True, False]), (False, True), [1, 0]),
        (np.array([2.0, 1.0]), (1, 2), [1, 0]),
        (_object("7", "9"), (7, 9), [0, 1]),
    ],
)
def test_labels(answers: np.ndarray, labels: Any, codes: list[int]) -> None:
    found = decode({"out": answers}, _meaning("labels", labels)).labels
    assert found is not None
    assert found.tolist() == codes


@pytest.mark.parametrize(
    ("target", "labels", "codes"),
    [
        (np.array([0, 2]), (0, 1, 2), [0, 2]),
        (_object("b", "a"), ("a", "b"), [1, 0]),
        (np.array([1, 0]), ("cat", "dog"), [1, 0]),
        (np.array([7, 9]), ("7", "9"), [0, 1]),
        (np.array([True, False]), (0, 1), [1, 0]),
        (np.array([1.0, 2.0]), (1, 2), [0, 1]),
        (np.array([1, 0], np.uint8), ("0", "1", "2"), [1, 0]),
    ],
)
def test_targets(target: np.ndarray, labels: Any, codes: list[int]) -> None:
    found = encode_target(target, _meaning("logits", labels))
    assert found.tolist() == codes
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("target", "labels", "says"),
    [
        (np.array([1, 10]), tuple(range(10)), "classes [10] that are not among the model's [0, 1, 2"),
        (_object(">50K.", "<=50K."), (">50K", "<=50K"), "classes [<=50K., >50K.]"),
        (np.array([0, 2]), ("cat", "dog"), "classes [2]"),
        (np.array([0.5, 1.0]), (0, 1), "classes [0.5]"),
    ],
)
def test_targets_with_other_classes(target: np.ndarray, labels: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        encode_target(target, _meaning("logits", labels))
    assert says in caught.value.found
    assert "--labels" in caught.value.needed


def test_targets_of_numbers_and_of_several_labels() -> None:
    assert encode_target(np.array([1, 2]), _meaning("value")).dtype == np.float64
    with pytest.raises(DataError, match="it is text, 'a' for example"):
        encode_target(_object("a"), _meaning("value"))
    several = _meaning("logits", (0, 1), multilabel=True)
    assert encode_target(np.array([[0.0, 1.0]]), several).tolist() == [[0, 1]]
    for wrong in (np.array([[0, 2]]), np.array([0, 1]), np.array([[0, 1, 1]])):
        with pytest.raises(DataError, match="0 or 1 for each of the 2 labels"):
            encode_target(wrong, several)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ([[1.0], [1.0, 2.0]], "ragged"),
        (_object([1], [1, 2]), "ragged"),
        (np.zeros((3, 2)), "3 answers to 2 rows"),
        (np.zeros((2, 4)), "[4] a row; needed 3 columns"),
        (np.zeros((2, 3, 3)), "[3, 3] a row"),
        (np.float32(1.0), "single value"),
        (np.array([[0.0, 0.0, 1.0], [np.nan, 0.0, 0.0]]), "not a finite number in 1 of 2 rows, first in row 2"),
    ],
)
def test_what_is_no_answer(output: Any, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        decode({"out": output}, _meaning("logits", (0, 1, 2)), rows=2)
    assert "'out'" in caught.value.where
    assert says in str(caught.value)


def test_the_judged_output_is_missing() -> None:
    with pytest.raises(ModelError, match="'out': not among a, b"):
        decode({"a": LOGITS, "b": LOGITS}, _meaning("logits", (0, 1, 2)))
