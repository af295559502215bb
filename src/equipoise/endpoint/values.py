"""JSON values as arrays: nothing is guessed, and no value becomes another one unnoticed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.endpoint.http import Limits
from equipoise.errors import BadRequest, DataError
from equipoise.preprocess.binding import Sources, bind

Array = NDArray[Any]
REQUEST = "the request"
FLOATS = {"float16": "d", "float32": "f", "float64": "d"}
"""Codes of the standard library's array; from a double, half precision is rounded as in a study."""
NUMBERS, TEXT = {int, float, bool, type(None)}, {str, type(None)}


def parsed(body: bytes | memoryview) -> Any:
    """A body as JSON.

    Raises:
        BadRequest: It is not.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def json_array(name: str, data: Any, limits: Limits, dtype: str) -> Array:
    """An array from lists within lists, all of a level of one length.

    A `null` is a missing value: not a number among numbers, None among text.

    Args:
        name: Of the array, for errors.
        data: The lists.
        limits: What is taken.
        dtype: Type that the model takes: text is needed for `string`, numbers or truth values for all others.

    Raises:
        BadRequest: It holds something else, is ragged, too deep or too large.

    Example:
        >>> json_array("x", [[1, 2], [3, None]], Limits(), "int64")
        array([[ 1.,  2.],
               [ 3., nan]])
    """
    if not isinstance(data, list):
        raise BadRequest(f"{name!r} holds {_called(type(data))}; needed a list")
    values, shape = data, [len(data)]
    while True:
        if dtype in FLOATS and len(values) <= limits.elements and (found := _floats(values, FLOATS[dtype])) is not None:
            return found.reshape(shape)
        kinds = set(map(type, values))
        if list not in kinds:
            break
        lengths = set(map(len, values)) if kinds == {list} else set()
        if len(lengths) != 1:
            raise BadRequest(f"{name!r} is ragged: its lists have different lengths, or stand beside values")
        if len(shape) >= limits.depth:
            raise BadRequest(f"{name!r} has more than {limits.depth} lists within lists")
        shape.append(lengths.pop())
        values = list(chain.from_iterable(values))
    if len(values) > limits.elements:
        raise BadRequest(f"{name!r} has {len(values):,} elements; at most {limits.elements:,} are taken")
    text = dtype == "string"
    strange = kinds - (TEXT if text else NUMBERS)
    if strange:
        called = ", ".join(sorted(map(_called, strange)))
        raise BadRequest(f"{name!r} holds {called}; needed {'text' if text else 'numbers'}")
    if text:
        found = np.empty(len(values), dtype=object)
        found[:] = values
    elif type(None) in kinds:
        found = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    else:
        if {int, float} <= kinds:  # beside a float NumPy would round the large ones
            values = [int(value) if _is_whole(value) else value for value in values]
        found = np.array(values)
    return found.reshape(shape)


def bound(columns: Mapping[str, Array], spec: ModelSpec, sources: Sources) -> dict[str, Array]:
    """Arrays in the types that a model takes, by the rules of a study (`preprocess.binding.bind`).

    Raises:
        BadRequest: A value does not fit.
    """
    for name in chain.from_iterable(sources.values()):
        if not columns[name].size:
            raise BadRequest(f"{name!r} is empty; needed at least 1 row")
    return as_bad_request(lambda: bind(columns, spec, sources, REQUEST, holds_floats=_any_number_may_be_a_float))


def as_bad_request(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call what refuses data, and blame the request.

    Raises:
        BadRequest: It refused.
    """
    try:
        return call()
    except DataError as error:
        raise BadRequest(str(error).removeprefix(f"{REQUEST}: ")) from error


def _is_whole(value: Any) -> bool:
    """Whether a number is a whole one that 64 bits hold, and was not rounded to the least of them."""
    return isinstance(value, float) and value.is_integer() and abs(value) < 2**63


def _floats(values: list[Any], code: str) -> Array | None:
    """Numbers and truth values in the model's type; null where there is anything else among them, or one is too large.

    The standard library's array refuses text, null and lists at the first of them, and is faster than looking at the
    type of each value.
    """
    try:
        found = np.asarray(array(code, values))
    except (TypeError, OverflowError):
        return None
    return found if np.isfinite(found).all() else None


def _any_number_may_be_a_float(name: str) -> bool:  # noqa: ARG001 - JSON has one type of number: 1e8 may be written whole
    return True


def _called(kind: type) -> str:
    names = {str: "text", dict: "an object", bool: "true or false", type(None): "null", list: "a list"}
    return names.get(kind, "a number")
