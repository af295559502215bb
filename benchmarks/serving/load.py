"""A load generator for HTTP servers: cheap, since it shares a machine with them, and exact.

Requests are whole bytes made beforehand, answers are cut out by a C parser, and every answer is checked against what
the model gives for that very input. `closed` keeps a number of connections busy and finds a maximum; `open_loop` sends
each request at its intended moment whether or not the server keeps up, and latencies count from that moment.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools
import numpy as np
import uvloop
from numpy.typing import NDArray

Array = NDArray[Any]
Check = Callable[[int, bytes], bool]
"""Question and body of an answer of status 200 to whether it is right."""
LOST, UNANSWERED, NEVER_SENT = 0, -1, -2
"""Instead of a status: the connection ended before the answer; no answer came; no connection could be made."""
OK = 200
SPIN_S = 0.002
MOST_KNOWN = 100_000
CONNECT_S = 5.0


@dataclass(frozen=True)
class Target:
    """What is asked.

    Attributes:
        port: On this machine.
        requests: Whole HTTP requests, headers and body, one a question.
        check: Says whether an answer is right.
        stable: Whether equal answers have equal bytes, so that bytes once found right need no second look.
    """

    port: int
    requests: Sequence[bytes]
    check: Check
    stable: bool = True


@dataclass
class Seen:
    """What became of requests, one entry each, in the order in which they ended.

    Attributes:
        start_s: Intended start on `time.perf_counter`'s clock; of a closed loop, when it was sent.
        end_s: When its answer was whole, or its connection ended.
        question: Which was asked.
        status: Of HTTP, or `LOST`, `UNANSWERED`, `NEVER_SENT`.
        right: Whether its answer was right.
    """

    start_s: Array
    end_s: Array
    question: Array
    status: Array
    right: Array

    def __len__(self) -> int:
        return len(self.status)

    @property
    def latency_s(self) -> Array:
        """From intended start to answer, all statuses."""
        return self.end_s - self.start_s

    @property
    def answered(self) -> Array:
        """Which were answered with 200."""
        return self.status == OK

    @property
    def wrong(self) -> int:
        """Answers of status 200 that are not the model's answer to their own input."""
        return int(np.count_nonzero(self.answered & ~self.right))

    @property
    def duration_s(self) -> float:
        """From the first start to the last end."""
        return float(self.end_s.max() - self.start_s.min()) if len(self) else 0.0

    @property
    def answered_rps(self) -> float:
        """Right answers a second."""
        return float(np.count_nonzero(self.right)) / self.duration_s if len(self) else 0.0

    @property
    def steady_rps(self) -> float:
        """Right answers a second while they came: the slope of their number over time.

        `answered_rps` of a closed loop misses what was computed for requests of the warm-up while the first ones that
        count waited: as many as there are connections, which is much where a second has few answers.
        """
        end_s = np.sort(self.end_s[self.right])
        if len(end_s) < 2:
            return 0.0
        return float(np.polyfit(end_s - end_s[0], np.arange(len(end_s)), 1)[0])

    def quantile_s(self, q: float) -> float:
        """A quantile of the latencies of right answers; not a number where there is none."""
        latency_s = self.latency_s[self.right]
        return float(np.quantile(latency_s, q)) if len(latency_s) else float("nan")

    def counts(self) -> dict[int, int]:
        """How many got each status."""
        found, counts = np.unique(self.status, return_counts=True)
        return {int(status): int(count) for status, count in zip(found, counts, strict=True)}

    def between(self, first_s: float, last_s: float) -> Seen:
        """Those whose intended start lies there."""
        kept = (self.start_s >= first_s) & (self.start_s < last_s)
        return Seen(self.start_s[kept], self.end_s[kept], self.question[kept], self.status[kept], self.right[kept])


def post(path: str, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A whole request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or [("content-type", "application/json")])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed(target: Target, connections: int, seconds: float, warm_up_s: float = 0.5) -> Seen:
    """Keep connections busy: each sends its next request when it has the answer to the one before.

    Args:
        target: What is asked.
        connections: How many.
        seconds: How long, after the warm-up.
        warm_up_s: What starts before this is not counted.
    """
    with collected():
        return uvloop.run(_closed(target, connections, seconds, warm_up_s))


def open_loop(
    target: Target,
    arrival_s: Array,
    question: Array,
    *,
    most_connections: int = 1024,
    patience_s: float = 30.0,
    meanwhile: Callable[[], None] | None = None,
) -> Seen:
    """Send each request at its intended moment, over an idle connection or a new one.

    Args:
        target: What is asked.
        arrival_s: Intended moments from the start, ascending: float64[n].
        question: Which request is sent at each: int64[n].
        most_connections: Where so many wait for an answer, the next waits for one of them, and that wait counts.
        patience_s: Seconds after the last intended moment at which what has no answer is given up.
        meanwhile: Called once when the first is sent.
    """
    with collected():
        return uvloop.run(sending(target, arrival_s, question, most_connections, patience_s, meanwhile))


def pin(core: int) -> None:
    """Run this process on one core only."""
    os.sched_setaffinity(0, {core})


@contextmanager
def collected() -> Iterator[None]:
    """No garbage is collected in here: a pause of the generator would look like one of the server."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time.

    Args:
        ended: Called with status, body and whether the connection can be used again.
    """

    def __init__(self, ended: Callable[[Connection, int, bytes, bool], None]) -> None:
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.question = 0
        self.start_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's are such, and do not say so
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, question: int, request: bytes, start_s: float) -> None:
        """Send a request."""
        assert self._transport is not None
        self.busy, self.question, self.start_s = True, question, start_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """A part of an answer, or the whole."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """An answer is whole."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self.busy = False
        parser = self._parser
        goes_on = parser.should_keep_alive()
        status = parser.get_status_code()
        if not goes_on:
            self.close()
        self._ended(self, status, body, goes_on)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """It has ended."""
        self._transport = None
        if self.busy:
            self.busy = False
            self._ended(self, LOST, b"", False)

    @property
    def closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.close()


@dataclass
class Records:
    """What became of requests so far."""

    target: Target
    rows: list[tuple[float, float, int, int, bool]] = field(default_factory=list)
    known: set[tuple[int, bytes]] = field(default_factory=set)

    def note(self, start_s: float, question: int, status: int, body: bytes) -> None:
        """One is over."""
        end_s = time.perf_counter()
        self.rows.append((start_s, end_s, question, status, status == OK and self._right(question, body)))

    def seen(self, since_s: float = 0.0) -> Seen:
        """All that started since."""
        rows = [row for row in self.rows if row[0] >= since_s]
        columns = list(zip(*rows, strict=True)) or [()] * 5
        kinds = (np.float64, np.float64, np.int64, np.int64, np.bool_)
        return Seen(*(np.array(column, dtype=kind) for column, kind in zip(columns, kinds, strict=True)))

    def _right(self, question: int, body: bytes) -> bool:
        if not self.target.stable:
            return self.target.check(question, body)
        if (question, body) in self.known:
            return True
        right = self.target.check(question, body)
        if right and len(self.known) < MOST_KNOWN:
            self.known.add((question, body))
        return right


async def connect(port: int, ended: Callable[[Connection, int, bytes, bool], None]) -> Connection:
    """A new connection.

    Raises:
        OSError: None could be made.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_S):
        _, connection = await loop.create_connection(lambda: Connection(ended), "127.0.0.1", port)
    return connection


async def _closed(target: Target, connections: int, seconds: float, warm_up_s: float) -> Seen:
    records = Records(target)
    requests, n = target.requests, len(target.requests)
    begin_s = time.perf_counter()
    stop_s = begin_s + warm_up_s + seconds
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turn = 0

    def ask(connection: Connection) -> None:
        nonlocal turn
        turn += 1
        question = turn % n
        connection.send(question, requests[question], time.perf_counter())

    def ended(connection: Connection, status: int, body: bytes, goes_on: bool) -> None:
        records.note(connection.start_s, connection.question, status, body)
        if not goes_on:
            if not over.done():
                over.set_exception(ConnectionError(f"a connection of a closed loop ended with the status {status}"))
        elif time.perf_counter() < stop_s:
            ask(connection)
        elif not any(one.busy for one in opened) and not over.done():
            over.set_result(None)

    opened = [await connect(target.port, ended) for _ in range(connections)]
    for one in opened:
        ask(one)
    async with asyncio.timeout(warm_up_s + seconds + 60):
        await over
    for one in opened:
        one.close()
    return records.seen(begin_s + warm_up_s)


async def sending(
    target: Target,
    arrival_s: Array,
    question: Array,
    most_connections: int = 1024,
    patience_s: float = 30.0,
    meanwhile: Callable[[], None] | None = None,
) -> Seen:
    """`open_loop`, in an event loop that does other things too."""
    pool = Pool(target, most_connections)
    await pool.open(min(most_connections, 16))
    begin_s = time.perf_counter() + 0.05
    if meanwhile is not None:
        meanwhile()
    for at_s, asked in zip((arrival_s + begin_s).tolist(), question.tolist(), strict=True):
        ahead_s = at_s - time.perf_counter()
        if ahead_s > SPIN_S:
            await asyncio.sleep(ahead_s - SPIN_S)  # the loop's timers are exact to a millisecond: the rest is spun
        while time.perf_counter() < at_s:
            await asyncio.sleep(0)
        pool.ask(asked, at_s)
        if ahead_s < 0:
            await asyncio.sleep(0)
    await pool.finish(patience_s)
    return pool.records.seen()


class Pool:
    """Connections of an open loop: idle ones are used again, new ones made where there is none.

    Args:
        target: What is asked.
        most: Of them.
    """

    def __init__(self, target: Target, most: int) -> None:
        self.records = Records(target)
        self._target, self._most = target, most
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._waiting: deque[tuple[int, float]] = deque()
        self._making: set[asyncio.Task[None]] = set()

    async def open(self, connections: int) -> None:
        """Make some beforehand."""
        self._idle += [await connect(self._target.port, self._ended) for _ in range(connections)]

    def ask(self, question: int, at_s: float) -> None:
        """Send a request as soon as there is a connection for it: at once, in the usual case."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                self._send(connection, question, at_s)
                return
        self._waiting.append((question, at_s))
        if len(self._busy) + len(self._making) < self._most:
            task = asyncio.ensure_future(self._make())
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def finish(self, patience_s: float) -> None:
        """Wait for the answers."""
        until_s = time.perf_counter() + patience_s
        while (self._busy or self._waiting or self._making) and time.perf_counter() < until_s:
            await asyncio.sleep(0.005)
        for connection in self._busy:
            connection.busy = False
            self.records.note(connection.start_s, connection.question, UNANSWERED, b"")
        for question, at_s in self._waiting:
            self.records.note(at_s, question, UNANSWERED, b"")
        for connection in (*self._busy, *self._idle):
            connection.close()

    def _send(self, connection: Connection, question: int, at_s: float) -> None:
        self._busy.add(connection)
        connection.send(question, self._target.requests[question], at_s)

    async def _make(self) -> None:
        try:
            connection = await connect(self._target.port, self._ended)
        except (OSError, TimeoutError):
            if self._waiting:
                question, at_s = self._waiting.popleft()
                self.records.note(at_s, question, NEVER_SENT, b"")
            return
        self._free(connection)

    def _ended(self, connection: Connection, status: int, body: bytes, goes_on: bool) -> None:
        self._busy.discard(connection)
        self.records.note(connection.start_s, connection.question, status, body)
        if goes_on:
            self._free(connection)
        elif self._waiting:
            self.ask(*self._waiting.popleft())

    def _free(self, connection: Connection) -> None:
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)
