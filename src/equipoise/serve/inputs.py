"""What a request brings, checked against what a plan takes, so that nothing wrong reaches a batch with others in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BadRequest
from equipoise.preprocess.columns import listed

Array = NDArray[Any]


def checked_inputs(inputs: Mapping[str, ArrayLike], spec: ModelSpec) -> tuple[dict[str, Array], int]:
    """Inputs as the plan takes them, and how many rows they have.

    Args:
        inputs: Input name to array of shape [n, ...], each in the plan's type (see `preprocess.binding.bind` for how
            other types become it without changing a number).
        spec: What the plan takes.

    Raises:
        BadRequest: An input is missing, strange, or has another type or shape, or there are no rows.
    """
    feeds: dict[str, Array] = {}
    for tensor in spec.inputs:
        if tensor.name not in inputs:
            raise BadRequest(f"found no input {tensor.name!r}; the model takes {_names(spec)}")
        feeds[tensor.name] = _checked(np.asarray(inputs[tensor.name]), tensor)
    if len(inputs) > len(feeds):
        strange = [name for name in inputs if name not in feeds]
        raise BadRequest(f"found an input {listed(strange)}; the model takes {_names(spec)}")
    n = len(feeds[spec.inputs[0].name])
    if len(feeds) > 1 and any(len(array) != n for array in feeds.values()):
        found = ", ".join(f"{name} {len(array)}" for name, array in feeds.items())
        raise BadRequest(f"found unequal numbers of rows ({found}); every input has one entry a row")
    if not n:
        raise BadRequest("found no rows; needed at least 1")
    return feeds, n


class InputCheck:
    """`checked_inputs` for one model, which sees at a glance what is as it should be.

    Args:
        spec: What the model takes.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._plain = [
            (tensor.name, np.dtype(tensor.dtype), tensor.shape[1:])
            for tensor in spec.inputs
            if tensor.dtype not in ("string", "bfloat16") and tensor.shape and None not in tensor.shape[1:]
        ]

    def __call__(self, inputs: Mapping[str, ArrayLike]) -> tuple[dict[str, Array], int]:
        """Inputs as the plan takes them, and how many rows they have.

        Raises:
            BadRequest: As `checked_inputs` does.
        """
        feeds: dict[str, Array] = {}
        n = 0
        if len(inputs) == len(self._plain) == len(self._spec.inputs):
            for name, dtype, row in self._plain:
                array = inputs.get(name)
                if type(array) is not np.ndarray or array.dtype != dtype or not array.ndim or array.shape[1:] != row:
                    break
                if feeds and len(array) != n:
                    break
                feeds[name], n = array, len(array)
        return (feeds, n) if n and len(feeds) == len(inputs) else checked_inputs(inputs, self._spec)


def checked_outputs(wanted: Sequence[str] | None, outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The outputs that a request gets: those that it asks for, or all.

    Raises:
        BadRequest: There is no such output, or it is asked for twice.
    """
    names = tuple(output.name for output in outputs)
    if not wanted:
        return names
    strange = [name for name in wanted if name not in names]
    if strange:
        raise BadRequest(f"found the output {listed(strange)}; the model gives {listed(names)}")
    if len(set(wanted)) < len(wanted):
        raise BadRequest(f"an output is asked for twice: {listed(wanted)}")
    return tuple(wanted)


def _names(spec: ModelSpec) -> str:
    return listed([tensor.name for tensor in spec.inputs])


def holds_missing(feeds: Mapping[str, Array]) -> str | None:
    """The first input that holds a missing or infinite value; null where none does.

    Many models take such values and many do not; which it is, only asking them says. Where one that was asked raises,
    they are the likely reason, and the request is to blame for them.
    """
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return name
        if array.dtype.kind == "O" and any(value is None for value in array.ravel()):
            return name
    return None


def _checked(array: Array, tensor: TensorSpec) -> Array:
    if tensor.dtype == "bfloat16":
        raise BadRequest(f"input {tensor.name!r} takes bfloat16, which NumPy has not; export it with a float32 input")
    wanted = np.dtype(object) if tensor.dtype == "string" else np.dtype(tensor.dtype)
    if tensor.dtype == "string" and array.dtype.kind == "U":
        array = array.astype(object)
    if array.dtype != wanted:
        raise BadRequest(f"input {tensor.name!r} holds {array.dtype}; the model takes {tensor.dtype}")
    row = array.shape[1:]
    fits = array.ndim == len(tensor.shape) and all(
        need in (None, have) for need, have in zip(tensor.shape[1:], row, strict=True)
    )
    if not fits:
        axes = ", ".join(["rows", *("any" if axis is None else str(axis) for axis in tensor.shape[1:])])
        raise BadRequest(f"input {tensor.name!r} has the shape {list(array.shape)}; the model takes [{axes}]")
    if tensor.dtype == "string" and not all(value is None or isinstance(value, str) for value in array.ravel()):
        raise BadRequest(f"input {tensor.name!r} holds something else than text; the model takes text")
    return array
