"""The answer on a terminal, for results that are composed."""

from __future__ import annotations

from pathlib import Path

import pytest

from equipoise.cli.answer import show_answer
from equipoise.core.result import Result


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    monkeypatch.setenv("COLUMNS", "300")

    def show(result: Result) -> str:
        show_answer(result, tmp_path)
        return capsys.readouterr().out

    return show


def test_who_answers_and_what_else_the_plan_has(shown: object, composed: Result) -> None:
    assert callable(shown)
    text = shown(composed)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "who answers asked answers its answer stands when" in rows
    assert (
        "1. resnet20.onnx + int8_nncf (openvino int8) 100% 80.3% its likeliest answer has a probability of at least "
        "0.5994"
    ) in rows
    assert "2. int8_static (openvino int8_bf16) 19.7% 19.7% always" in rows
    assert "under pressure: resnet20.onnx + int8_nncf (openvino int8) answers, $0.0071 per million" in text
    assert "when not sure: 96 of 100 answers are trusted; for the others a person is asked" in text
    assert "memory: 30 of 100 requests find their answer in 31.2 MB of memory: $0.0701 per million instead" in text


def test_a_plan_that_never_doubted_itself(shown: object, composed: Result) -> None:
    assert callable(shown)
    assert composed.distrust is not None
    sure = composed.distrust.model_copy(update={"share_answered": 1.0})
    assert "when not sure: all answers were trusted: accuracy" in shown(composed.model_copy(update={"distrust": sure}))


def test_what_was_rejected_is_said(shown: object, together: Result) -> None:
    assert callable(shown)
    text = shown(together)
    assert "under pressure: not offered: resnet20.onnx + int8_nncf (openvino int8) is not proved to reach" in text
    assert "memory: left out: 30 of 100 requests" in text
    assert "its memory would cost $0.004 per million and save $0.0032" in text
    assert "when not sure" not in text


def test_a_single_model_has_no_stages(shown: object, replaced: Result) -> None:
    assert callable(shown)
    text = shown(replaced)
    assert "who answers" not in text
    assert "under pressure" not in text


def test_markup_in_names_is_text(shown: object, composed: Result) -> None:
    assert callable(shown)
    assert composed.chosen is not None
    stages = tuple(stage.model_copy(update={"name": "[bold]x[/bold]"}) for stage in composed.chosen.stages)
    text = shown(composed.model_copy(update={"chosen": composed.chosen.model_copy(update={"stages": stages})}))
    assert "1. [bold]x[/bold]" in text
