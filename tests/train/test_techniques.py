"""What techniques that train in torch make: smaller models that answer alike, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from equipoise.compress.base import BuildContext
from equipoise.compress.facts import model_facts
from equipoise.compress.tools import open_natively
from equipoise.compress.training import read_record
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.registry import techniques
from equipoise.store.artifacts import artifact_bytes, artifact_digest
from equipoise.testing import example as examples
from equipoise.testing.example import Example
from equipoise.testing.technique import check_technique

STEPS: list[tuple[str, dict[str, Any]]] = [
    ("student", {"family": "small_cnn", "width": 8, "epochs": 10, "train_s": 2000}),
    ("student", {"family": "small_resnet", "width": 8, "hints": 0.3, "epochs": 8, "train_s": 2000}),
    ("prune", {"ratio": 0.6, "importance": "magnitude", "epochs": 5, "train_s": 2000}),
    ("prune", {"ratio": 0.6, "importance": "taylor", "rounds": 1, "epochs": 6, "train_s": 2000}),
    ("low_rank", {"energy": 0.5, "epochs": 3, "train_s": 2000}),
    ("shallow", {"blocks": 2, "epochs": 3, "train_s": 2000}),
]
SLOW = (1, 3, 4, 5)
steps = pytest.mark.parametrize(
    ("name", "parameters"),
    [pytest.param(*step, marks=[pytest.mark.slow] if n in SLOW else []) for n, step in enumerate(STEPS)],
    ids=[f"{name}-{n}" for n, (name, _) in enumerate(STEPS)],
)


@steps
def test_it_is_smaller_and_answers_alike(
    name: str, parameters: dict[str, Any], example: Example, contexts: Callable[..., BuildContext]
) -> None:
    before = artifact_digest(example.artifact)
    first = contexts()
    assert techniques()[name].apply(example.artifact, Step(technique=name, parameters=parameters), first) == "onnx"
    assert artifact_digest(example.artifact) == before
    assert artifact_bytes(first.folder) < artifact_bytes(example.artifact)

    assert first.training is not None
    assert first.training.quality is not None
    session = open_natively(first.folder)
    found = session.run(session.prepare(example.search.feeds))
    record = read_record(first.training.folder)
    assert record is not None
    assert record.finished
    qualities = [point.quality for point in record.points if point.quality is not None]
    assert first.training.quality(found) == pytest.approx(max(qualities))
    assert max(qualities) > 0.7


def test_the_same_seed_makes_the_same_file(example: Example, contexts: Callable[..., BuildContext]) -> None:
    name, parameters = STEPS[0]
    step, first, second = Step(technique=name, parameters=parameters | {"epochs": 1}), contexts(), contexts()
    for context in (first, second):
        techniques()[name].apply(example.artifact, step, context)
    assert artifact_digest(first.folder) == artifact_digest(second.folder)


@pytest.mark.parametrize(
    "number", [0, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)]
)
def test_a_longer_training_goes_on_where_a_shorter_one_ended(
    number: int, example: Example, contexts: Callable[..., BuildContext]
) -> None:
    name, parameters = STEPS[number]
    short = contexts()
    assert short.training is not None
    step = Step(technique=name, parameters=parameters | {"epochs": 1})
    techniques()[name].apply(example.artifact, step, short)
    before = read_record(short.training.folder)
    longer = contexts(checkpoints=short.training.folder)
    step = Step(technique=name, parameters=parameters | {"epochs": 2})
    techniques()[name].apply(example.artifact, step, longer)
    after = read_record(short.training.folder)
    assert before is not None
    assert after is not None
    assert after.points[: len(before.points)] == before.points
    assert after.points[-1].step > before.points[-1].step
    assert after.elapsed_s > before.elapsed_s


def test_what_takes_numbers_is_offered_students_and_torch_models_all(example: Example, tmp_path: Path) -> None:
    names = ("student", "prune", "low_rank", "shallow")

    def proposed(artifact: Path) -> set[str]:
        facts = model_facts(artifact, environment())
        return {name for name in names if techniques()[name].propose(facts, Recipe())}

    assert proposed(example.artifact) == {"student", "prune", "low_rank", "shallow"}
    assert proposed(examples.network(tmp_path).artifact) == {"student"}


@pytest.mark.slow
def test_channels_stay_multiples(example: Example, contexts: Callable[..., BuildContext]) -> None:
    context = contexts()
    parameters = {"ratio": 0.5, "multiple": 4, "epochs": 1, "rounds": 1, "train_s": 500}
    techniques()["prune"].apply(example.artifact, Step(technique="prune", parameters=parameters), context)
    shapes = [tensor.dims for tensor in onnx.load(context.folder / "model.onnx").graph.initializer]
    convolutions = [shape for shape in shapes if list(shape[2:]) == [3, 3]]
    assert len(convolutions) == 7
    assert all(shape[0] % 4 == 0 for shape in convolutions)
    assert min(shape[0] for shape in convolutions) < 32


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("student", {"family": "text_cnn"}, "works on text rows, not on image rows"),
        ("student", {"family": "small_cnn", "width": 8, "hints": 2}, "hints is 2"),
        ("student", {"family": "small_cnn", "width": 8, "precision": "f8"}, "no precision 'f8'"),
        ("student", {"family": "small_cnn", "share": 1e-6}, "a larger share may do"),
        ("prune", {"ratio": 1.5}, "the ratio is 1.5"),
        ("prune", {"ratio": 0.5, "importance": "luck"}, "no importance 'luck'"),
        ("prune", {"ratio": 0.3, "multiple": 64}, "no channel could go"),
        ("low_rank", {"energy": 0}, "the energy is 0"),
        ("low_rank", {"energy": 1}, "no layer becomes smaller"),
        ("shallow", {"blocks": 9}, "it has 3 residual blocks that can be left out; that is fewer than 9"),
    ],
)
def test_what_cannot_be_done_is_a_technique_error_that_says_why(
    name: str, parameters: dict[str, Any], said: str, example: Example, contexts: Callable[..., BuildContext]
) -> None:
    step = Step(technique=name, parameters={"train_s": 500, **parameters})
    with pytest.raises(TechniqueError, match=said):
        techniques()[name].apply(example.artifact, step, contexts())


@pytest.mark.parametrize("name", ["prune", "low_rank", "shallow"])
def test_a_model_that_is_no_torch_program_is_refused(
    name: str, tmp_path: Path, contexts: Callable[..., BuildContext]
) -> None:
    source = examples.network(tmp_path).artifact
    with pytest.raises(TechniqueError, match=r"works on PyTorch programs; network holds model\.onnx"):
        techniques()[name].apply(source, Step(technique=name, parameters={"train_s": 500}), contexts())


@pytest.mark.slow
def test_a_share_of_the_time_decides_the_width_once(example: Example, contexts: Callable[..., BuildContext]) -> None:
    context = contexts()
    assert context.training is not None
    parameters = {"family": "small_cnn", "share": 50.0, "epochs": 1, "train_s": 2000}
    techniques()["student"].apply(example.artifact, Step(technique="student", parameters=parameters), context)
    chosen = context.training.folder / "width.txt"
    assert chosen.read_text() == "64"
    chosen.write_text("16")
    again = contexts(checkpoints=context.training.folder)
    (context.training.folder / "weights.pt").unlink()
    techniques()["student"].apply(example.artifact, Step(technique="student", parameters=parameters), again)
    assert artifact_bytes(again.folder) < artifact_bytes(context.folder)


def test_a_teacher_of_values(example: Example, contexts: Callable[..., BuildContext], tmp_path: Path) -> None:
    source = examples.dense_network(tmp_path)
    x = source.rows.feeds["x"]
    values = (3 * x[:, :1] - 2 * np.abs(x[:, 1:2]) + 40).astype(np.float32)
    context = contexts(rows=source.rows, search=source.search, teacher={"logits": values}, quality=None)
    context = BuildContext(source.rows, "logits", context.folder, 0, 1, context.training)
    parameters = {"family": "mlp", "width": 32, "epochs": 30, "train_s": 5000}
    techniques()["student"].apply(source.artifact, Step(technique="student", parameters=parameters), context)
    session = open_natively(context.folder)
    found = session.run(session.prepare(source.rows.feeds))["logits"]
    assert np.mean((found - values) ** 2) < 0.3 * values.var()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(STEPS)))
def test_conformance(number: int, example: Example, tmp_path: Path) -> None:
    name, parameters = STEPS[number]
    timeless = {key: value for key, value in parameters.items() if key not in ("train_s", "epochs")}
    check_technique(name, example, tmp_path, Step(technique=name, parameters=timeless))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "network_of_one_row", "dense_network"])
def test_conformance_of_students_of_other_models(kind: str, tmp_path: Path) -> None:
    family = "mlp" if kind == "dense_network" else "small_cnn"
    step = Step(technique="student", parameters={"family": family, "width": 8})
    check_technique("student", getattr(examples, kind)(tmp_path), tmp_path, step)
