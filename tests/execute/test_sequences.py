"""A batch of token sequences is divided by length, and answered in the order of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.execute.sequences import SequenceSession, by_sequence
from equipoise.execute.stages import answer_in_batches

Array = np.ndarray[Any, Any]
NAMES = ("input_ids", "attention_mask")


class Counting:
    """Sums the ids that the mask shows, and remembers what it was asked."""

    def __init__(self, batch: int | None = None) -> None:
        inputs = tuple(TensorSpec(name=name, dtype="int64", shape=(batch, None)) for name in NAMES)
        self.spec = ModelSpec(inputs=inputs, outputs=(TensorSpec(name="sum", dtype="int64", shape=(batch,)),))
        self.shapes: list[tuple[int, ...]] = []

    def prepare(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return feeds

    def run(self, prepared: Mapping[str, Array]) -> dict[str, Array]:
        self.shapes.append(prepared["input_ids"].shape)
        return {"sum": (prepared["input_ids"] * prepared["attention_mask"]).sum(axis=1)}


def rows(lengths: list[int], width: int = 128) -> dict[str, Array]:
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    ids = np.random.default_rng(0).integers(1, 1000, mask.shape)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_answers_come_in_the_order_of_the_rows(batch: int) -> None:
    feeds = rows([120, 3, 128, 7, 9, 1, 64, 100])
    session = by_sequence(Counting())
    found = answer_in_batches(session, feeds, batch)
    assert found["sum"].tolist() == (feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1).tolist()


def test_long_and_short_rows_of_a_batch_run_apart() -> None:
    model = Counting()
    session = by_sequence(model)
    session.run(session.prepare(rows([120, 3, 118, 7])))
    assert model.shapes == [(2, 8), (2, 120)]


def test_a_fixed_batch_is_not_divided() -> None:
    model = Counting(batch=2)
    session = by_sequence(model)
    session.run(session.prepare(rows([120, 3])))
    assert model.shapes == [(2, 120)]


def test_what_is_no_sequence_is_left_alone() -> None:
    model = Counting()
    model.spec = ModelSpec(inputs=model.spec.inputs[:1], outputs=model.spec.outputs)
    assert by_sequence(model) is model
    assert isinstance(by_sequence(Counting()), SequenceSession)
