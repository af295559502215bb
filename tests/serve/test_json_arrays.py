"""Numbers that are read without Python objects are those that would have been read with them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BadRequest
from equipoise.serve.http import Limits
from equipoise.serve.json_arrays import LEAST_BYTES, parsed_request
from equipoise.serve.oip import infer_request
from equipoise.serve.values import parsed

SPEC = ModelSpec(
    inputs=(
        TensorSpec(name="x", dtype="float32", shape=(None, None)),
        TensorSpec(name="k", dtype="int64", shape=(None,)),
        TensorSpec(name="t", dtype="string", shape=(None,)),
    ),
    outputs=(),
)
FILLER = {"parameters": {"note": "-" * LEAST_BYTES}}


def body_of(x: Any, k: Any = (1,), t: Any = ("a",), x_shape: Any = None, **more: Any) -> bytes:
    inputs = [
        {"name": "x", "datatype": "FP32", "shape": x_shape or [1, len(x)], "data": x},
        {"name": "k", "datatype": "INT64", "shape": [len(k)], "data": k},
        {"name": "t", "datatype": "BYTES", "shape": [len(t)], "data": t},
    ]
    return json.dumps({"inputs": inputs, **FILLER, **more}).encode()


def numbers_only(body: bytes) -> Any:
    """Only the first two inputs, which hold numbers."""
    fields = json.loads(body)
    return json.dumps(fields | {"inputs": fields["inputs"][:2]}).encode()


def plain(value: Any) -> Any:
    fields = dict(value)
    fields["inputs"] = [
        tensor | {"data": tensor["data"].tolist()} if isinstance(tensor.get("data"), np.ndarray) else tensor
        for tensor in value["inputs"]
    ]
    return fields


def test_flat_lists_of_numbers_become_arrays_again_and_again() -> None:
    body = numbers_only(body_of([0.1, 2, -3e-5], k=[2**62, -1]))
    for _ in range(3):
        x, k = (tensor["data"] for tensor in parsed_request(body, SPEC)["inputs"])
        assert x.dtype == np.float64
        assert x.tolist() == [0.1, 2.0, -3e-5]
        assert k.dtype == np.int64
        assert k.tolist() == [2**62, -1]


@pytest.mark.parametrize(
    "body",
    [
        body_of([[0.5, 1.0]]),
        body_of([0.5, None]),
        body_of([0.5], k=[1.5]),
        body_of([0.5], k=[2**70]),
        body_of([0.5, True]),
        body_of([0.5, [1.0]]),
        body_of(["a"]),
        body_of([0.5], outputs=[{"name": "[logits]"}]),
        body_of([0.5], id="[7]"),
        body_of({"a": 1}, x_shape=[1]),
        json.dumps({"inputs": {"name": "x"}, **FILLER}).encode(),
        json.dumps({"inputs": ["x"], **FILLER}).encode(),
        json.dumps([1] * LEAST_BYTES).encode(),
        b'{"inputs": [], "inputs": [{"name": "x", "data": [1.5]}], "pad": "' + b"-" * LEAST_BYTES + b'"}',
    ],
)
def test_what_is_unusual_is_read_the_plain_way(body: bytes) -> None:
    assert parsed_request(body, SPEC) == orjson.loads(body)


def test_text_beside_numbers_stays_text() -> None:
    x, k, t = (tensor["data"] for tensor in parsed_request(body_of([0.5], t=["a", None]), SPEC)["inputs"])
    assert isinstance(x, np.ndarray)
    assert isinstance(k, np.ndarray)
    assert t == ["a", None]


@pytest.mark.parametrize("body", [b"{" * LEAST_BYTES, b'{"a": ' + b"1" * LEAST_BYTES, b"\xff" * LEAST_BYTES, b""])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        parsed_request(body, SPEC)


numbers = st.lists(
    st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-(2**40), 2**40), max_size=9
)


@given(x=numbers, k=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), name=st.text(max_size=3))
def test_values_are_those_of_the_plain_way(x: list[Any], k: list[int], name: str) -> None:
    body = numbers_only(body_of(x, k=k, id=name))
    assert plain(parsed_request(body, SPEC)) == parsed(body)


def test_a_number_beyond_the_models_type_is_refused_and_named() -> None:
    spec = ModelSpec(inputs=SPEC.inputs[:1], outputs=())
    fields = json.loads(body_of([1.0, 1e39]))
    body = json.dumps(fields | {"inputs": fields["inputs"][:1]}).encode()
    with pytest.raises(BadRequest, match=r"1e\+39"):
        infer_request(parsed_request(body, spec), memoryview(b""), spec, Limits())
