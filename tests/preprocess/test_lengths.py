"""Filling: where it is, how it is cut off, and how rows of different lengths come together."""

from __future__ import annotations

import numpy as np

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.preprocess.lengths import joined, lengths_of, sequence_inputs, trimmed

NAMES = ("input_ids", "attention_mask")


def spec(width: int | None = None, output: tuple[int | None, ...] = (None, 2)) -> ModelSpec:
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=(None, width)) for name in NAMES)
    return ModelSpec(inputs=inputs, outputs=(TensorSpec(name="logits", dtype="float32", shape=output),))


def rows(*lengths: int, width: int = 40) -> dict[str, np.ndarray]:
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": mask * 7, "attention_mask": mask}


def test_only_free_lengths_that_no_output_follows_are_sequences() -> None:
    assert sequence_inputs(spec()) == NAMES
    assert sequence_inputs(spec(width=40)) == ()
    assert sequence_inputs(spec(output=(None, None, 8))) == ()


def test_a_row_ends_with_its_last_token() -> None:
    feeds = rows(1, 17, 40)
    feeds["attention_mask"][1, 3] = 0  # a hole is not the end
    assert lengths_of(feeds).tolist() == [1, 17, 40]
    assert lengths_of(rows(0)).tolist() == [1]


def test_filling_that_all_rows_have_is_cut_off() -> None:
    feeds = trimmed(rows(3, 17) | {"other": np.ones((2, 40))}, NAMES)
    assert {name: array.shape for name, array in feeds.items()} == {
        "input_ids": (2, 24), "attention_mask": (2, 24), "other": (2, 40),
    }  # fmt: skip
    assert trimmed(rows(3, 40), NAMES)["input_ids"].shape == (2, 40)


def test_rows_of_different_lengths_are_filled_up() -> None:
    feeds = joined([rows(3, width=3), rows(5, width=5)], {"input_ids": 1, "attention_mask": 0})
    assert feeds["input_ids"].tolist() == [[7, 7, 7, 1, 1], [7, 7, 7, 7, 7]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
