"""HTTP as it comes over a connection: heads within limits, and all errors in the protocol's shape."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from equipoise.endpoint.http import REQUEST_ID, Header, error_response, request_id

MOST_HEAD_BYTES = 32 << 10
"""Of a request's line and headers: the parser itself would take them without end."""
FIRST_REQUEST_S = 0.5
"""Seconds that a server which stops leaves to a client that has connected and not asked anything yet."""
HEADER_EXTRA_BYTES = 4
"""The colon, the space and the end of the line of a header."""
WORTH_A_COPY = 1 << 16
"""Bytes of a body from which on it is written beside its head and not behind it."""
INTERIM = b"HTTP/1.1 1"
"""What a client waits for before it sends the body."""

log = logging.getLogger(__name__)


class HeadTooLarge(Exception):  # noqa: N818 - reads as what happened
    """A request's line and headers are larger than is taken."""


class HeadWithBody:
    """A transport that keeps the head of a response until its body comes, so that both leave in one write.

    Each write is a call to the system and a wake-up of the client, and uvicorn makes one of each. All else is the
    transport's own.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write a body after the head that was kept, or keep a head."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) < WORTH_A_COPY:
                self._transport.write(head + data)
            else:
                self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/") and not data.startswith(INTERIM):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write what was kept: a response has no body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Write what was kept, then close."""
        self.flush()
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself takes heads of any size and tells errors as plain text."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = False
        self._head_bytes = self._chunk_bytes = 0
        self._too_large = False
        # uvicorn's own limit counts a connection only once it has sent a head, and tells of it in plain text.
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it at once where there are too many."""
        super().connection_made(HeadWithBody(transport))  # type: ignore[arg-type]
        most = self._most_connections
        if most is not None and len(self.connections) > most:
            log.warning("a connection was refused: there are %d already", most)
            found = f"there are {most:,} connections already, as many as are taken; come again later"
            self._hang_up(HTTPStatus.SERVICE_UNAVAILABLE, found, (b"retry-after", b"1"))

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and hang up on a head that does not end."""
        was_in_head = self._in_head
        self._chunk_bytes = len(data)
        super().data_received(data)
        if was_in_head and self._in_head and not self.transport.is_closing():
            # What came with the start of a head is not counted: some of it was the end of the request before.
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._too_large = True
                self.send_400_response("")

    def shutdown(self) -> None:
        """Hang up once what was asked is answered; a client that has only just connected may still ask."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A head is whole; raising refuses it, by way of the parser's own errors."""
        self._in_head = False
        if self._head_bytes + self._chunk_bytes > MOST_HEAD_BYTES and self._size() > MOST_HEAD_BYTES:
            self._too_large = True
            raise HeadTooLarge
        super().on_headers_complete()

    def _size(self) -> int:
        """Bytes of the head that was read, without those of a body that came with it."""
        return len(self.url) + sum(len(name) + len(value) + HEADER_EXTRA_BYTES for name, value in self.headers)

    def on_response_complete(self) -> None:
        """A response is whole."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Say what is wrong, and hang up."""
        status, found = HTTPStatus.BAD_REQUEST, "this is not HTTP as it can be read here: look at its line and headers"
        if self._too_large:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            found = f"the line and headers have more than the {MOST_HEAD_BYTES:,} bytes that are taken"
        self._hang_up(status, found)

    def _hang_up(self, status: HTTPStatus, found: str, *more: Header) -> None:
        response = error_response(status, found, more)
        headers = [
            *response.headers,
            (REQUEST_ID, request_id({})),
            (b"content-length", str(len(response.body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [f"HTTP/1.1 {int(status)} {status.phrase}".encode(), *(b"%s: %s" % header for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", response.body]))
        self.transport.close()
