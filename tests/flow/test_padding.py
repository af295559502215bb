"""Shares of filling: what is computed, and what of it are tokens."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.flow.padding import padding_of
from sentencing import SPEC


def feeds(*lengths: int, width: int = 128) -> dict[str, np.ndarray]:
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": mask, "attention_mask": mask}


def test_shares_by_hand() -> None:
    found = padding_of(feeds(8, 120, 8, 120), SPEC, batch=2)
    assert found is not None
    assert (found.rows, found.tokens_mean, found.tokens_longest, found.batch) == (4, 64, 120, 2)
    assert found.to_longest_row == pytest.approx(1 - 64 / 120)
    assert found.to_longest_of_batch == pytest.approx(1 - 256 / 480)
    assert found.as_run == 0
    assert found.by_length == 0


def test_lengths_are_run_in_eights() -> None:
    found = padding_of(feeds(6, 7), SPEC, batch=2)
    assert found is not None
    assert found.as_run == pytest.approx(3 / 16)


def test_a_fixed_batch_is_not_divided() -> None:
    inputs = tuple(TensorSpec(name=each.name, dtype="int64", shape=(2, None)) for each in SPEC.inputs)
    found = padding_of(feeds(8, 120), ModelSpec(inputs=inputs, outputs=SPEC.outputs), batch=64)
    assert found is not None
    assert found.batch == 2
    assert found.as_run == found.to_longest_of_batch == pytest.approx(1 - 128 / 240)


def test_there_is_none_without_sequences_or_with_one_length() -> None:
    image = TensorSpec(name="image", dtype="uint8", shape=(None, 2, 2))
    assert padding_of({"image": np.zeros((2, 2, 2))}, ModelSpec(inputs=(image,), outputs=SPEC.outputs), 2) is None
    assert padding_of(feeds(9, 9), SPEC, 2) is None
