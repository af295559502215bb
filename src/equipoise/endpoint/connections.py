"""Clients that hold a connection without using it are hung up on: slow heads, unread answers, silence."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from equipoise.endpoint.logs import Log

KEEP_ALIVE_S = 75
"""Longer than the usual balancers' 60 s: they, who know when they will ask again, should be the ones to hang up."""


@dataclass(frozen=True)
class Patience:
    """How long a client may hold a connection without using it.

    The body of a request has a limit of its own, `Limits.body_s`.

    Attributes:
        head_s: Seconds from its connection, or from the first byte of a request, until the request's head is whole.
        idle_s: Seconds between an answer and the first byte of the next request; who asks no more harms nobody, and is
            not told of.
        unread_s: Seconds in which it must take part of its answer, at 500 bytes a second or more.
        look_s: Seconds between looks.
    """

    head_s: float = 20.0
    idle_s: float = KEEP_ALIVE_S
    unread_s: float = 20.0
    look_s: float = 1.0


UNREAD_BYTES_S = 500
OTHER_FILES = 256
"""What a process opens besides connections: models, logs, libraries."""


@dataclass(frozen=True)
class _Wait:
    """A connection as it waits for its client: since when, for what, and how much of its answers is unsent."""

    request: Any
    answered: Any
    since_s: float
    unsent_bytes: int

    @property
    def is_idle(self) -> bool:
        return not self.unsent_bytes and not self.for_a_head

    @property
    def for_a_head(self) -> bool:
        return self.answered is None or self.answered.scope is not self.request


class Watch:
    """Looks at all connections now and then, so that it costs a request nothing.

    Args:
        connections: Those that are open, as uvicorn keeps them.
        patience: How long a client may hold one.
    """

    def __init__(self, connections: Collection[Any], patience: Patience) -> None:
        self._connections = connections
        self._patience = patience
        self._waits: dict[HttpToolsProtocol, _Wait] = {}

    async def run(self, log: Log) -> None:
        """Look until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._patience.look_s)
            gone = self.hang_up(loop.time())
            if gone:
                log.event("hung_up", "warning", connections=gone, why="slow or silent clients")

    def hang_up(self, now_s: float) -> int:
        """Hang up on those who held their connection too long without using it.

        Args:
            now_s: The time, seconds, on the event loop's clock.

        Returns:
            How many they were, without those who had their answers and did not ask again.
        """
        before, self._waits = self._waits, {}
        gone = 0
        for connection in list(self._connections):
            now = _wait(connection, now_s)
            if now is None:
                continue
            wait = before.get(connection)
            if wait is None or not _same(wait, now):
                self._waits[connection] = now
            elif now_s - wait.since_s < self._allowed_s(wait):
                self._waits[connection] = wait
            elif wait.unsent_bytes - now.unsent_bytes > UNREAD_BYTES_S * (now_s - wait.since_s):
                self._waits[connection] = now
            elif wait.is_idle:
                connection.transport.close()
            else:
                gone += 1
                connection.transport.abort()
        return gone

    def _allowed_s(self, wait: _Wait) -> float:
        if wait.unsent_bytes:
            return self._patience.unread_s
        return self._patience.head_s if wait.for_a_head else self._patience.idle_s


def _wait(connection: HttpToolsProtocol, now_s: float) -> _Wait | None:
    """What a connection waits for; null where its client waits for the server."""
    unsent_bytes = connection.transport.get_write_buffer_size()
    cycle = connection.cycle
    if cycle is not None and not cycle.response_complete and not unsent_bytes:
        return None
    return _Wait(connection.scope, cycle, now_s, unsent_bytes)


def _same(wait: _Wait, now: _Wait) -> bool:
    """Whether it is one wait: for the same head, or for the same answer to be taken."""
    same_request = wait.request is now.request and wait.answered is now.answered
    return same_request and bool(wait.unsent_bytes) == bool(now.unsent_bytes)


def allow_connections(wanted: int) -> int:
    """Let this process have so many connections, each of which is an open file.

    Args:
        wanted: At a time.

    Returns:
        How many it may have, which is fewer where the system allows it fewer files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - OTHER_FILES))
