"""The gRPC transport: the Open Inference Protocol v2 over an engine, in the event loop of whoever serves.

Only here do kinds of error become gRPC's codes. Requests are the very ones that `rest.py` takes, in other words.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from equipoise.endpoint.extensions import REPOSITORY, STATISTICS, Extensions
from equipoise.endpoint.gate import Gate
from equipoise.endpoint.http import REQUEST_ID, Limits, Role, request_id
from equipoise.endpoint.logs import Access, Log, log_failure
from equipoise.endpoint.messages import infer_request, infer_response
from equipoise.endpoint.oip import SERVER_VERSION, model_metadata
from equipoise.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    Overloaded,
    RateLimited,
    ServeError,
    StageFailed,
    Unauthorized,
    Unavailable,
)
from equipoise.observe.origin import ORIGIN, TRACEPARENT, Origin
from equipoise.observe.statistics import Statistics
from equipoise.serve.engine import Engine
from equipoise.serve.repository import Repository

Context = grpc.aio.ServicerContext[Any, Any]
Code = grpc.StatusCode
SERVICE = "inference.GRPCInferenceService"
CODE: dict[type[ServeError], grpc.StatusCode] = {
    NotFound: Code.NOT_FOUND,
    BadRequest: Code.INVALID_ARGUMENT,
    Unauthorized: Code.UNAUTHENTICATED,
    Forbidden: Code.PERMISSION_DENIED,
    RateLimited: Code.RESOURCE_EXHAUSTED,
    Overloaded: Code.RESOURCE_EXHAUSTED,
    DeadlineExceeded: Code.DEADLINE_EXCEEDED,
    Unavailable: Code.UNAVAILABLE,
    StageFailed: Code.INTERNAL,
}
MOST_CHARACTERS = 1000
"""Of an error's text: it travels in a header, and clients refuse headers of some kilobytes."""
MILLISECONDS = 1e3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rpc:
    """A remote procedure.

    Attributes:
        request: Type of the message that it is called with.
        answer: Makes the message that it answers with.
        role: Whom it answers; null for everybody.
    """

    request: Any
    answer: Callable[[Any, Context], Awaitable[Any]]
    role: Role | None = "infer"

    @property
    def name(self) -> str:
        """Of the procedure: its message is called so, and `Request`."""
        return str(self.request.DESCRIPTOR.name).removesuffix("Request")


class GrpcService:
    """The protocol's procedures over an engine.

    Args:
        engine: What answers.
        limits: What a request may be at most.
        statistics: What counts what becomes of requests; null where nothing does.
        models: What can be loaded; null where nothing can.
        gate: Who may ask what; null for one that lets everybody ask for answers.
        log: Gets a line for each call; null for none.

    Attributes:
        limits: What a request may be at most.
        calls: How many have come.
        unanswered: How many of them have no answer yet.
        ending: Whether those that come from now on are refused, as `UNAVAILABLE`.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits | None = None,
        statistics: Statistics | None = None,
        models: Repository | None = None,
        gate: Gate | None = None,
        log: Log | None = None,
    ) -> None:
        self._engine = engine
        self._log = log or Log("none")
        self._gate = gate or Gate()
        self.limits = limits or Limits()
        self.calls = self.unanswered = 0
        self.ending = False
        self._extensions = Extensions(engine, self.limits, statistics, models)
        self._rpcs = {
            "ServerLive": Rpc(pb.ServerLiveRequest, self._live, role=None),
            "ServerReady": Rpc(pb.ServerReadyRequest, self._ready, role=None),
            "ServerMetadata": Rpc(pb.ServerMetadataRequest, self._server),
            "ModelReady": Rpc(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": Rpc(pb.ModelMetadataRequest, self._model),
            "ModelInfer": Rpc(pb.ModelInferRequest, self._infer),
            "ModelConfig": Rpc(pb.ModelConfigRequest, self._config),
        }
        if STATISTICS in self._extensions.names:
            self._rpcs["ModelStatistics"] = Rpc(pb.ModelStatisticsRequest, self._statistics)
        if REPOSITORY in self._extensions.names:
            self._rpcs |= {
                "RepositoryIndex": Rpc(pb.RepositoryIndexRequest, self._index, role="admin"),
                "RepositoryModelLoad": Rpc(pb.RepositoryModelLoadRequest, self._load, role="admin"),
                "RepositoryModelUnload": Rpc(pb.RepositoryModelUnloadRequest, self._unload, role="admin"),
            }

    @property
    def handler(self) -> grpc.GenericRpcHandler:
        """What a server of `grpc.aio` needs to answer with it; all other procedures are `UNIMPLEMENTED`."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: self._served(rpc) for name, rpc in self._rpcs.items()}
        )

    def _served(self, rpc: Rpc) -> grpc.RpcMethodHandler[Any, Any]:
        async def respond(_: Any, context: Context) -> bytes:
            return await self._respond(rpc, context)

        # On the wire a stream of one message is a single message; only of a stream can its time to come be limited.
        # Without serializers there are bytes here, so that those which are no message get the right code.
        return grpc.stream_unary_rpc_method_handler(respond)

    async def _respond(self, rpc: Rpc, context: Context) -> bytes:
        self.calls += 1
        self.unanswered += 1
        start_s = time.monotonic()
        headers = {_bytes(name): _bytes(value) for name, value in context.invocation_metadata() or ()}
        access = Access(request_id(headers).decode(), "gRPC", rpc.name)
        trailers = [(REQUEST_ID.decode(), access.request_id)]
        context.set_trailing_metadata(trailers)
        code, answer = Code.CANCELLED, b""
        try:
            answer = await self._answer(rpc, context, headers, access)
            code = Code.OK
            return answer
        except ServeError as error:
            access.error = type(error).__name__
            code, said = CODE[type(error)], str(error)
            if isinstance(error, Overloaded | RateLimited):
                trailers += _come_again(error.retry_after_s)
            if isinstance(error, StageFailed):
                log_failure(log, "a model failed on a request", error.__cause__ or error, access)
        except Exception as error:
            access.error = type(error).__name__
            code, said = Code.INTERNAL, "the server failed on this request; its log says more"
            log_failure(log, "a request failed in the server itself", error, access)
        finally:
            self.unanswered -= 1
            self._log.access(access, code.name, time.monotonic() - start_s, len(answer))
        await context.abort(code, _shortened(said), tuple(trailers))
        raise AssertionError  # what aborts never returns

    async def _answer(self, rpc: Rpc, context: Context, headers: Mapping[bytes, bytes], access: Access) -> bytes:
        if self.ending:
            raise Unavailable("the server is shutting down and takes no more requests")
        if rpc.role is not None:
            self._gate.let_in(headers, rpc.role, access)
        ORIGIN.set(Origin(access.request_id.encode(), access.key, headers.get(TRACEPARENT)))
        message = await self._received(rpc, context)
        access.model, access.version, access.rows = _asked(message)
        return bytes((await rpc.answer(message, context)).SerializeToString())

    async def _received(self, rpc: Rpc, context: Context) -> Any:
        """The message that a procedure is called with."""
        try:
            async with asyncio.timeout(self.limits.body_s):
                data = await context.read()
        except TimeoutError:
            raise DeadlineExceeded(f"the message was not whole after {self.limits.body_s:g} s") from None
        if not isinstance(data, bytes):
            raise BadRequest(f"found no message; needed a {rpc.request.DESCRIPTOR.name}")
        try:
            return rpc.request.FromString(data)
        except DecodeError:
            raise BadRequest(f"found {len(data):,} bytes that are no {rpc.request.DESCRIPTOR.name}") from None

    async def _live(self, message: Any, context: Context) -> Any:  # noqa: ARG002 - a procedure's signature, here and below
        return pb.ServerLiveResponse(live=True)

    async def _ready(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        return pb.ServerReadyResponse(ready=self._engine.ready)

    async def _server(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        return pb.ServerMetadataResponse(name="equipoise", version=SERVER_VERSION, extensions=self._extensions.names)

    async def _model_ready(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        return pb.ModelReadyResponse(ready=self._engine.model_ready(message.name, message.version or None))

    async def _model(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        plan = self._engine.plan(message.name, message.version or None)
        return pb.ModelMetadataResponse(**model_metadata(plan, self._engine.versions(plan.name)))

    async def _infer(self, message: Any, context: Context) -> Any:
        plan = self._engine.plan(message.model_name, message.model_version or None)
        request = infer_request(message, plan.spec, self.limits)
        # A client that leaves ends this task, and with it the request that it waits for.
        answer = await self._engine.submit(
            plan.name,
            request.inputs,
            version=plan.version,
            outputs=request.outputs,
            priority=request.priority,
            deadline_s=_earlier(request.deadline_s, context.time_remaining()),
            request_id=request.request_id,
        )
        return infer_response(answer)

    async def _config(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        return _filled(pb.ModelConfigResponse, config=self._extensions.config(message.name, message.version or None))

    async def _statistics(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        found = self._extensions.statistics(message.name or None, message.version or None if message.name else None)
        return _filled(pb.ModelStatisticsResponse, **found)

    async def _index(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        return _filled(pb.RepositoryIndexResponse, models=self._extensions.index(ready=message.ready))

    async def _load(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        await self._extensions.load(message.model_name, message.parameters)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, message: Any, context: Context) -> Any:  # noqa: ARG002
        await self._extensions.unload(message.model_name)
        return pb.RepositoryModelUnloadResponse()


def _asked(message: Any) -> tuple[str | None, str | None, int | None]:
    """The model, its version and the rows that a message names."""
    model = getattr(message, "model_name", "") or getattr(message, "name", "")
    version = getattr(message, "model_version", "") or getattr(message, "version", "")
    inputs: Any = getattr(message, "inputs", ())
    rows = inputs[0].shape[0] if len(inputs) and len(inputs[0].shape) else None
    return model or None, version or None, rows


def _filled(kind: Any, **fields: Any) -> Any:
    """A message from its JSON form."""
    return ParseDict(fields, kind())


def _earlier(deadline_s: float | None, other_s: float | None) -> float | None:
    if deadline_s is None or other_s is None:
        return deadline_s if other_s is None else other_s
    return min(deadline_s, other_s)


def _come_again(retry_after_s: float) -> list[tuple[str, str]]:
    """When it may be worth trying again: for people's code, and for gRPC's own retries."""
    milliseconds = str(max(1, math.ceil(retry_after_s * MILLISECONDS)))
    return [("retry-after", str(max(1, math.ceil(retry_after_s)))), ("grpc-retry-pushback-ms", milliseconds)]


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
