"""What `/metrics` says, read with Prometheus' own parser, against requests that were really asked."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as families

from equipoise.endpoint.exposition import Exposition
from equipoise.endpoint.http import Call
from equipoise.errors import BadRequest, DeadlineExceeded, Overloaded
from equipoise.observe.counts import EDGES_S, Counts, Histogram, ModelCounts
from equipoise.observe.metrics import METRICS
from equipoise.observe.spending import RECENT_S, Spending
from equipoise.policy.cost import LaneUse
from equipoise.serve import Engine, LoadedPlan, load_plan

Array = NDArray[Any]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"
PAGE = Path(__file__).parents[2] / "docs" / "serving" / "metrics.md"
M = {"model": "m", "version": "1"}


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def scraped(exposition: Exposition, accept: bytes = b"") -> str:
    async def nothing() -> Any:
        raise AssertionError("a scrape has no body")

    response = await exposition.answer(Call({b"accept": accept}, nothing))
    return response.body.decode()


def series(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families(text)
        for sample in family.samples
    }


class Watched:
    """An engine that is counted, on a clock that stands still."""

    def __init__(self, plans: Sequence[LoadedPlan], usd_per_hour: float | None = None) -> None:
        self.clock = Clock()
        self.counts = Counts(self.clock)
        self.engine = Engine(plans, observers=[self.counts])
        self.exposition = Exposition(self.engine, self.counts, usd_per_hour, clock=self.clock)

    async def value(self, name: str, labels: Mapping[str, str] | None = None, **more: str) -> float | None:
        found = series(await scraped(self.exposition))
        return found.get((name, frozenset(((M if labels is None else labels) | more).items())))


@in_a_loop
async def test_requests_rows_stages_and_batches_are_what_was_asked(cascade: Callable[..., Any], images: Array) -> None:
    made = cascade(limit_s=0.037)
    watched = Watched([made.loaded])
    stages = made.expected(images)["equipoise_stage"]
    assert set(stages) == {0, 1}
    async with watched.engine as engine:
        for row in range(len(images)):
            await engine.infer("m", {"image": images[row : row + 1]})
        await engine.infer("m", {"image": images}, priority="high")
        found = series(await scraped(watched.exposition))

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset((M | labels).items())]

    n, later = len(images), int((stages == 1).sum())
    assert value("equipoise_requests_total", outcome="answered") == n + 1
    assert value("equipoise_request_rows_total") == 2 * n
    assert value("equipoise_answered_rows_total", stage="1") == n - later
    assert value("equipoise_answered_rows_total", stage="2") == later + n
    assert value("equipoise_cascade_depth_bucket", le="1.0") == n - later + 1
    assert value("equipoise_cascade_depth_bucket", le="2.0") == n + 1
    assert value("equipoise_batch_rows_sum", stage="1") == n
    assert value("equipoise_batch_rows_sum", stage="2") == later + n
    assert value("equipoise_batch_rows_bucket", stage="1", le="1.0") == n
    for name in ("equipoise_request_seconds", "equipoise_queue_seconds", "equipoise_compute_seconds"):
        assert value(f"{name}_bucket", le="0.037") <= value(f"{name}_bucket", le="+Inf") == value(f"{name}_count")
        assert value(f"{name}_count") == n + 1
    busy_s = sum(value("equipoise_lane_busy_seconds_total", stage=stage) for stage in "12")
    assert busy_s > 0
    assert value("equipoise_compute_seconds_sum") == pytest.approx(busy_s)
    assert value("equipoise_slo_seconds") == 0.037
    within = value("equipoise_request_seconds_bucket", le="0.037")
    assert value("equipoise_requests_within_slo_total") == within
    assert value("equipoise_model_ready") == 1


@in_a_loop
async def test_each_outcome_is_counted_by_its_name(cascade: Callable[..., Any], gate: Any, images: Array) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001))
    gate.raises_on = lambda batch: bool((batch == 255).all())
    watched = Watched([made.gated(0, gate)])
    one = {"image": images[:1]}
    async with watched.engine as engine:
        first = engine.submit("m", one)
        await gate.reached(1)
        with pytest.raises(Overloaded):
            await engine.infer("m", one)
        gate.open.set()
        await first
        gate.open.clear()
        with pytest.raises(DeadlineExceeded):
            await engine.infer("m", one, deadline_s=0.02)
        gone = engine.submit("m", one, deadline_s=1000)
        assert await watched.value("equipoise_queue_rows", stage="1") == 1
        gone.cancel()
        gate.open.set()
        with pytest.raises(BadRequest):
            await engine.infer("m", {"image": np.full((1, 2, 2), 255, np.uint8)}, deadline_s=1000)
        outcomes = {
            outcome: await watched.value("equipoise_requests_total", outcome=outcome)
            for outcome in ("answered", "shed", "late", "left", "unavailable", "failed")
        }
        assert outcomes == {"answered": 1, "shed": 1, "late": 1, "left": 1, "unavailable": 0, "failed": 1}
        assert await watched.value("equipoise_queue_rows", stage="1") == 0
        engine.retire()
        assert await watched.value("equipoise_ready", {}) == 0
        assert await watched.value("equipoise_model_ready") == 0


@in_a_loop
async def test_what_is_remembered_or_joined_is_told_apart_from_what_is_computed(
    cascade: Callable[..., Any], cache_rule: Any, gate: Any, images: Array
) -> None:
    watched = Watched([cascade(cache=cache_rule).gated(0, gate)])
    one = {"image": images[:1]}
    async with watched.engine as engine:
        first, second = engine.submit("m", one), engine.submit("m", one)
        gate.open.set()
        await asyncio.gather(first, second)
        await engine.infer("m", one)
    names = ("cache_hits_total", "cache_misses_total", "joined_requests_total", "compute_seconds_count")
    assert [await watched.value(f"equipoise_{name}") for name in names] == [1, 1, 1, 1]
    assert await watched.value("equipoise_request_seconds_count") == 3


@in_a_loop
async def test_degraded_and_untrusted_answers_are_counted(
    cascade: Callable[..., Any], gate: Any, images: Array
) -> None:
    made = cascade(limit_s=150, fallback=True, service_s=(100, 0.001, 0.001), distrust="refer")
    watched = Watched([made.gated(0, gate)])
    async with watched.engine as engine:
        first = engine.submit("m", {"image": images[~made.expected(images)["equipoise_trusted"]][:4]})
        await gate.reached(1)
        second = engine.submit("m", {"image": images[:1]})
        gate.open.set()
        answers = await asyncio.gather(first, second)
    assert [answer.degraded for answer in answers] == [False, True]
    assert await watched.value("equipoise_degraded_requests_total") == 1
    assert await watched.value("equipoise_answered_rows_total", stage="fallback") == 1
    untrusted = sum(int((~answer.trusted).sum()) for answer in answers)
    assert untrusted > 0
    assert await watched.value("equipoise_untrusted_rows_total") == untrusted


@in_a_loop
async def test_money_is_the_machines_price_for_the_time_that_passed(cascade: Callable[..., Any], images: Array) -> None:
    made = cascade(lanes=2)
    other = replace(made.loaded, name="idle")
    watched = Watched([made.loaded, other], usd_per_hour=3.6)
    async with watched.engine as engine:
        for _ in range(4):
            await engine.infer("m", {"image": images[:1]})
        watched.clock.now_s += 500
        found = series(await scraped(watched.exposition))
        idle = frozenset({"model": "idle", "version": "1"}.items())
        mine = frozenset(M.items())
        assert found["equipoise_machine_usd_total", frozenset()] == pytest.approx(0.5)
        spent = found["equipoise_usd_total", mine]
        assert spent + found["equipoise_usd_total", idle] == pytest.approx(0.5)
        assert spent > found["equipoise_usd_total", idle] > 0.2
        per_million = found["equipoise_usd_per_million_requests", mine | {("window", "all")}]
        assert per_million == pytest.approx(spent / 4 * 1e6)
        assert found["equipoise_usd_per_million_requests", mine | {("window", "5m")}] == pytest.approx(per_million)
        assert ("equipoise_usd_per_million_requests", idle | {("window", "all")}) not in found
        promised = found["equipoise_forecast_usd_per_million_requests", mine | {("basis", "packed")}]
        assert promised == pytest.approx(36.0)  # 1 in a machine of 0.10 an hour
        lane_s = found["equipoise_lane_seconds_total", mine]
        assert lane_s == pytest.approx(1000.0)


@in_a_loop
async def test_without_a_price_the_plans_own_holds(cascade: Callable[..., Any]) -> None:
    watched = Watched([cascade().loaded])
    async with watched.engine:
        assert await watched.value("equipoise_machine_usd_per_hour", {}) == 0.1


def test_the_recent_window_forgets_what_lies_before_it() -> None:
    spending, key = Spending(0.0), ("m", "1")
    rate = 3600.0  # a dollar a second

    def account(now_s: float, answered: int) -> None:
        spending.account(now_s, rate, {key: LaneUse(0.0, now_s)}, {key: answered})

    account(100.0, 10)
    assert spending.recent_per_million(key) == pytest.approx(100 / 10 * 1e6)
    account(200.0, 20)
    assert spending.of(key).per_million() == pytest.approx(200 / 20 * 1e6)
    account(100 + RECENT_S, 60)
    assert spending.recent_per_million(key) == pytest.approx(RECENT_S / 50 * 1e6)
    account(150 + RECENT_S, 60)  # half way between two accounts, 15 were answered
    assert spending.recent_per_million(key) == pytest.approx(RECENT_S / 45 * 1e6)
    for _ in range(1000):
        account(150 + RECENT_S, 60)
    assert len(spending._points[key]) < 10
    assert spending.recent_per_million(key) == pytest.approx(RECENT_S / 45 * 1e6)
    account(10_000.0, 60)
    assert spending.recent_per_million(key) is None
    account(10_001.0, 3)  # counted anew
    assert spending.of(key).answered == 3
    spending.account(10_002.0, rate, {}, {})
    with pytest.raises(KeyError):
        spending.of(key)


@in_a_loop
async def test_a_model_that_is_unloaded_has_no_series_and_one_that_is_swapped_goes_on(
    cascade: Callable[..., Any], images: Array
) -> None:
    made = cascade()
    watched = Watched([made.loaded])
    async with watched.engine as engine:
        await engine.infer("m", {"image": images[:1]})
        await engine.load(load_plan(made.folder, "m"))
        await engine.infer("m", {"image": images[:1]})
        assert await watched.value("equipoise_requests_total", outcome="answered") == 2
        await engine.load(load_plan(cascade(limit_s=0.5).folder, "m"))
        await engine.infer("m", {"image": images[:1]})
        assert await watched.value("equipoise_requests_total", outcome="answered") == 1  # its edges are others
        await engine.unload("m")
        text = await scraped(watched.exposition)
        assert 'model="' not in text
        assert "equipoise_machine_usd_total" in text
        await engine.load(load_plan(made.folder, "m"))
        assert await watched.value("equipoise_requests_total", outcome="answered") == 0


@in_a_loop
async def test_the_memory_of_worker_processes_is_counted(cascade: Callable[..., Any]) -> None:
    folder = cascade().folder
    watched = Watched([load_plan(folder, "m", workers=1)])
    async with watched.engine:
        assert (await watched.value("equipoise_workers_resident_memory_bytes", {}) or 0) > 1e6
    watched = Watched([load_plan(folder, "m")])
    async with watched.engine:
        assert await watched.value("equipoise_workers_resident_memory_bytes", {}) == 0


def test_a_server_counts_what_it_refused_before_a_model_was_asked(
    cascade: Callable[..., Any], serving: Any, images: Array
) -> None:
    with serving(f"m={cascade().folder}", "--log", "none", "--price", "7") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

        def ask(method: str, path: str, body: Any = None) -> str:
            connection.request(method, path, body)
            return connection.getresponse().read().decode()

        for body in ("{", "[]", json.dumps(images[:1].tolist())):
            ask("POST", "/v1/predict/m", body)
        ask("GET", "/nowhere")
        found = series(ask("GET", "/metrics"))
        connection.close()
    statuses = {
        status: found["equipoise_responses_total", frozenset({("status", status)})] for status in ("200", "400", "404")
    }
    assert statuses == {"200": 1, "400": 2, "404": 1}
    assert found["equipoise_requests_total", frozenset((M | {"outcome": "answered"}).items())] == 1
    assert found["equipoise_machine_usd_per_hour", frozenset()] == 7
    assert found["equipoise_model_ready", frozenset(M.items())] == 1


def test_the_bucket_of_the_limit_ends_at_the_limit() -> None:
    counts = ModelCounts("m", "1", 0.037, ("1",), (4,), 1, False, 0.0)
    for seconds in (0.001, 0.037, 0.0370001, 0.05):
        counts.request_s.add(seconds)
    assert counts.within_limit == 2
    assert ModelCounts("m", "1", None, ("1",), (4,), 1, False, 0.0).within_limit is None


def test_the_examples_ask_for_what_there_is() -> None:
    known = {metric.name for metric in METRICS} | {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    known |= {f"{m.name}_{end}" for m in METRICS if m.kind == "histogram" for end in ("bucket", "sum", "count")}
    rules = re.findall(r"expr: (.*\n(?: {10}.*\n)*)", (EXAMPLES / "alerts.yml").read_text())
    panels = json.loads((EXAMPLES / "dashboard.json").read_text())["panels"]
    asked = rules + [each["expr"] for panel in panels for each in panel["targets"]]
    assert len(rules) > 5
    assert len(asked) > 20
    for expression in asked:
        names = set(re.findall(r"\b(?:equipoise|process)_\w+", expression))
        assert names
        assert names <= known, expression
        assert all(expression.count(left) == expression.count(right) for left, right in ("()", "{}", "[]"))


def test_a_value_that_equals_an_edge_lies_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


@in_a_loop
async def test_the_labels_are_of_what_is_served_and_of_nothing_that_a_request_says(
    cascade: Callable[..., Any], served: Any
) -> None:
    made = cascade()
    with served([load_plan(made.folder, 'a "b"\n/ü')]) as server:
        for name in ("x", "m", "a%20b"):
            status, _, _ = server.ask("POST", f"/v2/models/{name}/infer", {"id": "secret"})
            assert status == 404
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/metrics", headers={"accept": "*/*"})
        response = connection.getresponse()
        found = series(response.read().decode())
        assert response.getheader("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        connection.request("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        response = connection.getresponse()
        text = response.read().decode()
        assert (response.getheader("content-type") or "").startswith("application/openmetrics-text; version=1.0.0")
        connection.close()
    labels = {label for _, each in found for label in each}
    assert {value for name, value in labels if name == "model"} == {'a "b"\n/ü'}
    assert {name for name, _ in labels} <= {name for metric in METRICS for name in metric.labels} | {"le"}
    assert text.endswith("# EOF\n")
    assert {family.name for family in open_metrics(text)} >= {"equipoise_requests", "process_resident_memory_bytes"}


@pytest.mark.parametrize(
    "accept", [b"application/openmetrics-text; version=x", b"\xff", b"a;b;c,", b"text/plain; version=1.x"]
)
@in_a_loop
async def test_any_accept_header_gets_an_answer(cascade: Callable[..., Any], accept: bytes) -> None:
    watched = Watched([cascade().loaded])
    async with watched.engine:
        assert "equipoise_ready 1.0" in await scraped(watched.exposition, accept)


@in_a_loop
async def test_the_page_tells_of_every_metric_and_of_no_other(cascade: Callable[..., Any], cache_rule: Any) -> None:
    watched = Watched([cascade(cache=cache_rule, fallback=True, limit_s=1.0).loaded])

    class Log:
        written, dropped = 0, {"queue_full": 0, "not_written": 0}

    async with watched.engine:
        exposition = Exposition(watched.engine, watched.counts, log=Log(), statuses={200: 1})
        told = {
            (family.name + "_total" * (family.type == "counter"), family.type)
            for family in families(await scraped(exposition))
        }
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    page = {name: (kind, labels, meaning) for name, kind, labels, meaning in rows}
    assert {(name, kind) for name, (kind, _, _) in page.items()} >= told
    described = {metric.name: metric for metric in METRICS}
    assert {name for name in page if name.startswith("equipoise_")} == set(described)
    for name, metric in described.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert page[name] == (metric.kind, labels, metric.meaning), name
    for edge in EDGES_S:
        assert f"{edge:g}" in PAGE.read_text()
