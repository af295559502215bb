"""Requests that differ in their numbers alone: all else is read once, the numbers without a Python object each."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.endpoint.binary import binary_array
from equipoise.endpoint.http import Limits
from equipoise.endpoint.oip import InferRequest, infer_request
from equipoise.endpoint.values import parsed
from equipoise.errors import BadRequest

Array = NDArray[Any]
KEY = b'"data":'
CODES: dict[str, Literal["d", "i"]] = {"float32": "d", "float64": "d", "int64": "i"}
"""What simdjson is asked for, of inputs whose numbers it can give without changing one."""
KINDS = {"float32": np.dtype(np.float64), "float64": np.dtype(np.float64), "int64": np.dtype(np.int64)}
MOST_BYTES = 4096
"""Of a request without its numbers: nobody writes longer ones twice."""
MOST_KNOWN = 64
CANNOT = (ValueError, TypeError, RuntimeError, BadRequest)
"""What simdjson raises on what is no JSON, or no list of such numbers; and what wrong bytes raise."""


class _Parsers(threading.local):
    """A parser for each thread: it keeps what it read last."""

    def __init__(self) -> None:
        self.mine = simdjson.Parser()


_parsers = _Parsers()


@dataclass(frozen=True)
class _Part:
    """An input of a request: its numbers stand in a hole, or its bytes behind the JSON.

    Attributes:
        tensor: What the model takes.
        shape: What the request says of it.
        size: Its bytes behind the JSON; null for a hole.
    """

    tensor: TensorSpec
    shape: Sequence[int]
    size: int | None


@dataclass(frozen=True)
class _Template:
    """A request without its numbers.

    Attributes:
        parts: Its inputs, in order.
        rest: All else that it says: the fields of `InferRequest` after its inputs.
    """

    parts: tuple[_Part, ...]
    rest: tuple[Any, ...]


class Templates:
    """Reads requests for one model.

    Clients send the same JSON again and again, with other numbers in it. What is left of a request when the lists
    behind its `"data"` are emptied is looked up: where it is known it was read and checked before, and only the lists
    are read, by simdjson (arXiv 1902.08318), straight into arrays. Whatever is new, unusual or wrong is read by
    `endpoint.oip.infer_request`, which is also what a template was learnt from.

    Args:
        spec: What the model takes.
        limits: What is taken.
    """

    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self.spec = spec
        self._limits = limits
        self._known: dict[bytes, _Template] = {}

    def read(self, body: bytes, json_bytes: int) -> InferRequest:
        """Read a request.

        Args:
            body: All of it.
            json_bytes: How many bytes of it are JSON; the others are tensors.

        Raises:
            BadRequest: It is not one, or not for this model.
        """
        head, blobs = body[:json_bytes], memoryview(body)[json_bytes:]
        rest, holes = without_numbers(head, len(self.spec.inputs))
        template = self._known.get(rest) if len(rest) <= MOST_BYTES else None
        if template is not None:
            try:
                return InferRequest(self._inputs(template, holes, blobs), *template.rest)
            except CANNOT:
                pass
        request = infer_request(parsed(head), blobs, self.spec, self._limits)
        if template is None and len(rest) <= MOST_BYTES and request.request_id is None:
            self._learn(rest, holes, request)
        return request

    def _inputs(self, template: _Template, holes: Sequence[bytes], blobs: memoryview) -> dict[str, Array]:
        inputs, place, hole = {}, 0, 0
        for part in template.parts:
            if part.size is None:
                inputs[part.tensor.name] = _numbers(holes[hole], part)
                hole += 1
            else:
                blob = blobs[place : place + part.size]
                inputs[part.tensor.name] = binary_array(part.tensor, blob, part.shape, self._limits)
                place += part.size
        if place != len(blobs):
            raise ValueError("there are more bytes than the JSON says")
        return inputs

    def _learn(self, rest: bytes, holes: Sequence[bytes], request: InferRequest) -> None:
        """Remember a request that was read, if it is certain where its numbers stood."""
        if rest.count(KEY) != len(holes):
            return
        try:
            fields = orjson.loads(rest)
        except orjson.JSONDecodeError:
            return
        tensors = {tensor.name: tensor for tensor in self.spec.inputs}
        parts = []
        for each in fields["inputs"]:
            tensor, data = tensors[each["name"]], each.get("data")
            if data is not None and (data != [] or tensor.dtype not in CODES):
                return
            size = None if data is not None else each["parameters"]["binary_data_size"]
            parts.append(_Part(tensor, tuple(each["shape"]), size))
        if sum(part.size is None for part in parts) == len(holes):
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[rest] = _Template(tuple(parts), request[1:])


def without_numbers(head: bytes, most: int) -> tuple[bytes, list[bytes]]:
    """A request whose lists behind `"data"` are empty, and these lists; at most so many of them.

    Such a list ends at the first closing bracket: lists within lists, and brackets in texts, are then no JSON any more.

    Example:
        >>> without_numbers(b'{"shape": [2], "data": [1.5, 2]}', 1)
        (b'{"shape": [2], "data": []}', [b'[1.5, 2]'])
    """
    kept, holes, place = [], [], 0
    for _ in range(most):
        key = head.find(KEY, place)
        start = head.find(b"[", key) if key >= 0 else -1
        end = head.find(b"]", start) if start >= 0 else -1
        if end < 0 or head[key + len(KEY) : start].strip():
            break
        kept.append(head[place : start + 1])
        holes.append(head[start : end + 1])
        place = end
    kept.append(head[place:])
    return b"".join(kept), holes


def _numbers(text: bytes, part: _Part) -> Array:
    values = _parsers.mine.parse(text)
    if not isinstance(values, simdjson.Array) or len(values) != math.prod(part.shape):
        raise ValueError("it is no list of as many values as the shape says")
    found = np.frombuffer(values.as_buffer(of_type=CODES[part.tensor.dtype]), KINDS[part.tensor.dtype])
    if part.tensor.dtype == "float32":
        with np.errstate(over="ignore"):
            found = found.astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError("a number is too large for float32")
    return found.reshape(part.shape)
