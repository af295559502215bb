"""A real cascade of two tiny models in a real bundle, and a gate that holds a stage's batches back."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.plan import (
    AcceptRule,
    BatchRule,
    CacheRule,
    Distrust,
    DistrustAnswer,
    Fallback,
    Forecast,
    Plan,
    PlanStage,
    StageModel,
)
from equipoise.core.profile import Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.endpoint.grpc import GrpcService
from equipoise.endpoint.grpc_server import grpc_server
from equipoise.endpoint.http import Limits
from equipoise.endpoint.observability import ObservabilitySettings, observability
from equipoise.endpoint.protocol import HttpProtocol
from equipoise.endpoint.rest import Rest
from equipoise.execute.plan import OpenPlan, open_plan_from
from equipoise.execute.stages import CONFIDENCE, STAGE, OpenStages
from equipoise.host.environment import environment
from equipoise.observe.statistics import Statistics
from equipoise.serve import Answer, Engine, LoadedPlan, load_plan
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import write_bundle

Array = NDArray[Any]
AT_LEAST, TRUST = 0.7, 0.6
LABELS = ("cat", "dog", "eel")
BATCH = 4
PROGRAM = (sys.executable, "-c", "from equipoise.cli.main import main; main()")
OBSERVED = ObservabilitySettings()
LONG_S = 60.0
CACHE = CacheRule(max_entries=100, entry_bytes=100, hit_share=0.5)


@dataclass
class Gate:
    """Holds back the batches of a stage, counts them, and raises where it is told to."""

    open: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    raises_on: Callable[[Array], bool] = lambda images: False

    async def reached(self, batches: int) -> None:
        while len(self.batches) < batches:
            await asyncio.sleep(0.001)


@dataclass
class GatedSession:
    """A runtime's session behind a gate."""

    session: Any
    gate: Gate

    @property
    def spec(self) -> Any:
        return self.session.spec

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        return self.session.prepare(feeds), feeds["image"]

    def run(self, prepared: Any) -> dict[str, Array]:
        ready, images = prepared
        self.gate.batches.append(len(images))
        assert self.gate.open.wait(60)
        if self.gate.raises_on(images):
            raise RuntimeError("the runtime cannot compute this")
        answers: dict[str, Array] = self.session.run(ready)
        return answers


@dataclass(frozen=True)
class Cascade:
    """A bundle of two models, and what they answer when they are asked directly."""

    folder: Path
    loaded: LoadedPlan
    direct: OpenPlan

    def expected(self, images: Array) -> dict[str, Array]:
        return self.direct.answer({"image": images})

    def require_right(self, answer: Answer, images: Array) -> None:
        expected = self.expected(images)
        np.testing.assert_array_equal(answer.stage, expected[STAGE])
        np.testing.assert_allclose(answer.outputs["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer.confidence, expected[CONFIDENCE], rtol=1e-5, atol=1e-6)
        assert answer.trusted.all()

    def of_stage(self, stage: int, images: Array) -> Array:
        return self.direct.stages.stages[stage].ask({"image": images})[0]["logits"]

    def gated(self, stage: int, gate: Gate) -> LoadedPlan:
        """The plan with one of its stages behind a gate."""
        opened = self.loaded.opened
        stages = list(opened.stages.stages)
        session = GatedSession(stages[stage].sessions[0], gate)
        stages[stage] = replace(stages[stage], sessions=(session,))
        held = OpenStages(tuple(stages), opened.stages.form, opened.stages.untrusted)
        return replace(self.loaded, opened=replace(opened, stages=held))


def certificate() -> FloorCertificate:
    quality = Estimate(value=0.9, low=0.8, high=0.95, n=50, method="known")
    return FloorCertificate(
        metric="accuracy", floor=0.8, confidence=0.95, n=50, quality=quality, p_value=0.01, method="known", passed=True
    )


def plan_of(
    digests: Sequence[str],
    limit_s: float | None,
    fallback: bool,
    cache: CacheRule | None,
    lanes: int,
    wait_s: float,
    distrust: DistrustAnswer | None,
    ensemble: bool,
) -> Plan:
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=lanes, batch=BATCH)
    rule = BatchRule(max_rows=BATCH, limit_s=limit_s, max_wait_s=wait_s)

    def stage(digest: str, accept: AcceptRule | None, share: float) -> PlanStage:
        model = StageModel(artifact=digest, format="onnx", settings=settings)
        return PlanStage(models=(model,), batch_rule=rule, accept=accept, share=share)

    small, big = digests
    trust = None if distrust is None else AcceptRule(measure="max_probability", at_least=TRUST)
    sure = AcceptRule(measure="max_probability", at_least=AT_LEAST)
    stages = (stage(small, sure, 1.0), stage(big, trust, 0.5))
    if ensemble:
        both = tuple(StageModel(artifact=digest, format="onnx", settings=settings) for digest in digests)
        stages = (PlanStage(models=both, batch_rule=rule, combine="mean"),)
    return Plan(
        name="cascade",
        output="logits",
        output_kind="logits",
        stages=stages,
        fallback=Fallback(stage=stage(small, None, 1.0), certificate=certificate()) if fallback else None,
        cache=cache,
        distrust=None
        if distrust is None
        else Distrust(answer=distrust, default="eel", share_answered=0.9, certificate=certificate()),
        usd_per_hour=0.1,
        forecast=Forecast(
            quality=0.9, p99_s=0.1, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
        ),
    )


@pytest.fixture
def cascade(tmp_path: Path, linear: Any, images: Array) -> Callable[..., Cascade]:
    """Makes a cascade, or an ensemble; `service_s` are the seconds that a stage's batch is said to take."""

    def make(
        *,
        limit_s: float | None = None,
        fallback: bool = False,
        cache: CacheRule | None = None,
        lanes: int = 1,
        wait_s: float = 0.0,
        distrust: DistrustAnswer | None = None,
        service_s: Sequence[float] = (0.001, 0.001, 0.001),
        ensemble: bool = False,
        golden: Callable[[dict[str, Array]], dict[str, Array]] = lambda answers: answers,
        seed: int = 0,
    ) -> Cascade:
        rng = np.random.default_rng(seed)
        weights = [(rng.standard_normal((4, 3)) / 90).astype(np.float32) for _ in range(2)]
        place = tmp_path / f"made-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        made = [linear(place / name, each) for name, each in zip(("small", "big"), weights, strict=True)]
        models = {artifact_digest(folder): folder for folder in made}
        plan = plan_of(list(models), limit_s, fallback, cache, lanes, wait_s, distrust, ensemble)
        direct = open_plan_from(plan, models)
        service = [{BATCH: np.array([seconds])} for seconds in service_s[: len(plan.all_stages)]]
        nothing = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
        splits = Splits(
            calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="0" * 64, duplicates=nothing
        )
        folder = place / "bundle"
        inputs = {"image": images}
        answers = golden(direct.answer(inputs))
        write_bundle(
            folder, plan, None, environment(), splits, LABELS, inputs, answers, models, "# card\n", service=service
        )
        return Cascade(folder, load_plan(folder, "m"), direct)

    return make


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test in an event loop in which no callback may fail."""

    async def watched(main: Coroutine[Any, Any, None]) -> None:
        wrong: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        await asyncio.wait_for(main, LONG_S)
        await asyncio.sleep(0)
        assert not wrong

    return lambda main: asyncio.run(watched(main))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def cache_rule() -> CacheRule:
    return CACHE


@pytest.fixture
def unsure(images: Array, cascade: Callable[..., Cascade]) -> Array:
    """Images that the first stage is not sure of."""
    stage = cascade().expected(images)["equipoise_stage"]
    return images[stage == 1]


LIMITS = Limits(body_bytes=200_000, elements=50_000, depth=8)


@dataclass(frozen=True)
class Server:
    port: int
    engine: Engine
    call_soon: Callable[..., Any]
    rest: Rest

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of a response; a body that is neither bytes nor text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            sent = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
            connection.request(method, path, sent, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            assert found["content-type"] == "application/json"
            return response.status, json.loads(response.read()), found
        finally:
            connection.close()


@contextmanager
def in_a_thread(
    plans: Sequence[LoadedPlan], limits: Limits = LIMITS, settings: ObservabilitySettings = OBSERVED, **others: Any
) -> Iterator[Server]:
    """A server in a thread of its own, on a free port; what else is given is its REST transport's."""
    listening = socket.create_server(("127.0.0.1", 0))
    started: list[tuple[uvicorn.Server, Engine, Rest, asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        statistics = Statistics()
        async with Engine(plans, observers=[statistics, *seen.observers]) as engine:
            rest = Rest(engine, limits, statistics=statistics, **others)
            seen.add_to(rest.router, engine)
            server = uvicorn.Server(uvicorn.Config(rest, http=HttpProtocol, lifespan="off", log_level="critical"))
            started.append((server, engine, rest, asyncio.get_running_loop()))
            await server.serve([listening])

    with observability(settings) as seen:
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        try:
            while not started or not started[0][0].started:
                time.sleep(0.005)
            _, engine, rest, loop = started[0]
            yield Server(listening.getsockname()[1], engine, loop.call_soon_threadsafe, rest)
        finally:
            started[0][0].should_exit = True
            thread.join()


@pytest.fixture
def served() -> Any:
    return in_a_thread


@dataclass(frozen=True)
class Serving:
    """A process that serves.

    Attributes:
        process: It.
        port: Of HTTP.
        said: Its lines on standard output, up to the one that says it is ready.
        errors: The file of its standard error.
    """

    process: subprocess.Popen[str]
    port: int
    said: list[str]
    errors: Path


@pytest.fixture
def serving(tmp_path: Path) -> Callable[..., AbstractContextManager[Serving]]:
    """Runs `equipoise serve` with some arguments on a free port."""

    @contextmanager
    def start(*arguments: str, program: Sequence[str] = PROGRAM, pass_fds: Sequence[int] = ()) -> Iterator[Serving]:
        errors = tmp_path / f"errors-{len(list(tmp_path.iterdir()))}"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [*program, "serve", *arguments, "--http", "0"],
                stdout=subprocess.PIPE, stderr=file, text=True, pass_fds=pass_fds,
            )  # fmt: skip
        assert process.stdout is not None
        said: list[str] = []
        try:
            while not said or not said[-1].startswith("ready at http"):
                line = process.stdout.readline()
                assert line, errors.read_text()
                said.append(line.strip())
            yield Serving(process, int(said[-1].rsplit(":", 1)[1]), said, errors)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()

    return start


@dataclass(frozen=True)
class GrpcServer:
    port: int
    engine: Engine
    call_soon: Callable[..., Any]


@contextmanager
def grpc_in_a_thread(
    plans: Sequence[LoadedPlan], limits: Limits = LIMITS, observers: Sequence[Any] = (), **others: Any
) -> Iterator[GrpcServer]:
    """A gRPC server in a thread of its own, on a free port."""
    started: Future[GrpcServer] = Future()
    stopping = asyncio.Event()

    async def main() -> None:
        async with Engine(plans, observers=observers) as engine:
            server = await grpc_server(GrpcService(engine, limits, **others), "127.0.0.1", 0)
            started.set_result(GrpcServer(server.port, engine, asyncio.get_running_loop().call_soon_threadsafe))
            await stopping.wait()
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    running = started.result(60)
    try:
        yield running
    finally:
        running.call_soon(stopping.set)
        thread.join()


@pytest.fixture
def grpc_served() -> Any:
    return grpc_in_a_thread
