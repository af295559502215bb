from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from equipoise.core.profile import Settings
from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError, InputError, ModelError
from equipoise.ingest.model import ImportedModel, import_model
from equipoise.ingest.rows import bind_rows
from equipoise.ingest.table import Table
from equipoise.runtimes.sklearn import SklearnRuntime

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((60, 4))
CLASSES = np.array(["no", "yes", "maybe"])[np.arange(60) % 3]
SETTINGS = Settings(runtime="sklearn", precision="f64", threads=1, replicas=1, batch=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the artifact."""
    (tmp_path / "artifact").mkdir()
    return tmp_path / "artifact"


@pytest.fixture
def frame() -> pandas.DataFrame:
    """Columns of every kind that a table can hold."""
    return pandas.DataFrame(
        {
            "age": RANDOM.integers(18, 90, 60),
            "income": RANDOM.standard_normal(60),
            "member": RANDOM.integers(0, 2, 60).astype(bool),
            "job": np.array(["cook", "smith", None], dtype=object)[np.arange(60) % 3],
        }
    )


def _table(frame: pandas.DataFrame) -> Table:
    return Table({name: frame[name].to_numpy() for name in frame}, "data.csv")


def _save(estimator: Any, path: Path) -> Path:
    skops.io.dump(estimator, path) if path.suffix == ".skops" else joblib.dump(estimator, path)
    return path


def _import(path: Path, folder: Path, table: Table | None = None, trust: bool = False) -> ImportedModel:
    return import_model(path, trust, folder, table)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_fitted_on_a_table(tmp_path: Path, folder: Path, frame: pandas.DataFrame) -> None:
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["job"]), remainder="passthrough")
    pipeline = make_pipeline(encode, RandomForestClassifier(5, random_state=0)).fit(frame, CLASSES)
    found = _import(_save(pipeline, tmp_path / "m.skops"), folder, _table(frame))
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found.spec.inputs] == [
        ("age", "int64", (None, 1)),
        ("income", "float64", (None, 1)),
        ("member", "bool", (None, 1)),
        ("job", "string", (None, 1)),
    ]
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found.spec.outputs] == [
        ("label", "string", (None,)),
        ("probabilities", "float64", (None, 3)),
    ]
    assert found.class_labels == ("maybe", "no", "yes")
    assert (found.task, found.multilabel, found.estimators, found.quantized) == ("classes", False, 5, False)
    assert found.operators == {"ColumnTransformer": 1, "RandomForestClassifier": 1}
    assert ModelSpec.model_validate_json((folder / "spec.json").read_text()) == found.spec
    assert pickle.loads(pickle.dumps(found)) == found


def test_the_runtime_opens_what_was_imported_and_answers_alike(
    tmp_path: Path, folder: Path, frame: pandas.DataFrame
) -> None:
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["job"]), remainder="passthrough")
    pipeline = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, CLASSES)
    found = _import(_save(pipeline, tmp_path / "m.joblib"), folder, _table(frame), trust=True)
    rows = bind_rows(_table(frame), found.spec)
    session = SklearnRuntime().open(folder, SETTINGS)
    answers = session.run(session.prepare(rows.feeds))
    assert answers["label"].tolist() == pipeline.predict(frame).tolist()
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(frame))


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_fitted_on_an_array(tmp_path: Path, folder: Path, dtype: str) -> None:
    x = (100 * np.abs(X)).astype(dtype)
    model = GradientBoostingRegressor(n_estimators=7).fit(x, X[:, 0])
    table = Table({"pixels": x, "y": X[:, 0]}, "data.npz")
    found = _import(_save(model, tmp_path / "m.skops"), folder, table)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in found.spec.inputs] == [("x", dtype, (None, 4))]
    assert [(tensor.name, tensor.dtype) for tensor in found.spec.outputs] == [("value", "float64")]
    assert (found.task, found.estimators, found.class_labels) == ("numbers", 7, None)
    assert bind_rows(table, found.spec).feeds["x"].dtype == dtype


def test_without_probabilities(tmp_path: Path, folder: Path) -> None:
    found = _import(_save(RidgeClassifier().fit(X, np.arange(60) % 3), tmp_path / "m.skops"), folder)
    assert [(tensor.name, tensor.dtype) for tensor in found.spec.outputs] == [("label", "int64")]
    assert found.class_labels == (0, 1, 2)


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(3),
        OneVsRestClassifier(LogisticRegression()),
        MLPClassifier(3, max_iter=1500, tol=1.0),
        make_pipeline(StandardScaler(), RidgeClassifier()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_multilabel(tmp_path: Path, folder: Path, model: Any) -> None:
    found = _import(_save(model.fit(X, (X[:, :2] > 0).astype(int)), tmp_path / "m.skops"), folder)
    assert found.multilabel
    assert found.class_labels is None
    assert [(tensor.name, tensor.shape) for tensor in found.spec.outputs] == [("label", (None, None))]


def test_a_search_is_kept_as_its_best_estimator(tmp_path: Path, folder: Path) -> None:
    search = GridSearchCV(RandomForestRegressor(random_state=0), {"n_estimators": [2, 4]}, cv=2).fit(X, X[:, 0])
    found = _import(_save(search, tmp_path / "m.skops"), folder)
    assert found.operators == {"RandomForestRegressor": 1}
    assert found.estimators in (2, 4)


def test_boosting_rounds(tmp_path: Path, folder: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=9, early_stopping=False).fit(X, CLASSES)
    assert _import(_save(model, tmp_path / "m.skops"), folder).estimators == 9


def test_an_older_version_is_a_warning(tmp_path: Path, folder: Path) -> None:
    model = LogisticRegression().fit(X, CLASSES)
    skops.io.dump(model, tmp_path / "m.skops")
    pickled = pickle.dumps(model).replace(_version().encode(), b"1.0.1"[: len(_version())].ljust(len(_version()), b"1"))
    (tmp_path / "m.pkl").write_bytes(pickled)
    warnings = _import(tmp_path / "m.pkl", folder, trust=True).warnings
    assert len(warnings) == 1
    assert "m.pkl: fitted with scikit-learn 1.0.1" in warnings[0]


def _version() -> str:
    import sklearn

    return str(sklearn.__version__)


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib"])
def test_a_pickle_is_not_opened_without_trust(tmp_path: Path, folder: Path, name: str) -> None:
    bomb = tmp_path / "bomb"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(bomb)))
    with pytest.raises(ModelError, match="--trust"):
        _import(tmp_path / name, folder)
    assert not bomb.exists()
    with pytest.raises(ModelError):  # the file does what it was made for, so that the test above can fail
        _import(tmp_path / name, folder, trust=True)
    assert bomb.exists()


def test_trust_does_not_let_skops_name_any_type(tmp_path: Path, folder: Path) -> None:
    path = _save(make_pipeline(FunctionTransformer(Path.touch), LogisticRegression()), tmp_path / "m.skops")
    for trust in (False, True):
        with pytest.raises(ModelError, match=r"outside the allow-list: .*touch"):
            _import(path, folder, trust=trust)
    assert list(folder.iterdir()) == []


def _own_function(x: Any) -> Any:
    return x


WRONG = {
    "no estimator": (lambda: {"weights": X}, "found a dict"),
    "not fitted": (lambda: LogisticRegression(), "was not fitted"),
    "a transformer": (lambda: StandardScaler().fit(X), "found a StandardScaler"),
    "a clustering": (lambda: KMeans(2, n_init=1).fit(X), "neither classifier nor regressor"),
    "text alone": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["one two", "two three"], [0, 1]),
        "does not say what columns",
    ),
    "several outputs": (
        lambda: RandomForestClassifier(2).fit(X, np.stack([np.arange(60) % 3, np.arange(60) % 2], axis=1)),
        "several outputs with the classes",
    ),
    "a function of one's own": (
        lambda: make_pipeline(FunctionTransformer(_own_function), LogisticRegression()).fit(X, CLASSES),
        "outside the allow-list",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_objects(tmp_path: Path, folder: Path, case: str) -> None:
    make, says = WRONG[case]
    path = _save(make(), tmp_path / "m.joblib")
    with pytest.raises(ModelError) as caught:
        _import(path, folder, trust=True)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["m.skops", "m.joblib", "m.pkl"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04"])
def test_damaged_files(tmp_path: Path, folder: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        _import(tmp_path / name, folder, trust=True)


def test_a_zip_that_is_no_skops(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as file:
        file.writestr("schema.json", "[]")
    with pytest.raises(ModelError, match=r"m\.skops"):
        _import(tmp_path / "m.skops", folder)


def test_a_module_that_is_not_installed(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"cno_such_module\nThing\n.")
    with pytest.raises(ModelError, match="module 'no_such_module', which is not installed"):
        _import(tmp_path / "m.pkl", folder, trust=True)


def test_a_column_that_the_data_lacks(tmp_path: Path, folder: Path, frame: pandas.DataFrame) -> None:
    model = LogisticRegression(max_iter=2000).fit(frame[["age", "income"]], CLASSES)
    path = _save(model, tmp_path / "m.skops")
    with pytest.raises(DataError, match=r"data.csv: no column 'income'.*the data has age, job") as caught:
        _import(path, folder, _table(frame[["age", "job"]]))
    assert isinstance(caught.value, InputError)
