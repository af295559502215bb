"""Decoded answers."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.stats.predictions import Predictions


def test_take_keeps_order_and_what_is_missing() -> None:
    predictions = Predictions(labels=np.array([3, 1, 2]), probabilities=np.eye(3))
    taken = predictions.take(np.array([2, 0]))
    assert taken.labels is not None
    assert taken.labels.tolist() == [2, 3]
    assert taken.probabilities is not None
    assert taken.probabilities.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert taken.values is None
    assert taken.n == 2


@pytest.mark.parametrize("field", ["labels", "probabilities", "values", "scores"])
def test_rows_are_counted_from_whichever_answer_there_is(field: str) -> None:
    assert Predictions(**{field: np.zeros((4, 1))}).n == 4


def test_no_answers_have_no_number_of_rows() -> None:
    with pytest.raises(ValueError, match="no labels"):
        _ = Predictions().n
