"""Cascades and ensembles, against the same models run by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.core.plan import AcceptRule, AnswerForm, BatchRule, Calibration, Combine, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.execute.stages import (
    CONFIDENCE,
    STAGE,
    TRUSTED,
    OpenStages,
    answer_in_batches,
    combined,
    open_stages,
    predicted,
    probabilities,
)

Array = NDArray[Any]
LOGITS = AnswerForm(output="logits", kind="logits")


def stage(
    *artifacts: str, accept: AcceptRule | None = None, combine: Combine | None = None, batch: int = 8
) -> PlanStage:
    setting = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=batch)
    models = tuple(StageModel(artifact=name, format="onnx", settings=setting) for name in artifacts)
    return PlanStage(models=models, combine=combine, accept=accept, batch_rule=BatchRule(max_rows=batch))


def sure(at_least: float, **more: Any) -> AcceptRule:
    return AcceptRule(measure=more.pop("measure", "max_probability"), at_least=at_least, **more)


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(5).integers(0, 256, (60, 2, 2), dtype=np.uint8)


@pytest.fixture
def artifacts(tmp_path: Path, linear: Any) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    weights = {name: (rng.standard_normal((4, 3)) / 60).astype(np.float32) for name in "abc"}
    return {name: linear(tmp_path / name, matrix) for name, matrix in weights.items()}


def by_hand(artifacts: dict[str, Path], name: str, rows: Array) -> Array:
    alone = open_stages([stage(name, batch=64)], None, artifacts)
    return answer_in_batches(alone, {"image": rows}, 64)["logits"]


def test_a_row_is_answered_by_the_first_stage_that_is_sure(artifacts: dict[str, Path], rows: Array) -> None:
    opened = open_stages([stage("a", accept=sure(0.6)), stage("b", accept=sure(0.7)), stage("c")], LOGITS, artifacts)
    found = answer_in_batches(opened, {"image": rows}, 8)
    answers = [by_hand(artifacts, name, rows) for name in "abc"]
    confidence = [probabilities(each, "logits").max(axis=1) for each in answers]
    expected = np.where(confidence[0] >= 0.6, 0, np.where(confidence[1] >= 0.7, 1, 2))
    assert set(expected) == {0, 1, 2}
    np.testing.assert_array_equal(found[STAGE], expected)
    np.testing.assert_allclose(found["logits"], np.stack(answers)[expected, np.arange(len(rows))], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[CONFIDENCE][:, 0], confidence[0], rtol=1e-5)
    assert np.isnan(found[CONFIDENCE][expected == 0, 1]).all()
    assert found[TRUSTED].all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 70), at_least=st.floats(0.0, 1.0), n=st.integers(1, 60))
def test_answers_do_not_depend_on_how_rows_are_batched(
    artifacts: dict[str, Path], rows: Array, batch: int, at_least: float, n: int
) -> None:
    stages = [stage("a", accept=sure(at_least), batch=batch), stage("b", batch=batch)]
    opened = open_stages(stages, LOGITS, artifacts)
    whole = answer_in_batches(opened, {"image": rows[:n]}, batch)
    one_by_one = [opened.run(opened.prepare({"image": rows[row : row + 1]})) for row in range(n)]
    assert len(whole["logits"]) == n
    np.testing.assert_allclose(whole["logits"], np.concatenate([each["logits"] for each in one_by_one]), rtol=1e-5)
    np.testing.assert_array_equal(whole[STAGE], np.concatenate([each[STAGE] for each in one_by_one]))


def test_a_model_in_two_stages_is_loaded_once(artifacts: dict[str, Path]) -> None:
    opened = open_stages([stage("a", accept=sure(0.9)), stage("a", "b", combine="mean")], LOGITS, artifacts)
    assert opened.stages[0].sessions[0] is opened.stages[1].sessions[0]


def test_a_temperature_is_applied_before_the_threshold(artifacts: dict[str, Path], rows: Array) -> None:
    hot = Calibration(method="temperature", temperature=3.0)
    opened = open_stages([stage("a", accept=sure(0.5, calibration=hot)), stage("b")], LOGITS, artifacts)
    found = answer_in_batches(opened, {"image": rows}, 64)
    logits = by_hand(artifacts, "a", rows)
    expected = probabilities(logits / 3, "logits").max(axis=1)
    np.testing.assert_allclose(found[CONFIDENCE][:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[STAGE] == 0, expected >= 0.5)


def test_an_ensemble_is_the_mean_of_probabilities_in_the_form_of_its_members(
    artifacts: dict[str, Path], rows: Array
) -> None:
    opened = open_stages([stage("a", "b", "c", combine="mean")], LOGITS, artifacts)
    found = answer_in_batches(opened, {"image": rows}, 16)
    assert set(found) == {"logits"}
    mean = np.mean([probabilities(by_hand(artifacts, name, rows), "logits") for name in "abc"], axis=0)
    np.testing.assert_allclose(probabilities(found["logits"], "logits"), mean, rtol=1e-4)
    assert found["logits"].dtype == np.float32


def test_votes_and_their_ties() -> None:
    form = AnswerForm(output="y", kind="labels")
    members = [{"y": np.array(labels, dtype=object)} for labels in (["a", "b", "c"], ["b", "b", "a"], ["b", "a", "b"])]
    assert combined(members, form, "vote")["y"].tolist() == ["b", "b", "c"]
    scores = AnswerForm(output="y", kind="probabilities")
    two = [{"y": np.array([[0.6, 0.4]])}, {"y": np.array([[0.1, 0.9]])}]
    assert predicted(combined(two, scores, "vote")["y"], scores).tolist() == [0]
    with pytest.raises(ValueError, match="no mean"):
        combined(members, form, "mean")


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_numbers_are_averaged_or_take_their_median(combine: Combine) -> None:
    form = AnswerForm(output="y", kind="value")
    members = [{"y": np.array([[1.0], [2.0]])}, {"y": np.array([[2.0], [4.0]])}, {"y": np.array([[9.0], [3.0]])}]
    found = combined(members, form, combine)["y"]
    assert found.ravel().tolist() == ([4.0, 3.0] if combine == "mean" else [2.0, 3.0])
    assert found.shape == (2, 1)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_one_column_of_scores_stays_one_column(kind: str) -> None:
    form = AnswerForm(output="y", kind=kind)
    scores = [np.array([[0.3], [0.9]]), np.array([[0.5], [0.7]])]
    found = combined([{"y": each} for each in scores], form, "mean")["y"]
    assert found.shape == (2, 1)
    expected = np.mean([probabilities(each, kind)[:, 1] for each in scores], axis=0)
    np.testing.assert_allclose(probabilities(found, kind)[:, 1], expected)


def test_a_last_stage_may_doubt_and_the_simple_answer_be_given(artifacts: dict[str, Path], rows: Array) -> None:
    stages = [stage("a", accept=sure(0.95)), stage("b", accept=sure(0.5))]
    doubting: OpenStages = open_stages(stages, LOGITS, artifacts, untrusted="simple")
    plain: OpenStages = open_stages(stages, LOGITS, artifacts, untrusted="refer")
    with_simple = answer_in_batches(doubting, {"image": rows}, 64)
    given = answer_in_batches(plain, {"image": rows}, 64)
    untrusted = ~with_simple[TRUSTED]
    assert 0 < untrusted.sum() < len(rows)
    first = by_hand(artifacts, "a", rows)
    np.testing.assert_allclose(with_simple["logits"][untrusted], first[untrusted], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(with_simple["logits"][~untrusted], given["logits"][~untrusted])
    np.testing.assert_array_equal(given[TRUSTED], with_simple[TRUSTED])


def test_agreement_and_spread_come_from_the_members(artifacts: dict[str, Path], rows: Array) -> None:
    voting = stage("a", "b", "c", combine="vote", accept=sure(1.0, measure="agreement"))
    opened = open_stages([voting, stage("c")], LOGITS, artifacts)
    found = answer_in_batches(opened, {"image": rows}, 64)
    labels = np.stack([by_hand(artifacts, name, rows).argmax(axis=1) for name in "abc"])
    unanimous = (labels == labels[0]).all(axis=0)
    assert 0 < unanimous.sum() < len(rows)
    np.testing.assert_array_equal(found[STAGE] == 0, unanimous)
    number = AnswerForm(output="logits", kind="value")
    close = stage("a", "b", combine="mean", accept=AcceptRule(measure="spread", at_least=-0.5))
    spread = answer_in_batches(open_stages([close, stage("c")], number, artifacts), {"image": rows}, 64)
    first = np.stack([by_hand(artifacts, name, rows)[:, 0] for name in "ab"])
    np.testing.assert_array_equal(spread[STAGE] == 0, first.std(axis=0) <= 0.5)
