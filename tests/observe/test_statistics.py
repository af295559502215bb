"""What is counted of requests and batches, and how Triton's statistics, configuration and repository tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.observe.statistics import EXACT_SIZES, Statistics
from equipoise.serve.events import BatchEnd, RequestEnd
from equipoise.serve.work import Answer

Array = NDArray[Any]
INFER = "/v2/models/m/infer"


def body(images: Array) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "UINT8", "shape": list(images.shape), "data": images.tolist()}]}


def answer(*, cached: bool = False) -> Answer:
    n = np.zeros(1)
    return Answer("m", "1", {}, n.astype(np.int64), n[:, None], n == 0, cached=cached)


def test_requests_and_batches_are_counted_by_model_version(cascade: Callable[..., Any], cache_rule: Any) -> None:
    first = cascade(cache=cache_rule).loaded
    second = replace(first, version="2")
    statistics = Statistics()
    statistics.request_ended(RequestEnd(first, "answered", 3, None, 0.5, 0.2, 0.25, (0,), answer()))
    statistics.request_ended(RequestEnd(first, "answered", 3, None, 0.001, answer=answer(cached=True)))
    joined = RequestEnd(first, "answered", 3, None, 0.002, 0.2, 0.25, (0,), answer(), joined=True)
    statistics.request_ended(joined)
    for outcome in ("shed", "late", "left", "unavailable", "failed"):
        statistics.request_ended(RequestEnd(first, outcome, 2, None, 1.0))
    for rows in (3, 3, 1, EXACT_SIZES, EXACT_SIZES + 1, 1000):
        statistics.batch_ended(BatchEnd(first, 0, rows, 1, 0.25))
    found = statistics.of("m", "1")
    assert (found.rows, found.batches) == (3, 6)
    totals = {name: getattr(found, name) for name in ("success", "fail", "queue", "compute", "cache_hit", "cache_miss")}
    assert {name: (total.count, total.ns) for name, total in totals.items()} == {
        "success": (3, 503_000_000), "fail": (5, 5_000_000_000), "queue": (1, 200_000_000),
        "compute": (1, 250_000_000), "cache_hit": (2, 3_000_000), "cache_miss": (1, 500_000_000),
    }  # fmt: skip
    assert {rows: total.count for rows, total in found.sizes.items()} == {
        1: 1, 3: 2, EXACT_SIZES: 1, 2 * EXACT_SIZES: 1, 1024: 1,
    }  # fmt: skip
    assert abs(found.last_ms / 1000 - time.time()) < 3600
    assert statistics.of("m", "2").success.count == 0
    statistics.request_ended(RequestEnd(second, "answered", 1, None, 1.0, answer=answer()))
    assert statistics.of("m", "2").success.count == 1
    assert statistics.of("m", "1").success.count == 3


def test_memory_is_the_same_whatever_sizes_come(cascade: Callable[..., Any]) -> None:
    plan, statistics = cascade().loaded, Statistics()
    for rows in range(1, 100_000, 7):
        statistics.batch_ended(BatchEnd(plan, 0, rows, 1, 0.0))
    assert len(statistics.of("m", "1").sizes) < EXACT_SIZES + 20


def test_statistics_as_triton_tells_them(cascade: Callable[..., Any], images: Array, served: Any) -> None:
    made = cascade()
    other = replace(made.loaded, version="2")
    with served([made.loaded, other]) as server:
        for _ in range(3):
            assert server.ask("POST", "/v2/models/m/versions/1/infer", body(images))[0] == 200
        assert server.ask("POST", INFER, body(images[:1]))[0] == 200
        assert server.ask("POST", INFER, {})[0] == 400
        status, said, _ = server.ask("GET", "/v2/models/m/versions/1/stats")
        assert status == 200
        (one,) = said["model_stats"]
        assert (one["name"], one["version"], one["inference_count"]) == ("m", "1", 3 * len(images))
        stats = one["inference_stats"]
        assert set(stats) == {
            "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss",
        }  # fmt: skip
        assert all(set(each) == {"count", "ns"} for each in stats.values())
        assert (stats["success"]["count"], stats["queue"]["count"], stats["compute_infer"]["count"]) == (3, 3, 3)
        assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] > 0
        assert stats["fail"] == stats["cache_hit"] == {"count": 0, "ns": 0}
        assert one["execution_count"] == sum(each["compute_infer"]["count"] for each in one["batch_stats"]) >= 3
        assert len(images) in [each["batch_size"] for each in one["batch_stats"]]
        for path in ("/v2/models/stats", "/v2/models/m/stats"):
            found = server.ask("GET", path)[1]["model_stats"]
            assert [(each["name"], each["version"], each["inference_count"]) for each in found] == [
                ("m", "1", 3 * len(images)), ("m", "2", 1),
            ]  # fmt: skip
        for path in ("/v2/models/x/stats", "/v2/models/m/versions/3/stats", "/v2/models/x/config"):
            status, said, _ = server.ask("GET", path)
            assert (status, list(said)) == (404, ["error"])


def test_the_configuration_says_what_is_true(cascade: Callable[..., Any], served: Any, cache_rule: Any) -> None:
    made = cascade(lanes=2, wait_s=0.002, cache=cache_rule)
    with served([made.loaded]) as server:
        for path in ("/v2/models/m/config", "/v2/models/m/versions/1/config"):
            status, said, _ = server.ask("GET", path)
            assert status == 200
            assert (said["name"], said["platform"], said["backend"]) == ("m", "equipoise_plan", "equipoise")
            assert said["version_policy"] == {"specific": {"versions": [1]}}
            assert said["max_batch_size"] == 4
            assert said["input"] == [
                {"name": "image", "data_type": "TYPE_UINT8", "dims": [2, 2], "format": "FORMAT_NONE"}
            ]
            assert said["output"] == [{"name": "logits", "data_type": "TYPE_FP32", "dims": [3]}]
            assert said["instance_group"] == [{"name": "m_0", "kind": "KIND_CPU", "count": 2}]
            assert said["dynamic_batching"]["max_queue_delay_microseconds"] == 2000
            assert said["response_cache"] == {"enable": True}


def test_an_output_without_axes_has_one_in_the_configuration(array_bundle: Any, served: Any) -> None:
    from equipoise.serve import load_plan

    with served([load_plan(array_bundle, "a")]) as server:
        said = server.ask("GET", "/v2/models/a/config")[1]
    assert said["output"] == [{"name": "value", "data_type": "TYPE_FP64", "dims": [1], "reshape": {"shape": []}}]
    assert said["response_cache"] == {"enable": False}


NOT_SERVED = [
    "/v2/trace/setting", "/v2/models/m/trace/setting", "/v2/logging", "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/unregister", "/v2/cudasharedmemory/status",
    "/v2/cudasharedmemory/region/r/unregister", "/v2/models/m/generate", "/v2/models/m/versions/1/generate_stream",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_served_says_so(cascade: Callable[..., Any], served: Any, method: str) -> None:
    with served([cascade().loaded]) as server:
        for path in NOT_SERVED:
            status, said, _ = server.ask(method, path, None if method == "GET" else {})
            assert (status, list(said)) == (404, ["error"])
            assert " here" in said["error"], path
        assert server.ask("POST", "/v2/repository/index", b"")[0] == 404
        assert "model_repository" not in server.ask("GET", "/v2")[1]["extensions"]


def test_counting_goes_on_while_it_is_read(cascade: Callable[..., Any], images: Array, served: Any) -> None:
    with served([cascade(lanes=2).loaded]) as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.ask, "POST", INFER, body(images[: 1 + place % 7])) for place in range(40)]
        read = [pool.submit(server.ask, "GET", "/v2/models/stats") for _ in range(10)]
        assert all(each.result()[0] == 200 for each in asked + read)
        (one,) = server.ask("GET", "/v2/models/stats")[1]["model_stats"]
        assert one["inference_count"] == sum(1 + place % 7 for place in range(40))
        assert one["inference_stats"]["success"]["count"] == 40
