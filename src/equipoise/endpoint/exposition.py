"""`/metrics`: everything that is counted, put into Prometheus' words when somebody asks for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import accumulate
from typing import Protocol

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from equipoise.endpoint.http import Call, Response
from equipoise.observe import metrics
from equipoise.observe.counts import Counts, Histogram, ModelCounts
from equipoise.observe.metrics import METRICS, Described
from equipoise.observe.spending import Spending
from equipoise.policy.cost import LaneUse
from equipoise.serve.engine import Engine
from equipoise.serve.loading import LoadedPlan

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
FAMILY: Mapping[str, type[Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}

OPEN_METRICS, END = "application/openmetrics-text", b"# EOF\n"


class Log(Protocol):
    """What is asked of a log of observations."""

    @property
    def written(self) -> int:
        """Observations that were written."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Those that were not, by reason."""


class Exposition(Collector):
    """All metrics of an engine.

    Args:
        engine: What is served.
        counts: An observer of that engine.
        usd_per_hour: Price of the machine; null for what the plans were made with, the highest where they differ.
        log: The log of observations; null for none.
        statuses: What transports have answered, by status; it is read at each scrape.
        clock: Seconds that never go back, the clock of `counts`.
    """

    def __init__(
        self,
        engine: Engine,
        counts: Counts,
        usd_per_hour: float | None = None,
        log: Log | None = None,
        statuses: Mapping[int | str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._counts, self._log, self._clock = engine, counts, log, clock
        self._statuses: Mapping[int | str, int] = {} if statuses is None else statuses
        self._given_usd_per_hour = usd_per_hour
        self._usd_per_hour = usd_per_hour or 0.0
        self._spending = Spending(clock())
        self._workers_bytes = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        for loaded in self._served():
            counts.of(loaded)

    async def answer(self, call: Call) -> Response:
        """Answer a scrape, in OpenMetrics' form where it is asked for."""
        self._workers_bytes = await asyncio.to_thread(_resident_bytes, self._engine.pids)
        open_metrics = OPEN_METRICS in call.headers.get(b"accept", b"").decode("latin-1")
        encode, content_type = choose_encoder(f"{OPEN_METRICS}; version=1.0.0" if open_metrics else "")
        parts = []
        for family in list(self._registry.collect()):
            parts.append(encode(_Alone(family)).removesuffix(END))
            await asyncio.sleep(0)  # a request need not wait for a whole page to be written
        body = b"".join([*parts, END] if open_metrics else parts)
        return Response(HTTPStatus.OK, body, ((b"content-type", content_type.encode()),))

    def collect(self) -> Iterator[Metric]:
        """What Prometheus' library asks for: every metric that has a value now."""
        now_s, served = self._clock(), self._served()
        self._counts.keep_only(served)
        counted = [self._counts.of(loaded) for loaded in served]
        self._account(now_s, served, counted)
        page = _Page()
        page.add(metrics.READY, (), self._engine.ready)
        page.add(metrics.WORKERS_MEMORY, (), self._workers_bytes)
        page.add(metrics.PRICE, (), self._usd_per_hour)
        page.add(metrics.MACHINE_USD, (), self._spending.usd)
        for status, responses in self._statuses.items():
            page.add(metrics.RESPONSES, (str(status),), responses)
        for loaded, counts in zip(served, counted, strict=True):
            self._requests(page, counts)
            self._stages(page, counts, now_s)
            self._promised(page, loaded)
            self._paid(page, counts)
        if self._log is not None:
            page.add(metrics.WRITTEN, (), self._log.written)
            for reason, rows in self._log.dropped.items():
                page.add(metrics.DROPPED, (reason,), rows)
        return page.families()

    def _served(self) -> list[LoadedPlan]:
        engine = self._engine
        return [engine.plan(model, version) for model in engine.models for version in engine.versions(model)]

    def _account(self, now_s: float, served: Sequence[LoadedPlan], counted: Sequence[ModelCounts]) -> None:
        if self._given_usd_per_hour is None:
            self._usd_per_hour = max((loaded.bundle.plan.usd_per_hour for loaded in served), default=self._usd_per_hour)
        use = {_labels(counts): LaneUse(sum(counts.busy_s), counts.lane_s(now_s)) for counts in counted}
        answered = {_labels(counts): counts.outcomes["answered"] for counts in counted}
        self._spending.account(now_s, self._usd_per_hour, use, answered)

    def _requests(self, page: _Page, counts: ModelCounts) -> None:
        labels = _labels(counts)
        for outcome, requests in counts.outcomes.items():
            page.add(metrics.REQUESTS, (*labels, outcome), requests)
        page.add(metrics.WITHIN_LIMIT, labels, counts.within_limit)
        page.add(metrics.REQUEST_ROWS, labels, counts.rows)
        page.add(metrics.UNTRUSTED, labels, counts.untrusted_rows)
        page.add(metrics.DEGRADED, labels, counts.degraded)
        page.add_histogram(metrics.REQUEST_S, labels, counts.request_s)
        page.add_histogram(metrics.QUEUE_S, labels, counts.queue_s)
        page.add_histogram(metrics.COMPUTE_S, labels, counts.compute_s)
        page.add_histogram(metrics.DEPTH, labels, counts.depth)
        page.add(metrics.HITS, labels, counts.hits)
        page.add(metrics.MISSES, labels, counts.misses)
        page.add(metrics.JOINED, labels, counts.joined)

    def _stages(self, page: _Page, counts: ModelCounts, now_s: float) -> None:
        labels = _labels(counts)
        waiting = self._engine.waiting_rows(*labels)
        for place, stage in enumerate(counts.stages):
            page.add(metrics.ANSWERED_ROWS, (*labels, stage), counts.answered_rows[place])
            page.add_histogram(metrics.BATCH_ROWS, (*labels, stage), counts.batch_rows[place])
            page.add(metrics.BUSY_S, (*labels, stage), counts.busy_s[place])
            page.add(metrics.QUEUE_ROWS, (*labels, stage), waiting[place])
        page.add(metrics.LANE_S, labels, counts.lane_s(now_s))

    def _promised(self, page: _Page, loaded: LoadedPlan) -> None:
        plan, labels = loaded.bundle.plan, (loaded.name, loaded.version)
        page.add(metrics.MODEL_READY, labels, self._engine.model_ready(*labels))
        page.add(metrics.PLAN, (*labels, plan.name, plan.content_digest), 1)
        page.add(metrics.LIMIT, labels, plan.stages[0].batch_rule.limit_s)
        page.add(metrics.FORECAST_P99, labels, plan.forecast.p99_s)
        # A promise in the price of today's machine: both formulas are proportional to it.
        today = self._usd_per_hour / plan.usd_per_hour
        page.add(metrics.FORECAST_USD, (*labels, "packed"), plan.forecast.usd_per_million_packed * today)
        provisioned = plan.forecast.usd_per_million_provisioned
        page.add(metrics.FORECAST_USD, (*labels, "provisioned"), None if provisioned is None else provisioned * today)

    def _paid(self, page: _Page, counts: ModelCounts) -> None:
        labels = _labels(counts)
        spent = self._spending.of(labels)
        page.add(metrics.USD, labels, spent.usd)
        page.add(metrics.USD_PER_MILLION, (*labels, "all"), spent.per_million())
        page.add(metrics.USD_PER_MILLION, (*labels, "5m"), self._spending.recent_per_million(labels))


class _Alone(Collector):
    """A metric by itself."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield self._family


class _Page:
    """What one scrape gets."""

    def __init__(self) -> None:
        self._families = {each.name: FAMILY[each.kind](each.name, each.meaning, labels=each.labels) for each in METRICS}

    def add(self, metric: Described, labels: Sequence[str], value: float | None) -> None:
        """Add a series; what is not known has none."""
        family = self._families[metric.name]
        assert not isinstance(family, HistogramMetricFamily)
        if value is not None:
            family.add_metric(labels, value)

    def add_histogram(self, metric: Described, labels: Sequence[str], histogram: Histogram) -> None:
        """Add the series of a histogram."""
        family = self._families[metric.name]
        assert isinstance(family, HistogramMetricFamily)
        edges = [*map(floatToGoString, histogram.edges), "+Inf"]
        family.add_metric(labels, list(zip(edges, accumulate(histogram.counts), strict=True)), histogram.total)

    def families(self) -> Iterator[Metric]:
        """All that have series."""
        return (family for family in self._families.values() if family.samples)


def _labels(counts: ModelCounts) -> tuple[str, str]:
    return counts.model, counts.version


def _resident_bytes(pids: Iterable[int]) -> int:
    held = 0
    for pid in pids:
        with suppress(psutil.Error):  # it ended meanwhile
            held += psutil.Process(pid).memory_info().rss
    return held
