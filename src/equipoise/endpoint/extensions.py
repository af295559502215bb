"""What Triton added to the protocol, as far as it is served: statistics, configuration, the repository of models."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from equipoise.endpoint.config import model_config
from equipoise.endpoint.http import Call, Handler, HttpError, Limits, Response, Router, json_response
from equipoise.endpoint.values import parsed
from equipoise.errors import BadRequest
from equipoise.observe.statistics import ModelStatistics, Statistics, Total
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.repository import Repository

BINARY, STATISTICS, CONFIGURATION, REPOSITORY = (
    "binary_tensor_data", "statistics", "model_configuration", "model_repository",
)  # fmt: skip
READY = "READY"
MODEL, VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
NOT_SERVED = {
    "tracing is not set by requests here": ("/v2/trace/setting", f"{MODEL}/trace/setting"),
    "logging is not set by requests here": ("/v2/logging",),
    "shared memory is not served here: send and ask for the data themselves": tuple(
        f"/v2/{kind}sharedmemory{path}"
        for kind in ("system", "cuda")
        for path in (
            "/status", "/register", "/unregister", "/region/{region}/status", "/region/{region}/register",
            "/region/{region}/unregister",
        )
    ),
    "answers are not generated piece by piece here": tuple(
        f"{prefix}/{name}" for prefix in (MODEL, VERSION) for name in ("generate", "generate_stream")
    ),
}  # fmt: skip


class Extensions:
    """Answers what extensions ask.

    Args:
        engine: What is asked of.
        limits: What a request may be at most.
        statistics: What counts; null where nothing does.
        repository: What can be loaded; null where nothing can.
    """

    def __init__(
        self, engine: Engine, limits: Limits, statistics: Statistics | None = None, repository: Repository | None = None
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._statistics = statistics
        self._repository = repository

    @property
    def names(self) -> tuple[str, ...]:
        """Those that work, as the server's metadata name them."""
        return (
            BINARY,
            CONFIGURATION,
            *(() if self._statistics is None else (STATISTICS,)),
            *(() if self._repository is None else (REPOSITORY,)),
        )

    def add_to(self, router: Router) -> None:
        """Answer their paths."""
        if self._statistics is not None:
            for path in ("/v2/models/stats", f"{MODEL}/stats", f"{VERSION}/stats"):
                router.add("GET", path, self._stats)
        for prefix in (MODEL, VERSION):
            router.add("GET", f"{prefix}/config", self._config)
        if self._repository is not None:
            router.add("POST", "/v2/repository/index", self._index, role="admin")
            router.add("POST", "/v2/repository/models/{model}/load", self._load, role="admin")
            router.add("POST", "/v2/repository/models/{model}/unload", self._unload, role="admin")
        for reason, paths in NOT_SERVED.items():
            for path in paths:
                for method in ("GET", "POST"):
                    router.add(method, path, _refusing(reason))

    def statistics(self, model: str | None, version: str | None) -> dict[str, Any]:
        """What has been counted, as Triton writes it.

        Args:
            model: Of which model; null for all.
            version: Of which of its versions; null for all.

        Raises:
            NotFound: It is not served.
        """
        assert self._statistics is not None
        plans = self._asked(model, version)
        return {"model_stats": [_said(plan, self._statistics.of(plan.name, plan.version)) for plan in plans]}

    def _asked(self, model: str | None, version: str | None) -> Iterator[LoadedPlan]:
        for name in self._engine.models if model is None else (model,):
            for each in self._engine.versions(name) if version is None else (version,):
                yield self._engine.plan(name, each)

    def config(self, model: str, version: str | None) -> dict[str, Any]:
        """A model's configuration, as the JSON form of Triton's `ModelConfig`.

        Raises:
            NotFound: It is not served.
        """
        plan = self._engine.plan(model, version)
        return model_config(plan, self._engine.versions(plan.name))

    def index(self, *, ready: bool) -> list[dict[str, str]]:
        """What is known of each model version: all, or only those that are `READY`."""
        assert self._repository is not None
        return [
            {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
            for entry in self._repository.index()
            if not ready or entry.state == READY
        ]

    async def load(self, model: str, parameters: Any) -> None:
        """Serve a model, or what has become of it since.

        Raises:
            NotFound: It is not known.
            BadRequest: It cannot be served, or there are parameters.
        """
        assert self._repository is not None
        if parameters:
            raise BadRequest("a load takes no parameters here: what a model is was said when the server started")
        await self._repository.load(model)

    async def unload(self, model: str) -> None:
        """Serve a model no longer.

        Raises:
            NotFound: It is not known.
        """
        assert self._repository is not None
        await self._repository.unload(model)

    async def _stats(self, call: Call) -> Response:
        return json_response(self.statistics(call.names.get("model"), call.names.get("version")))

    async def _config(self, call: Call) -> Response:
        return json_response(self.config(call.names["model"], call.names.get("version")))

    async def _index(self, call: Call) -> Response:
        wanted = (await self._fields(call)).get("ready", False)
        if not isinstance(wanted, bool):
            raise BadRequest(f"found {wanted!r} for `ready`; needed true or false")
        return json_response(self.index(ready=wanted))

    async def _load(self, call: Call) -> Response:
        await self.load(call.names["model"], (await self._fields(call)).get("parameters"))
        return json_response({})

    async def _unload(self, call: Call) -> Response:
        await self._fields(call)  # `unload_dependents`: a plan has none
        await self.unload(call.names["model"])
        return json_response({})

    async def _fields(self, call: Call) -> dict[str, Any]:
        """The object in a body; an empty body is an empty one."""
        body = await call.body(self._limits)
        fields = parsed(body) if body else {}
        if not isinstance(fields, dict):
            raise BadRequest(f"the body holds {type(fields).__name__}; needed an object, or nothing")
        return fields


def _refusing(reason: str) -> Handler:
    async def refuse(call: Call) -> Response:  # noqa: ARG001 - a handler's signature
        raise HttpError(HTTPStatus.NOT_FOUND, f"{reason}; GET /v2 lists the extensions that work")

    return refuse


def _said(plan: LoadedPlan, found: ModelStatistics) -> dict[str, Any]:
    """Statistics as Triton writes them."""
    nothing = _duration(Total())
    return {
        "name": plan.name,
        "version": plan.version,
        "last_inference": found.last_ms,
        "inference_count": found.rows,
        "execution_count": found.batches,
        "inference_stats": {
            "success": _duration(found.success),
            "fail": _duration(found.fail),
            "queue": _duration(found.queue),
            "compute_input": nothing,
            "compute_infer": _duration(found.compute),
            "compute_output": nothing,
            "cache_hit": _duration(found.cache_hit),
            "cache_miss": _duration(found.cache_miss),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": nothing,
                "compute_infer": _duration(total),
                "compute_output": nothing,
            }
            for size, total in sorted(found.sizes.items())
        ],
    }


def _duration(total: Total) -> dict[str, int]:
    return {"count": total.count, "ns": total.ns}
