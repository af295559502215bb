"""A gRPC server of a service: where it listens, what it takes, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from equipoise.endpoint.grpc import GrpcService
from equipoise.endpoint.tls import Renewal, Tls
from equipoise.errors import InputError

LOOK_S = 0.01
QUIET_LOOKS = 10
"""Nothing may have come between so many looks before the server stops: several, since one could come late itself ..."""
MOST_LOOKS = 200
"""... unless it has looked so often."""
UNREAD_S = 20.0
"""How long clients may still take to read their answers, once all calls have one."""
CALLS_S = 86_400.0
"""How long calls may still take at the end: each of them has an end of its own, before that."""
MOST_CALLS = 4096
"""At a time, of all connections: others are told `RESOURCE_EXHAUSTED`. gRPC has no limit of connections."""
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # two servers of one port would each get some of its requests
    ("grpc.max_concurrent_streams", 1000),  # of a connection; clients keep more to themselves until there is room
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 60_000),  # who is gone without a word is noticed, and its calls end
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True)
class GrpcServer:
    """A server that answers until it is stopped.

    Attributes:
        port: Where it listens.
        service: What answers.
        server: What carries it.
    """

    port: int
    service: GrpcService
    server: grpc.aio.Server

    async def stop(self) -> None:
        """Take no more calls, and wait until those that were taken in are answered.

        gRPC would tell calls that have come, but were not begun, that they were cancelled, which no client tries again.
        So they are begun first, and told that the server is unavailable. A client that does not read its answer is hung
        up on in the end.
        """
        self.service.ending = True
        quiet = looks = 0
        while quiet < QUIET_LOOKS and looks < MOST_LOOKS:
            before = self.service.calls
            await asyncio.sleep(LOOK_S)
            looks += 1
            quiet = quiet + 1 if self.service.calls == before else 0
        stopping = asyncio.ensure_future(self.server.stop(CALLS_S))
        while self.service.unanswered:
            await asyncio.sleep(LOOK_S)
        await asyncio.wait([stopping], timeout=UNREAD_S)
        if not stopping.done():
            await self.server.stop(None)
        await stopping


async def grpc_server(service: GrpcService, address: str, port: int, tls: Tls | None = None) -> GrpcServer:
    """Start a server of a service.

    Args:
        service: What answers.
        address: Where it listens.
        port: 0 for any free one.
        tls: Files for TLS; null to speak without it.

    Raises:
        InputError: It cannot listen there, or a file cannot be used.
    """
    limits = service.limits
    most_bytes = min(limits.body_bytes, limits.inflated_bytes)
    options = [*OPTIONS, ("grpc.max_receive_message_length", most_bytes)]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((service.handler,))
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    credentials = None if tls is None else _credentials(tls)
    try:
        bound = server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
    except RuntimeError:
        raise InputError("--grpc", f"{place} cannot be listened at", "give another port") from None
    await server.start()
    return GrpcServer(bound, service, server)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    tls.context()  # it says what is wrong with the files, where gRPC would only fail
    signers = None if tls.client_ca is None else tls.client_ca.read_bytes()
    renewal = Renewal(tls)

    def shown(certificate: bytes, key: bytes) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, certificate)], signers)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Asked for each connection; null for what was shown before."""
        pair = renewal.pair()
        return None if pair is None else shown(*pair)

    return grpc.dynamic_ssl_server_credentials(
        shown(tls.certificate.read_bytes(), tls.key.read_bytes()),
        renewed,  # type: ignore[arg-type]  # its types forget that null is allowed, as it is documented
        require_client_authentication=signers is not None,
    )
