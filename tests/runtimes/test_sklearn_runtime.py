"""scikit-learn served natively."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import ModelError
from equipoise.registry import runtimes


def pipeline(model: Any) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = make_column_transformer(
        (SimpleImputer(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["job"]), remainder="passthrough"
    )
    return make_pipeline(columns, model)


def feeds(frame: Any) -> dict[str, Any]:
    job = np.array([value if isinstance(value, str) else None for value in frame["job"]], dtype=object)
    return {
        "age": frame["age"].to_numpy()[:, None], "job": job[:, None], "member": frame["member"].to_numpy()[:, None],
    }  # fmt: skip


def test_a_table_with_text_and_missing_values_reaches_the_pipeline_as_it_was(
    table: Any, table_spec: ModelSpec, save_sklearn: Any, setting: Any
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    frame, target = table
    fitted = pipeline(RandomForestClassifier(20, random_state=0)).fit(frame, target)
    folder = save_sklearn(fitted, table_spec)
    session = runtimes()["sklearn"].open(folder, setting("sklearn", precision="f64"))
    found = session.run(session.prepare(feeds(frame)))
    np.testing.assert_allclose(found["probabilities"], fitted.predict_proba(frame))
    assert found["label"].dtype == object
    assert (found["label"] == fitted.predict(frame)).all()


def test_none_stays_none_where_the_encoder_learnt_none(
    table: Any, table_spec: ModelSpec, save_sklearn: Any, setting: Any
) -> None:
    from sklearn.linear_model import LogisticRegression

    frame, target = table
    frame = frame.assign(job=frame["job"].astype(object).where(frame["job"].notna(), None))
    fitted = pipeline(LogisticRegression()).fit(frame, target)
    session = runtimes()["sklearn"].open(save_sklearn(fitted, table_spec), setting("sklearn", precision="f64"))
    found = session.run(session.prepare(feeds(frame)))
    np.testing.assert_allclose(found["probabilities"], fitted.predict_proba(frame))


def test_labels_are_predict_s_even_where_they_are_not_the_likeliest(
    table: Any, table_spec: ModelSpec, save_sklearn: Any, setting: Any
) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import FixedThresholdClassifier

    frame, target = table
    model = FixedThresholdClassifier(
        LogisticRegression(), threshold=0.9, pos_label=">50K", response_method="predict_proba"
    )
    fitted = pipeline(model).fit(frame, target)
    folder = save_sklearn(fitted, table_spec)
    session = runtimes()["sklearn"].open(folder, setting("sklearn", precision="f64"))
    found = session.run(session.prepare(feeds(frame)))
    assert (found["label"] == fitted.predict(frame)).all()
    assert (found["label"] != fitted.classes_[found["probabilities"].argmax(1)]).any()


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_regressor_on_a_plain_array(replicas: int, save_sklearn: Any, setting: Any) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    x = np.random.default_rng(0).random((80, 4))
    fitted = HistGradientBoostingRegressor(max_iter=10).fit(x, x @ [1, 2, 3, 4])
    spec = ModelSpec(
        inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 4)),),
        outputs=(TensorSpec(name="value", dtype="float64", shape=(None,)),),
    )
    folder = save_sklearn(fitted, spec)
    session = runtimes()["sklearn"].open(folder, setting("sklearn", precision="f64", replicas=replicas))
    prepared = session.prepare({"x": x})
    with ThreadPoolExecutor(replicas) as pool:
        for found in pool.map(lambda _: session.run(prepared), range(6)):
            np.testing.assert_allclose(found["value"], fitted.predict(x))


def test_a_multi_label_classifier(save_sklearn: Any, setting: Any) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    x = np.random.default_rng(0).random((60, 3))
    y = (x[:, :2] > 0.5).astype(int)
    fitted = KNeighborsClassifier(3).fit(x, y)
    spec = ModelSpec(
        inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 3)),),
        outputs=(TensorSpec(name="label", dtype="int64", shape=(None, 2)),),
    )
    session = runtimes()["sklearn"].open(save_sklearn(fitted, spec), setting("sklearn", precision="f64"))
    np.testing.assert_array_equal(session.run(session.prepare({"x": x}))["label"], fitted.predict(x))


def test_threads_reach_every_part_except_in_the_default_setting(
    table: Any, table_spec: ModelSpec, save_sklearn: Any, setting: Any
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from equipoise.runtimes.sklearn import nested_estimators

    frame, target = table
    fitted = pipeline(RandomForestClassifier(5, n_jobs=7)).fit(frame, target)
    folder = save_sklearn(fitted, table_spec)
    for default, expected in ((True, 7), (False, 2)):
        session = runtimes()["sklearn"].open(folder, setting("sklearn", precision="f64", threads=2, default=default))
        parts = list(nested_estimators(session._estimator))
        assert [part.n_jobs for part in parts if isinstance(part, RandomForestClassifier)] == [expected]


def test_a_file_with_other_types_is_refused_whatever_lies_beside_it(save_sklearn: Any, setting: Any) -> None:
    from argparse import Namespace  # stands for a type of the person's own

    from sklearn.linear_model import Ridge

    x = np.random.default_rng(0).random((20, 2))
    fitted = Ridge().fit(x, x.sum(1))
    fitted.note_ = Namespace(a=1)
    spec = ModelSpec(
        inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 2)),),
        outputs=(TensorSpec(name="value", dtype="float64", shape=(None,)),),
    )
    folder = save_sklearn(fitted, spec)
    for name in ("spec.json", "trusted.json", "allowed.json"):
        if name != "spec.json":
            (folder / name).write_text('["argparse.Namespace"]')
        with pytest.raises(ModelError, match=r"allow-list: argparse\.Namespace; .*replace those steps"):
            runtimes()["sklearn"].open(folder, setting("sklearn", precision="f64"))


def test_a_damaged_file_is_one_clear_error(save_sklearn: Any, setting: Any, tmp_path: Any) -> None:
    (tmp_path / "model.skops").write_bytes(b"PK not a zip")
    with pytest.raises(ModelError, match=r"model\.skops"):
        runtimes()["sklearn"].open(tmp_path, setting("sklearn", precision="f64"))
