"""The binary tensor extension, byte by byte as the protocol writes it."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.core.tensor import TensorSpec
from equipoise.endpoint.binary import binary_array, raw_array
from equipoise.endpoint.http import Limits
from equipoise.errors import BadRequest
from equipoise.execute.plan import open_plan
from equipoise.serve import load_plan
from equipoise.serve.wire import array_bytes
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
LENGTH = "Inference-Header-Content-Length"


def ask(port: int, model: str, said: Any, blobs: bytes) -> tuple[int, Any, bytes]:
    """Status, JSON and the bytes behind it; `said` null for a body of bytes alone."""
    head = b"" if said is None else json.dumps(said).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", head + blobs, {LENGTH: str(len(head))})
        response = connection.getresponse()
        body = response.read()
        length = response.getheader(LENGTH)
        if length is None:
            assert response.getheader("content-type") == "application/json"
            return response.status, json.loads(body), b""
        assert response.getheader("content-type") == "application/octet-stream"
        return response.status, json.loads(body[: int(length)]), body[int(length) :]
    finally:
        connection.close()


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade()


@pytest.fixture
def port(made: Any, served: Any) -> Iterator[int]:
    with served([load_plan(made.folder, "m")]) as running:
        yield running.port


def image(images: Array, size: Any) -> dict[str, Any]:
    return {
        "name": "image", "datatype": "UINT8", "shape": list(images.shape), "parameters": {"binary_data_size": size},
    }  # fmt: skip


@pytest.mark.parametrize("binary_out", [True, False, None])
def test_bytes_in_and_bytes_out(port: int, made: Any, images: Array, binary_out: bool | None) -> None:
    said: dict[str, Any] = {"inputs": [image(images, images.size)]}
    if binary_out is None:
        said["parameters"] = {"binary_data_output": True}
    else:
        said["outputs"] = [{"name": "logits", "parameters": {"binary_data": binary_out}}]
    status, found, blobs = ask(port, "m", said, images.tobytes())
    (output,) = found["outputs"]
    assert (status, output["datatype"], output["shape"]) == (200, "FP32", [len(images), 3])
    expected = made.expected(images)["logits"]
    if binary_out is False:
        assert (blobs, "parameters" in output) == (b"", False)
        answer = np.array(output["data"]).reshape(expected.shape)
    else:
        assert ("data" in output, output["parameters"]) == (False, {"binary_data_size": len(blobs)})
        answer = np.frombuffer(blobs, "<f4").reshape(expected.shape)
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


def test_a_length_of_zero_means_one_raw_input(port: int, made: Any, images: Array) -> None:
    status, found, blobs = ask(port, "m", None, images.tobytes())
    assert (status, found["outputs"][0]["shape"]) == (200, [len(images), 3])
    answer = np.frombuffer(blobs, "<f4").reshape(-1, 3)
    np.testing.assert_allclose(answer, made.expected(images)["logits"], rtol=1e-5, atol=1e-6)
    for wrong in (b"", b"123", b"12345"):
        status, found, _ = ask(port, "m", None, wrong)
        assert (status, list(found)) == (400, ["error"])


def test_text_and_numbers_side_by_side(sklearn_bundle: Path, table: pd.DataFrame, served: Any) -> None:
    feeds = {
        "town": table[["town"]].to_numpy(),
        "age": table[["age"]].to_numpy(),
        "income": table[["income"]].to_numpy(),
    }
    kinds = {"town": "BYTES", "age": "INT64", "income": "FP64"}
    texts = b"".join(struct.pack("<I", len(town.encode())) + town.encode() for town in table["town"])
    blobs = {"town": texts, "age": feeds["age"].tobytes()}
    inputs: list[dict[str, Any]] = []
    for name, array in feeds.items():
        one: dict[str, Any] = {"name": name, "datatype": kinds[name], "shape": list(array.shape)}
        given = {"parameters": {"binary_data_size": len(blobs[name])}} if name in blobs else {"data": array.tolist()}
        inputs.append(one | given)
    outputs = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    with served([load_plan(sklearn_bundle, "t")]) as server:
        said = {"inputs": inputs, "outputs": outputs}
        status, found, behind = ask(server.port, "t", said, b"".join(blobs.values()))
        assert status == 200, found
        assert ask(server.port, "t", None, b"123")[0] == 400
    expected = open_plan(read_bundle(sklearn_bundle)).answer(feeds)
    labels = []
    while behind:
        (length,) = struct.unpack("<I", behind[:4])
        labels.append(behind[4 : 4 + length].decode())
        behind = behind[4 + length :]
    assert labels == expected["label"].tolist()
    np.testing.assert_allclose(found["outputs"][1]["data"], expected["probabilities"].ravel())


def test_wrong_bytes_are_the_clients_error(port: int, images: Array) -> None:
    raw = images.tobytes()
    good = image(images, len(raw))
    wrong: Sequence[tuple[Any, bytes]] = [
        ({"inputs": [good]}, raw[:-1]),
        ({"inputs": [good]}, raw + b"1"),
        ({"inputs": [good | {"shape": [len(images) + 1, 2, 2]}]}, raw),
        ({"inputs": [good | {"shape": [10**30, 2, 2]}]}, raw),
        ({"inputs": [good | {"data": images.tolist()}]}, raw),
        *(({"inputs": [image(images, size)]}, raw) for size in (-1, "44", 1.0, True, 10**30, len(raw) - 1)),
        ({"inputs": [{**good, "parameters": {}, "data": images.tolist()}]}, raw),
        ({"inputs": [good], "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}, raw),
        ({"inputs": [good], "parameters": {"binary_data_output": "yes"}}, raw),
    ]
    for said, blobs in wrong:
        status, found, _ = ask(port, "m", said, blobs)
        assert (status, list(found)) == (400, ["error"]), said


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=6).filter(lambda text: text.isprintable()), min_size=1, max_size=8))
def test_text_comes_back_as_it_went(texts: list[str]) -> None:
    spec = TensorSpec(name="x", dtype="string", shape=(None, 1))
    array = np.array(texts, dtype=object)[:, None]
    found = binary_array(spec, memoryview(array_bytes(array)), array.shape, Limits())
    assert found.tolist() == array.tolist()


@given(st.binary(max_size=60), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_any_bytes_are_text_or_refused(data: bytes, shape: list[int]) -> None:
    spec = TensorSpec(name="x", dtype="string", shape=(None, 1))
    try:
        found = binary_array(spec, memoryview(data), shape, Limits())
    except BadRequest:
        return
    assert array_bytes(found) == data


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "uint64", "float16", "float32", "float64"])
def test_numbers_come_back_as_they_went(kind: Any) -> None:
    spec = TensorSpec(name="x", dtype=kind, shape=(None, 2))
    array = np.array([[0, 1], [1, 0], [1, 1]], dtype=kind)
    data = memoryview(b"?" + array_bytes(array))[1:]  # not where its type would be aligned
    for found in (binary_array(spec, data, [3, 2], Limits()), raw_array(spec, data, Limits())):
        assert found.dtype == array.dtype
        assert found.flags.aligned
        np.testing.assert_array_equal(found, array)
    with pytest.raises(BadRequest, match="at most"):
        binary_array(spec, data, [3, 2], Limits(elements=5))


def test_what_bytes_alone_do_not_say_is_refused() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(None, None))
    with pytest.raises(BadRequest, match="2 free axes"):
        raw_array(spec, memoryview(b"1234"), Limits())
    spec = TensorSpec(name="x", dtype="string", shape=(None, 2))
    with pytest.raises(BadRequest, match="several texts a row"):
        raw_array(spec, memoryview(b"1234"), Limits())


@pytest.mark.parametrize("shape", [(None,), (None, 1), (None, None)])
def test_a_body_of_bytes_alone_is_one_text_of_a_model_of_texts(shape: tuple[int | None, ...]) -> None:
    spec = TensorSpec(name="x", dtype="string", shape=shape)
    for text in ("", "Zürich", "a" * 1000):
        found = raw_array(spec, memoryview(text.encode()), Limits())
        assert (found.dtype, found.shape, found.item()) == (object, (1,) * len(shape), text)
    with pytest.raises(BadRequest, match="not UTF-8"):
        raw_array(spec, memoryview(b"\xff"), Limits())
