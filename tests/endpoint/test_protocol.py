"""HTTP as bytes on a connection: heads that are too large, that never end, or that are none; names of requests."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from equipoise.endpoint import protocol
from equipoise.endpoint.protocol import MOST_HEAD_BYTES, HttpProtocol

LINE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def server(cascade: Callable[..., Any], served: Any) -> Iterator[Any]:
    with served([cascade().loaded]) as running:
        yield running


def answer(port: int, *pieces: bytes) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON and headers of the first answer to bytes that are sent piece by piece."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):  # it hung up on the rest, and has said why
            pass
        response = http.client.HTTPResponse(connection)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, json.loads(response.read()), headers


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET nowhere HTTP/1.1\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", b"POST /v2 HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: x\r\nx: \x00\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_not_http_is_told_so_in_the_protocols_shape(server: Any, head: bytes) -> None:
    status, said, headers = answer(server.port, head)
    assert (status, list(said), headers["connection"]) == (400, ["error"], "close")
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"]
    assert server.ask("GET", "/v2/health/live")[0] == 200


def test_a_head_may_be_so_large_and_no_larger(server: Any) -> None:
    used = len("/v2/health/live") + len("host") + len("x") + len("more") + 2 * len(": \r\n")
    for size, expected in ((MOST_HEAD_BYTES - used, 200), (MOST_HEAD_BYTES - used + 1, 431)):
        status, said, _ = answer(server.port, LINE + b"more: " + b"a" * size + b"\r\n\r\n")
        assert (status, expected == 200 or list(said) == ["error"]) == (expected, True)
    many = b"".join(b"x%d: y\r\n" % place for place in range(MOST_HEAD_BYTES // 8))
    assert answer(server.port, LINE + many + b"\r\n")[0] == 431
    assert answer(server.port, b"GET /" + b"a" * MOST_HEAD_BYTES + b" HTTP/1.1\r\n\r\n")[0] == 431


@pytest.mark.parametrize("endless", [b"a" * 4096, b"x: y\r\n" * 600, b"a: " + b" " * 4000])
def test_a_head_that_does_not_end_is_hung_up_on(server: Any, endless: bytes) -> None:
    status, said, headers = answer(server.port, LINE + b"more: ", *[endless] * (64 << 20 >> 12))
    assert (status, list(said), headers["connection"]) == (431, ["error"], "close")


def test_a_connection_serves_heads_after_large_bodies(server: Any) -> None:
    """What counts is each head by itself, not all that came before it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(4):
        connection.request("POST", "/v2/models/m/infer", b" " * 4 * MOST_HEAD_BYTES)
        response = connection.getresponse()
        assert (response.status, list(json.loads(response.read()))) == (400, ["error"])
        connection.request("GET", "/v2/health/live")
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"live": True})
    connection.close()
    pipelined = b"POST /v2/models/m/infer HTTP/1.1\r\ncontent-length: 99999\r\n\r\n" + b" " * 99999 + LINE + b"\r\n"
    assert answer(server.port, pipelined)[0] == 400
    assert server.ask("GET", "/v2/health/live")[0] == 200


@pytest.mark.parametrize("given", ["7", "a-b_c.d:e;f,g/h+i=j@k~l", "x" * 128])
def test_a_requests_name_comes_back(server: Any, given: str) -> None:
    for method, path in (("GET", "/v2"), ("GET", "/nowhere"), ("POST", "/v2/models/m/infer")):
        assert server.ask(method, path, None, {"X-Request-Id": given})[2]["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, 'a"b', "a b", "a\tb", "<b>", "ü", "{}"])
def test_a_request_without_a_usable_name_gets_one(server: Any, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    names = {server.ask("GET", "/v2/health/live", None, headers)[2]["x-request-id"] for _ in range(3)}
    assert len(names) == 3
    assert given not in names
    assert all(name.isascii() and len(name) < 64 for name in names)


def asked_while_it_stops(request: bytes) -> bytes:
    """What a client gets that had connected, and no more, when the server began to stop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def main() -> bytes:
        config = uvicorn.Config(app, log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: HttpProtocol(config, state, {}), "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while not state.connections:
                await asyncio.sleep(0)
            for connection in list(state.connections):
                connection.shutdown()
            writer.write(request)
            got = await (reader.readuntil(b"\r\n") if request else reader.read())
            writer.close()
            return got

    return asyncio.run(main())


def test_a_client_that_has_only_just_connected_may_still_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FIRST_REQUEST_S", 60.0)
    assert asked_while_it_stops(LINE + b"\r\n") == b"HTTP/1.1 200 OK\r\n"


def test_a_client_that_asks_nothing_is_hung_up_on_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FIRST_REQUEST_S", 0.01)
    assert asked_while_it_stops(b"") == b""
