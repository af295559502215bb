from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.plan import BatchRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.errors import DataError
from equipoise.execute.answers import answers
from equipoise.preprocess.answers import OutputMeaning, decode

Array = NDArray[Any]

STAGE = PlanStage(
    models=(
        StageModel(
            artifact="a",
            format="onnx",
            settings=Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=1),
        ),
    ),
    batch_rule=BatchRule(max_rows=1),
)


def plan(kind: str, multilabel: bool = False) -> Plan:
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    return Plan(
        name="n",
        output="out",
        output_kind=kind,
        multilabel=multilabel,
        stages=(STAGE,),
        usd_per_hour=1,
        forecast=forecast,
    )


def test_logits_become_softmax_and_names() -> None:
    found = answers({"out": np.array([[1000.0, 999.0], [0.0, np.log(3)]])}, plan("logits"), ("1", "0"))
    assert found["label"].tolist() == ["1", "0"]
    np.testing.assert_allclose(found["confidence"], [1 / (1 + np.exp(-1)), 0.75])


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_score_a_row_is_the_second_class(shape: tuple[int, ...]) -> None:
    probabilities = answers({"out": np.array([0.2, 0.5, 0.9]).reshape(shape)}, plan("probabilities"), None)
    assert probabilities["label"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(probabilities["confidence"], [0.8, 0.5, 0.9])
    logits = answers({"out": np.array([-np.log(4), 0, np.log(9)]).reshape(shape)}, plan("logits"), None)
    np.testing.assert_allclose(logits["confidence"], probabilities["confidence"])


def test_labels_are_names_or_indices() -> None:
    output = {"out": np.array([1, 0]), "probabilities": np.array([[0.3, 0.7], [0.6, 0.4]])}
    assert answers(output, plan("labels"), ("no", "yes"))["label"].tolist() == ["yes", "no"]
    assert answers(output, plan("labels"), ("1", "0"))["label"].tolist() == ["1", "0"]
    assert answers(output, plan("labels"), None)["confidence"].tolist() == [0.7, 0.6]
    assert answers({"out": np.array(["b", "a"], dtype=object)}, plan("labels"), ("a", "b"))["label"].tolist() == [
        "b",
        "a",
    ]


def test_several_labels_a_row_are_joined() -> None:
    for kind, marks in (
        ("labels", [[1, 0, 1], [0, 0, 0]]),
        ("labels", [[True, False, True], [False, False, False]]),
        ("probabilities", [[0.5, 0.49, 0.9], [0.1, 0.2, 0.3]]),
        ("logits", [[0.0, -1e-20, 0.4], [-1.0, -0.4, -9.0]]),
    ):
        found = answers({"out": np.array(marks)}, plan(kind, multilabel=True), ("a", "b", "c"))
        assert {name: column.tolist() for name, column in found.items()} == {"label": ["a;c", ""]}
    assert answers({"out": np.array([[1], [0]])}, plan("labels", multilabel=True), None)["label"].tolist() == ["0", ""]


@pytest.mark.parametrize("kind", ["labels", "probabilities", "logits"])
def test_a_study_judges_the_labels_that_a_prediction_names(kind: str) -> None:
    scores = {
        "labels": np.array([[1, 0], [0, 1]]),
        "probabilities": np.array([[0.5, 0.4999999], [0.2, 1.0]]),
        "logits": np.array([[0.0, -1e-20], [-3.0, 2.0]]),
    }[kind]
    judged = decode({"out": scores}, OutputMeaning("out", kind, ("a", "b"), multilabel=True)).labels  # type: ignore[arg-type]
    assert judged is not None
    named = answers({"out": scores}, plan(kind, multilabel=True), ("a", "b"))["label"].tolist()
    assert named == [";".join(np.array(["a", "b"])[row == 1]) for row in judged] == ["a", "b"]


def test_values() -> None:
    assert answers({"out": np.array([[1.5], [2.5]])}, plan("value"), None)["value"].tolist() == [1.5, 2.5]
    several = answers({"out": np.array([[1.0, 2.0]])}, plan("value"), None)
    assert {name: column.tolist() for name, column in several.items()} == {"value_0": [1.0], "value_1": [2.0]}


def test_rows_without_a_finite_score_have_no_answer() -> None:
    with pytest.raises(DataError, match="not finite for 1 of 2 rows"):
        answers({"out": np.array([[0.0, np.nan], [1.0, 0.0]])}, plan("logits"), None)
