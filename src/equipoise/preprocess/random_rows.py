"""Rows of random numbers of the shapes that a model takes, for where only its speed is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BriefError

Array = NDArray[Any]
Shape = tuple[int, ...]


def row_shapes(spec: ModelSpec, given: Mapping[str, Shape], length: int | None) -> dict[str, Shape]:
    """The shape of a row of each input.

    Args:
        spec: What the model takes.
        given: Input name to the shape of its rows, the batch axis left out.
        length: Size of every free axis that is not given; null where none may be.

    Raises:
        BriefError: An input is not the model's, a shape does not fit it, or a free axis has no size.
    """
    names = [tensor.name for tensor in spec.inputs]
    for name in given:
        if name not in names:
            raise BriefError("--shape", f"found the input {name!r}", f"the model takes {', '.join(names)}")
    return {tensor.name: _row_shape(tensor, given.get(tensor.name), length) for tensor in spec.inputs}


def random_rows(
    spec: ModelSpec, shapes: Mapping[str, Shape], n: int, bounds: Mapping[str, int], seed: int
) -> dict[str, Array]:
    """Draw rows.

    Real numbers are normal; bytes, as images have them, take all values evenly; whole numbers that choose from a table
    choose evenly; other whole numbers and truth values are 1, as those of a mask that hides nothing are.

    Args:
        spec: What the model takes.
        shapes: Input name to the shape of its rows.
        n: How many.
        bounds: Inputs that choose from a table: name to the number of its places.
        seed: The same seed draws the same rows.

    Returns:
        Input name to array of shape [n, ...] in the model's type.

    Raises:
        BriefError: The model takes text, or a type that NumPy lacks.
    """
    random = np.random.default_rng(seed)
    return {
        tensor.name: _drawn(tensor, (n, *shapes[tensor.name]), bounds.get(tensor.name), random)
        for tensor in spec.inputs
    }


def _row_shape(tensor: TensorSpec, given: Shape | None, length: int | None) -> Shape:
    wanted = tensor.shape[1:]
    shown = f"[{', '.join('any' if axis is None else str(axis) for axis in wanted)}] a row"
    if given is not None:
        fits = len(given) == len(wanted) and all(
            need is None or need == have for need, have in zip(wanted, given, strict=True)
        )
        if not fits:
            found = f"input {tensor.name!r} with the shape {list(given)}"
            raise BriefError("--shape", found, f"it takes {shown}; the batch is left out")
        return given
    if length is None and None in wanted:
        found = f"input {tensor.name!r} takes {shown}, where the model leaves sizes free"
        raise BriefError("--length", found, f"give --length N, --shape {tensor.name}=..., or rows with --data")
    return tuple(length or 1 if axis is None else axis for axis in wanted)


def _drawn(tensor: TensorSpec, shape: Shape, bound: int | None, random: np.random.Generator) -> Array:
    if tensor.dtype in ("string", "bfloat16"):
        found = f"input {tensor.name!r} takes {'text' if tensor.dtype == 'string' else tensor.dtype}"
        raise BriefError("--data", found, "no random rows can be drawn for it: give real ones with --data")
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if bound is not None and dtype.kind in "iu":
        return random.integers(0, min(bound, int(np.iinfo(dtype).max)), shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return np.ones(shape, dtype)
