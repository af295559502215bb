"""Connections that nobody uses: hung up on, whatever their client does to keep them; those in use never are."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
import uvloop

from equipoise.endpoint.connections import Patience, Watch, allow_connections
from equipoise.endpoint.http import Response
from equipoise.endpoint.logs import Log
from equipoise.endpoint.protocol import HttpProtocol

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE = Patience(head_s=20, idle_s=90, unread_s=20)
LARGE = b"x" * (64 << 20)


@dataclass
class Held:
    """A server of one answer, which it holds back while `open` is not set, and a clock of our own for its watch."""

    port: int
    server: uvicorn.Server
    watch: Watch
    loop: asyncio.AbstractEventLoop
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def do(self, call: Callable[[], Any]) -> Any:
        done: Future[Any] = Future()
        self.loop.call_soon_threadsafe(lambda: done.set_result(call()))
        return done.result(60)

    def hang_up(self, now_s: float) -> int:
        gone: int = self.do(lambda: self.watch.hang_up(now_s))
        return gone

    def connections(self) -> list[Any]:
        found: list[Any] = self.do(lambda: list(self.server.server_state.connections))
        return found

    def until(self, condition: Callable[[list[Any]], bool]) -> None:
        while not condition(self.connections()):
            time.sleep(0.002)


@contextmanager
def holding(body: bytes = b"{}", most: int | None = None) -> Iterator[Held]:
    listening = socket.create_server(("127.0.0.1", 0))
    started: list[Held] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await started[0].open.wait()
        await Response(200, body).send(send)

    async def main() -> None:
        config = uvicorn.Config(
            answer, http=HttpProtocol, lifespan="off", log_config=None, limit_concurrency=most, proxy_headers=False
        )
        server = uvicorn.Server(config)
        watch = Watch(server.server_state.connections, PATIENCE)
        started.append(Held(listening.getsockname()[1], server, watch, asyncio.get_running_loop()))
        started[0].open.set()
        await server.serve([listening])

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not started or not started[0].server.started:
            time.sleep(0.002)
        yield started[0]
    finally:
        held = started[0]
        for connection in held.connections():
            held.do(connection.transport.abort)
        held.server.should_exit = True
        thread.join()


@pytest.fixture
def held() -> Iterator[Held]:
    with holding() as found:
        yield found


def ended(connection: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answered(connection: socket.socket) -> None:
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert (response.status, response.read()) == (200, b"{}")


@pytest.mark.parametrize("sent", [b"", b"GET /", GET[:-2], GET[:-4] + b"\r\nx: y"])
def test_a_head_that_does_not_end_is_given_up(held: Held, sent: bytes) -> None:
    with held.connect() as slow:
        slow.sendall(sent)
        held.until(lambda found: len(found) == 1 and (not sent or found[0].scope is not None))
        assert [held.hang_up(now_s) for now_s in (100, 119)] == [0, 0]
        slow.sendall(b"y" if sent else b"")
        assert held.hang_up(120) == 1
        assert ended(slow)
        held.until(lambda found: not found)


def test_a_connection_that_is_kept_has_its_time_anew_for_every_request(held: Held) -> None:
    with held.connect() as kept:
        for start_s in (100, 180, 260):
            assert held.hang_up(start_s) == 0
            kept.sendall(GET)
            answered(kept)
        assert [held.hang_up(now_s) for now_s in (270, 359)] == [0, 0]
        kept.sendall(b"\r\n")  # which begins nothing, and yet ends uvicorn's own wait
        assert held.hang_up(360) == 0  # which is nothing to tell of
        assert ended(kept)


def test_a_head_that_begins_after_a_long_pause_has_its_time_too(held: Held) -> None:
    with held.connect() as kept:
        kept.sendall(GET)
        answered(kept)
        assert [held.hang_up(now_s) for now_s in (100, 180)] == [0, 0]
        before = held.connections()[0].scope
        kept.sendall(GET[:10])
        held.until(lambda found: found[0].scope is not before)
        assert [held.hang_up(now_s) for now_s in (185, 204)] == [0, 0]
        kept.sendall(GET[10:])
        answered(kept)
        assert held.hang_up(250) == 0


def test_a_body_behind_an_answer_holds_nothing(held: Held) -> None:
    with held.connect() as kept:
        kept.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nxyz")
        answered(kept)
        assert [held.hang_up(now_s) for now_s in (100, 189)] == [0, 0]
        kept.sendall(b"xyz")
        assert held.hang_up(190) == 0
        assert ended(kept)


def test_who_waits_for_the_server_is_never_hung_up_on(held: Held) -> None:
    held.do(held.open.clear)
    with held.connect() as patient:
        patient.sendall(GET)
        held.until(lambda found: len(found) == 1 and found[0].cycle is not None)
        assert [held.hang_up(now_s) for now_s in range(100, 10_000, 100)] == [0] * 99
        held.do(held.open.set)
        answered(patient)


def stuck_bytes(held: Held) -> int:
    """What is left of an answer once the network takes no more of it."""
    before = 0
    while True:
        unsent_bytes = sum(each.transport.get_write_buffer_size() for each in held.connections())
        if unsent_bytes and unsent_bytes == before:
            return before
        before = unsent_bytes
        time.sleep(0.1)


def test_an_answer_that_nobody_takes_is_given_up_and_one_that_is_taken_slowly_is_not() -> None:
    with holding(LARGE) as held, held.connect() as deaf:
        deaf.sendall(GET)
        before = stuck_bytes(held)
        assert held.hang_up(100) == 0
        taken = 0
        while taken < 10_000_000:
            taken += len(deaf.recv(1 << 16))
        assert stuck_bytes(held) < before - 1_000_000
        assert [held.hang_up(now_s) for now_s in (119, 120, 139)] == [0, 0, 0]
        assert held.hang_up(140) == 1
        held.until(lambda found: not found)


def test_too_many_connections_are_refused_in_the_protocols_words() -> None:
    with holding(most=2) as held, held.connect() as first, held.connect() as second:
        held.until(lambda found: len(found) == 2)
        with held.connect() as third:
            response = http.client.HTTPResponse(third)
            response.begin()
            assert (response.status, response.getheader("retry-after")) == (503, "1")
            assert response.getheader("connection") == "close"
            assert "2 connections" in json.loads(response.read())["error"]
            assert ended(third)
        for connection in (first, second):
            connection.sendall(GET)
            answered(connection)
        first.close()
        held.until(lambda found: len(found) == 1)
        with held.connect() as fourth:
            fourth.sendall(GET)
            answered(fourth)


def test_the_watch_looks_by_itself(held: Held) -> None:
    watch = Watch(held.server.server_state.connections, Patience(head_s=0.02, look_s=0.01))
    running = asyncio.run_coroutine_threadsafe(watch.run(Log("none")), held.loop)
    with held.connect() as silent:
        assert ended(silent)
    running.cancel()


def test_connections_need_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    limits = [(1024, 1 << 20)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, found: limits.append(found))
    assert (allow_connections(4096), limits.pop()) == (4096, (4096 + 256, 1 << 20))
    limits[:] = [(1024, 2048)]
    assert (allow_connections(4096), limits.pop()) == (2048 - 256, (2048, 2048))
    limits[:] = [(100_000, 100_000)]
    assert (allow_connections(4096), len(limits)) == (4096, 1)
