"""Everything that watches an engine for the people who run it: metrics, observations, traces. A transport adds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from equipoise.endpoint.exposition import Exposition
from equipoise.endpoint.http import Router
from equipoise.observe.counts import Counts
from equipoise.observe.observing import ObservationLog, ObservationSettings
from equipoise.serve.engine import Engine
from equipoise.serve.events import Observer


@dataclass(frozen=True)
class ObservabilitySettings:
    """What is watched, and where it is told.

    Attributes:
        usd_per_hour: Price of the machine; null for what the plans were made with.
        observations: What is logged of each request; null for nothing.
        otlp: URL of the collector that traces are sent to; null to trace nothing, and to send nothing anywhere.
        trace_share: Share of the requests that are traced, of those that come without a trace, 0 to 1.
    """

    usd_per_hour: float | None = None
    observations: ObservationSettings | None = None
    otlp: str | None = None
    trace_share: float = 1.0


class Observability:
    """What watches an engine for the people who run it.

    Args:
        settings: What is watched.
        counts: Counts what becomes of requests.
        log: Logs requests; null where nothing does.
        traces: Traces them; null where nothing does.
    """

    def __init__(
        self, settings: ObservabilitySettings, counts: Counts, log: ObservationLog | None, traces: Observer | None
    ) -> None:
        self._settings, self._counts, self._log = settings, counts, log
        self.observers: list[Observer] = [each for each in (counts, log, traces) if each is not None]

    def add_to(self, router: Router, engine: Engine, statuses: Mapping[int | str, int] | None = None) -> None:
        """Answer `/metrics` for those who may ask the models of an engine.

        Args:
            router: Where.
            engine: What is served.
            statuses: What transports have answered, by status; it is read at each scrape.
        """
        router.add(
            "GET", "/metrics", Exposition(engine, self._counts, self._settings.usd_per_hour, self._log, statuses).answer
        )


@contextmanager
def observability(settings: ObservabilitySettings) -> Iterator[Observability]:
    """Watch until the block ends; what was seen by then is written and sent.

    Raises:
        InputError: Traces are to be sent to what is no URL.
        ModuleNotFoundError: They are asked for, and their extra is not installed.
    """
    with ExitStack() as stack:
        traces = None if settings.otlp is None else _traces(settings.otlp, settings.trace_share, stack)
        log = None if settings.observations is None else stack.enter_context(ObservationLog(settings.observations))
        yield Observability(settings, Counts(), log, traces)


def _traces(otlp: str, share: float, stack: ExitStack) -> Observer:
    from equipoise.observe.tracing import Traces, otlp_provider

    provider = otlp_provider(otlp, share)
    stack.callback(provider.shutdown)
    return Traces(provider)
