"""The run of a training: its time, its curve, its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.compress.training import MOST_POINTS, Training, TrainingRun, read_record, required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Rows
from equipoise.testing.laboratory import Share, TickingClock

ROWS = Rows({"x": np.zeros((4, 1))}, None)


def training(folder: Path, tick_s: float = 1.0) -> Training:
    return Training(ROWS, {}, folder, ROWS, Share("label", np.zeros(4)), folder, TickingClock(tick_s))


def step(train_s: object = 10.0) -> Step:
    return Step(technique="mine", parameters={"train_s": train_s})  # type: ignore[dict-item]


def test_it_goes_on_while_another_step_as_long_as_the_longest_fits(tmp_path: Path) -> None:
    run = TrainingRun(training(tmp_path), step(20))
    while run.goes_on():
        run.tell()
    longest = max(np.diff([0.0, *(point.elapsed_s for point in read_record(tmp_path).points)]))  # type: ignore[union-attr]
    assert run.left_s + longest > 0
    assert run.elapsed_s <= 20 + 3  # three looks at the clock since the last step


def test_preparation_is_no_step(tmp_path: Path) -> None:
    run = TrainingRun(training(tmp_path), step(12))
    assert [run.elapsed_s for _ in range(7)][-1] == 7.0
    run.begin_steps()
    run.tell()
    assert run.goes_on()


def test_the_best_quality_so_far_is_told(tmp_path: Path) -> None:
    run = TrainingRun(training(tmp_path), step(1000))
    assert [run.tell(quality=quality) for quality in (0.5, 0.4, 0.6, float("nan"), None)] == [
        True,
        False,
        True,
        True,
        True,
    ]
    assert [point.quality for point in read_record(tmp_path).points] == [0.5, 0.4, 0.6, None, None]  # type: ignore[union-attr]


def test_a_loss_that_is_no_number_is_a_divergence_with_advice(tmp_path: Path) -> None:
    run = TrainingRun(training(tmp_path), step())
    run.tell(loss=0.5)
    with pytest.raises(TechniqueError, match=r"diverged: the loss is nan at step 2; a smaller learning rate"):
        run.tell(loss=float("nan"))


def test_a_longer_training_goes_on_where_a_shorter_one_ended(tmp_path: Path) -> None:
    first = TrainingRun(training(tmp_path), step(10))
    first.tell(step=7, quality=0.9)
    first.finish(finished=False)
    spent_s = read_record(tmp_path).elapsed_s  # type: ignore[union-attr]
    second = TrainingRun(training(tmp_path), step(30), resumed=True)
    assert (second.done, second.budget_s) == (7, 30)
    assert second.elapsed_s == spent_s + 1
    assert not second.tell(quality=0.8)
    assert [point.step for point in read_record(tmp_path).points] == [7, 8]  # type: ignore[union-attr]
    TrainingRun(training(tmp_path), step(30))
    assert read_record(tmp_path).points == ()  # type: ignore[union-attr]


def test_a_long_curve_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    run = TrainingRun(training(tmp_path, 1e-3), step(1e9))
    for _ in range(MOST_POINTS + 3):
        run.tell()
    points = read_record(tmp_path).points  # type: ignore[union-attr]
    assert len(points) <= MOST_POINTS
    assert points[-1].step == MOST_POINTS + 3


@pytest.mark.parametrize("wrong", [None, 0, -1, True, "10"])
def test_a_step_without_a_time_is_refused(wrong: object, tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match=r"mine trains, and its parameter train_s is .*: needs seconds"):
        TrainingRun(training(tmp_path), step(wrong))


def test_without_a_budget_the_options_that_give_one_are_named() -> None:
    with pytest.raises(TechniqueError, match="mine trains: give it time with --train-minutes and rows with --train"):
        required_training(None, "mine")


def test_a_recipe_knows_how_long_it_trains() -> None:
    plain = Recipe(steps=(Step(technique="prune"),))
    trained = plain.training_for(12.34).then(Step(technique="onnx_form"))
    assert (plain.train_s, trained.train_s, trained.last_train_s) == (0, 12.3, 0)
    assert str(trained) == "prune(train_s=12.3) + onnx_form"
