"""A request that is read by a template says what it says when it is read by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.endpoint import templates
from equipoise.endpoint.http import Limits
from equipoise.endpoint.oip import InferRequest, infer_request
from equipoise.endpoint.templates import MOST_KNOWN, Templates
from equipoise.endpoint.values import parsed
from equipoise.errors import BadRequest

X = TensorSpec(name="x", dtype="float32", shape=(None, None))
K = TensorSpec(name="k", dtype="int64", shape=(None,))
T = TensorSpec(name="data", dtype="string", shape=(None,))
DATATYPES = {"x": "FP32", "k": "INT64", "data": "BYTES"}


def spec_of(*tensors: TensorSpec) -> ModelSpec:
    return ModelSpec(inputs=tensors, outputs=())


def body_of(spaces: bool = True, **values: Any) -> bytes:
    """A request with a row of `x`, and of whatever else a row each."""
    fields = values.pop("fields", {})
    inputs = [
        {
            "name": name,
            "datatype": DATATYPES[name],
            "shape": [1, len(data)] if name == "x" else [len(data)],
            "data": data,
        }
        for name, data in values.items()
    ]
    separators = None if spaces else (",", ":")
    return json.dumps({"inputs": inputs, **fields}, separators=separators).encode()


def by_itself(body: bytes, spec: ModelSpec) -> InferRequest:
    return infer_request(parsed(body), memoryview(b""), spec, Limits())


def same(one: InferRequest, other: InferRequest) -> bool:
    assert one.inputs.keys() == other.inputs.keys()
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        np.testing.assert_array_equal(array, other.inputs[name])
    return one._replace(inputs={}) == other._replace(inputs={})


def alike(known: Templates, body: bytes) -> bool:
    """Whether a request is read, or refused, as it is by itself."""

    def told(read: Callable[[], InferRequest]) -> InferRequest | str:
        try:
            return read()
        except BadRequest as error:
            return str(error)

    found, expected = told(lambda: known.read(body, len(body))), told(lambda: by_itself(body, known.spec))
    if isinstance(found, str) or isinstance(expected, str):
        return found == expected
    return same(found, expected)


@pytest.fixture
def read_by_itself(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Requests that were read without a template."""
    seen: list[bytes] = []

    def noted(body: Any, blobs: memoryview, spec: ModelSpec, limits: Limits) -> InferRequest:
        seen.append(json.dumps(body).encode())
        return infer_request(body, blobs, spec, limits)

    monkeypatch.setattr(templates, "infer_request", noted)
    return seen


@pytest.mark.parametrize("spaces", [True, False])
def test_the_second_of_a_kind_is_read_by_the_first_ones_template(spaces: bool, read_by_itself: list[bytes]) -> None:
    spec = spec_of(X, K)
    known = Templates(spec, Limits())
    for x in ([0.1, 2], [-3e-5, 1e30], [True, 0]):
        body = body_of(spaces, x=x, k=[2**62, -1], fields={"parameters": {"priority": 1, "timeout": 9_000}})
        assert same(known.read(body, len(body)), by_itself(body, spec))
    # One number is no number to the parser: the third was read by itself.
    assert len(read_by_itself) == 2


def test_what_a_request_wants_belongs_to_its_template(read_by_itself: list[bytes]) -> None:
    spec = spec_of(X)
    known = Templates(spec, Limits())
    for fields in ({}, {"outputs": [{"name": "y"}]}, {"parameters": {"binary_data_output": True}}) * 2:
        body = body_of(x=[1.0], fields=fields)
        assert same(known.read(body, len(body)), by_itself(body, spec))
    assert len(read_by_itself) == 3


def test_bytes_behind_the_json(read_by_itself: list[bytes]) -> None:
    spec = spec_of(X)
    known = Templates(spec, Limits())
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [tensor]}).encode()
    for row in ([1, 2], [3, 4]):
        blob = np.array([row], np.float32).tobytes()
        np.testing.assert_array_equal(known.read(head + blob, len(head)).inputs["x"], [row])
    assert len(read_by_itself) == 1
    for wrong in (blob + b"more", blob[:-1]):
        with pytest.raises(BadRequest, match="bytes"):
            known.read(head + wrong, len(head))


@pytest.mark.parametrize(
    "data", [[1.0, 1e39], [1.0, None], [1.0, "a"], [1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], [1.0, [2.0]], [], [2**70, 1]]
)
def test_other_values_are_read_by_themselves(data: Any) -> None:
    spec = spec_of(X)
    known = Templates(spec, Limits())
    usual = body_of(x=[1.0, 2.0])
    known.read(usual, len(usual))
    body = usual.replace(b"[1.0, 2.0]", json.dumps(data).encode())
    assert alike(known, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.5], "data": [2.5]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data" : [1.5], "data": [2.5]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.5], "data" : [2.5]}]}',
        b'{"parameters": {"data": [7]}, "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}], "parameters": {"data": [7]}}',
        b'{"id": "\\"data\\":[9]", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}',
        b'{"other": "]\\"data", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}',
        b'{"other\\"data": [9], "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}',
    ],
)
def test_only_the_numbers_of_inputs_are_taken_for_numbers(body: bytes) -> None:
    spec = spec_of(X)
    known = Templates(spec, Limits())
    for _ in range(3):
        assert known.read(body, len(body)).inputs["x"].tolist() == [[2.5]]


def test_text_has_no_template(read_by_itself: list[bytes]) -> None:
    spec = spec_of(X, T)
    known = Templates(spec, Limits())
    for word in ("a]", "b", "c"):
        body = body_of(x=[0.5], data=[word])
        assert known.read(body, len(body)).inputs["data"].tolist() == [word]
    assert len(read_by_itself) == 3


def test_no_more_templates_are_kept_than_are_of_use() -> None:
    known = Templates(spec_of(X), Limits())
    for number in range(1, 3 * MOST_KNOWN):
        body = body_of(x=[0.5], fields={"parameters": {"timeout": number}})
        known.read(body, len(body))
    assert 0 < len(known._known) <= MOST_KNOWN
    before = len(known._known)
    body = body_of(x=[0.5], fields={"id": "mine"})
    assert known.read(body, len(body)).request_id == "mine"
    assert len(known._known) == before


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
values = st.lists(finite | st.none() | st.booleans() | st.text(max_size=2), max_size=3)


@given(rows=st.lists(st.lists(finite, min_size=2, max_size=2) | values, min_size=2, max_size=5))
def test_templates_change_nothing(rows: list[list[Any]]) -> None:
    spec = spec_of(X)
    known = Templates(spec, Limits())
    for row in [[1.0, 2.0], *rows]:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": row}
        body = json.dumps({"inputs": [tensor]}).encode()
        assert alike(known, body)
