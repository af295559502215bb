"""Requests that are answered without a task: as all others are, whatever they bring and however they come."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from equipoise.endpoint import protocol, rest
from equipoise.endpoint.http import UNCOUNTED_BYTES
from equipoise.endpoint.prompt import Prompt

INFER = "/v2/models/m/infer"
IMAGES = np.array([[[7, 77], [177, 213]]] * 2, np.uint8)
TENSOR = {"name": "image", "datatype": "UINT8", "shape": [2, 2, 2]}
BODY = json.dumps({"inputs": [TENSOR | {"data": IMAGES.ravel().tolist()}]}).encode()
BYTES = json.dumps({"inputs": [TENSOR | {"parameters": {"binary_data_size": 8}}]}).encode()
MANY = json.dumps(
    {"inputs": [TENSOR | {"shape": [300, 2, 2], "data": IMAGES.ravel().tolist() * 150}]}
).encode()  # fmt: skip
ASKED = {
    "json": (BODY, {}),
    "binary": (BYTES + IMAGES.tobytes(), {"inference-header-content-length": str(len(BYTES))}),
    "raw": (IMAGES.tobytes(), {"inference-header-content-length": "0"}),
    "a name": (b'{"id": "mine",' + BODY[1:], {"x-request-id": "one"}),
    "in gzip": (MANY, {"accept-encoding": "gzip"}),
    "no json": (b"{", {}),
    "nothing": (b"", {}),
    "another type": (BODY.replace(b"UINT8", b"FP32"), {}),
    "another shape": (BODY.replace(b"[2, 2, 2]", b"[2, 2, 3]"), {}),
    "no such output": (BODY[:-1] + b', "outputs": [{"name": "x"}]}', {}),
    "a deadline that has passed": (BODY, {"x-request-timeout-ms": "-1"}),
    "a deadline that is none": (BODY, {"x-request-timeout-ms": "soon"}),
}


@dataclass
class Sent:
    """A connection that requests are sent over as bytes."""

    connection: socket.socket
    file: Any = field(init=False)

    def __post_init__(self) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close(self) -> None:
        self.file.close()
        self.connection.close()

    def response(self) -> tuple[int, bytes, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        headers = {name.lower(): value for name, value in http.client.parse_headers(self.file).items()}
        return status, self.file.read(int(headers["content-length"])), headers


@dataclass
class Watched:
    """A server, and how many requests it answered promptly."""

    server: Any
    prompt: list[str] = field(default_factory=list)
    connections: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        answer = self.server.rest.answer_promptly

        def counted(found: Any, *others: Any) -> Any:
            self.prompt.append(found[0].path)
            return answer(found, *others)

        self.server.rest.answer_promptly = counted
        assert self.server.ask("POST", INFER, BODY)[0] == 200, "a path is known once it was asked"

    def connect(self) -> Sent:
        self.connections.append(Sent(socket.create_connection(("127.0.0.1", self.server.port), timeout=60)))
        return self.connections[-1]

    def waits_on_the_long_way(self) -> bool:
        """Whether a request that is not answered yet is one of uvicorn's own."""
        found = [each for each in gc.get_objects() if type(each) is protocol.HttpProtocol]
        cycles = [each.cycle for each in found if each.config.app is self.server.rest and each.cycle is not None]
        return any(type(cycle) is not Prompt and not cycle.response_complete for cycle in cycles)

    def until(self, true: Callable[[], bool]) -> None:
        while not true():
            time.sleep(0.002)


@contextmanager
def watching(server: Any) -> Iterator[Watched]:
    watched = Watched(server)
    try:
        yield watched
    finally:
        for each in watched.connections:
            each.close()


@pytest.fixture
def watched(cascade: Callable[..., Any], served: Any) -> Iterator[Watched]:
    with served([cascade().loaded]) as server, watching(server) as seen:
        yield seen


def request(body: bytes, headers: dict[str, str], path: str = INFER) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode() + body


def in_chunks(body: bytes, headers: dict[str, str]) -> bytes:
    head = request(b"", headers).replace(b"content-length: 0", b"transfer-encoding: chunked", 1)
    return head + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def told(found: tuple[int, bytes, dict[str, str]]) -> tuple[int, Any, dict[str, str]]:
    """A response without what is another one every time."""
    status, body, headers = found
    said = json.loads(gzip.decompress(body)) if headers.get("content-encoding") == "gzip" else body
    changing = {"date", "content-length", *(() if headers["x-request-id"] == "one" else ("x-request-id",))}
    return status, said, {name: value for name, value in headers.items() if name not in changing}


@pytest.mark.parametrize("name", ASKED)
def test_both_ways_say_the_same(watched: Watched, name: str) -> None:
    body, headers = ASKED[name]
    connection = watched.connect()
    connection.send(in_chunks(body, headers))
    long = told(connection.response())
    assert watched.prompt == []
    for _ in range(2):
        connection.send(request(body, headers))
        assert told(connection.response()) == long
    assert watched.prompt == ["/v2/models/{model}/infer"] * 2
    assert (long[0] == 200) == (name in ("json", "binary", "raw", "a name", "in gzip"))


def test_a_body_may_come_in_pieces(watched: Watched) -> None:
    connection = watched.connect()
    whole = request(BODY, {})
    for place in range(0, len(whole), 50):
        connection.send(whole[place : place + 50])
    assert connection.response()[0] == 200


def test_a_body_that_comes_late_takes_the_long_way(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SOON_S", 0.001)
    connection = watched.connect()
    whole = request(BODY, {})
    for missing in (1, len(BODY) // 2, len(BODY)):
        connection.send(whole[:-missing])
        watched.until(watched.waits_on_the_long_way)
        connection.send(whole[-missing:])
        assert connection.response()[0] == 200
    assert watched.prompt == []


def test_requests_that_are_sent_ahead_are_answered_in_order(
    cascade: Callable[..., Any], gate: Any, served: Any, images: Any
) -> None:
    gate.open.set()
    with served([cascade().gated(0, gate)]) as server, watching(server) as watched:
        gate.open.clear()
        connection = watched.connect()
        ids = [f"r{place}" for place in range(5)]
        connection.send(b"".join(request(BODY, {"x-request-id": name}) for name in ids))
        watched.until(lambda: bool(watched.prompt))
        gate.open.set()
        found = [connection.response() for _ in ids]
        assert [(status, headers["x-request-id"]) for status, _, headers in found] == [(200, name) for name in ids]
        connection.send(request(BODY, {"x-request-id": "after"}))
        assert connection.response()[2]["x-request-id"] == "after"


def test_a_client_that_leaves_is_not_computed_for(cascade: Callable[..., Any], gate: Any, served: Any) -> None:
    gate.open.set()
    with served([cascade().gated(0, gate)]) as server, watching(server) as watched:
        gate.open.clear()
        first, second = watched.connect(), watched.connect()
        begun = len(gate.batches)
        first.send(request(BODY, {}))
        watched.until(lambda: len(gate.batches) > begun)
        second.send(request(BODY, {}))
        watched.until(lambda: server.engine.waiting_rows("m")[0] == 2)
        second.close()
        watched.until(lambda: server.engine.waiting_rows("m")[0] == 0)
        gate.open.set()
        assert first.response()[0] == 200
        assert len(gate.batches) == begun + 1
        assert len(watched.prompt) == 2


@pytest.mark.parametrize(
    "headers",
    [{"connection": "close"}, {"expect": "100-continue"}, {"content-encoding": "identity"}],
    ids=lambda headers: next(iter(headers)),
)
def test_what_is_unusual_takes_the_long_way(watched: Watched, headers: dict[str, str]) -> None:
    connection = watched.connect()
    connection.send(request(BODY, headers))
    if "expect" in headers:
        assert connection.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert connection.file.readline() == b"\r\n"
    assert connection.response()[0] == 200
    assert watched.prompt == []


def test_a_very_large_body_takes_the_long_way(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MOST_BYTES", 2 * UNCOUNTED_BYTES)
    connection = watched.connect()
    for size, prompt in ((2 * UNCOUNTED_BYTES, 1), (2 * UNCOUNTED_BYTES + 1, 1)):
        connection.send(request(BODY.ljust(size), {}))
        assert connection.response()[0] == 200
        assert len(watched.prompt) == prompt


def test_a_large_body_has_its_room_only_until_it_is_whole(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SOON_S", 60.0)
    room = watched.server.rest.room
    whole = room.free_bytes
    size = UNCOUNTED_BYTES + 1
    large = request(BODY.ljust(size), {})
    first, second = watched.connect(), watched.connect()
    first.send(large[:-1])
    watched.until(lambda: room.free_bytes == whole - size)
    second.send(large[:-1])
    watched.until(lambda: room.free_bytes == whole - 2 * size)
    second.close()
    watched.until(lambda: room.free_bytes == whole - size)
    first.send(large[-1:])
    assert first.response()[0] == 200
    assert room.free_bytes == whole
    assert len(watched.prompt) == 1
    kept = [each.cycle for each in gc.get_objects() if type(each) is protocol.HttpProtocol]
    assert not any(cycle.body for cycle in kept if type(cycle) is Prompt)  # whoever is idle, or gone, holds nothing


def test_a_large_body_that_comes_late_counts_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SOON_S", 0.001)
    room = watched.server.rest.room
    whole = room.free_bytes
    connection = watched.connect()
    large = request(BODY.ljust(3 * UNCOUNTED_BYTES), {})
    connection.send(large[:-1])
    watched.until(watched.waits_on_the_long_way)
    watched.until(lambda: whole - 3 * UNCOUNTED_BYTES <= room.free_bytes < whole)
    connection.send(large[-1:])
    assert connection.response()[0] == 200
    assert room.free_bytes == whole


def test_without_room_the_long_way_refuses(watched: Watched) -> None:
    room = watched.server.rest.room
    room.take(room.free_bytes - UNCOUNTED_BYTES)
    connection = watched.connect()
    connection.send(request(BODY.ljust(3 * UNCOUNTED_BYTES), {}))
    assert connection.response()[0] == 503
    assert watched.prompt == []


def test_a_server_that_stops_says_so(watched: Watched) -> None:
    connection = watched.connect()
    watched.server.call_soon(watched.server.engine.retire)
    watched.until(lambda: bool(watched.server.engine.retired))
    connection.send(request(BODY, {}))
    status, _, headers = connection.response()
    assert (status, headers["connection"], connection.file.read()) == (200, "close", b"")
    assert len(watched.prompt) == 1
