"""Whatever bytes come, the answer is one of the protocol's, and never the server's own failure.

Most cases are calls of the application itself, a part comes over sockets. The slow suite tries EQUIPOISE_FUZZ_CASES of
them, 100,000 unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equipoise.endpoint.gate import Gate
from equipoise.endpoint.http import Limits
from equipoise.endpoint.rest import Rest
from equipoise.observe.statistics import Statistics
from equipoise.serve import Engine, load_plan
from equipoise.serve.repository import Repository

# Of a server these warnings are no errors: huge numbers overflow in a model, and the answer is infinite.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
FEW = 150
PARTS = 10
MANY = int(os.environ.get("EQUIPOISE_FUZZ_CASES", "100000"))
LIMITS = Limits(body_bytes=100_000, inflated_bytes=200_000, rows=500, elements=5_000, depth=6)
EXPECTED = {200, 400, 404, 405, 413, 415, 429, 504}
MOST_CHARACTERS = 100_000
PATIENCE_S = 0.1
"""How long nothing must come back for nothing more to be expected."""
LENGTH = b"inference-header-content-length"
MODELS = ("m", "t", "a")

WHOLE = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, 2, 255, 256, 2**31, 2**63, 2**64, -1, -(2**63) - 1])
LEAVES = st.none() | st.booleans() | WHOLE | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)
EMPTY = st.sampled_from([[], {}, "", 0, None])
TENSORS: dict[str, list[dict[str, Any]]] = {
    "m": [{"name": "image", "datatype": "UINT8", "shape": [1, 2, 2], "data": [0, 1, 2, 255]}],
    "t": [
        {"name": "age", "datatype": "INT64", "shape": [1, 1], "data": [30]},
        {"name": "income", "datatype": "FP64", "shape": [1, 1], "data": [1.5]},
        {"name": "town", "datatype": "BYTES", "shape": [1, 1], "data": ["Ulm"]},
    ],
    "a": [{"name": "x", "datatype": "FP64", "shape": [1, 2], "data": [1.5, 2.5]}],
}
BLOBS: dict[str, bytes] = {
    "image": bytes([0, 1, 2, 255]), "age": struct.pack("<q", 30), "income": struct.pack("<d", 1.5),
    "town": struct.pack("<I", 3) + b"Ulm", "x": struct.pack("<2d", 1.5, 2.5),
}  # fmt: skip
ROWS: dict[str, list[Any]] = {
    "m": [{"image": [[0, 1], [2, 255]]}],
    "t": [{"age": 30, "income": 1.5, "town": "Ulm"}],
    "a": [{"width": 1.5, "height": 2.5}],
}
FIELDS = ("inputs", "outputs", "parameters", "id", "rows", "timeout_ms", "priority")
TENSOR_FIELDS = ("name", "datatype", "shape", "data", "parameters")
PARAMETERS = ("binary_data_size", "binary_data", "binary_data_output", "priority", "timeout", "classification",
              "shared_memory_region", "sequence_id")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A request."""

    path: str
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    method: str = "POST"


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A value with one of its parts replaced, removed, repeated or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)) < 8:
        key = draw(st.sampled_from(sorted(value)))
        what = draw(st.integers(0, 5))
        if what == 0:
            return {name: one for name, one in value.items() if name != key}
        if what == 1:
            return value | {draw(st.sampled_from((*FIELDS, *TENSOR_FIELDS, *PARAMETERS))): draw(JSON | EMPTY)}
        return value | {key: draw(changed(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)) < 8:
        place = draw(st.integers(0, len(value) - 1))
        what = draw(st.integers(0, 5))
        if what == 0:
            return value[:place] + value[place + 1 :]
        if what == 1:
            times = draw(st.sampled_from([2, 3, 50, 600]))
            return value * times if len(repr(value)) * times < MOST_CHARACTERS else value
        return [*value[:place], draw(changed(value[place])), *value[place + 1 :]]
    return draw(JSON | EMPTY)


@st.composite
def json_cases(draw: st.DrawFn) -> Case:
    """Good JSON with some of its parts replaced, or none that is good."""
    model = draw(st.sampled_from(MODELS))
    predict = draw(st.booleans())
    good: Any = draw(st.sampled_from([ROWS[model], {"rows": ROWS[model]}])) if predict else {"inputs": TENSORS[model]}
    value = good
    for _ in range(draw(st.integers(0, 3))):
        value = draw(changed(value))
    body = json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=5)) + body[place + draw(st.integers(0, 5)) :]
    return Case(f"/v1/predict/{model}" if predict else f"/v2/models/{model}/infer", body)


@st.composite
def binary_cases(draw: st.DrawFn) -> Case:
    """Tensors as bytes, some of whose sizes, shapes, lengths or bytes are wrong."""
    model = draw(st.sampled_from(MODELS))
    tensors, blobs = [], []
    for tensor in TENSORS[model]:
        blob = BLOBS[tensor["name"]] * draw(st.sampled_from([1, 1, 1, 2, 100]))
        if draw(st.booleans()):
            blob = draw(st.binary(max_size=40) | st.just(blob[:-1]) | st.just(blob + b"\0"))
        shape = [len(blob) // len(BLOBS[tensor["name"]]), *tensor["shape"][1:]]
        size = draw(st.just(len(blob)) | st.just(len(blob)) | WHOLE)
        said = {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape}
        tensors.append(said | {"parameters": {"binary_data_size": size}})
        blobs.append(blob)
    value: Any = {"inputs": tensors, "parameters": {"binary_data_output": draw(st.booleans())}}
    if draw(st.booleans()):
        value = draw(changed(value))
    head = json.dumps(value).encode("utf-8", "surrogatepass")
    length = draw(
        st.just(str(len(head)).encode()) | st.just(b"0") | st.integers(-1, 300).map(lambda one: str(one).encode())
        | st.binary(max_size=5)
    )  # fmt: skip
    body = head + b"".join(blobs) if draw(st.integers(0, 9)) else draw(st.binary(max_size=100))
    return Case(f"/v2/models/{model}/infer", body, ((LENGTH, length),))


@st.composite
def other_cases(draw: st.DrawFn) -> Case:
    """Any path and method, headers of any kind, and bodies that are compressed, or say so."""
    names = st.sampled_from(
        ["v1", "v2", "models", "m", "t", "x", "versions", "1", "infer", "stats", "config", "ready", "health", "predict",
         "repository", "index", "load", "unload", "docs", "openapi.json", "trace", "setting", "%2e%2e", "%ff", "", "%"]
    ) | st.text("abc%{}/.;é\x00", max_size=5)  # fmt: skip
    parts = draw(st.lists(names, max_size=7))
    plain = draw(st.sampled_from([json.dumps({"inputs": TENSORS["m"]}).encode(), b"", b"{}", b"[" * 300]))
    pack = draw(st.sampled_from([gzip.compress, zlib.compress, lambda data: data, lambda data: data[::-1]]))
    body = pack(plain if draw(st.booleans()) else bytes(draw(st.sampled_from([0, 100, 1_000_000]))))
    headers = [
        (b"content-encoding", draw(st.sampled_from([b"gzip", b"deflate", b"br", b"identity", b""]))),
        (b"accept-encoding", draw(st.sampled_from([b"gzip", b"deflate", b"*", b"x;q=,"]) | st.binary(max_size=20))),
        (b"content-length", draw(st.sampled_from([b"0", b"-1", b"9" * 30]) | st.binary(max_size=5))),
        (b"x-request-id", draw(st.binary(max_size=140))),
        (LENGTH, draw(st.binary(max_size=6))),
    ]
    kept = tuple(header for header in headers if draw(st.booleans()))
    path = draw(st.sampled_from(["/v2/models/m/infer", "/v1/predict/m", "/v2/repository/index", "/" + "/".join(parts)]))
    return Case(path, body, kept, draw(st.sampled_from(["GET", "POST", "POST", "PUT", "HEAD", "DELETE", "x"])))


@dataclass
class App:
    """The application, called as an HTTP server would, in an event loop that lives as long as it does."""

    runner: asyncio.Runner
    rest: Rest

    def ask(self, case: Case) -> tuple[int, dict[bytes, bytes], bytes]:
        return self.runner.run(asyncio.wait_for(self._asked(case), 60))

    async def _asked(self, case: Case) -> tuple[int, dict[bytes, bytes], bytes]:
        half = len(case.body) // 2
        pieces = [(case.body[:half], True), (case.body[half:], False)]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.Event().wait()
            body, more = pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": more}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": case.method, "path": case.path, "query_string": b"", "headers": case.headers,
            "raw_path": case.path.encode("utf-8", "surrogatepass"), "client": ("127.0.0.1", 1), "scheme": "http",
        }  # fmt: skip
        await self.rest(scope, receive, send)
        start, body = sent
        return start["status"], dict(start["headers"]), body["body"]


def require_of_the_protocol(case: Case, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    assert status in EXPECTED, (case, status, body)
    assert int(headers[b"content-length"]) == len(body)
    assert 0 < len(headers[b"x-request-id"]) <= 128
    if headers.get(b"content-encoding") == b"gzip":
        body = gzip.decompress(body)
    elif headers.get(b"content-encoding") == b"deflate":
        body = zlib.decompress(body)
    if status != 200:
        said = json.loads(body)
        assert headers[b"content-type"] == b"application/json"
        assert list(said) == ["error"], (case, said)
        assert isinstance(said["error"], str), (case, said)
        assert said["error"], case
        return
    if case.method == "GET":
        return
    said = json.loads(body[: int(headers.get(LENGTH, len(body)))])
    for output in said.get("outputs", ()) if isinstance(said, dict) else ():
        size = output.get("parameters", {}).get("binary_data_size")
        assert size is not None or len(output["data"]) == np.prod(output["shape"])


@pytest.fixture
def plans(cascade: Callable[..., Any], sklearn_bundle: Path, array_bundle: Path) -> Sequence[Any]:
    return [cascade(lanes=2).loaded, load_plan(sklearn_bundle, "t"), load_plan(array_bundle, "a")]


@pytest.fixture
def app(plans: Sequence[Any]) -> Iterator[App]:
    with asyncio.Runner() as runner:

        async def start() -> Rest:
            statistics = Statistics()
            engine = Engine(plans, observers=[statistics])
            folders = {plan.name: {plan.version: plan.bundle.folder} for plan in plans}
            repository, gate = Repository(folders, engine), Gate(admin=True)
            return Rest(engine, LIMITS, statistics=statistics, repository=repository, gate=gate)

        rest = runner.run(start())
        yield App(runner, rest)
        runner.run(rest._engine.__aexit__(None, None, None))


def fuzz(app: App, cases: st.SearchStrategy[Case], examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def ask(case: Case) -> None:
        require_of_the_protocol(case, *app.ask(case))

    ask()


KINDS = {"json": json_cases(), "binary": binary_cases(), "other": other_cases()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_breaks_the_application(app: App, kind: str) -> None:
    fuzz(app, KINDS[kind], FEW)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_no_request_of_very_many_breaks_the_application(app: App, kind: str, part: int) -> None:
    fuzz(app, KINDS[kind], -(-MANY // (PARTS * len(KINDS))))


HEADS = (
    b"host: x", b"connection: keep-alive", b"connection: close", b"expect: 100-continue", b"transfer-encoding: chunked",
    b"upgrade: websocket", b"connection: upgrade", b"upgrade: h2c", b"content-encoding: gzip", b"x: " + b"y" * 40_000,
)  # fmt: skip


@st.composite
def connections(draw: st.DrawFn) -> list[bytes]:
    """Requests as bytes, some of which are wrong, in pieces."""
    data = b""
    for _ in range(draw(st.integers(1, 3))):
        case = draw(json_cases())
        lines = [f"{case.method} {case.path} HTTP/1.1".encode(), b"content-length: %d" % len(case.body)]
        lines += draw(st.lists(st.sampled_from(HEADS), max_size=3))
        data += b"\r\n".join([*lines, b"", case.body])
    if draw(st.booleans()):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=20)) + data[place + draw(st.integers(0, 20)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def said_to(port: int, pieces: Sequence[bytes]) -> bytes:
    """What comes back, until nothing more does."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            while select.select([connection], [], [], PATIENCE_S)[0]:
                part = connection.recv(1 << 16)
                if not part:
                    break
                said += part
        except (BrokenPipeError, ConnectionResetError):
            pass
    return said


def fuzz_connections(server: Any, examples: int) -> None:
    good = {"inputs": TENSORS["m"]}
    expected = server.ask("POST", "/v2/models/m/infer", good)[:2]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(pieces=connections())
    def send(pieces: list[bytes]) -> None:
        said = said_to(server.port, pieces)
        status = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")[:13]
        assert not said or status[:9] == b"HTTP/1.1 ", (pieces, said)
        assert b"HTTP/1.1 5" not in said.replace(b"HTTP/1.1 504", b""), (pieces, said)

    send()
    assert server.ask("POST", "/v2/models/m/infer", good)[:2] == expected


def test_no_bytes_break_a_connection(plans: Sequence[Any], served: Any) -> None:
    with served(plans, replace(LIMITS, body_s=0.02)) as server:
        fuzz_connections(server, FEW // 3)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_bytes_of_very_many_break_a_connection(plans: Sequence[Any], served: Any) -> None:
    with served(plans, replace(LIMITS, body_s=0.02)) as server:
        fuzz_connections(server, MANY // 50)
