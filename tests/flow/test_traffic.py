"""Traffic on one machine: what it gets, and what is measured of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from equipoise.compose.actions import Load, Loaded, SpeedPoint
from equipoise.compose.servable import Config, Entrant
from equipoise.core.brief import WorkloadBrief
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import Variant
from equipoise.flow.traffic import MOST_UTILISED, Traffic, put_under_traffic
from equipoise.store.artifacts import artifact_digest
from equipoise.store.study import StudyFolder

Put = Callable[..., Loaded]
SAMPLE = {"x": np.arange(8, dtype=np.float32)[:, None]}


def a_trace(rate_rps: float = 200.0, window_s: float = 5.0) -> Traffic:
    """Bunches of ten requests at the same moment, over and over."""
    times = np.repeat(np.arange(0, window_s, 10 / rate_rps), 10)
    return Traffic(rate_rps, rate_rps / 4, WorkloadBrief(trace="trace.csv"), times, window_s)


def test_a_trace_is_replayed_as_it_was() -> None:
    traffic = a_trace()
    np.testing.assert_array_equal(traffic.on_one_machine(200.0, 5.0, seed=0), traffic.trace_s)


@pytest.mark.parametrize("rate_rps", [20.0, 100.0])
@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_a_trace_is_thinned_and_never_stretched(rate_rps: float, seconds: float) -> None:
    traffic = a_trace()
    times = traffic.on_one_machine(rate_rps, seconds, seed=0)
    assert traffic.trace_s is not None
    assert set(times) <= set(traffic.trace_s)
    assert abs(len(times) - 5.0 * rate_rps) < 5 * np.sqrt(5.0 * rate_rps)


def test_a_longer_run_replays_the_window_again() -> None:
    traffic = a_trace()
    times = traffic.on_one_machine(100.0, 10.0, seed=0)
    first, second = times[times < 5], times[times >= 5]
    assert traffic.trace_s is not None
    assert set((second - 5.0).round(9)) <= set(traffic.trace_s.round(9))
    assert len(first) != 0
    assert not np.array_equal(first, second - 5.0)
    assert (np.diff(times) >= 0).all()


def test_more_than_the_trace_has_is_drawn() -> None:
    traffic = a_trace()
    times = traffic.on_one_machine(400.0, 5.0, seed=0)
    assert abs(len(times) - 2000) < 5 * np.sqrt(2000)
    assert len(set(times)) == len(times)


def test_a_share_of_almost_nothing_is_one_request() -> None:
    assert len(a_trace().on_one_machine(1e-6, 5.0, seed=0)) == 1
    assert len(Traffic(1e-6, 1e-6, WorkloadBrief(rate_rps=1e-6)).on_one_machine(1e-6, 0.1, seed=0)) == 1


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Puts traffic on y = x + x; the service times are what the search would say, not what they are."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
    )
    study = StudyFolder(tmp_path / "study", {})
    making = study.new_folder()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, making / "model.onnx")
    digest = artifact_digest(making)
    study.keep_artifact(making, digest)
    variant = Variant(
        recipe=Recipe(),
        artifact=digest,
        format="onnx",
        quantized=False,
        spec=ModelSpec(
            inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 1)),),
            outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 1)),),
        ),
        artifact_bytes=1,
        build_s=0.0,
        data_use="none",
        tool_versions={},
    )
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=4)
    config = Config(variant=variant, runtime="onnxruntime", precision="f32")

    def run(traffic: Traffic, rows_per_s: float, limit_s: float | None, seconds: float = 3.0) -> Loaded:
        points = (SpeedPoint(batch=1, rows_per_s=rows_per_s, batch_s=1 / rows_per_s),)
        entrant = Entrant(name="double", config=config, settings=settings)
        action = Load(entrant=entrant, points=points, seconds=seconds)
        loaded = put_under_traffic(action, traffic, study, SAMPLE, None, "environment", 0, limit_s)
        kept = study.load_arrays(loaded.profile.samples)
        assert kept["batch_rows"].sum() == len(kept["latency_s"])
        return loaded

    return run


def test_without_a_limit_a_machine_is_never_given_all_that_it_can_do(put: Put) -> None:
    traffic = Traffic(30.0, 30.0, WorkloadBrief(rate_rps=30.0))
    profile = put(traffic, rows_per_s=40.0, limit_s=None).profile
    assert profile.sustained_rps == MOST_UTILISED * 40.0
    assert profile.throughput_rps.value == 40.0
    # 36 requests a second for 2 seconds say something of the median, and nothing of one in a hundred.
    assert profile.latency_s.p50 is not None
    assert profile.latency_s.p50.n < 299
    assert profile.latency_s.p99 is None


def test_within_the_limit_one_machine_takes_the_traffic_and_its_p99_is_known(put: Put) -> None:
    traffic = Traffic(50.0, 50.0, WorkloadBrief(rate_rps=50.0))
    loaded = put(traffic, rows_per_s=2000.0, limit_s=5.0)
    assert loaded.profile.sustained_rps == 50.0
    p99 = loaded.profile.latency_s.p99
    assert p99 is not None  # so few requests do not bound one: a heavier traffic was sent
    assert p99.n >= 299
    assert loaded.batch_rule.limit_s == 5.0


def test_the_window_of_a_trace_is_replayed_until_its_p99_is_known(put: Put) -> None:
    loaded = put(a_trace(rate_rps=300.0, window_s=1.0), rows_per_s=5000.0, limit_s=5.0, seconds=4.0)
    assert loaded.profile.sustained_rps == 300.0
    assert loaded.profile.latency_s.p99 is not None
    assert loaded.profile.latency_s.p99.n == 600


def test_a_limit_that_no_rate_meets_sustains_nothing(put: Put) -> None:
    traffic = Traffic(50.0, 50.0, WorkloadBrief(rate_rps=50.0))
    assert put(traffic, rows_per_s=500.0, limit_s=1e-7, seconds=3.0).profile.sustained_rps == 0
