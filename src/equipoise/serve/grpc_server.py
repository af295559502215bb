"""A gRPC server of a service: where it listens, what it takes, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc

from equipoise.errors import InputError
from equipoise.serve.grpc import GrpcService
from equipoise.serve.tls import Tls

QUIET_S = 0.05
"""Nothing may have come for so long before the server stops ..."""
MOST_QUIET_S = 2.0
"""... unless it has waited this long for it."""
CALLS_S = 86_400.0
"""How long calls that were taken in may still take at the end: each of them has an end of its own, before that."""


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
        So they are begun first, and told that the server is unavailable.
        """
        self.service.ending = True
        for _ in range(round(MOST_QUIET_S / QUIET_S)):
            before = self.service.calls
            await asyncio.sleep(QUIET_S)
            if self.service.calls == before:
                break
        await self.server.stop(CALLS_S)


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
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", min(limits.body_bytes, limits.inflated_bytes)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # two servers of one port would each get some of its requests
        ]
    )
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
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], signers, require_client_auth=signers is not None)
