"""A process that does nothing but serve: event loop, HTTP server and signals. Only here is the process owned."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
import uvloop

from equipoise.errors import InputError
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.protocol import HttpProtocol
from equipoise.serve.rest import Rest
from equipoise.serve.statistics import Statistics

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than the usual balancers' 60 s: they, who know when they will ask again, should be the ones to hang up."""


@dataclass(frozen=True)
class ServerSettings:
    """How a process serves.

    Attributes:
        drain_s: Seconds between saying `not ready` and taking no more connections.
    """

    drain_s: float = 1.0


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`: uvicorn would stop accepting at once, and end with the signal's own status."""
        yield


def bound_socket(address: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any free one.

    Raises:
        InputError: It cannot.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        found = f"{address}:{port} cannot be listened at ({error.strerror or error})"
        raise InputError("--http", found, "give another port") from None


def run(
    plans: Iterable[LoadedPlan], listening: socket.socket, settings: ServerSettings, tell: Callable[[str], None]
) -> None:
    """Serve until a signal says to stop, then answer all that was taken in.

    Args:
        plans: What is served.
        listening: Where.
        settings: How.
        tell: Called with the URL once requests are answered.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(plans, listening, settings, tell))


async def _serve(
    plans: Iterable[LoadedPlan], listening: socket.socket, settings: ServerSettings, tell: Callable[[str], None]
) -> None:
    statistics = Statistics()
    async with Engine(plans, observers=[statistics]) as engine:
        config = uvicorn.Config(
            Rest(engine, statistics=statistics),
            http=HttpProtocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if engine.retired:
                os._exit(128 + number)
            engine.retire()
            loop.call_later(settings.drain_s, setattr, server, "should_exit", True)

        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
        serving = loop.create_task(server.serve([listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            tell(_url(listening))
        await serving


def _url(listening: socket.socket) -> str:
    address, port = listening.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"
