"""OpenTelemetry traces: a span a request, with its waits and batches, sent to nobody but whom the person names.

Import it only where traces are asked for: it needs the extra `otel`.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from equipoise.errors import InputError
from equipoise.observe.origin import ORIGIN
from equipoise.serve.events import BatchEnd, RequestEnd

TRACES = "/v1/traces"
EXPORT_S = 5.0
"""How long a collector that does not answer holds the thread that exports, and the end of the process."""
NANOSECONDS = 1e9


class Traces:
    """An observer that makes spans.

    A request's span reaches from its arrival at the engine to its answer; below it lie its waits in queues and the
    batches it was in, of each stage in turn. What was remembered, or computed for an equal request, has no such spans.

    Args:
        provider: Where spans go, and which requests get some.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("equipoise", version("equipoise"))
        self._format = TraceContextTextMapPropagator()

    def request_ended(self, end: RequestEnd) -> None:
        """Make the spans of a request."""
        ended_ns, ended_s = time.time_ns(), time.monotonic()
        parts = () if end.joined else end.parts
        # The engine looked at its clock a little before: no batch was started before its request came.
        arrival_s = min([ended_s - end.total_s, *(part.start_s for part in parts)])

        def at_ns(at_s: float) -> int:
            return ended_ns - int((ended_s - at_s) * NANOSECONDS)

        span = self._tracer.start_span(
            f"infer {end.plan.name}", self._parent(), SpanKind.SERVER, start_time=at_ns(arrival_s)
        )
        if not span.is_recording():
            return
        _describe(span, end)
        within = set_span_in_context(span, Context())
        since_s = arrival_s
        for part in parts:
            stage = {"equipoise.stage": part.stage + 1}
            for name, start_s, end_s in (("queue", since_s, part.start_s), ("compute", part.start_s, part.end_s)):
                self._tracer.start_span(name, within, attributes=stage, start_time=at_ns(start_s)).end(at_ns(end_s))
            since_s = part.end_s
        span.end(ended_ns)

    def batch_ended(self, end: BatchEnd) -> None:
        """A batch is told of by the requests that were in it."""

    def _parent(self) -> Context:
        """The trace that a request came with; an empty one where it came with none."""
        origin = ORIGIN.get()
        if origin is None or origin.traceparent is None:
            return Context()
        return self._format.extract({"traceparent": origin.traceparent.decode("latin-1")}, Context())


def otlp_provider(endpoint: str, share: float) -> TracerProvider:
    """Sends spans to a collector, from a thread of its own; spans that it cannot take in time are dropped.

    Args:
        endpoint: URL of an OTLP collector that speaks HTTP, `http://collector:4318` for instance.
        share: Share of the requests that get spans, of those that come without a trace, 0 to 1. One that comes with a
            trace does as that says.

    Raises:
        InputError: It is no such URL.
    """
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InputError("--otlp", f"found {endpoint!r}", "needed a URL, http://localhost:4318 for instance")
    target = endpoint if url.path.strip("/") else endpoint.rstrip("/") + TRACES
    own = {SERVICE_VERSION: version("equipoise")}
    if "OTEL_SERVICE_NAME" not in os.environ:
        own[SERVICE_NAME] = "equipoise"
    provider = TracerProvider(ParentBasedTraceIdRatio(share), Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(target, timeout=EXPORT_S)))
    return provider


def _describe(span: Span, end: RequestEnd) -> None:
    """Say what became of a request, and nothing of what it asked."""
    answer, origin = end.answer, ORIGIN.get()
    span.set_attributes(
        {
            "equipoise.model": end.plan.name,
            "equipoise.version": end.plan.version,
            "equipoise.plan": end.plan.bundle.plan.name,
            "equipoise.outcome": end.outcome,
            "equipoise.rows": end.rows,
            "equipoise.cached": answer is not None and answer.cached,
            "equipoise.joined": end.joined,
            "equipoise.degraded": answer is not None and answer.degraded,
        }
    )
    if origin is not None:
        span.set_attribute("equipoise.request_id", origin.request_id.decode("latin-1"))
    if end.outcome not in ("answered", "left"):
        span.set_status(Status(StatusCode.ERROR, end.outcome))
