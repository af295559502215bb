"""Students of scikit-learn models: what they learn, in which forms, and where they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.compress.base import BuildContext
from equipoise.compress.distil_linear import DistilLinear
from equipoise.compress.distil_mlp import DistilMlp
from equipoise.compress.distil_trees import DistilTrees
from equipoise.compress.facts import model_facts
from equipoise.compress.sklearn_students import weighted_rows
from equipoise.compress.tools import open_natively, save_sklearn
from equipoise.compress.training import Training, read_record
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.preprocess.rows import Rows
from equipoise.testing.laboratory import TickingClock

N, FEATURES = 400, 5
STUDENTS = [
    (DistilTrees(), {"student": "boosted", "rounds": 6, "leaves": 8}),
    (DistilTrees(), {"student": "forest", "trees": 5, "leaves": 64}),
    (DistilTrees(), {"student": "tree", "leaves": 32}),
    (DistilLinear(), {"features": "binned"}),
    (DistilMlp(), {"hidden": [16]}),
]


def features(seed: int, n: int = N) -> Any:
    return np.random.default_rng(seed).standard_normal((n, FEATURES))


def artifact(folder: Path, model: Any, outputs: tuple[TensorSpec, ...]) -> Path:
    place = folder / "teacher"
    place.mkdir()
    save_sklearn(
        model,
        ModelSpec(inputs=(TensorSpec(name="x", dtype="float64", shape=(None, FEATURES)),), outputs=outputs),
        place,
    )
    return place


def classifier(folder: Path, classes: int, holes: bool = False) -> Path:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    x = features(0)
    y = np.digitize(x[:, 0] + x[:, 1], np.linspace(-1, 1, classes - 1)) * 10
    kind = HistGradientBoostingClassifier(max_iter=20) if holes else RandomForestClassifier(20, random_state=0)
    outputs = (
        TensorSpec(name="label", dtype="int64", shape=(None,)),
        TensorSpec(name="probabilities", dtype="float64", shape=(None, classes)),
    )
    return artifact(folder, kind.fit(x, y), outputs)


def regressor(folder: Path) -> Path:
    from sklearn.ensemble import RandomForestRegressor

    x = features(0)
    model = RandomForestRegressor(20, random_state=0).fit(x, 100 * x[:, 0] + 50 * x[:, 1] + 1000)
    return artifact(folder, model, (TensorSpec(name="value", dtype="float64", shape=(None,)),))


def taught(
    technique: Any, parameters: dict[str, Any], source: Path, folder: Path, x: Any, train_s: float = 10_000.0
) -> tuple[dict[str, Any], Training]:
    """What a student answers to rows it has not seen, and what it was taught with."""
    checkpoints, made = folder / "checkpoints", folder / "made"
    checkpoints.mkdir(parents=True, exist_ok=True)
    made.mkdir(exist_ok=True)
    rows, search = Rows({"x": x}, None), Rows({"x": features(2, 100)}, None)
    session = open_natively(source)
    teacher = session.run(session.prepare(rows.feeds))
    training = Training(rows, teacher, source, search, None, checkpoints, TickingClock())
    step = Step(technique=technique.name, parameters={**parameters, "train_s": train_s})
    technique.apply(source, step, BuildContext(rows, "label", made, 0, 1, training))
    student = open_natively(made)
    return student.run(student.prepare(search.feeds)), training


@pytest.mark.parametrize(("technique", "parameters"), STUDENTS)
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_learnt_from_shares(
    technique: Any, parameters: dict[str, Any], classes: int, tmp_path: Path
) -> None:
    source = classifier(tmp_path, classes)
    found, training = taught(technique, parameters, source, tmp_path, features(1))
    session = open_natively(source)
    expected = session.run(session.prepare(training.search.feeds))
    assert found["probabilities"].shape == expected["probabilities"].shape
    assert np.allclose(found["probabilities"].sum(axis=1), 1)
    assert np.mean(found["label"] == expected["label"]) > 0.75
    assert found["label"].dtype == expected["label"].dtype


@pytest.mark.parametrize(("technique", "parameters"), STUDENTS)
def test_numbers_are_learnt_in_their_own_units(technique: Any, parameters: dict[str, Any], tmp_path: Path) -> None:
    source = regressor(tmp_path)
    found, training = taught(technique, parameters, source, tmp_path, features(1))
    session = open_natively(source)
    expected = session.run(session.prepare(training.search.feeds))["value"]
    assert np.sqrt(np.mean((found["value"] - expected) ** 2)) < 0.6 * expected.std()


@pytest.mark.parametrize(("technique", "parameters"), STUDENTS[2:])
def test_missing_values_are_no_hindrance(technique: Any, parameters: dict[str, Any], tmp_path: Path) -> None:
    x = features(1)
    x[::7, 2] = np.nan
    found, _ = taught(technique, parameters, classifier(tmp_path, 2, holes=True), tmp_path, x)
    assert np.isfinite(found["probabilities"]).all()


def test_a_network_that_runs_out_of_time_is_that_of_its_best_epoch(tmp_path: Path) -> None:
    found, training = taught(*STUDENTS[-1], classifier(tmp_path, 2), tmp_path, features(1), train_s=30.0)
    assert '"finished":false' in (training.folder / "record.json").read_text()
    assert np.isfinite(found["probabilities"]).all()


def test_a_network_goes_on_from_a_shorter_training(tmp_path: Path) -> None:
    source, x = classifier(tmp_path, 2), features(1)
    _, short = taught(*STUDENTS[-1], source, tmp_path / "parts", x, train_s=30.0)
    before = read_record(short.folder)
    _, long = taught(*STUDENTS[-1], source, tmp_path / "parts", x, train_s=90.0)
    after = read_record(long.folder)
    assert before is not None
    assert after is not None
    assert after.points[: len(before.points)] == before.points  # not one epoch twice
    assert after.points[-1].step > before.points[-1].step
    assert after.elapsed_s <= 1.1 * 90.0
    taught(*STUDENTS[-1], source, tmp_path / "whole", x, train_s=120.0)
    at_once = read_record(tmp_path / "whole" / "checkpoints")
    assert at_once is not None
    losses = [point.loss for point in after.points]
    assert losses == [point.loss for point in at_once.points[: len(losses)]]
    (long.folder / "progress.skops").write_bytes(b"damaged")
    taught(*STUDENTS[-1], source, tmp_path / "parts", x, train_s=30.0)
    again = read_record(long.folder)
    assert again is not None
    assert again.points[0] == before.points[0]  # begun anew


def test_weighted_rows_say_the_same_as_shares() -> None:
    shares = np.array([[0.7, 0.3, 0.0], [0.0, 0.0005, 0.9995], [0.2, 0.2, 0.6]])
    row, column, weight = weighted_rows(shares)
    again = np.zeros_like(shares)
    again[row, column] = weight
    assert np.abs(again - shares).max() <= 1e-3
    assert set(column.tolist()) == {0, 1, 2}


def test_of_many_classes_the_largest_shares_are_taught() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(50), 20)
    row, column, _ = weighted_rows(shares)
    assert np.bincount(row)[1:].max() <= 5
    for place in range(1, 20):
        assert set(column[row == place]) == set(np.argsort(shares[place])[-5:])


def test_what_it_proposes_is_clearly_smaller(tmp_path: Path) -> None:
    facts = model_facts(classifier(tmp_path, 2), environment())  # 20 trees
    proposed = [step.parameters for step in DistilTrees().propose(facts, Recipe())]
    assert {"student": "tree", "leaves": 128} in proposed
    assert all(2 * each.get("rounds", each.get("trees", 1)) <= 20 for each in proposed)  # type: ignore[operator]
    assert not DistilTrees().propose(facts, Recipe(steps=(Step(technique="smaller_forest"),)))


def test_linear_models_and_several_targets_are_not_taught(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    x = features(0)
    value = TensorSpec(name="value", dtype="float64", shape=(None,))
    linear = artifact(tmp_path, LinearRegression().fit(x, x[:, 0]), (value,))
    facts = model_facts(linear, environment())
    assert not [
        step
        for technique in (DistilTrees(), DistilLinear(), DistilMlp())
        for step in technique.propose(facts, Recipe())
    ]


@pytest.mark.parametrize(
    ("technique", "parameters", "said"),
    [
        (DistilTrees(), {"student": "bush"}, "student is 'bush'; it can be boosted, forest or tree"),
        (DistilTrees(), {"student": "tree", "leaves": 0}, "leaves is 0; needs a whole number of at least 1"),
        (DistilMlp(), {"hidden": "wide"}, "hidden is 'wide'; needs the sizes of its layers"),
    ],
)
def test_wrong_parameters_are_named(technique: Any, parameters: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match=said):
        taught(technique, parameters, classifier(tmp_path, 2), tmp_path, features(1))


def test_few_rows_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="needs at least 50 training rows, there are 20: give --train"):
        taught(*STUDENTS[0], classifier(tmp_path, 2), tmp_path, features(1, 20))
