"""The gRPC transport through real sockets: the protocol's words, deadlines, those who leave, and what is refused."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from equipoise.endpoint import grpc_server
from equipoise.endpoint.grpc import CODE, MOST_CHARACTERS, SERVICE, GrpcService
from equipoise.endpoint.http import Limits
from equipoise.execute.plan import open_plan
from equipoise.observe.statistics import Statistics
from equipoise.serve import Engine, load_plan
from equipoise.serve.events import RequestEnd
from equipoise.serve.repository import Repository
from equipoise.serve.wire import array_bytes
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
Code = grpc.StatusCode
PAGE = Path(__file__).parents[2] / "docs" / "serving" / "grpc.md"
SECONDS = 60


class Client:
    """Calls procedures on one connection."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.trailers: dict[str, str] = {}

    def close(self) -> None:
        self._channel.close()

    def rpc(self, name: str) -> Any:
        """The procedure, which takes bytes and gives a future of its message."""
        return self._channel.unary_unary(
            f"/{SERVICE}/{name}", response_deserializer=getattr(pb, f"{name}Response").FromString
        )

    def raw(self, name: str, message: bytes, **options: Any) -> Any:
        answer, call = self.rpc(name).with_call(message, **{"timeout": SECONDS} | options)
        self.trailers = dict(call.trailing_metadata())
        return answer

    def ask(self, name: str, /, **fields: Any) -> Any:
        return self.raw(name, getattr(pb, f"{name}Request")(**fields).SerializeToString())

    def refused(self, name: str, message: Any, **options: Any) -> tuple[Any, str]:
        """Code and details of a call that must fail."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        with pytest.raises(grpc.RpcError) as raised:
            self.raw(name, data, **options)
        error: Any = raised.value
        self.trailers = dict(error.trailing_metadata() or ())
        return error.code(), error.details()


@pytest.fixture
def made(cascade: Callable[..., Any]) -> Any:
    return cascade(lanes=2)


@pytest.fixture
def connect() -> Iterator[Callable[[int], Client]]:
    clients: list[Client] = []

    def make(port: int) -> Client:
        clients.append(Client(port))
        return clients[-1]

    yield make
    for each in clients:
        each.close()


@pytest.fixture
def client(made: Any, grpc_served: Any, connect: Callable[[int], Client]) -> Iterator[Client]:
    with grpc_served([load_plan(made.folder, "m"), load_plan(made.folder, "m", "2")]) as server:
        yield connect(server.port)


def image(images: Array, **changed: Any) -> Any:
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape}
    fields = {"model_name": "m", "inputs": [tensor], "raw_input_contents": [images.tobytes()]}
    return pb.ModelInferRequest(**fields | changed)


def logits(message: Any) -> Array:
    (output,) = message.outputs
    assert (output.name, output.datatype) == ("logits", "FP32")
    return np.frombuffer(message.raw_output_contents[0], "<f4").reshape(output.shape)


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def test_the_server_and_its_models_describe_themselves(client: Client) -> None:
    assert client.ask("ServerLive").live
    assert client.ask("ServerReady").ready
    server = client.ask("ServerMetadata")
    assert (server.name, bool(server.version)) == ("equipoise", True)
    assert list(server.extensions) == ["binary_tensor_data", "model_configuration"]
    for version in ("", "1", "2"):
        assert client.ask("ModelReady", name="m", version=version).ready
        model = client.ask("ModelMetadata", name="m", version=version)
        assert (model.name, list(model.versions), model.platform) == ("m", ["1", "2"], "equipoise_plan")
        assert [(each.name, each.datatype, list(each.shape)) for each in (*model.inputs, *model.outputs)] == [
            ("image", "UINT8", [-1, 2, 2]), ("logits", "FP32", [-1, 3]),
        ]  # fmt: skip
        config = client.ask("ModelConfig", name="m", version=version).config
        assert (config.name, config.max_batch_size, config.input[0].dims) == ("m", 4, [2, 2])
        assert config.input[0].data_type == 2  # TYPE_UINT8


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("version", ["", "1"])
def test_inference_as_the_protocol_writes_it(
    client: Client, made: Any, images: Array, typed: bool, version: str
) -> None:
    asked = image(images, model_version=version, id="mine", outputs=[{"name": "logits"}])
    if typed:
        del asked.raw_input_contents[:]
        asked.inputs[0].contents.uint_contents.extend(images.ravel().tolist())
    found = client.raw("ModelInfer", asked.SerializeToString())
    assert (found.model_name, found.model_version, found.id) == ("m", version or "2", "mine")
    assert not found.parameters
    np.testing.assert_allclose(logits(found), made.expected(images)["logits"], rtol=1e-5, atol=1e-6)


def test_text_and_numbers_side_by_side(
    sklearn_bundle: Path, table: pd.DataFrame, grpc_served: Any, connect: Callable[[int], Client]
) -> None:
    feeds = {name: table[[name]].to_numpy() for name in ("age", "income", "town")}
    kinds = {"age": "INT64", "income": "FP64", "town": "BYTES"}
    expected = open_plan(read_bundle(sklearn_bundle)).answer(feeds)
    inputs: list[Any] = [{"name": name, "datatype": kinds[name], "shape": feeds[name].shape} for name in feeds]
    raw = pb.ModelInferRequest(model_name="t", inputs=inputs, raw_input_contents=map(array_bytes, feeds.values()))
    contents = {
        "age": {"int64_contents": feeds["age"].ravel().tolist()},
        "income": {"fp64_contents": feeds["income"].ravel().tolist()},
        "town": {"bytes_contents": [town.encode() for town in feeds["town"].ravel()]},
    }
    typed = pb.ModelInferRequest(model_name="t", inputs=[one | {"contents": contents[one["name"]]} for one in inputs])
    with grpc_served([load_plan(sklearn_bundle, "t")]) as server:
        for message in (raw, typed):
            found = connect(server.port).raw("ModelInfer", message.SerializeToString())
            label, shares = found.outputs
            assert (label.datatype, list(label.shape), shares.datatype) == ("BYTES", [len(table)], "FP64")
            assert found.raw_output_contents[0] == array_bytes(expected["label"])
            np.testing.assert_allclose(np.frombuffer(found.raw_output_contents[1]), expected["probabilities"].ravel())


@pytest.mark.parametrize("high", [{"uint64_param": 1}, {"int64_param": 1}, {"string_param": "high"}])
def test_high_priority_gets_the_last_stage(client: Client, made: Any, images: Array, high: Any) -> None:
    found = client.raw("ModelInfer", image(images, parameters={"priority": high}).SerializeToString())
    np.testing.assert_allclose(logits(found), made.of_stage(1, images), rtol=1e-5, atol=1e-6)


def test_compressed_requests_are_read_within_the_limit(client: Client, made: Any, images: Array) -> None:
    many = np.tile(images, (500, 1, 1))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        found = client.raw("ModelInfer", image(many).SerializeToString(), compression=compression)
        np.testing.assert_allclose(logits(found), made.expected(many)["logits"], rtol=1e-5, atol=1e-6)
        code, _ = client.refused("ModelInfer", bytes(10_000_000), compression=compression)
        assert code is Code.RESOURCE_EXHAUSTED


ONE = np.zeros((1, 2, 2), np.uint8)
WRONG: list[tuple[str, Any, Any, str]] = [
    ("ModelInfer", image(ONE, model_name="x"), Code.NOT_FOUND, "no model 'x'"),
    ("ModelInfer", image(ONE, model_version="3"), Code.NOT_FOUND, "no version '3'"),
    ("ModelInfer", pb.ModelInferRequest(), Code.NOT_FOUND, "no model"),
    ("ModelReady", pb.ModelReadyRequest(name="x"), Code.NOT_FOUND, "no model 'x'"),
    ("ModelMetadata", pb.ModelMetadataRequest(name="m", version="3"), Code.NOT_FOUND, "no version '3'"),
    ("ModelConfig", pb.ModelConfigRequest(name="x"), Code.NOT_FOUND, "no model 'x'"),
    ("ModelInfer", image(ONE, inputs=[]), Code.INVALID_ARGUMENT, "takes image"),
    ("ModelInfer", image(ONE, raw_input_contents=[b"12"]), Code.INVALID_ARGUMENT, "2 bytes"),
    ("ModelInfer", image(ONE, outputs=[{"name": "x"}]), Code.INVALID_ARGUMENT, "output x"),
    ("ModelInfer", image(ONE, parameters={"timeout": {"int64_param": -1}}), Code.INVALID_ARGUMENT, "timeout -1"),
    ("ModelInfer", image(ONE, parameters={"timeout": {"double_param": np.nan}}), Code.INVALID_ARGUMENT, "nan"),
    ("ModelInfer", image(np.tile(ONE, (20_000, 1, 1))), Code.INVALID_ARGUMENT, "at most"),
    ("ModelInfer", b"\x1f nothing", Code.INVALID_ARGUMENT, "no ModelInferRequest"),
    ("ModelInfer", b"", Code.NOT_FOUND, "no model"),
    ("ModelInfer", bytes(300_000), Code.RESOURCE_EXHAUSTED, "larger than max"),
    ("ModelStatistics", b"", Code.UNIMPLEMENTED, "Method not found"),
    ("RepositoryIndex", b"", Code.UNIMPLEMENTED, "Method not found"),
    ("SystemSharedMemoryStatus", b"", Code.UNIMPLEMENTED, "Method not found"),
]


def test_whatever_is_wrong_has_its_code_and_says_so(client: Client) -> None:
    for name, message, code, said in WRONG:
        found = client.refused(name, message)
        assert found[0] is code, (found, said)
        assert said in found[1], (found, said)
    assert client.ask("ServerLive").live


def test_an_error_fits_into_what_clients_take_of_headers(client: Client) -> None:
    for name in ("x" * 100_000, "ü" * 50_000):
        code, said = client.refused("ModelInfer", image(ONE, model_name=name))
        assert (code, len(said), said[-3:]) == (Code.NOT_FOUND, MOST_CHARACTERS, "...")


def test_requests_have_names_in_answers_and_errors(client: Client) -> None:
    ours = set()
    for message in (image(ONE), image(ONE, model_name="x")):
        for given, kept in (("abc-1", True), (None, False), ("x" * 1000, False), ("a b", False)):
            options = {} if given is None else {"metadata": [("x-request-id", given)]}
            if message.model_name == "m":
                client.raw("ModelInfer", message.SerializeToString(), **options)
            else:
                client.refused("ModelInfer", message, **options)
            found = client.trailers["x-request-id"]
            assert (found == given) == kept
            ours |= set() if kept else {found}
    assert len(ours) == 6


def never() -> Iterator[bytes]:
    threading.Event().wait(SECONDS)
    yield b""


def test_a_message_that_never_comes_is_given_up(made: Any, grpc_served: Any) -> None:
    with (
        grpc_served([made.loaded], Limits(body_s=0.05)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        infer = channel.stream_unary(f"/{SERVICE}/ModelInfer")
        for messages, code in ((never(), Code.DEADLINE_EXCEEDED), (iter(()), Code.INVALID_ARGUMENT)):
            with pytest.raises(grpc.RpcError) as raised:
                infer(messages, timeout=SECONDS)
            assert raised.value.code() is code
            assert "message" in raised.value.details()


def test_one_who_cancels_leaves(
    cascade: Callable[..., Any], gate: Any, images: Array, grpc_served: Any, connect: Callable[[int], Client]
) -> None:
    made = cascade()
    with grpc_served([made.gated(0, gate)]) as server:
        client = connect(server.port)
        runner = server.engine._runner("m", None)
        first = client.rpc("ModelInfer").future(image(images[:1]).SerializeToString(), timeout=SECONDS)
        wait_until(lambda: len(gate.batches) == 1)
        gone = client.rpc("ModelInfer").future(image(images[1:2]).SerializeToString(), timeout=SECONDS)
        wait_until(lambda: runner._open == 2)
        gone.cancel()
        wait_until(lambda: runner._open == 1)
        gate.open.set()
        np.testing.assert_allclose(logits(first.result()), made.expected(images[:1])["logits"], rtol=1e-5)
        assert gate.batches == [1]


@pytest.mark.parametrize(("timeout_s", "parameter_us"), [(0.1, None), (0.1, 60_000_000), (SECONDS, 100_000)])
def test_the_earlier_deadline_counts(
    cascade: Callable[..., Any],
    gate: Any,
    images: Array,
    grpc_served: Any,
    connect: Callable[[int], Client],
    timeout_s: float,
    parameter_us: int | None,
) -> None:
    made = cascade()
    with grpc_served([made.gated(0, gate)]) as server:
        client = connect(server.port)
        runner = server.engine._runner("m", None)
        first = client.rpc("ModelInfer").future(image(images[:1]).SerializeToString(), timeout=SECONDS)
        wait_until(lambda: len(gate.batches) == 1)
        late = image(images[1:2])
        if parameter_us is not None:
            late.parameters["timeout"].int64_param = parameter_us
        code, _ = client.refused("ModelInfer", late, timeout=timeout_s)
        assert code is Code.DEADLINE_EXCEEDED
        wait_until(lambda: runner._open == 1)
        gate.open.set()
        first.result()
        assert gate.batches == [1]


def test_overload_and_failures_have_their_codes(
    cascade: Callable[..., Any], gate: Any, images: Array, grpc_served: Any, connect: Callable[[int], Client]
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001))
    gate.raises_on = lambda batch: bool((batch == 255).all())
    with grpc_served([made.gated(0, gate)]) as server:
        client = connect(server.port)
        rpc, one = client.rpc("ModelInfer"), image(images[:1])
        first = rpc.future(one.SerializeToString())
        wait_until(lambda: len(gate.batches) == 1)
        code, said = client.refused("ModelInfer", one, timeout=None)
        assert (code, "come again" in said) == (Code.RESOURCE_EXHAUSTED, True)
        assert int(client.trailers["retry-after"]) >= 1
        assert int(client.trailers["grpc-retry-pushback-ms"]) >= 1
        gate.open.set()
        first.result()
        code, said = client.refused("ModelInfer", image(np.full((1, 2, 2), 255, np.uint8)), timeout=None)
        assert (code, "the runtime cannot compute this" in said) == (Code.INVALID_ARGUMENT, True)


def test_answers_of_the_fallback_say_so(
    cascade: Callable[..., Any], gate: Any, images: Array, grpc_served: Any, connect: Callable[[int], Client]
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001, 0.001), fallback=True, lanes=2)
    with grpc_served([made.gated(0, gate)]) as server:
        client = connect(server.port)
        firsts = [client.rpc("ModelInfer").future(image(images[n : n + 1]).SerializeToString()) for n in range(2)]
        wait_until(lambda: len(gate.batches) == 2)
        degraded = client.rpc("ModelInfer").future(image(images[2:3]).SerializeToString())
        runner = server.engine._runner("m", None)
        wait_until(lambda: runner._open == 3)
        gate.open.set()
        assert degraded.result().parameters["degraded"].bool_param
        assert not any(each.result().parameters for each in firsts)


def test_a_server_that_ends_says_so(made: Any, grpc_served: Any, connect: Callable[[int], Client]) -> None:
    with grpc_served([made.loaded]) as server:
        client = connect(server.port)
        server.call_soon(server.engine.retire)
        wait_until(lambda: not client.ask("ServerReady").ready)
        assert not client.ask("ModelReady", name="m").ready
        assert client.ask("ServerLive").live
        assert client.raw("ModelInfer", image(ONE).SerializeToString()).outputs
        server.call_soon(server.engine.close)
        wait_until(lambda: not server.engine._accepting)
        assert client.refused("ModelInfer", image(ONE))[0] is Code.UNAVAILABLE


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def who_reads_nothing(message: bytes) -> bytes:
    """All that a client sends for a call, when it gives the server no room to answer in."""
    no_room = frame(4, 0, 0, (4).to_bytes(2, "big") + bytes(4))
    fields = ((":method", "POST"), (":scheme", "http"), (":path", f"/{SERVICE}/ModelInfer"), (":authority", "x"),
              ("content-type", "application/grpc"), ("te", "trailers"))  # fmt: skip
    head = b"".join(b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in field) for field in fields)
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_room + frame(1, 4, 1, head) + frame(0, 1, 1, body)


def test_who_reads_nothing_does_not_keep_the_server_from_its_end(
    made: Any, grpc_served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_server, "UNREAD_S", 0.1)
    ends: list[RequestEnd] = []
    with socket.socket() as mute:
        with grpc_served([made.loaded], observers=[Ends(ends)]) as server:
            mute.connect(("127.0.0.1", server.port))
            mute.sendall(who_reads_nothing(image(ONE).SerializeToString()))
            wait_until(lambda: len(ends) == 1)
        assert ends[0].outcome == "answered"


@dataclass
class Ends:
    """An observer that keeps what it is told of requests."""

    ends: list[RequestEnd]

    def request_ended(self, end: RequestEnd) -> None:
        self.ends.append(end)

    def batch_ended(self, end: Any) -> None:
        pass


def test_the_page_names_all_codes_and_procedures_that_are_served() -> None:
    shown = set(re.findall(r"`([A-Za-z_]+)`", PAGE.read_text()))
    assert {code.name for code in CODE.values()} <= shown
    engine = Engine([])
    service = GrpcService(engine, statistics=Statistics(), models=Repository({}, engine))
    described = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert set(described) & shown == set(service._rpcs)
