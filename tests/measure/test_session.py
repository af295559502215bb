"""The measuring child's functions, called in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from equipoise.core.plan import AcceptRule, AnswerForm, BatchRule, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.measure import session
from equipoise.measure.session import DISTINCT_ROWS, answer, answer_index, open_session, sweep, time_batches

SAMPLE = {"x": np.arange(10, dtype=np.float32)[:, None]}


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test opens is closed after it."""
    monkeypatch.setattr(session, "_opened", None)


def stages(replicas: int = 1) -> tuple[PlanStage, ...]:
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=replicas, batch=1)
    model = StageModel(artifact="a", format="onnx", settings=settings)
    return (PlanStage(models=(model,), batch_rule=BatchRule(max_rows=1)),)


def open_double(folder: Path, batch: int | str = "n", replicas: int = 1) -> None:
    """Open y = x + x, [batch, 1]."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    open_session(stages(replicas), None, {"a": folder}, SAMPLE)


class Stub:
    """A runtime whose batches of n rows take `seconds[n]`, and fail for a row of value `poison`."""

    def __init__(self, seconds: Mapping[int, float] | None = None, poison: float | None = None) -> None:
        self.seconds = seconds or {}
        self.poison = poison
        self.threads: set[int] = set()
        tensor = TensorSpec(name="x", dtype="float32", shape=(None, 1))
        self.spec = ModelSpec(inputs=(tensor,), outputs=(tensor,))

    def open(self, artifact: Path, settings: Settings) -> Stub:
        return self

    def prepare(self, feeds: Mapping[str, Any]) -> Any:
        return feeds["x"]

    def run(self, prepared: Any) -> dict[str, Any]:
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds.get(len(prepared), 0.001))
        if self.poison is not None and self.poison in prepared:
            raise ArithmeticError("poisoned")
        return {"y": prepared}


def open_stub(monkeypatch: pytest.MonkeyPatch, stub: Stub, replicas: int = 1) -> None:
    monkeypatch.setattr("equipoise.execute.stages.runtimes", lambda: {"onnxruntime": stub})
    open_session(stages(replicas), None, {"a": Path()}, SAMPLE)


@pytest.mark.parametrize(("rows", "batch"), [(1, 4), (8, 4), (10, 4), (10, 64)])
def test_rows_are_answered_in_order(tmp_path: Path, rows: int, batch: int) -> None:
    open_double(tmp_path)
    feeds = {"x": SAMPLE["x"][:rows]}
    np.testing.assert_array_equal(answer(feeds, batch)["y"], 2 * feeds["x"])


@pytest.mark.parametrize("rows", [1, 3, 4, 10])
def test_a_fixed_batch_is_filled_and_the_filling_dropped(tmp_path: Path, rows: int) -> None:
    open_double(tmp_path, batch=4)
    feeds = {"x": SAMPLE["x"][:rows]}
    np.testing.assert_array_equal(answer(feeds, batch=3)["y"], 2 * feeds["x"])


def test_the_sample_wraps_around(tmp_path: Path) -> None:
    open_double(tmp_path)
    np.testing.assert_array_equal(answer_index(np.array([8, 9, 10, 11]))["y"].ravel(), [16, 18, 0, 2])


def test_nothing_is_answered_before_a_model_is_open() -> None:
    with pytest.raises(RuntimeError, match="open_session"):
        time_batches(1, 0.01)


@pytest.mark.parametrize("replicas", [1, 3])
def test_every_replica_is_kept_busy(monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    stub = Stub()
    open_stub(monkeypatch, stub, replicas)
    stub.threads.clear()
    timed = time_batches(batch=4, seconds=0.02, least=7)
    assert len(timed.batch_s) >= 7
    assert (timed.batch_s > 0).all()
    assert timed.rows_per_s > 0
    assert len(stub.threads - {threading.get_ident()}) == (0 if replicas == 1 else replicas)


def test_the_rate_counts_the_rows_of_all_replicas(tmp_path: Path) -> None:
    open_double(tmp_path, replicas=2)
    timed = time_batches(batch=3, seconds=0.05)
    round_s = 3 * len(timed.batch_s) / timed.rows_per_s
    assert timed.batch_s.sum() <= 2 * round_s  # no replica computes for longer than the round


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_error_in_a_replica_is_raised(monkeypatch: pytest.MonkeyPatch, replicas: int) -> None:
    open_stub(monkeypatch, Stub(poison=1.0), replicas)  # row 1 stands in the second of the batches of one
    with pytest.raises(ArithmeticError, match="poisoned"):
        time_batches(batch=1, seconds=0.05)


def test_a_sweep_ends_with_the_first_batch_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    open_stub(monkeypatch, Stub({1: 0.001, 2: 0.06, 4: 0.06}))
    points = sweep([1, 2, 4], 0.01, longest_s=0.05)
    assert [point.batch for point in points] == [1, 2]
    assert points[-1].batch_s >= 0.06


def test_a_sweep_ends_where_larger_batches_are_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    open_stub(monkeypatch, Stub({1: 0.002, 2: 0.06, 4: 0.12, 8: 0.24}))
    assert [point.batch for point in sweep([1, 2, 4, 8], 0.01, longest_s=10)] == [1, 2, 4]


def test_a_sweep_goes_on_while_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    open_stub(monkeypatch, Stub({1: 0.05, 2: 0.05, 4: 0.05}))
    points = sweep([1, 2, 4], 0.01, longest_s=10)
    assert [point.batch for point in points] == [1, 2, 4]
    assert points[-1].rows_per_s > points[0].rows_per_s


def test_a_cascade_meets_the_batches_of_its_later_stages_before_it_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub()
    monkeypatch.setattr("equipoise.execute.stages.runtimes", lambda: {"onnxruntime": stub})
    rule = AcceptRule(measure="max_probability", at_least=1000.0)  # never: every row is passed on
    (first,) = stages()
    several = [stage.model_copy(update={"batch_rule": BatchRule(max_rows=4)}) for stage in (first, first)]
    models = tuple(
        model.model_copy(update={"settings": model.settings.model_copy(update={"batch": 4})}) for model in first.models
    )
    several = [stage.model_copy(update={"models": models}) for stage in several]
    several[0] = several[0].model_copy(update={"accept": rule})
    open_session(several, AnswerForm(output="y", kind="probabilities"), {"a": tmp_path}, SAMPLE)
    seen: list[int] = []
    run = stub.run
    monkeypatch.setattr(stub, "run", lambda prepared: seen.append(len(prepared)) or run(prepared))
    time_batches(4, 0.01)
    assert set(seen) == {4}  # whole batches at each stage, never row by row
    assert len(seen) > 2 * DISTINCT_ROWS // 4
