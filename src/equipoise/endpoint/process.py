"""A process that does nothing but serve: event loop, HTTP server and signals. Only here is the process owned."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from equipoise.endpoint.connections import KEEP_ALIVE_S, Patience, Watch, allow_connections
from equipoise.endpoint.gate import Gate, KeyFile
from equipoise.endpoint.http import Limits
from equipoise.endpoint.logs import Log, LogForm, logged
from equipoise.endpoint.observability import Observability, ObservabilitySettings, observability
from equipoise.endpoint.protocol import HttpProtocol
from equipoise.endpoint.rest import Rest
from equipoise.endpoint.tls import Tls, keep_renewed
from equipoise.errors import InputError
from equipoise.host.environment import memory_bytes
from equipoise.observe.statistics import Statistics
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.lull import LULL_S
from equipoise.serve.repository import Repository

if TYPE_CHECKING:
    from equipoise.endpoint.grpc_server import GrpcServer

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2048
COLLECT_EVERY = 20_000
"""Objects that may be made, beyond those that went away, before the garbage collector looks at the young ones."""


@dataclass(frozen=True)
class ServerSettings:
    """How a process serves.

    Attributes:
        drain_s: Seconds between saying `not ready` and taking no more connections.
        workers: Processes that compute each model; 0 for threads of this one.
        grpc: Address and port of the gRPC server; null for none.
        keys: Of those who may ask; null where everybody may.
        admin: Whether requests may change what is served.
        tls: Files for TLS; null for none.
        log: Form of the lines on standard error.
        connections: Most connections of HTTP at a time.
        observability: What is counted, logged and traced.
    """

    drain_s: float = 1.0
    workers: int = 0
    grpc: tuple[str, int] | None = None
    keys: KeyFile | None = None
    admin: bool = False
    tls: Tls | None = None
    log: LogForm = "json"
    connections: int = 4096
    observability: ObservabilitySettings = field(default_factory=ObservabilitySettings)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `_serve`: uvicorn would stop accepting at once, and end with the signal's own status."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in whoever has connected by now, on whom the kernel would hang up, then take no more, and end."""
        joining = [asyncio.ensure_future(self._join(one)) for listening in sockets or () for one in _waiting(listening)]
        await super().shutdown(sockets)
        for late in joining:
            late.cancel()
        await asyncio.gather(*joining, return_exceptions=True)

    async def _join(self, connection: socket.socket) -> None:
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: HttpProtocol(self.config, self.server_state, self.lifespan.state), connection, ssl=self.config.ssl
        )
        protocol.shutdown()


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Connections that were made and not taken up yet."""
    listening.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            yield listening.accept()[0]


def bound_socket(address: str, port: int, option: str = "--http") -> socket.socket:
    """A socket that listens there; port 0 is any free one.

    Args:
        address: Where.
        port: Where.
        option: What the person gave it by.

    Raises:
        InputError: It cannot.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        found = f"{address}:{port} cannot be listened at ({error.strerror or error})"
        raise InputError(option, found, "give another port") from None


def run(
    plans: Iterable[LoadedPlan], listening: socket.socket, settings: ServerSettings, tell: Callable[[str], None]
) -> None:
    """Serve until a signal says to stop, then answer all that was taken in.

    Args:
        plans: What is served.
        listening: Where.
        settings: How.
        tell: Called with each URL once requests are answered there; HTTP's comes last.
    """
    with logged(settings.log) as log:
        with (
            observability(settings.observability) as seen,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(_serve(plans, listening, settings, tell, log, seen))
        log.event("stopped")


async def _serve(
    plans: Iterable[LoadedPlan],
    listening: socket.socket,
    settings: ServerSettings,
    tell: Callable[[str], None],
    log: Log,
    seen: Observability,
) -> None:
    statistics, plans = Statistics(), list(plans)
    async with Engine(plans, observers=[statistics, *seen.observers], lull_s=LULL_S) as engine:
        gate = Gate(settings.keys, admin=settings.admin)
        repository = Repository(_sources(plans), engine, settings.workers) if settings.admin else None
        rest = Rest(engine, _limits(), statistics=statistics, repository=repository, gate=gate, log=log)
        seen.add_to(rest.router, engine, log.statuses)
        server = _http_server(rest, settings)
        loop = asyncio.get_running_loop()

        calls = None
        if settings.grpc is not None:
            shared = {"statistics": statistics, "models": repository, "gate": gate, "log": log}
            calls = await _grpc_server(engine, settings.grpc, settings.tls, tell, shared)
        ending: list[asyncio.Task[None]] = []

        def wind_up() -> None:
            server.should_exit = True
            if calls is not None:
                ending.append(loop.create_task(calls.stop()))

        def stop(number: signal.Signals) -> None:
            if engine.retired:
                os._exit(128 + number)
            log.event("stopping", signal=number.name)
            engine.retire()
            loop.call_later(settings.drain_s, wind_up)

        for number in SIGNALS:
            loop.add_signal_handler(number, stop, number)
        serving = loop.create_task(server.serve([listening]))
        watching = [loop.create_task(Watch(server.server_state.connections, Patience()).run(log))]
        if settings.tls is not None and server.config.ssl is not None:
            watching.append(loop.create_task(keep_renewed(settings.tls, server.config.ssl)))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        leave_alone_what_stays()
        if server.started:
            url = _url(listening, "http" if settings.tls is None else "https")
            log.event("ready", url=url)
            tell(url)
        await serving
        for task in watching:
            task.cancel()
        await asyncio.gather(*ending)


def leave_alone_what_stays() -> None:
    """Spare the garbage collector what was loaded, and have it look less often: requests leave no cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


def _sources(plans: Iterable[LoadedPlan]) -> dict[str, dict[str, Path]]:
    """Where the bundle of each version of each model lies."""
    sources: dict[str, dict[str, Path]] = {}
    for plan in plans:
        sources.setdefault(plan.name, {})[plan.version] = plan.bundle.folder
    return sources


def _limits() -> Limits:
    """The usual ones, and bodies on their way may take a quarter of the memory at most."""
    return Limits(together_bytes=min(Limits.together_bytes, memory_bytes() // 4))


def _http_server(rest: Rest, settings: ServerSettings) -> _Server:
    config = uvicorn.Config(
        rest,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        backlog=BACKLOG,
        limit_concurrency=allow_connections(settings.connections),
    )
    config.load()
    config.ssl = None if settings.tls is None else settings.tls.context()
    return _Server(config)


async def _grpc_server(
    engine: Engine,
    place: tuple[str, int],
    tls: Tls | None,
    tell: Callable[[str], None],
    shared: dict[str, Any],
) -> GrpcServer:
    from equipoise.endpoint.grpc import GrpcService
    from equipoise.endpoint.grpc_server import grpc_server

    server = await grpc_server(GrpcService(engine, **shared), *place, tls)
    address = place[0]
    tell(f"grpc{'' if tls is None else 's'}://{f'[{address}]' if ':' in address else address}:{server.port}")
    return server


def _url(listening: socket.socket, scheme: str) -> str:
    address, port = listening.getsockname()[:2]
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"
