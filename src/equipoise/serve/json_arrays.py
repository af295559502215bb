"""Large requests as JSON, their numbers read into arrays without a Python object for each."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import simdjson

from equipoise.core.tensor import ModelSpec
from equipoise.serve.values import parsed

LEAST_BYTES = 1024
"""Below this a request has few numbers, and the plain way is as fast."""
Code = Literal["d", "i"]
CODES: dict[str, Code] = {
    "float16": "d", "float32": "d", "float64": "d",
    "int8": "i", "int16": "i", "int32": "i", "int64": "i",
}  # fmt: skip
KINDS: dict[Code, np.dtype[Any]] = {"d": np.dtype(np.float64), "i": np.dtype(np.int64)}
CANNOT = (ValueError, TypeError, RuntimeError, KeyError)
"""What simdjson raises on what is no JSON, and on values of other kinds than were asked for."""

_parser = simdjson.Parser()


def parsed_request(body: bytes, spec: ModelSpec) -> Any:
    """A body as JSON; the `data` of numeric inputs are one flat array where they are one flat list of numbers.

    It is `serve.values.parsed` in all else, in its errors too: whatever is unusual is read again by that. simdjson
    (arXiv 1902.08318) flattens lists within lists by itself, so that such data are told by their brackets.

    Args:
        body: All of it.
        spec: What the model takes.

    Raises:
        BadRequest: It is not JSON.
    """
    codes = {tensor.name: CODES[tensor.dtype] for tensor in spec.inputs if tensor.dtype in CODES}
    if codes and len(body) >= LEAST_BYTES:
        try:
            return _with_arrays(body, codes)
        except CANNOT:
            pass
    return parsed(body)


def _with_arrays(body: bytes, codes: dict[str, Code]) -> dict[str, Any]:
    fields = _items(_parser.parse(body))
    given = fields.pop("inputs")
    if not isinstance(given, simdjson.Array):
        raise TypeError("inputs are no list")
    inputs, lists = [], 1
    for each in given:
        tensor = _items(each)
        data = tensor.get("data")
        code = codes.get(tensor["name"])
        if isinstance(data, simdjson.Array) and code is not None:
            lists += 1
            tensor["data"] = _array(data, code)
        lists += _to_plain(tensor)
        inputs.append(tensor)
    lists += _to_plain(fields)
    if body.count(b"[") != lists:
        raise ValueError("there are lists within lists, or brackets in a text")
    return {**fields, "inputs": inputs}


def _items(value: Any) -> dict[str, Any]:
    if not isinstance(value, simdjson.Object):
        raise TypeError("it is no object")
    names = list(value.keys())
    if len(set(names)) < len(names):
        raise ValueError("a name stands there twice")
    return {name: value[name] for name in names}


def _to_plain(fields: dict[str, Any]) -> int:
    """Turn what is left of simdjson's own values into Python's; returns how many of them were lists."""
    lists = 0
    for name, value in fields.items():
        if isinstance(value, simdjson.Object):
            fields[name] = value.as_dict()
        elif isinstance(value, simdjson.Array):
            lists += 1
            fields[name] = value.as_list()
    return lists


def _array(values: simdjson.Array, code: Code) -> np.ndarray[Any, Any]:
    return np.frombuffer(values.as_buffer(of_type=code), KINDS[code]) if len(values) else np.empty(0, KINDS[code])
