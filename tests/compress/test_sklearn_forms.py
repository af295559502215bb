"""scikit-learn models in other forms: ONNX, smaller ensembles, linear students."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.compress.base import BuildContext
from equipoise.compress.conversion import check_conversion
from equipoise.compress.tools import load_sklearn, open_natively
from equipoise.core.recipe import Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Rows
from equipoise.registry import techniques

FINALS = [
    "RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier", "HistGradientBoostingClassifier",
    "DecisionTreeClassifier", "LogisticRegression", "LinearSVC", "MLPClassifier", "KNeighborsClassifier",
    "RandomForestRegressor", "GradientBoostingRegressor", "HistGradientBoostingRegressor", "Ridge",
]  # fmt: skip


def estimator(name: str) -> Any:
    from sklearn import ensemble, linear_model, neighbors, neural_network, svm, tree

    small = {"n_estimators": 15, "max_iter": 15} if "Boosting" in name else {"n_estimators": 15}
    settings = {"random_state": 0} | (small if "Forest" in name or "Trees" in name or "Boosting" in name else {})
    if name.startswith("Hist"):
        settings.pop("n_estimators")
    elif "Boosting" in name:
        settings.pop("max_iter")
    if name == "KNeighborsClassifier":
        settings = {}
    if name == "MLPClassifier":
        settings |= {"hidden_layer_sizes": (8,), "max_iter": 20, "early_stopping": True, "n_iter_no_change": 30}
    modules = (ensemble, linear_model, neighbors, neural_network, svm, tree)
    return next(getattr(module, name) for module in modules if hasattr(module, name))(**settings)


def value(frame: Any) -> Any:
    return (frame["age"] + frame["pay-rate"] / 50).to_numpy()


def answers(folder: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    session = open_natively(folder)
    found: dict[str, Any] = session.run(session.prepare(feeds))
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FINALS)
def test_the_onnx_form_answers_like_the_pipeline(
    name: str, tmp_path: Path, table_model: Any, rows: Any, context: Any
) -> None:
    final = estimator(name)
    encode = "ordinal" if name.startswith("Hist") else "onehot"
    target = value if name.endswith("Regressor") or name == "Ridge" else None
    source = table_model(tmp_path / "source", final, encode=encode, target=target)
    built = context("forest", calibration=rows("forest", 300))
    assert techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), built) == "onnx"
    session = open_natively(built.folder)
    assert [tensor.name for tensor in session.spec.inputs] == ["age", "pay-rate", "job", "member"]
    assert [tensor.shape for tensor in session.spec.inputs] == [(None, 1)] * 4
    assert session.spec.inputs[2].dtype == "string"
    feeds = rows("forest", 1000).feeds
    check_conversion(answers(source, feeds), answers(built.folder, feeds), "exact")


def test_tied_votes_fall_on_the_same_class(tmp_path: Path, array_model: Any, context: Any) -> None:
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    x = rng.random((300, 4))
    y = rng.integers(0, 2, 300) * 7  # nothing to learn: votes are often tied
    model = RandomForestClassifier(6, random_state=0).fit(x, y)
    spec = (TensorSpec(name="x", dtype="float64", shape=(None, 4)),)
    source = array_model(tmp_path / "ties", model, spec, label=("int64", [None]), probabilities=("float64", [None, 2]))
    built = context("forest", calibration=Rows({"x": x}, None))
    techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), built)
    x = rng.random((300, 4))
    assert (model.predict_proba(x)[:, 0] == 0.5).sum() > 30
    found = answers(built.folder, {"x": x})
    assert found["label"].dtype == np.int64
    np.testing.assert_array_equal(found["label"], model.predict(x))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(x), atol=1e-6)


def test_float64_thresholds_that_float32_would_cross(tmp_path: Path, array_model: Any, context: Any) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    rng = np.random.default_rng(0)
    x = 1e8 + rng.integers(0, 40, (500, 2)).astype(np.float64)  # float32 cannot tell neighbours apart
    model = make_pipeline(FunctionTransformer(), HistGradientBoostingRegressor(max_iter=20))
    model.fit(x, (x[:, 0] % 7) + x[:, 1] % 3)
    source = array_model(
        tmp_path / "wide", model, (TensorSpec(name="x", dtype="float64", shape=(None, 2)),), value=("float64", [None])
    )
    built = context("forest", calibration=Rows({"x": x}, None))
    techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), built)
    check_conversion(answers(source, {"x": x}), answers(built.folder, {"x": x}), "exact")


def test_numeric_columns_without_a_column_transformer(tmp_path: Path, array_model: Any, context: Any) -> None:
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(300), "b": rng.integers(0, 9, 300)})
    frame.loc[::9, "a"] = np.nan
    model = HistGradientBoostingClassifier(max_iter=10).fit(frame, frame["b"] > 4)
    inputs = (
        TensorSpec(name="a", dtype="float64", shape=(None, 1)), TensorSpec(name="b", dtype="int64", shape=(None, 1)),
    )  # fmt: skip
    source = array_model(
        tmp_path / "plain", model, inputs, label=("bool", [None]), probabilities=("float64", [None, 2])
    )
    feeds = {name: frame[name].to_numpy().reshape(-1, 1) for name in frame}
    built = context("forest", calibration=Rows(feeds, None))
    techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), built)
    assert answers(built.folder, feeds)["label"].dtype == bool
    check_conversion(answers(source, feeds), answers(built.folder, feeds), "exact")


def test_missing_text_is_refused_by_name(tmp_path: Path, models: Any, rows: Any, context: Any) -> None:
    source = models["forest"](tmp_path / "forest")
    calibration = rows("forest")
    calibration.feeds["job"][3] = None
    with pytest.raises(TechniqueError, match="'job' has missing text"):
        techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), context("forest", calibration=calibration))


@pytest.mark.parametrize("name", [name for name in FINALS if "Forest" in name or "Boosting" in name or "Trees" in name])
def test_the_first_trees_answer_like_an_ensemble_that_stopped_there(
    name: str, tmp_path: Path, table_model: Any, rows: Any, context: Any
) -> None:
    target = value if name.endswith("Regressor") else None
    source = table_model(tmp_path / "source", estimator(name), encode="ordinal", target=target)
    built = context("forest")
    step = Step(technique="smaller_forest", parameters={"estimators": 5})
    techniques()["smaller_forest"].apply(source, step, built)
    shorter = estimator(name)
    shorter.set_params(**({"max_iter": 5} if name.startswith("Hist") else {"n_estimators": 5}))
    fitted = table_model(tmp_path / "shorter", shorter, encode="ordinal", target=target)
    feeds = rows("forest").feeds
    for output, expected in answers(fitted, feeds).items():
        found = answers(built.folder, feeds)[output]
        assert (found == expected).all() if expected.dtype == object else np.allclose(found, expected)


@pytest.mark.parametrize("name", ["RandomForestClassifier", "RandomForestRegressor"])
def test_a_cut_forest_answers_with_the_mean_of_the_rows_that_reached_the_cut(
    name: str, tmp_path: Path, table_model: Any, rows: Any, context: Any
) -> None:
    target = value if name.endswith("Regressor") else None
    source = table_model(tmp_path / "source", estimator(name), target=target)
    built = context("forest")
    step = Step(technique="smaller_forest", parameters={"max_depth": 3})
    techniques()["smaller_forest"].apply(source, step, built)
    cut = load_sklearn(built.folder)[0].steps[-1][1]
    whole = load_sklearn(source)[0].steps[-1][1]
    for after, before in zip(cut.estimators_, whole.estimators_, strict=True):
        assert after.tree_.max_depth == 3
        assert after.tree_.node_count < before.tree_.node_count
        assert after.tree_.threshold[0] == before.tree_.threshold[0]
        np.testing.assert_allclose(after.tree_.value[0], before.tree_.value[0])
        leaves = after.tree_.children_left == -1
        weights = after.tree_.weighted_n_node_samples[leaves]
        mean = np.tensordot(weights / weights.sum(), after.tree_.value[leaves], axes=1)
        np.testing.assert_allclose(mean, before.tree_.value[0], rtol=1e-9)


def test_cut_histogram_trees_keep_their_mean(tmp_path: Path, table_model: Any, rows: Any, context: Any) -> None:
    source = table_model(
        tmp_path / "source", estimator("HistGradientBoostingRegressor"), encode="ordinal", target=value
    )
    built = context("forest")
    step = Step(technique="smaller_forest", parameters={"max_depth": 2})
    techniques()["smaller_forest"].apply(source, step, built)
    feeds = rows("forest", 400).feeds
    expected, found = answers(source, feeds)["value"], answers(built.folder, feeds)["value"]
    assert not np.allclose(found, expected)
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    with pytest.raises(TechniqueError, match="no tree is deeper"):
        techniques()["smaller_forest"].apply(built.folder, step, context("forest"))


def test_an_ensemble_that_is_not_larger_is_refused(tmp_path: Path, models: Any, table_model: Any, context: Any) -> None:
    source = models["forest"](tmp_path / "forest")
    step = Step(technique="smaller_forest", parameters={"estimators": 30})
    with pytest.raises(TechniqueError, match="30 trees or rounds were asked for, there are 30"):
        techniques()["smaller_forest"].apply(source, step, context("forest"))
    linear = table_model(tmp_path / "linear", estimator("LogisticRegression"))
    with pytest.raises(TechniqueError, match="LogisticRegression"):
        techniques()["smaller_forest"].apply(linear, step, context("forest"))
    with pytest.raises(TechniqueError, match="linear already"):
        techniques()["linear_form"].apply(linear, Step(technique="linear_form"), context("forest"))


@pytest.mark.parametrize("features", ["binned", "scaled"])
@pytest.mark.parametrize("name", ["HistGradientBoostingClassifier", "RandomForestRegressor"])
def test_a_linear_student_follows_its_teacher_and_becomes_onnx(
    name: str, features: str, tmp_path: Path, table_model: Any, rows: Any, context: Any
) -> None:
    target = value if name.endswith("Regressor") else None
    source = table_model(tmp_path / "source", estimator(name), encode="ordinal", target=target)
    built = context("forest", calibration=rows("forest", 500))
    step = Step(technique="linear_form", parameters={"features": features})
    techniques()["linear_form"].apply(source, step, built)
    feeds = rows("forest", 800).feeds
    expected, found = answers(source, feeds), answers(built.folder, feeds)
    if target is None:
        assert (found["label"] == expected["label"]).mean() > 0.85
        assert set(load_sklearn(built.folder)[0].classes_) == {"<=50K", ">50K"}
    else:
        assert np.corrcoef(found["value"], expected["value"])[0, 1] > 0.9
    converted = context("forest", calibration=rows("forest", 300))
    techniques()["onnx_form"].apply(built.folder, Step(technique="onnx_form"), converted)
    check_conversion(found, answers(converted.folder, feeds), "exact")


def test_a_class_that_the_teacher_never_answers_stays_known(tmp_path: Path, array_model: Any, context: Any) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).random((300, 3))
    y = np.where(x[:, 0] > 0.5, "yes", "no").astype(object)
    y[0] = "rare"
    model = RandomForestClassifier(20, random_state=0).fit(x, y)
    source = array_model(
        tmp_path / "rare", model, (TensorSpec(name="x", dtype="float64", shape=(None, 3)),),
        label=("string", [None]), probabilities=("float64", [None, 3]),
    )  # fmt: skip
    built = context("forest", calibration=Rows({"x": x[1:]}, None))
    techniques()["linear_form"].apply(source, Step(technique="linear_form"), built)
    assert answers(built.folder, {"x": x})["probabilities"].shape == (300, 3)


def test_an_imputer_over_whole_and_decimal_columns_becomes_onnx(tmp_path: Path) -> None:
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.integers(18, 90, 300), "income": random.normal(3e4, 1e4, 300)})
    frame.loc[::7, "income"] = np.nan
    chosen = ColumnTransformer([("numbers", SimpleImputer(), ["age", "income"])])
    model = make_pipeline(chosen, RandomForestClassifier(20, random_state=0)).fit(frame, frame["age"] > 50)
    source, made = tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    skops.io.dump(model, source / "model.skops")
    spec = ModelSpec(
        inputs=(
            TensorSpec(name="age", dtype="int64", shape=(None, 1)),
            TensorSpec(name="income", dtype="float64", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name="label", dtype="bool", shape=(None,)),
            TensorSpec(name="probabilities", dtype="float64", shape=(None, 2)),
        ),
    )
    (source / "spec.json").write_text(spec.model_dump_json())
    rows = Rows(
        feeds={name: frame[name].to_numpy()[:, None] for name in frame},
        target=None,
        population=np.full(300, "main", dtype=object),
    )
    context = BuildContext(rows, "probabilities", made, seed=0, threads=1)
    techniques()["onnx_form"].apply(source, Step(technique="onnx_form"), context)
    session = open_natively(made)
    assert session.spec.inputs[0].dtype == "int64"
    found = session.run(session.prepare(rows.feeds))["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(frame), atol=1e-5)
