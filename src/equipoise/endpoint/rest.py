"""The REST transport: an ASGI application over an engine, the Open Inference Protocol v2 and plain rows.

Whatever goes wrong, the body is `{"error": "..."}` (`endpoint/failures.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from equipoise.endpoint.bodies import JSON_LENGTH, MOST_DIGITS, Bodies, said_in
from equipoise.endpoint.compression import MIN_BYTES, Encoding, accepted, deflated
from equipoise.endpoint.described import Described, described
from equipoise.endpoint.docs import page
from equipoise.endpoint.extensions import Extensions
from equipoise.endpoint.failures import DOCS, failure_response, html_response
from equipoise.endpoint.gate import Gate
from equipoise.endpoint.http import (
    CLOSE_HEADER,
    REQUEST_ID,
    Asked,
    Call,
    ClientGone,
    Header,
    HttpError,
    Limits,
    Message,
    Receive,
    Response,
    Room,
    Route,
    Router,
    Send,
    json_response,
    request_id,
)
from equipoise.endpoint.logs import Access, Log
from equipoise.endpoint.oip import SERVER_VERSION, InferRequest, infer_response, model_metadata, timeout_s
from equipoise.endpoint.openapi import openapi
from equipoise.endpoint.prompt import MOST_BYTES, Found, Tell
from equipoise.endpoint.raw import MANY_BYTES, RawRows
from equipoise.endpoint.rows import MILLISECOND, predict_response
from equipoise.errors import (
    BadRequest,
    Unavailable,
)
from equipoise.observe.origin import ORIGIN, TRACEPARENT, Origin
from equipoise.observe.statistics import Statistics
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.repository import Repository
from equipoise.serve.work import Answer

Result = TypeVar("Result")
TIMEOUT = b"x-request-timeout-ms"
"""Header: milliseconds within which the answer is wanted."""
WATCH_AFTER_S = 0.05
"""Seconds that an answer is waited for before its client is watched, lest it be gone."""
NOT_PLAIN = frozenset((b"content-encoding", b"transfer-encoding", b"expect"))
"""Headers of a body that is more than so many bytes that come."""
OCTETS_HEADER: Header = (b"content-type", b"application/octet-stream")
CLIENT_GONE = 499
"""A status for logs alone."""


class Rest:
    """An ASGI application.

    Args:
        engine: What answers.
        limits: What a request may be at most.
        statistics: What counts what becomes of requests; null where nothing does.
        repository: What can be loaded; null where nothing can.
        gate: Whom it answers; null for everybody, who may then change nothing.
        log: Gets a line for each request; null for none.

    Attributes:
        room: Where bodies stay until they are whole, and large ones until they are read.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits | None = None,
        statistics: Statistics | None = None,
        repository: Repository | None = None,
        gate: Gate | None = None,
        log: Log | None = None,
    ) -> None:
        self._engine = engine
        self._gate = gate or Gate()
        self._log = log or Log("none")
        self._limits = limits or Limits()
        self.room = Room(self._limits.together_bytes)
        self._raw = RawRows(self._limits, self.room)
        self._bodies = Bodies(self._limits, self.room)
        self._router = Router()
        self._extensions = Extensions(engine, self._limits, statistics, repository)
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            self._router.add("POST", f"{prefix}/infer", self._infer, ask=self._ask)
            self._router.add("GET", f"{prefix}/ready", self._model_ready)
        self._router.add("POST", "/v1/predict/{model}", self._predict)
        self._extensions.add_to(self._router)  # before `/v2/models/{model}`, which would take `/v2/models/stats`
        self._router.add("GET", "/v2/models/{model}", self._model)
        self._router.add("GET", "/v2/models/{model}/versions/{version}", self._model)
        self._router.add("GET", "/v2/health/live", self._live, role=None)
        self._router.add("GET", "/v2/health/ready", self._ready, role=None)
        self._router.add("GET", "/v2", self._server)
        self._router.add("GET", "/openapi.json", self._openapi)
        self._router.add("GET", DOCS, self._docs)

    @property
    def router(self) -> Router:
        """Where what is not part of the protocol can be added."""
        return self._router

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live_on(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        start_s = time.monotonic()
        headers = dict(scope["headers"])
        name = request_id(headers)
        call = Call(headers, receive, {}, name, Access(name.decode(), scope["method"]), self.room)
        try:
            response = await self._respond(scope, call)
        except ClientGone:
            self._log.access(call.access, CLIENT_GONE, time.monotonic() - start_s, 0)
            return
        await response.send(send, self._headers(call, response))
        self._log.access(call.access, int(response.status), time.monotonic() - start_s, len(response.body))

    def prompt_route(self, method: bytes, url: bytes, headers: Mapping[bytes, bytes]) -> Found | None:
        """What answers a request whose head is whole, if it needs no task: see `endpoint.prompt`.

        It is one that asks the engine alone, and whose body is plain and has a size that is known, and room.
        """
        found = self._router.remembered(method.decode("latin-1"), url.partition(b"?")[0])
        if found is None or found[0].ask is None:
            return None
        size = headers.get(b"content-length", b"")
        if not size.isdigit() or len(size) > MOST_DIGITS or int(size) > min(MOST_BYTES, self._limits.body_bytes):
            return None
        if int(size) > self.room.free_bytes:
            return None
        return found if NOT_PLAIN.isdisjoint(headers) else None

    def answer_promptly(
        self, found: Found, headers: dict[bytes, bytes], body: bytes, tell: Tell
    ) -> Callable[[], object] | None:
        """Answer a request by calling `tell`, and return what to call when its client is gone."""
        start_s = time.monotonic()
        route, names = found
        name = request_id(headers)
        call = Call(headers, _nothing_more, names, name, Access(name.decode(), route.method, route.path), self.room)
        call.access.model, call.access.version = names.get("model"), names.get("version")
        told = partial(self._told, call, tell, start_s)
        assert route.ask is not None, "`prompt_route` saw to it"
        try:
            self._let_in(route, call)
            asked = route.ask(call, body)
        except Exception as error:  # whatever it was, the client is told, and the server goes on
            told(failure_response(error, call))
            return None
        if asked.answer.done():
            self._answered(call, asked.told, told, asked.answer)
            return None
        asked.answer.add_done_callback(partial(self._answered, call, asked.told, told))
        return asked.answer.cancel

    def _answered(
        self,
        call: Call,
        as_response: Callable[[Answer], Response],
        told: Callable[[Response | None], None],
        answer: asyncio.Future[Answer],
    ) -> None:
        if answer.cancelled():
            told(None)
            return
        try:
            response = as_response(answer.result())
        except Exception as error:  # whatever it was, the client is told, and the server goes on
            told(failure_response(error, call))
            return
        encoding = _encoding(call, response)
        if encoding is None:
            told(response)
        else:
            packing = asyncio.ensure_future(_packed(response, encoding))
            packing.add_done_callback(lambda packed: told(response if packed.exception() else packed.result()))

    def _told(self, call: Call, tell: Tell, start_s: float, response: Response | None) -> None:
        if response is None:
            self._log.access(call.access, CLIENT_GONE, time.monotonic() - start_s, 0)
            return
        tell(response, self._headers(call, response))
        self._log.access(call.access, int(response.status), time.monotonic() - start_s, len(response.body))

    def _headers(self, call: Call, response: Response) -> list[Header]:
        more = [(REQUEST_ID, call.request_id)]
        if self._engine.retired and CLOSE_HEADER not in response.headers:
            more.append(CLOSE_HEADER)
        return more

    async def _respond(self, scope: Mapping[str, Any], call: Call) -> Response:
        try:
            return await self._find(scope, call).handler(call)
        except ClientGone:
            raise
        except Exception as error:  # whatever it was, the client is told, and the server goes on
            return failure_response(error, call)

    def _find(self, scope: Mapping[str, Any], call: Call) -> Route:
        """The route of a caller who may use it; who has no key does not even learn what is there."""
        path = scope.get("raw_path") or scope["path"].encode()
        try:
            route, names = self._router.find(scope["method"], path.partition(b"?")[0])
        except HttpError:
            self._gate.let_in(call.headers, "infer", call.access)
            raise
        call.access.route = route.path
        call.names.update(names)
        call.access.model, call.access.version = names.get("model"), names.get("version")
        self._let_in(route, call)
        return route

    def _let_in(self, route: Route, call: Call) -> None:
        if route.role is not None:
            self._gate.let_in(call.headers, route.role, call.access)
        ORIGIN.set(Origin(call.request_id, call.access.key, call.headers.get(TRACEPARENT)))

    async def _server(self, call: Call) -> Response:  # noqa: ARG002 - a handler's signature, here and below
        extensions = self._extensions.names
        return json_response({"name": "equipoise", "version": SERVER_VERSION, "extensions": extensions})

    async def _openapi(self, call: Call) -> Response:  # noqa: ARG002
        return json_response(openapi(self._described(), self._extensions.names))

    async def _docs(self, call: Call) -> Response:  # noqa: ARG002
        models = self._described()
        return html_response(HTTPStatus.OK, page(models, openapi(models, self._extensions.names)))

    def _described(self) -> list[Described]:
        return [described(self._engine.plan(name), self._engine.versions(name)) for name in self._engine.models]

    async def _live(self, call: Call) -> Response:  # noqa: ARG002
        return json_response({"live": True})

    async def _ready(self, call: Call) -> Response:  # noqa: ARG002
        trouble = self._engine.trouble()
        if trouble is not None:
            raise Unavailable(trouble)
        return json_response({"ready": True})

    async def _model(self, call: Call) -> Response:
        model = call.names["model"]
        return json_response(
            model_metadata(self._engine.plan(model, call.names.get("version")), self._engine.versions(model))
        )

    async def _model_ready(self, call: Call) -> Response:
        model = call.names["model"]
        trouble = self._engine.trouble(model, call.names.get("version"))
        if trouble is not None:
            raise Unavailable(trouble)
        return json_response({"name": model, "ready": True})

    async def _infer(self, call: Call) -> Response:
        plan = self._engine.plan(call.names["model"], call.names.get("version"))  # before a body is read for nothing
        body = await call.body(self._limits)
        if len(body) <= MOST_BYTES:
            return await self._waited(call, self._ask(call, body))
        self._refuse_early(call, plan, said_in(call.headers, body))
        reading = asyncio.ensure_future(self._bodies.read_beside(call.headers, body, plan))
        request = await self._while_there(call, reading)
        return await self._waited(call, Asked(self._submit(call, request, plan), partial(_infer_response, request)))

    def _ask(self, call: Call, body: bytes) -> Asked:
        plan = self._engine.plan(call.names["model"], call.names.get("version"))
        self._refuse_early(call, plan, said_in(call.headers, body))
        request = self._bodies.read(call.headers, body, plan)
        return Asked(self._submit(call, request, plan), partial(_infer_response, request))

    def _refuse_early(self, call: Call, plan: LoadedPlan, said: bytes) -> None:
        """Spare an overloaded server the reading of what it refuses, unless a request may ask for more than others."""
        refuse = self._engine.early_refusal(plan.name, plan.version)
        if refuse is None or TIMEOUT in call.headers:
            return
        if b"timeout" not in said and b"priority" not in said:
            call.access.version = plan.version
            refuse()

    async def _predict(self, call: Call) -> Response:
        plan = self._engine.plan(call.names["model"])
        body = await call.body(self._limits)
        self._refuse_early(call, plan, body)
        reading = self._raw.read(call.headers, body, plan)
        # Images wait their turn to be decoded; for a client that is gone none are.
        decodes = plan.preprocessor is not None or len(body) > MANY_BYTES
        request = await (self._while_there(call, asyncio.ensure_future(reading)) if decodes else reading)
        asked = Asked(self._submit(call, request, plan), lambda answer: json_response(predict_response(answer, plan)))
        return await self._waited(call, asked)

    def _submit(self, call: Call, request: InferRequest, plan: LoadedPlan) -> asyncio.Future[Answer]:
        call.access.version, call.access.rows = plan.version, len(next(iter(request.inputs.values())))
        deadline_s = _earlier(request.deadline_s, call.headers.get(TIMEOUT))
        if deadline_s is not None:
            deadline_s -= time.monotonic() - call.began_s
        return self._engine.submit(
            plan.name,
            request.inputs,
            version=plan.version,
            outputs=request.outputs,
            priority=request.priority,
            deadline_s=deadline_s,
            request_id=request.request_id,
        )

    async def _waited(self, call: Call, asked: Asked) -> Response:
        response = asked.told(await self._while_there(call, asked.answer))
        encoding = _encoding(call, response)
        return response if encoding is None else await _packed(response, encoding)

    async def _while_there(self, call: Call, future: asyncio.Future[Result]) -> Result:
        """Wait for something as long as the client does."""
        if future.done():
            return future.result()
        loop = asyncio.get_running_loop()
        # The body was read, so that all that can still come is the news that the client is gone. Most answers are there
        # before it is worth asking for that.
        leaving: list[asyncio.Future[Any]] = []
        watching = loop.call_later(WATCH_AFTER_S, lambda: leaving.append(_cancelled_when_gone(future, call)))
        try:
            return await future
        except asyncio.CancelledError:
            if leaving and leaving[0].done() and not leaving[0].cancelled():
                raise ClientGone from None
            raise
        finally:
            watching.cancel()
            for gone in leaving:
                gone.cancel()


def _cancelled_when_gone(future: asyncio.Future[Any], call: Call) -> asyncio.Future[Any]:
    """Cancel something that is waited for once its client is gone; until that future is cancelled itself."""
    gone = asyncio.ensure_future(call.receive())
    gone.add_done_callback(lambda _: future.cancel())
    return gone


def _earlier(deadline_s: float | None, header: bytes | None) -> float | None:
    """The deadline of a request that says one itself and one in a header, each null for none."""
    if header is None:
        return deadline_s
    try:
        told = timeout_s(float(header), MILLISECOND, "milliseconds")
    except ValueError:
        raise BadRequest(f"found the {TIMEOUT.decode()} {header[:MOST_DIGITS]!r}; needed milliseconds") from None
    return told if deadline_s is None else min(deadline_s, told or deadline_s)


def _infer_response(request: InferRequest, answer: Answer) -> Response:
    said, blobs = infer_response(answer, request)
    response = json_response(said)
    if not blobs:
        return response
    length = (JSON_LENGTH, str(len(response.body)).encode())
    return Response(response.status, b"".join([response.body, *blobs]), (OCTETS_HEADER, length))


def _encoding(call: Call, response: Response) -> Encoding | None:
    """What an answer is to be compressed by; null for nothing.

    Other responses never are, as clients exist that ask and fail: tritonclient's aio client asks for it with every
    request, and then reads only answers so.
    """
    if len(response.body) < MIN_BYTES:
        return None
    return accepted(call.headers.get(b"accept-encoding"))


async def _packed(response: Response, encoding: Encoding) -> Response:
    """An answer, compressed if that makes it smaller."""
    body = await deflated(response.body, encoding)
    if len(body) >= len(response.body):
        return response
    return Response(response.status, body, (*response.headers, (b"content-encoding", encoding.encode())))


async def _nothing_more() -> Message:
    raise AssertionError("a request that is whole waits for nothing")


async def _live_on(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
