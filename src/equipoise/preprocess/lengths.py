"""Batches of token sequences: where a row ends, filling cut off, and rows of different lengths put side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec

Array = NDArray[Any]
MASK = "attention_mask"
"""The input that says which tokens are filling (0), by the name that Hugging Face's models give it."""
MULTIPLE = 8
"""Lengths are rounded up to a multiple of this: runtimes prepare themselves for each shape that they meet."""


def sequence_inputs(spec: ModelSpec) -> tuple[str, ...]:
    """The inputs that hold a token sequence a row, where filling can be cut off without a change of the answer.

    They are the whole-number inputs [n, any] of a model that takes an `attention_mask` of that form. None are, where an
    output has a free axis besides the rows: its shape may follow the sequence's.
    """
    found = tuple(
        tensor.name
        for tensor in spec.inputs
        if len(tensor.shape) == 2 and tensor.shape[1] is None and tensor.dtype in ("int64", "int32")
    )
    follows = any(None in tensor.shape[1:] for tensor in spec.outputs)
    return () if MASK not in found or follows else found


def lengths_of(feeds: Mapping[str, Array], mask_name: str = MASK) -> NDArray[np.intp]:
    """Tokens of each row up to the last that is no filling, at least 1, int [n]."""
    mask = feeds[mask_name] != 0
    last = mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)
    return np.where(mask.any(axis=1), last, 1).astype(np.intp)


def rounded_up(lengths: NDArray[np.intp], multiple: int = MULTIPLE) -> NDArray[np.intp]:
    """Lengths as they are run."""
    return -(-lengths // multiple) * multiple


def by_length(feeds: Mapping[str, Array], spec: ModelSpec) -> NDArray[np.intp] | None:
    """The order of rows in which neighbours have about the same length, [n]; null where rows are no sequences."""
    return np.argsort(lengths_of(feeds), kind="stable") if sequence_inputs(spec) else None


def trimmed(feeds: Mapping[str, Array], names: Sequence[str], multiple: int = MULTIPLE) -> dict[str, Array]:
    """The same rows without the filling that all of them have at their end.

    Args:
        feeds: Input name to [n, ...].
        names: Those that are sequences, `MASK` among them.
        multiple: The length that is left is a multiple of this, where so much filling is there.
    """
    kept = int(rounded_up(lengths_of(feeds), multiple).max(initial=1))
    return {name: np.ascontiguousarray(array[:, :kept]) if name in names else array for name, array in feeds.items()}


def joined(parts: Sequence[Mapping[str, Array]], filling: Mapping[str, int]) -> dict[str, Array]:
    """Rows of several requests under each other, the shorter ones filled up to the longest.

    Args:
        parts: Input name to [n, ...] each; sequences may have different lengths.
        filling: Name of each sequence to what it is filled with; the mask's is 0.
    """
    return {
        name: np.concatenate(
            [part[name] for part in parts]
            if name not in filling
            else _filled([part[name] for part in parts], filling[name])
        )
        for name in parts[0]
    }


def _filled(arrays: Sequence[Array], value: int) -> list[Array]:
    longest = max(array.shape[1] for array in arrays)
    return [
        array
        if array.shape[1] == longest
        else np.pad(array, ((0, 0), (0, longest - array.shape[1])), constant_values=value)
        for array in arrays
    ]
