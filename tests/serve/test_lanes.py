"""What requests of one batch share: an array, filled up where their rows are token sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from equipoise.serve.lanes import ask

Array = np.ndarray[Any, Any]
FILLING = {"input_ids": 9, "attention_mask": 0}


class Stage:
    """Sums the ids that the mask shows, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Array]] = []

    def __call__(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        self.asked.append(feeds)
        return {"sum": (feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1)}, np.ones(len(feeds["input_ids"]))


def tokens(*rows: list[int]) -> dict[str, Array]:
    ids = np.array(rows)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def test_sequences_of_different_lengths_are_asked_together() -> None:
    stage = Stage()
    pieces = [(tokens([1, 2]), None), (tokens([3, 4, 5], [6, 7, 8]), np.array([1])), (tokens([4]), None)]
    found = ask(stage, pieces, FILLING)
    assert [each[0]["sum"].tolist() for each in found if not isinstance(each, Exception)] == [[3], [21], [4]]
    (feeds,) = stage.asked
    assert feeds["input_ids"].tolist() == [[1, 2, 9], [6, 7, 8], [4, 9, 9]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]


def test_other_shapes_are_asked_one_after_the_other() -> None:
    stage = Stage()
    found = ask(stage, [(tokens([1, 2]), None), (tokens([3]), None), (tokens([4, 5]), None)], {})
    assert [each[0]["sum"].tolist() for each in found if not isinstance(each, Exception)] == [[3], [3], [9]]
    assert [feeds["input_ids"].shape for feeds in stage.asked] == [(2, 2), (1, 1)]
