"""The REST transport through real sockets: the protocol's words, plain rows, and everything that can be wrong."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.endpoint.http import Limits, json_response
from equipoise.endpoint.values import bound, json_array, parsed
from equipoise.errors import BadRequest
from equipoise.execute.plan import open_plan
from equipoise.execute.stages import STAGE, probabilities
from equipoise.serve import load_plan
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
LABELS = ("cat", "dog", "eel")
BODY_BYTES, ELEMENTS = 200_000, 50_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("inputs", "outputs", "parameters", "id", "rows", "timeout_ms", "priority")
TENSOR_FIELDS = ("name", "datatype", "shape", "data", "parameters")


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """A good body with some of its parts replaced by anything."""
    tensor = dict(GOOD) | draw(st.dictionaries(st.sampled_from(TENSOR_FIELDS), JSON, max_size=2))
    return {"inputs": [tensor]} | draw(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade(lanes=2)


@pytest.fixture
def server(made: Any, served: Any) -> Iterator[Any]:
    with served([load_plan(made.folder, "m"), load_plan(made.folder, "a b/ü")]) as running:
        yield running


def tensor(images: Array, **changed: Any) -> dict[str, Any]:
    plain = {"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.ravel().tolist()}
    return plain | changed


def test_the_server_and_its_models_describe_themselves(server: Any) -> None:
    status, said, _ = server.ask("GET", "/v2")
    assert (status, said["name"], said["extensions"]) == (
        200, "equipoise", ["binary_tensor_data", "model_configuration", "statistics"],
    )  # fmt: skip
    assert server.ask("GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert server.ask("GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    for path in ("/v2/models/m", "/v2/models/m/versions/1"):
        assert server.ask("GET", path)[:2] == (
            200,
            {
                "name": "m",
                "versions": ["1"],
                "platform": "equipoise_plan",
                "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 2, 2]}],
                "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
            },
        )
        assert server.ask("GET", f"{path}/ready")[:2] == (200, {"name": "m", "ready": True})


def test_names_are_url_decoded(server: Any) -> None:
    name = "a b/ü"
    assert server.ask("GET", f"/v2/models/{quote(name, safe='')}")[1]["name"] == name


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"])
@pytest.mark.parametrize("flat", [True, False])
def test_inference_as_the_protocol_writes_it(server: Any, made: Any, images: Array, path: str, flat: bool) -> None:
    data = images.ravel().tolist() if flat else images.tolist()
    body = {
        "id": "request 7",
        "inputs": [tensor(images, data=data)],
        "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
        "parameters": {"priority": 0, "timeout": 60_000_000},
    }
    status, said, _ = server.ask("POST", path, body)
    assert status == 200
    assert (said["model_name"], said["model_version"], said["id"]) == ("m", "1", "request 7")
    (output,) = said["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [len(images), 3])
    expected = made.expected(images)["logits"]
    np.testing.assert_allclose(np.array(output["data"]).reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("high", [1, "high"])
def test_high_priority_gets_the_last_stage(server: Any, made: Any, images: Array, high: Any) -> None:
    _, said, _ = server.ask(
        "POST", "/v2/models/m/infer", {"inputs": [tensor(images)], "parameters": {"priority": high}}
    )
    assert "id" not in said
    expected = made.of_stage(1, images)
    np.testing.assert_allclose(np.array(said["outputs"][0]["data"]), expected.ravel(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_plain_rows_get_labels(server: Any, made: Any, images: Array, named: bool) -> None:
    rows = [{"image": image} for image in images.tolist()] if named else images.tolist()
    status, said, _ = server.ask("POST", "/v1/predict/m", {"rows": rows, "id": "7"} if named else rows)
    assert status == 200
    expected = made.expected(images)
    shares = probabilities(expected["logits"], "logits")
    assert (said["model"], said["version"], said["degraded"], said.get("id")) == (
        "m", "1", False, "7" if named else None,
    )  # fmt: skip
    assert [row["label"] for row in said["predictions"]] == [LABELS[code] for code in shares.argmax(axis=1)]
    assert [row["stage"] for row in said["predictions"]] == (expected[STAGE] + 1).tolist()
    np.testing.assert_allclose([row["confidence"] for row in said["predictions"]], shares.max(axis=1), rtol=1e-5)


def test_each_connection_gets_its_own_answers(server: Any, made: Any) -> None:
    rng = np.random.default_rng(1)

    def client(seed: int) -> None:
        for _ in range(20):
            images = rng.integers(0, 256, (1 + seed % 5, 2, 2), dtype=np.uint8)
            status, said, _ = server.ask("POST", "/v2/models/m/infer", {"id": str(seed), "inputs": [tensor(images)]})
            assert (status, said["id"]) == (200, str(seed))
            expected = made.expected(images)["logits"].ravel()
            np.testing.assert_allclose(said["outputs"][0]["data"], expected, rtol=1e-5, atol=1e-6)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))


IMAGE = np.zeros((1, 2, 2), np.uint8)
GOOD = tensor(IMAGE)
BINARY = {key: value for key, value in GOOD.items() if key != "data"}
INFER, PREDICT = "/v2/models/m/infer", "/v1/predict/m"
MALFORMED: list[tuple[str, Any]] = [
    *(
        (path, body)
        for path in (INFER, PREDICT)
        for body in (
            b"", b"{", b"\xff\xfe", b"null", b"7", b'"text"', b"[]", b"{}", b"NaN", b'{"rows": NaN}',
            b"[" * 5000 + b"]" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 60 + b"1" + b"]" * 60,
        )
    ),
    (INFER, {"inputs": None}),
    (INFER, {"inputs": []}),
    (INFER, {"inputs": {}}),
    (INFER, {"inputs": [None]}),
    (INFER, {"inputs": [[]]}),
    (INFER, {"inputs": [{}]}),
    (INFER, {"inputs": [GOOD, GOOD]}),
    (INFER, {"inputs": [GOOD | {"name": "x"}]}),
    (INFER, {"inputs": [GOOD | {"name": 7}]}),
    (INFER, {"inputs": [GOOD | {"datatype": "FP32"}]}),
    (INFER, {"inputs": [GOOD | {"datatype": None}]}),
    (INFER, {"inputs": [GOOD | {"datatype": ["UINT8"]}]}),
    *(
        (INFER, {"inputs": [GOOD | {"shape": shape}]})
        for shape in (
            None, 4, "4", [], [4], [1, 2, 2, 1], [2, 2, 1], [-1, 2, 2], [1.0, 2, 2], [True, 2, 2], [10**18, 2, 2],
            [10**400, 2, 2], ["1", 2, 2], [0, 2, 2], [[1], 2, 2],
        )
    ),
    *(
        (INFER, {"inputs": [GOOD | {"data": data}]})
        for data in (
            None, 1, "1234", {}, [], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, 3, None], [1, 2, 3, 1.5],
            [1, 2, 3, 256], [1, 2, 3, -1], [1, 2, 3, 10**30], [1, 2, 3, {}], [[1, 2], [3, 4]], [[[1, 2], [3]]],
            [[1, 2], 3, 4], [[[[1, 2], [3, 4]]]], [[[[[[[[[[1]]]]]]]]]], [[], [], [], []], ["a" * 50_000] + [1] * 3,
        )
    ),
    (INFER, {"inputs": [{**BINARY, "parameters": {"binary_data_size": 4}}]}),
    (INFER, {"inputs": [{**BINARY, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 4}}]}),
    (INFER, {"inputs": [tensor(np.zeros((0, 2, 2), np.uint8))]}),
    *((INFER, {"inputs": [GOOD], "outputs": outputs}) for outputs in (
        {}, "logits", ["logits"], [{"name": "x"}], [{}], [{"name": "logits"}, {"name": "logits"}], [{"name": None}],
        [{"name": "logits", "parameters": {"classification": 1}}], [{"name": "logits", "parameters": 1}],
        [{"name": "logits", "parameters": {"shared_memory_region": "r"}}],
    )),
    *((INFER, {"inputs": [GOOD], "parameters": parameters}) for parameters in (
        None, [], {"priority": "low"}, {"priority": -1}, {"priority": 1.5}, {"priority": []}, {"timeout": -1},
        {"timeout": "1"}, {"timeout": True}, {"timeout": [1]},
    )),
    *((INFER, {"inputs": [GOOD], "id": name}) for name in (7, [], {}, True)),
    *((PREDICT, body) for body in (
        {"rows": []}, {"rows": {}}, {"rows": [[[0, 0], [0, 0]]], "x": 1}, [1, 2], [[1, 2]], ["a"], [None], [[]], [{}],
        [{"x": 1}], [{"image": 1}], [{"image": [[1, 2], [3, 4]]}, {}], [{"image": [[1, 2], [3, 4]]}, [1]],
        [{"image": [[1, 2], [3, 4]]}, {"image": 1}], [{"image": [[1, 2], [3, "4"]]}], [{"image": {}}],
        [[[1, 2], [3, 4]], {"image": 1}], [[[1, 2], [3, 300]]], [[[1, 2], [3, None]]], [[[1, 2], [3]]],
        [{"image": None}], [{"image": []}], {"rows": [[[0, 0], [0, 0]]], "timeout_ms": "x"},
    )),
]  # fmt: skip


def test_whatever_is_wrong_the_error_is_the_clients_and_says_so(server: Any) -> None:
    for path, body in MALFORMED:
        status, said, _ = server.ask("POST", path, body)
        assert 400 <= status < 500, (path, body, status)
        assert list(said) == ["error"], (path, body)
        assert isinstance(said["error"], str), (path, body)
        assert said["error"], (path, body)
    status, said, _ = server.ask("POST", INFER, {"inputs": [GOOD]})
    assert status == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies() | JSON, path=st.sampled_from([INFER, PREDICT]))
def test_no_body_breaks_the_server(server: Any, body: Any, path: str) -> None:
    status, said, _ = server.ask("POST", path, json.dumps(body))
    assert status in (200, 400, 504), (status, said)
    assert status == 200 or list(said) == ["error"]


NOT_THERE: list[tuple[str, str, dict[str, str], int]] = [
    ("GET", "/", {}, 404),
    ("GET", "/v2/models", {}, 404),
    ("GET", "/v2/models/x", {}, 404),
    ("GET", "/v2/models/m/versions/2", {}, 404),
    ("GET", "/v2/models/x/ready", {}, 404),
    ("POST", "/v2/models/x/infer", {}, 404),
    ("POST", "/v2/models/..%2F..%2Fetc/infer", {}, 404),
    ("POST", "/v2/models/%FF/infer", {}, 404),
    ("POST", "/v1/predict/x", {}, 404),
    ("GET", INFER, {}, 405),
    ("DELETE", "/v2", {}, 405),
    ("POST", INFER, {"content-encoding": "br"}, 415),
    ("POST", INFER, {"content-encoding": "gzip, deflate"}, 415),
    ("POST", INFER, {"content-encoding": "gzip"}, 400),
    ("POST", INFER, {"content-encoding": "deflate"}, 400),
    ("POST", INFER, {"inference-header-content-length": "3"}, 400),
    ("POST", INFER, {"inference-header-content-length": "-1"}, 400),
    ("POST", INFER, {"inference-header-content-length": "9" * 5000}, 400),
]


def test_what_is_not_there_is_an_error_of_the_same_shape(server: Any) -> None:
    for method, path, headers, status in NOT_THERE:
        found, said, _ = server.ask(method, path, None if method == "GET" else b"{}", headers)
        assert (found, list(said)) == (status, ["error"]), (method, path)


def test_a_body_that_is_too_large_is_refused_told_or_not(server: Any) -> None:
    status, said, headers = server.ask("POST", INFER, b" " * (BODY_BYTES + 1))
    assert (status, list(said), headers["connection"]) == (413, ["error"], "close")
    many = [0] * (ELEMENTS + 4)
    status, said, _ = server.ask("POST", INFER, {"inputs": [GOOD | {"shape": [len(many) // 4, 2, 2], "data": many}]})
    assert (status, "at most 50,000" in said["error"]) == (400, True)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    chunks = (b" " * 10_000 for _ in range(30))
    try:
        connection.request("POST", INFER, chunks, {"transfer-encoding": "chunked"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # it hung up on the rest of the body
        pass
    finally:
        connection.close()


@pytest.mark.parametrize("start", [b"", b'{"inputs": ['])
def test_a_body_that_never_ends_is_given_up(made: Any, served: Any, start: bytes) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode()
    with (
        served([made.loaded], Limits(body_s=0.05)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow,
    ):
        slow.sendall(head + start)
        response = http.client.HTTPResponse(slow)
        response.begin()
        assert (response.status, response.getheader("connection")) == (408, "close")
        assert list(json.loads(response.read())) == ["error"]


def test_numbers_that_json_cannot_write_become_null() -> None:
    body = json_response({"data": np.array([1.0, np.nan, np.inf], np.float32), "more": float("nan")}).body
    assert json.loads(body) == {"data": [1.0, None, None], "more": None}


def test_a_table_of_numbers_and_text(sklearn_bundle: Path, table: pd.DataFrame, served: Any) -> None:
    rows = [*table.drop(columns="label").to_dict("records")[:7], {"age": 30, "income": 3, "town": None}]
    feeds = {
        "age": np.array([[row["age"]] for row in rows]),
        "income": np.array([[float(row["income"])] for row in rows]),
        "town": np.array([[row["town"]] for row in rows], dtype=object),
    }
    expected = open_plan(read_bundle(sklearn_bundle)).answer(feeds)
    with served([load_plan(sklearn_bundle, "t")]) as server:
        status, said, _ = server.ask("POST", "/v1/predict/t", rows)
        assert status == 200
        assert [row["label"] for row in said["predictions"]] == expected["label"].tolist()
        confidence = expected["probabilities"].max(axis=1)
        np.testing.assert_allclose([row["confidence"] for row in said["predictions"]], confidence)
        kinds = {"age": "INT64", "income": "FP64", "town": "BYTES"}
        inputs = [
            {"name": name, "datatype": kinds[name], "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in feeds.items()
        ]
        status, said, _ = server.ask("POST", "/v2/models/t/infer", {"inputs": inputs})
        label, shares = said["outputs"]
        assert (status, label["datatype"], label["shape"], label["data"]) == (
            200, "BYTES", [len(rows)], expected["label"].tolist(),
        )  # fmt: skip
        assert (shares["datatype"], shares["shape"]) == ("FP64", [len(rows), 2])
        np.testing.assert_allclose(shares["data"], expected["probabilities"].ravel())
        for wrong in (
            [{"age": 30, "income": 3}],
            [{"age": 30.5, "income": 3, "town": "Ulm"}],
            [{"age": None, "income": 3, "town": "Ulm"}],
            [{"age": "30", "income": 3, "town": "Ulm"}],
            [{"age": 30, "income": 3, "town": 42}],
            [[30, 3, "Ulm"]],
            [{"age": 30, "income": None, "town": "Ulm"}, {"age": 30, "income": 3}],
        ):
            status, said, _ = server.ask("POST", "/v1/predict/t", wrong)
            assert (status, list(said)) == (400, ["error"]), wrong


def test_columns_that_were_one_array_are_one_again_in_any_order(array_bundle: Path, served: Any) -> None:
    expected = open_plan(read_bundle(array_bundle)).answer({"x": np.array([[1.0, 2.0], [3.0, 4.5]])})["value"]
    with served([load_plan(array_bundle, "a")]) as server:
        for rows in (
            [{"height": 2, "width": 1, "more": "x"}, {"width": 3, "height": 4.5, "more": None}],
            [[1, 2], [3, 4.5]],
            [{"x": [1, 2]}, {"x": [3, 4.5]}],
        ):
            status, said, _ = server.ask("POST", "/v1/predict/a", rows)
            assert status == 200, said
            np.testing.assert_allclose([row["value"] for row in said["predictions"]], expected)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def test_a_client_that_hangs_up_leaves(cascade: Callable[..., Any], gate: Any, images: Array, served: Any) -> None:
    made = cascade()
    with served([made.gated(0, gate)]) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.ask, "POST", INFER, {"inputs": [tensor(images[:1])]})
        wait_until(lambda: len(gate.batches) == 1)
        body = json.dumps({"inputs": [tensor(images[1:2])]}).encode()
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        runner = server.engine._runner("m", None)
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(head + body)
            wait_until(lambda: runner._open == 2)
        wait_until(lambda: runner._open == 1)
        gate.open.set()
        status, said, _ = first.result()
        assert status == 200
        np.testing.assert_allclose(said["outputs"][0]["data"], made.expected(images[:1])["logits"][0], rtol=1e-5)
        assert gate.batches == [1]


@pytest.mark.parametrize("number", ["-9223372036854775809", "9223372036854775808", "1e300", "-9223372036854775808.0"])
def test_whole_numbers_beyond_their_type_do_not_become_others(number: str) -> None:
    spec = ModelSpec(inputs=(TensorSpec(name="x", dtype="int64", shape=(None,)),), outputs=())

    def read(text: str) -> Any:
        return bound({"x": json_array("x", parsed(f"[{text}]".encode()), Limits(), "int64")}, spec, {"x": ("x",)})["x"]

    with pytest.raises(BadRequest, match="cannot hold it"):
        read(number)
    with pytest.raises(BadRequest, match="cannot hold it"):
        read(f"1, {number}")
    assert read("-9223372036854775808, 9223372036854775807").tolist() == [-(2**63), 2**63 - 1]
    assert read("9007199254740993, 3.0").tolist() == [2**53 + 1, 3]


def test_overload_and_deadlines_and_failures_have_their_statuses(
    cascade: Callable[..., Any], gate: Any, images: Array, served: Any
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001))
    one = {"inputs": [tensor(images[:1])]}
    gate.raises_on = lambda batch: bool((batch == 255).all())
    with served([made.gated(0, gate)]) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.ask, "POST", INFER, one)
        wait_until(lambda: len(gate.batches) == 1)
        status, said, headers = server.ask("POST", INFER, one)
        assert (status, list(said)) == (429, ["error"])
        assert int(headers["retry-after"]) >= 1
        gate.open.set()
        assert first.result()[0] == 200
        gate.open.clear()
        status, said, _ = server.ask("POST", INFER, one | {"parameters": {"timeout": 20_000}})
        assert (status, "deadline passed" in said["error"]) == (504, True)
        gate.open.set()
        wait_until(lambda: server.ask("POST", INFER, one)[0] == 200)
        status, said, _ = server.ask("POST", INFER, {"inputs": [tensor(np.full((1, 2, 2), 255, np.uint8))]})
        assert (status, "stage 1 of m failed" in said["error"]) == (400, True)
        server.call_soon(server.engine.retire)
        wait_until(lambda: server.ask("GET", "/v2/health/ready")[0] == 503)
        status, _, headers = server.ask("POST", INFER, one)
        assert (status, headers["connection"]) == (200, "close")


def test_who_is_certain_to_be_refused_is_not_read(
    cascade: Callable[..., Any], gate: Any, images: Array, served: Any
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001))
    one = {"inputs": [tensor(images[:1])]}
    rows = images[:1].tolist()
    with served([made.gated(0, gate)]) as server, ThreadPoolExecutor(1) as pool:
        assert server.ask("POST", INFER, b"no JSON")[0] == 400
        first = pool.submit(server.ask, "POST", INFER, one)
        wait_until(lambda: len(gate.batches) == 1)
        for path, body in ((INFER, one), ("/v1/predict/m", rows)):
            # A refusal may be long ago on a slow machine, and then the next request is read again.
            wait_until(
                lambda path=path, body=body: (
                    [server.ask("POST", path, asked)[0] for asked in (body, b"no JSON")] == [429, 429]
                )
            )
            assert server.ask("POST", path, b'no JSON: "timeout"')[0] == 400
            assert server.ask("POST", path, b"no JSON", {"x-request-timeout-ms": "5"})[0] == 400
        gate.open.set()
        assert first.result()[0] == 200
        assert server.ask("POST", INFER, one)[0] == 200


def test_a_header_says_a_deadline_too(cascade: Callable[..., Any], gate: Any, images: Array, served: Any) -> None:
    one = {"inputs": [tensor(images[:1])]}
    with served([cascade().gated(0, gate)]) as server:
        late = one | {"parameters": {"timeout": 60_000_000}}
        status, said, _ = server.ask("POST", INFER, late, {"x-request-timeout-ms": "20"})
        assert (status, "deadline passed" in said["error"]) == (504, True)
        for wrong in ("soon", "-1", ""):
            status, said, _ = server.ask("POST", INFER, one, {"x-request-timeout-ms": wrong})
            assert (status, "milliseconds" in said["error"]) == (400, True), wrong
        gate.open.set()
        assert server.ask("POST", INFER, one, {"x-request-timeout-ms": "0"})[0] == 200


def test_missing_values_that_a_model_cannot_take_are_the_clients_fault(sklearn_bundle: Path, served: Any) -> None:
    good = {"age": 30, "income": 3.0, "town": "Ulm"}
    with served([load_plan(sklearn_bundle, "t")]) as server:
        status, said, _ = server.ask("POST", "/v1/predict/t", [good, good | {"income": None}])
        assert (status, "'income' holds missing" in said["error"]) == (400, True)
        assert server.ask("POST", "/v1/predict/t", [good])[0] == 200


def test_outputs_that_are_no_numbers_are_null_in_json_and_themselves_in_bytes(
    tmp_path: Path, bundled: Any, linear: Any, served: Any
) -> None:
    """JSON has no NaN and no infinity; whoever needs to tell them apart takes bytes."""
    weights = np.array([[np.inf, 0, 1]] * 4, np.float32)
    images = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 1]]], np.uint8)
    golden = {"image": images[1:]}
    folder = bundled(tmp_path / "bundle", linear(tmp_path / "model", weights), golden, output_kind="value")
    with served([load_plan(folder, "m")]) as server:
        status, said, _ = server.ask("POST", INFER, {"inputs": [tensor(images)]})
        assert (status, said["outputs"][0]["data"]) == (200, [None, 0.0, 0.0, None, 0.0, 4.0])
        status, said, _ = server.ask("POST", PREDICT, images.tolist())
        assert (status, said["predictions"][1]) == (200, {"value_0": None, "value_1": 0.0, "value_2": 4.0})
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", INFER, images.tobytes(), {"inference-header-content-length": "0"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        found = np.frombuffer(body[int(response.getheader("inference-header-content-length", "")) :], "<f4")
        np.testing.assert_array_equal(found, [np.nan, 0, 0, np.inf, 0, 4])


def test_a_request_of_too_many_rows_is_refused_however_it_is_written(made: Any, served: Any) -> None:
    with served([made.loaded], Limits(rows=3)) as server:
        for rows, expected in ((3, 200), (4, 400)):
            images = np.zeros((rows, 2, 2), np.uint8)
            raw = {"inference-header-content-length": "0"}
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", INFER, images.tobytes(), raw)
            assert connection.getresponse().status == expected
            connection.close()
            for path, body in (
                (INFER, {"inputs": [tensor(images)]}),
                (INFER, {"inputs": [tensor(images, data=images.tolist())]}),
                (PREDICT, images.tolist()),
                (PREDICT, {"rows": [{"image": image} for image in images.tolist()]}),
            ):
                status, said, _ = server.ask("POST", path, body)
                assert (status, expected == 200 or "at most 3 are taken" in said["error"]) == (expected, True)


def test_an_input_of_no_axes_is_refused(sklearn_bundle: Path, served: Any) -> None:
    values = {"age": ("INT64", [30]), "income": ("FP64", [1.5]), "town": ("BYTES", ["Ulm"])}
    with served([load_plan(sklearn_bundle, "t")]) as server:
        for without in [[name] for name in values] + [list(values)]:
            inputs = [
                {"name": name, "datatype": kind, "shape": [] if name in without else [1, 1], "data": data}
                for name, (kind, data) in values.items()
            ]
            status, said, _ = server.ask("POST", "/v2/models/t/infer", {"inputs": inputs})
            assert (status, "the rows first" in said["error"]) == (400, True), without
