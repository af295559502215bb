"""Synthetic token sequences: as long as real ones, of common tokens, and none of them real."""

from __future__ import annotations

import numpy as np

from equipoise.preprocess.lengths import lengths_of
from equipoise.preprocess.rows import Rows
from equipoise.preprocess.synthetic import synthetic_rows

CLS, SEP, PAD, RARE = 101, 102, 1, 900


def data(n: int = 200, width: int = 30) -> Rows:
    random = np.random.default_rng(0)
    lengths = random.integers(3, width + 1, n)
    shown = np.arange(width) < lengths[:, None]
    ids = np.where(shown, random.integers(200, 220, (n, width)), PAD)
    ids[:, 0] = CLS
    ids[np.arange(n), lengths - 1] = SEP
    ids[5, 1] = RARE
    return Rows({"input_ids": ids, "attention_mask": shown.astype(np.int64)}, None)


def test_they_are_as_long_as_the_data_and_hold_common_tokens() -> None:
    rows = data()
    made = synthetic_rows(rows, 16, seed=0)
    lengths = lengths_of(made)
    assert abs(np.mean(lengths) - np.mean(lengths_of(rows.feeds))) < 1
    assert len(set(lengths.tolist())) > 8
    ids = made["input_ids"]
    assert (ids[:, 0] == CLS).all()
    assert (ids[np.arange(16), lengths - 1] == SEP).all()
    inner = np.concatenate([row[1 : length - 1] for row, length in zip(ids, lengths, strict=True)])
    assert set(inner.tolist()) <= {CLS, SEP, *range(200, 220)}
    assert (ids[made["attention_mask"] == 0] == PAD).all()
    assert ids.dtype == np.int64


def test_without_common_tokens_any_number_may_be_drawn() -> None:
    made = synthetic_rows(data(n=6), 4, seed=0)["input_ids"]
    assert made.max() <= RARE
    assert not (made == RARE).any() or len(np.unique(made)) > 20


def test_the_same_seed_draws_the_same() -> None:
    first, second = (synthetic_rows(data(), 8, seed=3) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
