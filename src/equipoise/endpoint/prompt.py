"""Requests that are whole at once: answered without a task, a scope and messages of their own.

Nearly all requests for inference come in one or two pieces and fit into memory. What ASGI takes for each, a task that
waits for its body, for the answer and for room to write it, costs more than a small model does. Such a request is read
in the call that brings its last byte, and its answer written in the call that brings the batch's results. All others
take the long way, which this is an abbreviation of: `endpoint.rest` reads and answers both with the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol, runtime_checkable

from equipoise.endpoint.http import UNCOUNTED_BYTES, Header, Response, Room, Route

MOST_BYTES = 4 << 20
"""Of a body that is waited for here."""
SOON_S = 0.05
"""Seconds in which a body must be whole; what comes later has a limit on the long way."""
LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
Found = tuple[Route, dict[str, str]]
"""A route, and what stood at the places of its names."""
Tell = Callable[[Response, Sequence[Header]], None]
"""Sends a response, with more headers than its own."""


@runtime_checkable
class Prompter(Protocol):
    """An application that can do without ASGI."""

    @property
    def room(self) -> Room:
        """Where bodies stay until they are whole."""
        ...

    def prompt_route(self, method: bytes, url: bytes, headers: Mapping[bytes, bytes]) -> Found | None:
        """What answers a request whose head is whole, if it can be answered so."""
        ...

    def answer_promptly(
        self, found: Found, headers: dict[bytes, bytes], body: bytes, tell: Tell
    ) -> Callable[[], object] | None:
        """Answer a request by calling `tell` once, at once or later.

        Returns:
            What to call when its client is gone; null where the answer was told.
        """
        ...


class Prompt:
    """A request that is being answered so. To uvicorn it is one of its own cycles: hence the names.

    Args:
        prompter: The application.
        found: What answers it there.
        headers: Lower-case name to value.
        scope: The request, as the connection knows it.
        body_bytes: What its body will have; there is room for so much.

    Attributes:
        keep_alive: Whether its client may ask again on this connection.
        body: What has come of its body.
        more_body: Whether it is not whole.
        response_complete: Whether the response was written.
        disconnected: Whether the client is gone.
        leave: Is called then.
    """

    __slots__ = (
        "body",
        "disconnected",
        "found",
        "headers",
        "held_bytes",
        "keep_alive",
        "leave",
        "more_body",
        "prompter",
        "response_complete",
        "scope",
    )

    def __init__(
        self, prompter: Prompter, found: Found, headers: dict[bytes, bytes], scope: object, body_bytes: int
    ) -> None:
        self.prompter = prompter
        self.found = found
        self.headers = headers
        self.scope = scope
        self.keep_alive = True
        self.body: list[bytes] = []
        self.more_body = True
        self.response_complete = self.disconnected = False
        self.leave: Callable[[], object] | None = None
        self.held_bytes = body_bytes if body_bytes > UNCOUNTED_BYTES else 0
        if self.held_bytes:
            prompter.room.take(self.held_bytes)

    def make_room(self) -> None:
        """Give back the room for its body, which is whole, or will come no more, or is counted elsewhere."""
        if self.held_bytes:
            self.prompter.room.give_back(self.held_bytes)
            self.held_bytes = 0

    @property
    def message_event(self) -> Prompt:
        """What uvicorn sets when anything happened to a request."""
        return self

    def set(self) -> None:
        """Leave, if what happened is that the client went."""
        if self.disconnected:
            self.body = []
            self.make_room()
            if self.leave is not None:
                self.leave()
                self.leave = None


def response_bytes(response: Response, more: Sequence[Header]) -> bytes:
    """A response as it is sent, with more headers than its own."""
    lines = [LINES[response.status]]
    for name, value in (*more, *response.headers):
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"content-length: %d\r\n\r\n" % len(response.body))
    lines.append(response.body)
    return b"".join(lines)
