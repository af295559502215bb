"""HTTP as it comes over a connection: heads within limits, and all errors in the protocol's shape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from equipoise.endpoint.http import CLOSE_HEADER, REQUEST_ID, Header, Response, error_response, request_id
from equipoise.endpoint.prompt import SOON_S, Prompt, Prompter, response_bytes

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

    def write_whole(self, data: bytes) -> None:
        """Write a response, head and body."""
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
    """uvicorn's protocol, which by itself takes heads of any size, tells errors as plain text, and has no short way."""

    transport: HeadWithBody  # type: ignore[assignment]
    cycle: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._prompter = self.config.app if isinstance(self.config.app, Prompter) else None
        self._late: asyncio.TimerHandle | None = None
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
        elif type(self.cycle) is Prompt and self.cycle.more_body and self._late is None:
            self._late = self.loop.call_later(SOON_S, self._take_the_long_way)

    def shutdown(self) -> None:
        """Hang up once what was asked is answered; a client that has only just connected may still ask."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A head begins; uvicorn's own record of it is made once it is known to be needed."""
        self.url = b""
        self.headers = []
        self.scope = {}  # type: ignore[typeddict-item]
        self.expect_100_continue = False
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """A head is whole; raising refuses it, by way of the parser's own errors."""
        self._in_head = False
        if self._head_bytes + self._chunk_bytes > MOST_HEAD_BYTES and self._size() > MOST_HEAD_BYTES:
            self._too_large = True
            raise HeadTooLarge
        prompt = self._as_prompt()
        if prompt is None:
            self._begin_the_long_way()
        else:
            self.cycle = prompt

    def _begin_the_long_way(self) -> None:
        """Do what uvicorn does when a head begins, and then what it does when it is whole."""
        url, headers, continues = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, continues
        self.scope["headers"] = headers
        super().on_headers_complete()

    def _as_prompt(self) -> Prompt | None:
        """The request whose head is whole as one that is answered promptly; null where it is not one."""
        if self._prompter is None or not self.parser.should_keep_alive():
            return None
        if self.flow.write_paused or (self.cycle is not None and not self.cycle.response_complete):
            return None
        headers = dict(self.headers)
        found = self._prompter.prompt_route(self.parser.get_method(), self.url, headers)
        if found is None:
            return None
        return Prompt(self._prompter, found, headers, self.scope, int(headers[b"content-length"]))

    def on_body(self, body: bytes) -> None:
        """Part of a body has come."""
        if type(self.cycle) is Prompt:
            self.cycle.body.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        prompt = self.cycle
        if type(prompt) is not Prompt:
            super().on_message_complete()
            return
        prompt.more_body = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        prompt.make_room()
        parts, prompt.body = prompt.body, []  # a connection that is kept must not keep them
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        leave = prompt.prompter.answer_promptly(prompt.found, prompt.headers, body, partial(self._tell, prompt))
        if not prompt.response_complete:
            prompt.leave = leave

    def _tell(self, prompt: Prompt, response: Response, more: Sequence[Header]) -> None:
        """Write the response to a request that is answered promptly."""
        prompt.leave = None
        prompt.response_complete = True
        if prompt.disconnected or self.transport.is_closing():
            return
        closes = CLOSE_HEADER in more or CLOSE_HEADER in response.headers
        if not prompt.keep_alive and not closes:
            more, closes = (*more, CLOSE_HEADER), True
        self.transport.write_whole(response_bytes(response, (*self.server_state.default_headers, *more)))
        if closes:
            self.transport.close()
        elif self.pipeline:
            super().on_response_complete()

    def _take_the_long_way(self) -> None:
        """Do as uvicorn would have done at once with a request whose body does not come soon."""
        self._late = None
        prompt = self.cycle
        if type(prompt) is not Prompt or not prompt.more_body or self.transport.is_closing():
            return
        self.cycle = None
        prompt.make_room()
        self._begin_the_long_way()
        self.cycle.keep_alive = prompt.keep_alive
        for part in prompt.body:
            super().on_body(part)

    def _size(self) -> int:
        """Bytes of the head that was read, without those of a body that came with it."""
        return len(self.url) + sum(len(name) + len(value) + HEADER_EXTRA_BYTES for name, value in self.headers)

    def on_response_complete(self) -> None:
        """A response is whole."""
        self.transport.flush()
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
