from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.plan import Forecast, Plan
from equipoise.execute.answers import answers

Array = NDArray[Any]


def plan(kind: str) -> Plan:
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    return Plan(name="n", output="out", output_kind=kind, stages=(), forecast=forecast)


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
    output = {"out": np.array([[1, 0, 1], [0, 0, 0]])}
    assert answers(output, plan("labels"), ("a", "b", "c"))["label"].tolist() == ["a;c", ""]


def test_values() -> None:
    assert answers({"out": np.array([[1.5], [2.5]])}, plan("value"), None)["value"].tolist() == [1.5, 2.5]
    several = answers({"out": np.array([[1.0, 2.0]])}, plan("value"), None)
    assert {name: column.tolist() for name, column in several.items()} == {"value_0": [1.0], "value_1": [2.0]}
