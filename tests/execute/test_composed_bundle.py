"""`predict` and `verify` on bundles of several models."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from equipoise.cli.predict import predict
from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.plan import (
    AcceptRule,
    BatchRule,
    Distrust,
    Fallback,
    Forecast,
    Plan,
    PlanStage,
    StageModel,
)
from equipoise.core.profile import Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.errors import DataError
from equipoise.execute.plan import open_plan, open_plan_from
from equipoise.execute.predict_file import predict_file
from equipoise.execute.stages import CONFIDENCE, STAGE, probabilities
from equipoise.execute.verify import changed_answers, verify_bundle
from equipoise.host.environment import environment
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import read_bundle, write_bundle

Array = NDArray[Any]
AT_LEAST, TRUST = 0.7, 0.6
LABELS = ("cat", "dog", "eel")


def proof() -> FloorCertificate:
    quality = Estimate(value=0.9, low=0.8, high=0.95, n=50, method="known")
    return FloorCertificate(
        metric="accuracy", floor=0.8, confidence=0.95, n=50, quality=quality, p_value=0.01, method="known", passed=True
    )


@pytest.fixture
def models(tmp_path: Path, linear: Any) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    made = [linear(tmp_path / name, (rng.standard_normal((4, 3)) / 90).astype(np.float32)) for name in ("small", "big")]
    return {artifact_digest(folder): folder for folder in made}


def plan_of(models: dict[str, Path], distrust: Distrust | None = None) -> Plan:
    def stage(digest: str, accept: AcceptRule | None) -> PlanStage:
        settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=2, batch=4)
        model = StageModel(artifact=digest, format="onnx", settings=settings)
        return PlanStage(models=(model,), batch_rule=BatchRule(max_rows=4), accept=accept)

    small, big = models
    doubt = None if distrust is None else AcceptRule(measure="max_probability", at_least=TRUST)
    return Plan(
        name="cascade",
        output="logits",
        output_kind="logits",
        stages=(stage(small, AcceptRule(measure="max_probability", at_least=AT_LEAST)), stage(big, doubt)),
        fallback=Fallback(stage=stage(small, None), certificate=proof()),
        distrust=distrust,
        usd_per_hour=0.1,
        forecast=Forecast(
            quality=0.9, p99_s=0.1, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
        ),
    )


def bundled(place: Path, plan: Plan, models: dict[str, Path], images: Array) -> Path:
    nothing = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
    splits = Splits(calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="0" * 64, duplicates=nothing)
    golden = {"image": images}
    answers = open_plan_from(plan, models).answer(golden)
    service = [{1: np.array([0.1, 0.2]), 4: np.array([0.3])}, {1: np.array([0.5])}, {}]
    write_bundle(place, plan, None, environment(), splits, LABELS, golden, answers, models, "# card\n", service=service)
    return place


def scores(models: dict[str, Path], images: Array) -> list[Array]:
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(folder / "model.onnx") for folder in models.values()]
    return [session.run(["logits"], {"image": images})[0] for session in sessions]


def test_predict_answers_like_the_stages_run_by_hand(tmp_path: Path, models: dict[str, Path], images: Array) -> None:
    bundle = read_bundle(bundled(tmp_path / "bundle", plan_of(models), models, images))
    np.savez(tmp_path / "rows.npz", image=images)
    predict_file(bundle, tmp_path / "rows.npz", tmp_path / "answers.csv")
    found = pd.read_csv(tmp_path / "answers.csv")
    first, last = (probabilities(each, "logits") for each in scores(models, images))
    by_first = first.max(axis=1) >= AT_LEAST
    assert 0 < by_first.sum() < len(images)
    expected = np.where(by_first, first.argmax(axis=1), last.argmax(axis=1))
    assert found["label"].tolist() == [LABELS[code] for code in expected]
    assert found["stage"].tolist() == np.where(by_first, 1, 2).tolist()
    np.testing.assert_allclose(found["confidence"], np.where(by_first, first.max(axis=1), last.max(axis=1)), rtol=1e-5)


def test_predict_prints_an_object_a_row(tmp_path: Path, models: dict[str, Path], images: Array) -> None:
    folder = bundled(tmp_path / "bundle", plan_of(models), models, images)
    np.savez(tmp_path / "rows.npz", image=images)
    asked = [str(folder), "--data", str(tmp_path / "rows.npz")]
    printed, as_json = (CliRunner().invoke(predict, [*asked, *flags]) for flags in ([], ["--json"]))
    assert printed.exit_code == as_json.exit_code == 0
    rows = [json.loads(line) for line in as_json.stdout.splitlines()]
    table = pd.read_csv(io.StringIO(printed.stdout))
    assert [row["label"] for row in rows] == table["label"].tolist()
    np.testing.assert_allclose([row["confidence"] for row in rows], table["confidence"], rtol=1e-5)


def test_an_npz_of_answers_has_every_output(tmp_path: Path, models: dict[str, Path], images: Array) -> None:
    bundle = read_bundle(bundled(tmp_path / "bundle", plan_of(models), models, images))
    np.savez(tmp_path / "rows.npz", image=images)
    predict_file(bundle, tmp_path / "rows.npz", tmp_path / "answers.npz")
    with np.load(tmp_path / "answers.npz", allow_pickle=False) as found:
        assert {"label", "confidence", "stage", "logits"} <= set(found.files)


def test_an_intact_composed_bundle_is_ok_and_reads_back(tmp_path: Path, models: dict[str, Path], images: Array) -> None:
    place = bundled(tmp_path / "bundle", plan_of(models), models, images)
    found = verify_bundle(place)
    assert (found.ok, found.changed_answers) == (True, ())
    read = read_bundle(place)
    assert {path.name for path in (place / "artifacts").iterdir()} == set(models)
    assert [sorted(stage) for stage in read.service] == [[1, 4], [1], []]
    np.testing.assert_array_equal(read.service[0][1], [0.1, 0.2])
    opened = open_plan(read)
    assert opened.fallback is not None
    first, _ = scores(models, images)
    np.testing.assert_allclose(opened.answer_degraded({"image": images})["logits"], first, rtol=1e-5)


def test_an_answer_from_another_stage_counts_unless_it_was_close(
    tmp_path: Path, models: dict[str, Path], images: Array
) -> None:
    plan = plan_of(models)
    answers = open_plan_from(plan, models).answer({"image": images})
    assert changed_answers(plan, answers, answers) == ()
    row = int(np.flatnonzero(answers[STAGE] == 0)[0])
    elsewhere = {name: array.copy() for name, array in answers.items()}
    elsewhere[STAGE][row] = 1
    elsewhere["logits"][row] += 50
    assert "other stages" in changed_answers(plan, answers, elsewhere)[0]
    close = {name: array.copy() for name, array in answers.items()}
    close[CONFIDENCE][row, 0] = AT_LEAST + 1e-6
    assert changed_answers(plan, close, elsewhere) == ()
    elsewhere["logits"][(row + 1) % len(images)] += 50
    assert "differs by" in changed_answers(plan, close, elsewhere)[0]


@pytest.mark.parametrize(("answer", "default"), [("refer", None), ("default", "eel"), ("simple", None)])
def test_what_is_not_trusted_is_replaced(
    tmp_path: Path, models: dict[str, Path], images: Array, answer: Any, default: str | None
) -> None:
    distrust = Distrust(answer=answer, default=default, share_answered=0.9, certificate=proof())
    bundle = read_bundle(bundled(tmp_path / "bundle", plan_of(models, distrust), models, images))
    np.savez(tmp_path / "rows.npz", image=images)
    predict_file(bundle, tmp_path / "rows.npz", tmp_path / "answers.csv")
    found = pd.read_csv(tmp_path / "answers.csv", keep_default_na=False)
    first, last = (probabilities(each, "logits") for each in scores(models, images))
    untrusted = (first.max(axis=1) < AT_LEAST) & (last.max(axis=1) < TRUST)
    assert 0 < untrusted.sum() < len(images)
    assert (~found["trusted"]).tolist() == untrusted.tolist()
    expected = {
        "refer": ["" for _ in images],
        "default": ["eel" for _ in images],
        "simple": [LABELS[code] for code in first.argmax(axis=1)],
    }[answer]
    assert found["label"][untrusted].tolist() == [expected[row] for row in np.flatnonzero(untrusted)]
    assert (found["label"][~untrusted] != "").all()


def test_a_row_of_which_no_stage_can_be_sure_has_no_answer(
    tmp_path: Path, models: dict[str, Path], images: Array
) -> None:
    from equipoise.execute.answers import answers

    plan = plan_of(models)
    outputs = open_plan_from(plan, models).answer({"image": images})
    row = int(np.flatnonzero(outputs[STAGE] == 1)[0])
    outputs[CONFIDENCE][row, 0] = np.nan
    with pytest.raises(DataError, match=f"not finite for 1 of {len(images)} rows, first in row {row + 1}"):
        answers(outputs, plan, LABELS)
