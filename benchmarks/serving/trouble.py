"""Trouble for a server: clients that leave, are slow, or send rubbish; models that are swapped, workers that die."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Coroutine, Sequence
from itertools import count
from typing import Any

import httptools
import numpy as np
import psutil
from load import post
from server import Server

LEAVE_S, SLOW_S, RUBBISH_S, LOAD_S, KILL_S = 0.3, 1.0, 0.5, 30.0, 60.0
"""Seconds between two of each kind."""
PIECE_BYTES, PIECE_S = 400, 0.02
ANSWER_S = 30.0
REFUSALS = range(400, 500)


class Trouble:
    """Makes trouble, and counts it.

    Args:
        server: Gets it.
        requests: Whole requests that are right in themselves.
        models: Names of what is served.
        kills: Whether worker processes are killed.
        swaps: Whether models are loaded anew.

    Attributes:
        done: How often each kind was made.
        unrefused: Bodies that are not requests, and got another answer than a refusal.
    """

    def __init__(
        self, server: Server, requests: Sequence[bytes], models: Sequence[str], *, kills: bool, swaps: bool
    ) -> None:
        self.done: Counter[str] = Counter()
        self.unrefused = 0
        self._server, self._requests, self._models = server, requests, models
        self._kills, self._swaps = kills, swaps
        self._rng = np.random.default_rng(7)

    def kinds(self) -> list[Coroutine[Any, Any, None]]:
        """Each goes on until it is cancelled."""
        found = [self._leaving(), self._slow(), self._rubbish()]
        if self._swaps:
            found.append(self._loading())
        if self._kills:
            found.append(self._killing())
        return found

    async def _leaving(self) -> None:
        while True:
            await asyncio.sleep(LEAVE_S)
            request = self._any()
            whole = self._rng.random() < 0.5
            part = request if whole else request[: int(self._rng.integers(1, len(request)))]
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
                writer.write(part)
                await asyncio.sleep(float(self._rng.random()) * 0.02)
                writer.transport.abort()
                self.done["left while it was answered" if whole else "left in its body"] += 1

    async def _slow(self) -> None:
        while True:
            await asyncio.sleep(SLOW_S)
            with contextlib.suppress(OSError):
                status = await self._asked(self._any(), PIECE_S)
                self.done[f"slow client, {status}"] += 1

    async def _rubbish(self) -> None:
        for place in count():
            await asyncio.sleep(RUBBISH_S)
            body = malformed(self._rng, place)
            model = self._models[place % len(self._models)]
            with contextlib.suppress(OSError):
                status = await self._asked(post(f"/v2/models/{model}/infer", body))
                self.done[f"malformed, {status}"] += 1
                self.unrefused += status not in REFUSALS

    async def _loading(self) -> None:
        for place in count():
            await asyncio.sleep(LOAD_S if place else 2.0)
            model = self._models[place % len(self._models)]
            status = 0
            with contextlib.suppress(OSError):
                status = await self._asked(post(f"/v2/repository/models/{model}/load", b"{}"))
            self.done["loaded" if status == 200 else "load failed"] += 1

    async def _killing(self) -> None:
        for place in count():
            await asyncio.sleep(KILL_S if place else 5.0)
            workers = [one for one in self._server.tree[1:] if "resource_tracker" not in " ".join(one.cmdline())]
            if workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    workers[int(self._rng.integers(len(workers)))].send_signal(signal.SIGKILL)
                    self.done["worker killed"] += 1

    async def _asked(self, request: bytes, pause_s: float = 0.0) -> int:
        """Send a request over a connection of its own, in pieces where there is a pause, and read its status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        try:
            step = PIECE_BYTES if pause_s else len(request)
            for start in range(0, len(request), step):
                writer.write(request[start : start + step])
                await asyncio.sleep(pause_s)
            return await asyncio.wait_for(_status(reader), ANSWER_S)
        finally:
            writer.close()

    def _any(self) -> bytes:
        return self._requests[int(self._rng.integers(len(self._requests)))]


def malformed(rng: np.random.Generator, kind: int) -> bytes:
    """A body that is not a request: of one of some kinds."""
    kinds = (
        rng.bytes(int(rng.integers(1, 2000))),
        b"[" * 5000,
        b'{"inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [1, 2, 3]}]}',
        b'{"inputs": [{"name": "image", "shape": [-1], "datatype": "FP32", "data": "text"}]}',
        b'{"inputs": [{"name": "other", "shape": [1], "datatype": "UINT8", "data": [1]}]}',
        b'{"inputs": [{"name": "image", "shape": [9000000000], "datatype": "UINT8", "data": []}]}',
        b'{"inputs": {"a": NaN}}',
        b"",
    )
    return kinds[kind % len(kinds)]


class _Head:
    """Notes that a response is whole."""

    def __init__(self) -> None:
        self.complete = False

    def on_message_complete(self) -> None:
        """It is."""
        self.complete = True


async def _status(reader: asyncio.StreamReader) -> int:
    head = _Head()
    parser = httptools.HttpResponseParser(head)
    while not head.complete:
        data = await reader.read(1 << 16)
        if not data:
            return 0
        parser.feed_data(data)
    status: int = parser.get_status_code()
    return status
