"""The training itself: pace, losses, precision, plateaus, divergence, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402

from equipoise.compress.base import BuildContext  # noqa: E402
from equipoise.compress.training import TrainingRun, read_record  # noqa: E402
from equipoise.core.recipe import Step  # noqa: E402
from equipoise.errors import TechniqueError  # noqa: E402
from equipoise.train.augment import shifted  # noqa: E402
from equipoise.train.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from equipoise.train.fit import PLATEAU_LOOKS, Fit, FitSettings  # noqa: E402
from equipoise.train.lessons import lessons_of, taught_answers  # noqa: E402
from equipoise.train.losses import answer_loss, soft_target_loss  # noqa: E402
from equipoise.train.pace import Pace  # noqa: E402
from equipoise.train.precision import faster_precision  # noqa: E402
from equipoise.train.strength import largest  # noqa: E402


class Linear(nn.Module):
    """The smallest learner."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(192, 4)

    def teachable(self, inputs: Any) -> Any:
        return self.layer(inputs["image"].float().flatten(1) / 255)

    def forward(self, image: Any) -> Any:
        return self.teachable({"image": image})


def fit(context: BuildContext, seconds: float, **settings: Any) -> tuple[Fit, TrainingRun]:
    torch.manual_seed(0)
    training = context.training
    assert training is not None
    run = TrainingRun(training, Step(technique="mine", parameters={"train_s": seconds}))
    wanted = FitSettings(**{"learning_rate": 0.01, "batch": 32, **settings})
    return Fit(Linear(), lessons_of(training, "output", ("image",)), wanted, training, ("output",), seed=0), run


@pytest.mark.parametrize("seconds", [30, 300])
def test_a_training_keeps_its_time_and_its_rate_falls_to_the_end(
    seconds: int, contexts: Callable[..., BuildContext]
) -> None:
    context = contexts()
    made, run = fit(context, seconds)
    made.run(run, None)
    assert context.training is not None
    record = read_record(context.training.folder)
    assert record is not None
    assert 0.8 * seconds <= record.elapsed_s <= 1.1 * seconds
    assert made.optimizer.param_groups[0]["lr"] < 0.1 * made.settings.learning_rate
    assert record.points[-1].loss < record.points[0].loss  # type: ignore[operator]


def test_what_runs_out_of_passes_is_finished_and_repeats_itself(contexts: Callable[..., BuildContext]) -> None:
    weights = []
    for _ in range(2):
        context = contexts()
        made, run = fit(context, 5000, most_epochs=3)
        made.run(run, None)
        assert context.training is not None
        record = read_record(context.training.folder)
        assert record is not None
        assert record.finished
        assert record.points[-1].step == 30
        weights.append(made.learner.layer.weight.detach().clone())
    assert weights[0].equal(weights[1])


def test_what_gets_no_better_stops_early(contexts: Callable[..., BuildContext]) -> None:
    context = contexts()
    made, run = fit(context, 2000, learning_rate=0.0)
    made.run(run, None)
    assert context.training is not None
    record = read_record(context.training.folder)
    assert record is not None
    assert record.finished
    assert record.elapsed_s < 2000 * (2 * PLATEAU_LOOKS + 1) / 12


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_training_that_diverges_is_a_failure_with_advice(
    optimizer: str, contexts: Callable[..., BuildContext]
) -> None:
    made, run = fit(contexts(), 300, optimizer=optimizer)
    with torch.no_grad():
        made.learner.layer.weight[0, 0] = float("inf")
    with pytest.raises(TechniqueError, match=r"diverged.*smaller learning rate"):
        made.run(run, None)


def test_a_gpu_that_is_not_there_is_a_failure_with_advice(contexts: Callable[..., BuildContext]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    context = contexts()
    assert context.training is not None
    with pytest.raises(TechniqueError, match="torch finds none"):
        fit(replace(context, training=replace(context.training, device="cuda")), 300)


def test_answers_that_are_not_finite_are_refused(contexts: Callable[..., BuildContext]) -> None:
    context = contexts()
    assert context.training is not None
    teacher = {"output": np.full_like(context.training.teacher["output"], np.nan)}
    with pytest.raises(TechniqueError, match="not finite"):
        lessons_of(replace(context.training, teacher=teacher), "output", ("image",))
    few = context.training.rows.take(slice(0, 10))
    with pytest.raises(TechniqueError, match="at least 64 rows"):
        lessons_of(replace(context.training, rows=few), "output", ("image",))


def test_a_checkpoint_comes_back_whole_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    weights = {"w": torch.arange(3.0)}
    Checkpoint(weights, {"state": {}, "param_groups": []}, weights, 0.5, 7).save(tmp_path)
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.steps, found.quality) == (7, 0.5)
    assert found.weights["w"].equal(weights["w"])
    (tmp_path / "weights.pt").write_bytes(b"PK not a checkpoint")
    assert load_checkpoint(tmp_path) is None


@pytest.mark.parametrize(("steps", "seconds"), [(50, 1e9), (10**9, 50.0), (100, 50.0)])
def test_the_pace_ends_at_the_end_whatever_runs_out_first(steps: int, seconds: float) -> None:
    pace, factors = Pace(), []
    for done in range(50):
        pace.move(steps - done, seconds - done, 1.0)
        factors.append(pace.factor)
    assert pace.progress == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.01)
    assert max(factors) == pytest.approx(1.0, abs=0.05)
    assert factors[5:] == sorted(factors[5:], reverse=True)


def test_the_loss_is_zero_for_the_teacher_and_larger_for_another() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(8, 5)
    for kind in ("logits", "probabilities", "value"):
        answers = teacher.log_softmax(1) if kind == "probabilities" else teacher
        assert float(answer_loss(answers, answers, kind, 4.0)) == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]
        assert float(answer_loss(answers.flip(0), answers, kind, 4.0)) > 0.1  # type: ignore[arg-type]
    moved = teacher + 3
    assert float(soft_target_loss(moved, teacher, 4.0)) == pytest.approx(0, abs=1e-5)
    assert float(answer_loss(moved, teacher, "logits", 4.0)) > 0.1


def test_gradients_have_one_size_whatever_the_temperature() -> None:
    torch.manual_seed(0)
    teacher, sizes = torch.randn(64, 10), []
    for temperature in (2.0, 8.0):
        student = torch.zeros(64, 10, requires_grad=True)
        soft_target_loss(student, teacher, temperature).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.5)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (np.array([[0.2, 0.8], [1.0, 0.0]]), "probabilities"),
        (np.array([[2.0, -1.0]]), "logits"),
        (np.array([1.0, 2.0]), "value"),
    ],
)
def test_what_answers_hold_is_told_from_them(answers: Any, kind: str) -> None:
    taught, found = taught_answers(answers, "output")
    assert found == kind
    assert taught.shape == (len(answers), answers.size // len(answers))
    assert np.isfinite(taught).all()


@pytest.mark.parametrize("answers", [np.array([1, 2]), np.zeros((2, 3, 3))])
def test_labels_and_maps_are_not_taught(answers: Any) -> None:
    with pytest.raises(TechniqueError, match="taught"):
        taught_answers(answers, "output")


@pytest.mark.parametrize(("layout", "shape"), [("hw", (2, 6, 5)), ("hwc", (2, 6, 5, 3)), ("chw", (2, 3, 6, 5))])
def test_moved_images_keep_their_form_and_their_values(layout: str, shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 255, shape, dtype=torch.uint8)
    moved = shifted(images, layout, 2, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert moved.dtype == images.dtype
    assert not moved.equal(images)
    assert set(moved.unique().tolist()) <= set(images.unique().tolist())


@pytest.mark.parametrize(
    ("plain_s", "half_s", "faster"), [(1.0, 0.5, True), (1.0, 0.95, False), (0.001, 0.0001, False)]
)
def test_bfloat16_is_taken_where_it_is_measured_to_be_faster(plain_s: float, half_s: float, faster: bool) -> None:
    now = 0.0

    def step(precision: Any) -> None:
        nonlocal now
        now += plain_s if precision is torch.float32 else half_s

    found = faster_precision(step, torch.device("cpu"), lambda: now)
    assert (found is torch.bfloat16) == faster


def test_a_strength_is_found_while_there_is_time() -> None:
    sizes = tuple(range(1, 17))
    measured: list[int] = []

    def takes(size: int) -> float:
        measured.append(size)
        return float(size)

    assert largest(sizes, takes, 11.5) == 11
    assert len(measured) <= 5
    assert largest(sizes, takes, 11.5, lambda: False) == 1
    with pytest.raises(TechniqueError, match="a larger share may do"):
        largest(sizes, takes, 0.5)
