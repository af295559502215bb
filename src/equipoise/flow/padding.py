"""Measures what filling costs in the batches of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.padding import Padding
from equipoise.core.tensor import ModelSpec
from equipoise.policy.lengths import length_groups
from equipoise.preprocess.lengths import lengths_of, rounded_up, sequence_inputs

Array = NDArray[Any]


def padding_of(feeds: Mapping[str, Array], spec: ModelSpec, batch: int) -> Padding | None:
    """Share of filling among the tokens that are computed, by how batches are made.

    Args:
        feeds: Rows in random order, input name to [n, ...].
        spec: What the model takes.
        batch: Rows of a batch.

    Returns:
        The shares; null where rows are no token sequences, or all have one length.
    """
    if not sequence_inputs(spec):
        return None
    lengths = lengths_of(feeds)
    if lengths.min() == lengths.max():
        return None
    divided = spec.fixed_batch is None
    size = spec.fixed_batch or batch
    return Padding(
        rows=len(lengths),
        tokens_mean=float(lengths.mean()),
        tokens_longest=int(lengths.max()),
        batch=size,
        to_longest_row=1 - float(lengths.mean() / lengths.max()),
        to_longest_of_batch=_share(lengths, size, divided=False),
        as_run=_share(lengths, size, divided=divided),
        by_length=_share(np.sort(lengths), size, divided=divided),
    )


def _share(lengths: NDArray[np.intp], size: int, *, divided: bool) -> float:
    computed = 0
    rounded = rounded_up(lengths)
    for start in range(0, len(lengths), size):
        batch = rounded[start : start + size]
        groups = length_groups(batch) if divided else [np.arange(len(batch))]
        computed += sum(len(group) * int(batch[group].max()) for group in groups)
    return 1 - int(lengths.sum()) / computed
