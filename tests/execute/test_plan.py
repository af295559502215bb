from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.plan import BatchRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.errors import BundleError
from equipoise.execute.plan import OpenPlan, open_plan, open_plan_from
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def opened(artifact: Path, runtime: str = "onnxruntime", replicas: int = 1) -> OpenPlan:
    settings = Settings(runtime=runtime, precision="f32", threads=1, replicas=replicas, batch=4)
    model = StageModel(artifact="a", format="onnx", settings=settings)
    stage = PlanStage(models=(model,), batch_rule=BatchRule(max_rows=4))
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    plan = Plan(name="n", output="logits", output_kind="logits", stages=(stage,), usd_per_hour=1, forecast=forecast)
    return open_plan_from(plan, {"a": artifact})


@pytest.fixture
def expected(images: Array) -> Array:
    return np.asarray(images.reshape(len(images), -1).astype(np.float32) @ WEIGHTS)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("fixed_batch", [None, 4])
def test_answers_every_row_in_order(
    tmp_path: Path, linear: Any, images: Array, expected: Array, replicas: int, fixed_batch: int | None
) -> None:
    plan = opened(linear(tmp_path / "m", WEIGHTS, fixed_batch), replicas=replicas)
    np.testing.assert_allclose(plan.answer({"image": images})["logits"], expected, rtol=1e-6)
    assert plan.rows_at_once == 4 * replicas
    assert plan.answer({"image": images[:1]})["logits"].shape == (1, 3)


def test_a_bundle_answers_as_its_artifact_does(onnx_bundle: Path, images: Array) -> None:
    bundle = read_bundle(onnx_bundle)
    answers = open_plan(bundle).answer(bundle.golden_inputs)
    np.testing.assert_array_equal(answers["logits"], bundle.golden_outputs["logits"])


def test_a_runtime_that_is_not_installed_is_named(tmp_path: Path, linear: Any) -> None:
    with pytest.raises(BundleError, match=r"'abacus', which is not installed here; installed are .*onnxruntime"):
        opened(linear(tmp_path / "m", WEIGHTS), runtime="abacus")
