"""Traces: what spans say, whose trace they join, and that they really reach a collector, and nobody else."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from numpy.typing import NDArray
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, StatusCode
from tritonclient.grpc import service_pb2 as pb

from equipoise.errors import InputError, Overloaded
from equipoise.observe.origin import ORIGIN, Origin
from equipoise.observe.tracing import Traces, otlp_provider
from equipoise.serve import Engine

Array = NDArray[Any]
Run = Callable[[Coroutine[Any, Any, None]], None]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Spans:
    """Keeps spans in memory."""

    def __init__(self, share: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(ParentBasedTraceIdRatio(share), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = Traces(provider)

    @property
    def roots(self) -> list[ReadableSpan]:
        """Of requests."""
        return [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER]

    def under(self, root: ReadableSpan) -> list[ReadableSpan]:
        """The children of a request's span."""
        assert root.context is not None
        number = root.context.span_id
        return [s for s in self._exporter.get_finished_spans() if s.parent is not None and s.parent.span_id == number]


def test_a_request_is_a_span_with_its_waits_and_batches_in_turn(
    run: Run, cascade: Callable[..., Any], unsure: Array
) -> None:
    made, spans = cascade(), Spans()

    async def main() -> None:
        async with Engine([made.loaded], observers=[spans.traces]) as engine:
            await engine.infer("m", {"image": unsure[:1]})

    run(main())
    (root,) = spans.roots
    assert root.name == "infer m"
    assert root.attributes == {
        "equipoise.model": "m", "equipoise.version": "1", "equipoise.plan": "cascade", "equipoise.outcome": "answered",
        "equipoise.rows": 1, "equipoise.cached": False, "equipoise.joined": False, "equipoise.degraded": False,
    }  # fmt: skip
    children = spans.under(root)
    told = [(span.name, dict(span.attributes or {})) for span in children]
    assert told == [(name, {"equipoise.stage": stage}) for stage in (1, 2) for name in ("queue", "compute")]
    times = [time for span in children for time in (span.start_time, span.end_time)]
    assert None not in times
    assert times == sorted(times, key=lambda time: time or 0)
    assert root.start_time == times[0]
    assert (times[-1] or 0) <= (root.end_time or 0)


def test_what_is_remembered_or_joined_or_refused_says_so(
    run: Run, cascade: Callable[..., Any], cache_rule: Any, gate: Any, images: Array
) -> None:
    made, spans = cascade(cache=cache_rule, limit_s=150, service_s=(100, 0.001)), Spans()

    async def main() -> None:
        async with Engine([made.gated(0, gate)], observers=[spans.traces]) as engine:
            waiting = [engine.submit("m", {"image": images[:1]}) for _ in range(2)]
            await gate.reached(1)
            with pytest.raises(Overloaded):
                await engine.infer("m", {"image": images[1:2]})
            gate.open.set()
            await asyncio.gather(*waiting)
            await engine.infer("m", {"image": images[:1]})

    run(main())
    said = {
        (a["equipoise.outcome"], a["equipoise.cached"], a["equipoise.joined"], bool(spans.under(root)))
        for root in spans.roots
        if (a := root.attributes) is not None
    }
    assert said == {
        ("answered", False, False, True), ("answered", False, True, False), ("answered", True, False, False),
        ("shed", False, False, False),
    }  # fmt: skip
    codes = {root.attributes["equipoise.outcome"]: root.status.status_code for root in spans.roots if root.attributes}
    assert codes == {"answered": StatusCode.UNSET, "shed": StatusCode.ERROR}


@pytest.mark.parametrize(("flags", "share", "seen"), [("01", 0.0, 1), ("00", 1.0, 0)])
def test_a_request_that_comes_with_a_trace_joins_it_and_does_as_it_says(
    run: Run, cascade: Callable[..., Any], images: Array, flags: str, share: float, seen: int
) -> None:
    made, spans = cascade(), Spans(share)

    async def main() -> None:
        async with Engine([made.loaded], observers=[spans.traces]) as engine:
            ORIGIN.set(Origin(b"name", traceparent=f"00-{TRACE}-{PARENT}-{flags}".encode()))
            await engine.infer("m", {"image": images[:1]})

    run(main())
    assert len(spans.roots) == seen
    for root in spans.roots:
        assert root.context is not None
        assert root.parent is not None
        assert (root.context.trace_id, root.parent.span_id) == (int(TRACE, 16), int(PARENT, 16))
        assert (root.attributes or {})["equipoise.request_id"] == "name"


def test_a_call_over_grpc_joins_the_trace_of_its_metadata(
    cascade: Callable[..., Any], grpc_served: Any, images: Array
) -> None:
    spans = Spans(0.0)
    tensor = {"name": "image", "datatype": "UINT8", "shape": images.shape}
    message = pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[images.tobytes()])
    with (
        grpc_served([cascade().loaded], observers=[spans.traces]) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for flags in ("00", "01"):
            metadata = (("traceparent", f"00-{TRACE}-{PARENT}-{flags}"),)
            call(message.SerializeToString(), metadata=metadata, timeout=60)
    (root,) = spans.roots
    assert root.parent is not None
    assert (root.parent.trace_id, root.parent.span_id) == (int(TRACE, 16), int(PARENT, 16))


@pytest.mark.parametrize("traceparent", [None, b"", b"\xff", b"00-0-0-01", f"00-{'0' * 32}-{PARENT}-01".encode()])
def test_what_is_no_trace_begins_one(
    run: Run, cascade: Callable[..., Any], images: Array, traceparent: bytes | None
) -> None:
    made, spans = cascade(), Spans()

    async def main() -> None:
        async with Engine([made.loaded], observers=[spans.traces]) as engine:
            ORIGIN.set(Origin(b"name", traceparent=traceparent))
            for _ in range(2):
                await engine.infer("m", {"image": images[:1]})

    run(main())
    assert len({root.context.trace_id for root in spans.roots if root.context is not None}) == 2
    assert [root.parent for root in spans.roots] == [None, None]


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """An OTLP collector, and what was sent to it."""
    got: list[tuple[str, ExportTraceServiceRequest]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()


def test_a_server_sends_its_traces_to_the_collector_that_it_is_given(
    cascade: Callable[..., Any], serving: Any, images: Array, ask_process: Any
) -> None:
    with collector() as (url, got), serving(f"m={cascade().folder}", "--otlp", url, "--log", "none") as server:
        body = {"rows": images[:2].tolist(), "id": "secret"}
        headers = {"x-request-id": "first", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert ask_process(server.port, "/v1/predict/m", body, headers) == 200
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert {path for path, _ in got} == {"/v1/traces"}
    resources = [each for _, sent in got for each in sent.resource_spans]
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    (root,) = [span for span in spans if span.name == "infer m"]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    assert {span.name for span in spans} == {"infer m", "queue", "compute"}
    assert {span.parent_span_id for span in spans if span is not root} >= {root.span_id}
    named = {each.key: each.value.string_value for each in resources[0].resource.attributes}
    assert named["service.name"] == "equipoise"
    assert "secret" not in str(got)


def test_a_collector_that_is_not_there_disturbs_nobody(
    cascade: Callable[..., Any], serving: Any, images: Array, ask_process: Any
) -> None:
    with serving(f"m={cascade().folder}", "--otlp", "http://127.0.0.1:9", "--log", "none") as server:
        for _ in range(5):
            assert ask_process(server.port, "/v1/predict/m", {"rows": images[:2].tolist()}, {}) == 200
        server.process.terminate()
        assert server.process.wait(60) == 0


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://x", "http://", "x"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="needed a URL"):
        otlp_provider(url, 1.0)


def test_without_the_option_nothing_of_it_is_loaded() -> None:
    program = (
        "import sys\n"
        "from equipoise.endpoint.observability import ObservabilitySettings, observability\n"
        "with observability(ObservabilitySettings()) as seen:\n"
        "    assert len(seen.observers) == 1\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_its_extra_it_says_what_to_install(tmp_path: Path, cascade: Callable[..., Any]) -> None:
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ModuleNotFoundError('none', name='opentelemetry')\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[0] = 'equipoise'\n"
        "from equipoise.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", str(cascade().folder), "--otlp", "http://localhost:4318"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    expected = 'error: --otlp: opentelemetry is not installed; run: pip install "equipoise[otel]"'
    assert done.stderr.strip() == expected


@pytest.fixture
def ask_process() -> Callable[[int, str, Any, dict[str, str]], int]:
    """The status of a response."""
    import http.client
    import json

    def ask(port: int, path: str, body: Any, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    return ask
