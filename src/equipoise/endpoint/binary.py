"""Tensors as bytes, the protocol's binary extension: little-endian rows, text as a length of 4 bytes and UTF-8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import TensorSpec
from equipoise.endpoint.http import Limits
from equipoise.errors import BadRequest
from equipoise.serve.wire import LENGTH

Array = NDArray[Any]


def binary_array(tensor: TensorSpec, data: memoryview, shape: Sequence[int], limits: Limits) -> Array:
    """A tensor from its bytes.

    Args:
        tensor: What the model takes.
        data: All of its bytes.
        shape: Its shape.
        limits: What is taken.

    Raises:
        BadRequest: There are more or fewer bytes than its shape says, more rows or elements than are taken, or text
            that is not UTF-8.
    """
    count = element_count(tensor.name, shape, limits)
    if tensor.dtype == "string":
        return _texts(tensor.name, data, count).reshape(shape)
    kind = _kind(tensor)
    if len(data) != count * kind.itemsize:
        raise BadRequest(
            f"{tensor.name!r} has {len(data):,} bytes; {list(shape)} of {tensor.dtype} takes {count * kind.itemsize:,}"
        )
    # A copy is aligned, belongs to nobody else, and does not keep the whole body in memory.
    array = np.frombuffer(data, kind).reshape(shape)
    return array != 0 if tensor.dtype == "bool" else array.astype(kind.newbyteorder("="))


def element_count(name: str, shape: Sequence[int], limits: Limits) -> int:
    """How many elements a tensor of a shape has.

    Raises:
        BadRequest: More than are taken, or it has more rows than that.
    """
    count = math.prod(shape)
    require_rows(name, shape, limits)
    if count > limits.elements:
        raise BadRequest(f"{name!r} has {count:,} elements; at most {limits.elements:,} are taken")
    return count


def raw_array(tensor: TensorSpec, data: memoryview, limits: Limits) -> Array:
    """The only input of a model from a body that holds nothing else; how many bytes there are says its free axis.

    For a model of texts the body is one text, without its length, and one row.

    Raises:
        BadRequest: They do not say it.
    """
    if tensor.dtype == "string":
        if any(axis not in (1, None) for axis in tensor.shape[1:]):
            raise BadRequest(f"input {tensor.name!r} takes several texts a row, and a body of bytes alone holds one")
        return _texts(tensor.name, memoryview(LENGTH.pack(len(data)) + data), 1).reshape([1] * len(tensor.shape))
    free = [place for place, axis in enumerate(tensor.shape) if place == 0 or axis is None]
    if len(free) > 1:
        raise BadRequest(f"input {tensor.name!r} has {len(free)} free axes: its shape cannot be told from bytes alone")
    row = math.prod(axis for axis in tensor.shape[1:] if axis is not None) * _kind(tensor).itemsize
    if not data or not row or len(data) % row:
        raise BadRequest(f"the body has {len(data):,} bytes; input {tensor.name!r} takes {row:,} a row")
    shape = [len(data) // row, *(axis for axis in tensor.shape[1:] if axis is not None)]
    return binary_array(tensor, data, shape, limits)


def require_rows(name: str, shape: Sequence[int], limits: Limits) -> None:
    """Refuse a tensor of more rows than are taken.

    Raises:
        BadRequest: It has more.
    """
    if shape and shape[0] > limits.rows:
        raise BadRequest(f"{name!r} has {shape[0]:,} rows; at most {limits.rows:,} are taken")


def _kind(tensor: TensorSpec) -> np.dtype[Any]:
    if tensor.dtype == "bfloat16":
        raise BadRequest(f"input {tensor.name!r} takes bfloat16, which NumPy has not; export it with a float32 input")
    return np.dtype("uint8" if tensor.dtype == "bool" else tensor.dtype).newbyteorder("<")


def _texts(name: str, data: memoryview, count: int) -> Array:
    if count * LENGTH.size > len(data):
        raise BadRequest(f"{name!r} has {len(data):,} bytes, too few for {count:,} texts with their lengths")
    texts = np.empty(count, dtype=object)
    place = 0
    for number in range(count):
        end = place + LENGTH.size
        if end <= len(data):
            place, end = end, end + LENGTH.unpack(data[place:end])[0]
        if end > len(data):
            raise BadRequest(f"{name!r} ends within its text {number + 1} of {count:,}")
        try:
            texts[number] = str(data[place:end], "utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"text {number + 1} of {name!r} is not UTF-8: {error.reason}") from None
        place = end
    if place != len(data):
        raise BadRequest(f"{name!r} has {len(data) - place:,} bytes after its {count:,} texts")
    return texts
