"""Training in a study: what students are given, what they tell, and what becomes of those that fail."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from equipoise.compose.actions import Build
from equipoise.core.brief import DataBrief
from equipoise.core.certificate import Margin
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import Failure, Variant
from equipoise.errors import BriefError, ChildOverMemory, ChildTimedOut, DataError
from equipoise.flow.dividing import _training_rows
from equipoise.flow.evidence import Judge
from equipoise.flow.optimize import optimize_from
from equipoise.flow.prepare import Prepared, prepare
from equipoise.flow.training import checkpoint_name, progress_rows, rows_for, with_advice
from equipoise.flow.workbench import Workbench
from equipoise.ingest.brief import brief_from_options
from equipoise.ingest.row_digests import row_digests
from equipoise.ingest.study_data import StudyData
from equipoise.preprocess.answers import OutputMeaning
from equipoise.preprocess.rows import Rows
from equipoise.stats.metrics import metric_named
from equipoise.store.study import StudyFolder

TEST_ROWS, TRAIN_ROWS, REPEATED = 1500, 900, 60


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, pay = rng.integers(18, 90, n), rng.gamma(2.0, 500.0, n).round(3)
    job = rng.choice(np.array(["clerk", "nurse", "smith"], dtype=object), n)
    sex = rng.choice(np.array(["f", "m"], dtype=object), n)
    score = age + 20 * (job == "nurse") + pay / 50 + 5 * rng.standard_normal(n)
    rich = np.where(score > 75, "yes", "no")
    return pd.DataFrame({"age": age, "pay": pay, "job": job, "sex": sex, "rich": rich})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest, rows that judge it, and rows to train on, some of which also judge."""
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    folder = tmp_path_factory.mktemp("people")
    test, train = people(TEST_ROWS, 0), people(TRAIN_ROWS, 1)
    columns = make_column_transformer((OneHotEncoder(sparse_output=False), ["job", "sex"]), remainder="passthrough")
    forest = make_pipeline(columns, RandomForestClassifier(40, min_samples_leaf=2, random_state=0))
    skops.io.dump(forest.fit(train.drop(columns="rich"), train["rich"]), folder / "forest.skops")
    test.to_csv(folder / "test.csv", index=False)
    pd.concat([train, test[:REPEATED]]).to_csv(folder / "train.csv", index=False)
    return folder


def options(files: Path, **more: Any) -> dict[str, Any]:
    return {
        "data": str(files / "test.csv"), "target": "rich", "train": str(files / "train.csv"), "train_minutes": 1,
    } | more  # fmt: skip


def prepared_in(files: Path, folder: Path, **more: Any) -> tuple[Prepared, StudyFolder]:
    study = StudyFolder(folder, {"of": "a test"})
    return prepare(brief_from_options(model=str(files / "forest.skops"), **options(files, **more)), study), study


@pytest.fixture(scope="module")
def bench(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workbench, list[str]]]:
    prepared, study = prepared_in(files, tmp_path_factory.mktemp("study"))
    told: list[str] = []
    workbench = Workbench(study, prepared.material, told.append)
    yield workbench, told
    workbench.close()


TREE = Recipe(steps=(Step(technique="distil_trees", parameters={"student": "tree", "leaves": 32, "train_s": 60.0}),))


@pytest.fixture(scope="module")
def student(bench: tuple[Workbench, list[str]]) -> Variant:
    built = bench[0].carry_out(Build(recipe=TREE), 60.0)
    assert isinstance(built, Variant)
    return built


@pytest.mark.slow
def test_a_student_says_how_it_was_trained(student: Variant) -> None:
    assert student.training is not None
    assert student.training.finished
    assert student.training.elapsed_s <= student.training.train_s == 60.0
    assert [point.step for point in student.training.points] == [1, 2]
    qualities = [point.quality for point in student.training.points]
    assert all(quality is not None and quality > 0.8 for quality in qualities)
    assert student.data_use == "unlabelled"
    assert student.operators["DecisionTreeClassifier"] == 1


@pytest.mark.slow
def test_no_row_that_judges_is_trained_on_and_no_true_answer_is_shown(
    bench: tuple[Workbench, list[str]], student: Variant
) -> None:
    workbench, _ = bench
    training = workbench._training(TREE, 60.0)
    assert training is not None
    trained, looked_at = (set(row_digests(rows).tolist()) for rows in (training.rows, training.search))
    certify, search = (set(row_digests(workbench.material.splits[name]).tolist()) for name in ("certify", "search"))
    assert TRAIN_ROWS - 20 < training.rows.n <= TRAIN_ROWS  # a few rows of ours equal others once they are rounded
    assert training.rows.target is None
    assert not trained & (certify | search)
    assert not looked_at & certify
    assert looked_at <= search
    assert len(training.teacher["probabilities"]) == training.rows.n


def test_a_longer_training_finds_the_checkpoints_of_a_shorter_one() -> None:
    short, long = (checkpoint_name(TREE.training_for(seconds)) for seconds in (5.0, 50.0))
    other = Recipe(steps=(Step(technique="distil_mlp", parameters={"train_s": 5.0}),))
    assert short == long != checkpoint_name(other)


@pytest.mark.slow
def test_the_teacher_is_asked_once(bench: tuple[Workbench, list[str]], student: Variant) -> None:
    workbench, told = bench
    workbench._training(TREE, 60.0)
    assert sum("for its answers to" in doing for doing in told) == 1


@pytest.mark.slow
def test_a_training_that_cannot_be_done_is_a_failure_with_a_reason(bench: tuple[Workbench, list[str]]) -> None:
    wrong = Recipe(steps=(Step(technique="distil_mlp", parameters={"hidden": [0], "train_s": 5.0}),))
    failed = bench[0].carry_out(Build(recipe=wrong), 60.0)
    assert isinstance(failed, Failure)
    assert failed.reason == "hidden is [0]; needs the sizes of its layers, such as [64, 32]"


def test_what_stopped_a_training_comes_with_advice() -> None:
    assert "fewer rows" in with_advice(ChildOverMemory("too much")).message
    assert "--train-minutes" in with_advice(ChildTimedOut("not finished within 9 s")).message


def test_true_answers_are_shown_only_to_what_says_that_it_reads_them() -> None:
    rows = Rows({"x": np.zeros((3, 1))}, target=np.arange(3), population=np.full(3, "main", dtype=object))
    assert rows_for(rows, TREE).target is None
    assert rows_for(rows, TREE).feeds is rows.feeds


def test_progress_is_looked_at_on_main_rows_that_the_original_answered() -> None:
    population = np.array(["main", "winter", "main", "main"], dtype=object)
    search = Rows({"x": np.arange(4.0).reshape(4, 1)}, target=np.array([0, 1, 1, 0]), population=population)
    meaning = OutputMeaning(output="label", kind="labels", labels=(0, 1), multilabel=False)
    judge = Judge(metric_named("accuracy"), meaning, DataBrief(path="d"), Margin(drop=0.1), 0.95, {"search": search}, 0)
    some, quality = progress_rows(search, judge, {"label": np.array([0, 0, 0])})
    assert some.feeds["x"].ravel().tolist() == [0.0, 2.0]
    assert quality is not None
    assert pickle.loads(pickle.dumps(quality))({"label": np.array([0, 0])}) == 0.5
    assert progress_rows(search, None, {})[1] is None


def test_training_needs_rows_that_do_not_judge(files: Path) -> None:
    brief = brief_from_options(model=str(files / "forest.skops"), **options(files))
    rows = Rows({"x": np.zeros((60, 1))}, None)
    data = StudyData(rows=rows, calibration=None, train=rows, target=None, group=None)
    with pytest.raises(DataError, match=r"60 rows, of which 0 repeat no row of .*needed at least 50 to train on"):
        _training_rows(brief, data, np.arange(0))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train": None}, "found 1 minutes and no rows to train on; needed them: --train"),
        ({"metric": "none"}, "found 1 minutes with the metric none"),
        ({"data_use": "none"}, "found 1 minutes with data_use = none"),
        ({"train_minutes": 0}, "needed a number above 0, in minutes"),
    ],
)
def test_a_budget_for_training_that_cannot_be_used_is_refused(files: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(BriefError, match=said):
        brief_from_options(model=str(files / "forest.skops"), **options(files, **more))


@pytest.mark.slow
def test_a_study_with_training_says_what_it_cost_and_when_it_pays(files: Path, tmp_path: Path) -> None:
    wishes = options(files, max_drop=0.05, budget="3m", train_minutes=1)
    result, folder = optimize_from(files / "forest.skops", wishes, out=tmp_path / "out")
    candidates = [result.chosen, *result.frontier]
    trained = [each for each in candidates if each is not None and each.recipe.train_s]
    assert trained or any("train_s" in failure.name for failure in result.rejected)
    assert sum("train_s" in failure.name for failure in result.rejected) + len(trained) >= 3
    payback = result.payback
    if payback is not None:
        assert payback.trained_s > 0
        assert payback.training_usd == pytest.approx(result.cost.price.usd_per_hour * payback.trained_s / 3600)
        assert "training" in (folder / "report.html").read_text()
    again, _ = optimize_from(None, {}, resume=folder)
    assert (again.decision, again.payback) == (result.decision, payback)
