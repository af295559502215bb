"""As much of HTTP as the REST transport needs: a request, its body within limits, a response, and a router."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import orjson

from equipoise.endpoint.compression import NAMES, Damaged, Encoding, TooLarge, inflated
from equipoise.endpoint.logs import Access
from equipoise.serve.work import Answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
JSON_HEADER: Header = (b"content-type", b"application/json")
CLOSE_HEADER: Header = (b"connection", b"close")
REQUEST_ID = b"x-request-id"
USABLE_ID = re.compile(rb"[\w.:;,/+=@~-]{1,128}", re.ASCII)
PROCESS = secrets.token_hex(8).encode()
_requests = count(1)


@dataclass(frozen=True)
class Limits:
    """What a request may be at most.

    Attributes:
        body_bytes: Bytes of its body, as it is sent.
        inflated_bytes: Bytes of its body once it is no longer compressed.
        rows: Rows that it asks about.
        elements: Numbers or texts of one of its arrays.
        depth: Lists within lists.
        pixels: Of one image, as it is sent.
        body_s: Seconds until its body is whole: one that never comes would hold its connection, and a shutdown, open.
        together_bytes: Bytes of all bodies, of all requests, that are not whole or not read yet.
    """

    body_bytes: int = 64 << 20
    inflated_bytes: int = 64 << 20
    rows: int = 100_000
    elements: int = 8_000_000
    depth: int = 16
    pixels: int = 50_000_000
    body_s: float = 60.0
    together_bytes: int = 1 << 30


class HttpError(Exception):
    """A request that HTTP itself has a status for.

    Args:
        status: Which.
        message: What was found, and what was needed.
        close: Whether the connection must end, since a body was not read.
    """

    def __init__(self, status: HTTPStatus, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.close = close


class ClientGone(Exception):  # noqa: N818 - reads as what happened
    """The client closed its connection: nobody reads a response."""


class Response(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (JSON_HEADER,)

    async def send(self, send: Send, more: Sequence[Header] = ()) -> None:
        """Send it, with more headers than its own."""
        headers = [*self.headers, *more, (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_response(value: Any) -> Response:
    """A value as JSON: NumPy arrays as lists, and null for what is no number in JSON, NaN and infinity."""
    return Response(HTTPStatus.OK, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def error_response(status: int, message: str, headers: tuple[Header, ...] = ()) -> Response:
    """What went wrong, in the protocol's shape."""
    said = message.encode("utf-8", "replace").decode()
    return Response(status, orjson.dumps({"error": said}), (JSON_HEADER, *headers))


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The name of a request in headers and logs: what its client calls it, or one of ours.

    Letters, digits and `.:;,/+=@~-_`, 128 of them at most, so that it can stand anywhere unquoted.
    """
    given = headers.get(REQUEST_ID)
    if given is not None and USABLE_ID.fullmatch(given):
        return given
    return b"%s-%x" % (PROCESS, next(_requests))


UNCOUNTED_BYTES = 64 << 10
"""What uvicorn reads of a body before anybody asks for it."""


class Room:
    """What bodies that are not whole or not read yet may take of the memory, all together.

    Args:
        most_bytes: So much; what waits in the connections' own buffers, `UNCOUNTED_BYTES` each, is not counted.

    Attributes:
        most_bytes: As above.
        free_bytes: So much can still be taken.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = self.free_bytes = most_bytes

    def take(self, size: int) -> None:
        """Take some.

        Raises:
            HttpError: There is not so much.
        """
        if size > self.free_bytes:
            found = (
                f"bodies of {self.most_bytes:,} bytes together are on their way, as much as is taken; come again later"
            )
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, found, close=True)
        self.free_bytes -= size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self.free_bytes += size


@dataclass(slots=True)
class Call:
    """A request.

    Attributes:
        headers: Lower-case name to value.
        receive: Where its body comes from, and later the news that the client is gone.
        names: What stood at the places of the route's names.
        request_id: Its name in headers and logs (see `request_id`).
        access: What its log line will say.
        room: Where its body stays until it is whole.
        began_s: When its head, or a body that came with it, was whole, on the monotonic clock: its deadline counts from
            then.
    """

    headers: dict[bytes, bytes]
    receive: Receive
    names: dict[str, str] = field(default_factory=dict)
    request_id: bytes = b""
    access: Access = field(default_factory=Access)
    room: Room = field(default_factory=lambda: Room(Limits().together_bytes))
    began_s: float = field(default_factory=time.monotonic)

    async def body(self, limits: Limits) -> bytes:
        """Its body, no longer compressed.

        Raises:
            HttpError: It is too large, too late, or encoded in a way that is unknown or that it is not.
            ClientGone: The client left before it was whole.
        """
        most_bytes = limits.body_bytes
        encoding = _encoding(self.headers)
        told = self.headers.get(b"content-length", b"0")
        if told.isdigit() and len(told) < 19 and int(told) > most_bytes:
            raise _too_large(int(told), most_bytes)
        task = asyncio.current_task()
        assert task is not None, "a body is awaited in a task"
        late: list[bool] = []
        # What `asyncio.timeout` does, at a fifth of its price: this is asked for every request.
        timer = asyncio.get_running_loop().call_later(limits.body_s, _interrupt, task, late)
        try:
            body = await self._received(most_bytes)
        except asyncio.CancelledError:
            if not late or task.uncancel():
                raise
            found = f"the body was not whole after {limits.body_s:g} s"
            raise HttpError(HTTPStatus.REQUEST_TIMEOUT, found, close=True) from None
        finally:
            timer.cancel()
        return body if encoding is None else await _inflated(body, encoding, limits.inflated_bytes)

    async def _received(self, most_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = taken = 0
        more = True
        try:
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
                size += len(parts[-1])
                if size > most_bytes:
                    raise _too_large(size, most_bytes)
                if more:
                    self.room.take(size - taken)
                    taken = size
        finally:
            self.room.give_back(taken)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Asked(NamedTuple):
    """What a request has asked of the engine.

    Attributes:
        answer: Where the answer will be.
        told: The answer as the request's own protocol tells it.
    """

    answer: asyncio.Future[Answer]
    told: Callable[[Answer], Response]


Handler = Callable[[Call], Awaitable[Response]]
Ask = Callable[[Call, bytes], Asked]
"""Asks what a request with this body asks."""
Role = Literal["infer", "admin"]
"""What a caller may do: ask for answers, or also change what is served."""


@dataclass(frozen=True)
class Route:
    """What answers a method at a path.

    Attributes:
        path: With `{name}` where names stand.
        parts: Of its path.
        method: Its method.
        handler: What answers.
        role: Whom it answers; null for everybody.
        ask: What it asks of the engine once its body is there; null where its handler does something else.
    """

    path: str
    parts: Sequence[str]
    method: str
    handler: Handler
    role: Role | None
    ask: Ask | None


REMEMBERED_PATHS = 256
"""Paths whose routes are remembered: clients ask the same few again and again."""


class Router:
    """Finds what answers a path; `{name}` stands for one part of it, which is URL-decoded by itself."""

    def __init__(self) -> None:
        self._routes: dict[int, list[Route]] = {}
        self._found: dict[tuple[str, bytes], tuple[Route, dict[str, str]]] = {}

    def add(
        self, method: str, path: str, handler: Handler, role: Role | None = "infer", ask: Ask | None = None
    ) -> None:
        """Answer a method at a path, to those who have a role; null for everybody."""
        parts = path.strip("/").split("/")
        self._found.clear()
        self._routes.setdefault(len(parts), []).append(Route(path, parts, method, handler, role, ask))

    @property
    def routes(self) -> tuple[Route, ...]:
        """All that is answered."""
        return tuple(route for routes in self._routes.values() for route in routes)

    def remembered(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]] | None:
        """`find` for a path that was found lately; null for any other."""
        return self._found.get((method, raw_path))

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route, and what stood at the names' places.

        Raises:
            HttpError: Nothing is there, or it does not answer to the method.
        """
        found = self._found.get((method, raw_path))
        if found is None:
            found = self._sought(method, raw_path)
            if len(self._found) >= REMEMBERED_PATHS:
                self._found.clear()
            self._found[method, raw_path] = found
        return found

    def _sought(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        # Split first, then decoded: an encoded slash is part of a name.
        parts = raw_path.decode("latin-1").strip("/").split("/")
        methods = []
        for route in self._routes.get(len(parts), ()):
            names = _matched(route.parts, parts)
            if names is None:
                continue
            if route.method == method:
                return route, names
            methods.append(route.method)
        path = unquote(raw_path.decode("latin-1"))
        if methods:
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} answers {', '.join(methods)}, found {method}")
        raise HttpError(HTTPStatus.NOT_FOUND, f"nothing is at {path}; see /v2 and /v2/models/NAME")


def _interrupt(task: asyncio.Task[Any], late: list[bool]) -> None:
    late.append(True)
    task.cancel()


def _matched(wanted: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    names = {}
    for want, part in zip(wanted, parts, strict=True):
        if want[:1] == "{":
            names[want[1:-1]] = unquote(part)
        elif want != part:
            return None
    return names


def _too_large(found_bytes: int, most_bytes: int) -> HttpError:
    found = f"the body has {found_bytes:,} bytes or more; at most {most_bytes:,} are taken"
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, found, close=True)


def _encoding(headers: Mapping[bytes, bytes]) -> Encoding | None:
    told = headers.get(b"content-encoding")
    if told is None:
        return None
    name = told.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return None
    if name not in NAMES:
        found = f"the body is encoded as {name}; needed gzip, deflate, or plain bytes"
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, found, close=True)
    return NAMES[name]


async def _inflated(body: bytes, encoding: Encoding, most_bytes: int) -> bytes:
    try:
        return await inflated(body, encoding, most_bytes)
    except Damaged as error:
        found = f"the body is not {encoding}, though its content-encoding says so: {error}"
        raise HttpError(HTTPStatus.BAD_REQUEST, found) from None
    except TooLarge:
        found = f"the body becomes more than the {most_bytes:,} bytes that are taken, once it is no longer compressed"
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, found) from None
