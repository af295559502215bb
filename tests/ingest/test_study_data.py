from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.ingest.brief import brief_from_options
from equipoise.ingest.splits import split_rows
from equipoise.ingest.study_data import StudyData, load_study_data

SPEC = ModelSpec(
    inputs=(
        TensorSpec(name="age", dtype="int64", shape=(None, 1)),
        TensorSpec(name="sex", dtype="string", shape=(None, 1)),
    ),
    outputs=(),
)
N = 80


def _csv(path: Path, n: int = N, seed: int = 0, **columns: Any) -> None:
    random = np.random.default_rng(seed)
    cells = {
        "age": random.integers(17, 90, n),
        "sex": np.array(["Male", "Female", ""])[random.integers(0, 3, n)],
        "site": random.integers(0, 9, n),
        "label": np.array(["no", "yes"])[random.integers(0, 2, n)],
    } | columns
    kept = {name: values for name, values in cells.items() if values is not None}
    rows = [",".join(kept), *(",".join(str(value) for value in row) for row in zip(*kept.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads the data of a brief, in a folder with some files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not read here")
    for seed, name in enumerate(("data.csv", "winter.csv", "calibration.csv", "train.csv")):
        _csv(tmp_path / name, seed=seed)

    def load(**options: Any) -> StudyData:
        return load_study_data(brief_from_options(**{"model": "model.onnx", "data": "data.csv"} | options), SPEC)

    return load


def test_everything_at_once(study: Any) -> None:
    found = study(
        slice=["sex:0.1", "age:2%", "label:0.1"],
        group="site",
        ood=["winter=winter.csv:0.1"],
        calibration="calibration.csv",
        train="train.csv",
    )
    assert found.rows.n == 2 * N
    assert found.rows.population.tolist() == ["main"] * N + ["winter"] * N
    assert found.rows.target.tolist().count("yes") > N / 2
    assert set(found.rows.extra) == {"sex", "age", "label", "site"}
    assert set(found.rows.extra["sex"][:N].tolist()) == {"Male", "Female", "missing"}
    assert set(found.rows.extra["sex"][N:].tolist()) == {None}
    assert set(found.groups.tolist()) == {str(site) for site in range(9)}
    assert found.calibration.target is not None
    assert found.calibration.extra == {}
    assert found.train.target is None
    assert found.train.n == N
    assert found.target == "label"


def test_numbers_of_many_values_are_cut_at_their_quartiles(study: Any) -> None:
    found = study(slice=["age:0.1"])
    ages = found.rows.feeds["age"].ravel()
    names = found.rows.extra["age"]
    assert len(set(names.tolist())) == 4
    for name in set(names.tolist()):
        inside = ages[names == name]
        assert name == f"[{inside.min()}, {inside.max()}]"
        assert N / 4 - 5 <= len(inside) <= N / 4 + 5
    assert found.warnings == (f"the slice age was cut at its quartiles: {', '.join(sorted(set(names.tolist())))}",)


def test_numbers_of_few_values_are_slices_by_themselves(study: Any) -> None:
    found = study(slice=["site:0.1"])
    assert set(found.rows.extra["site"].tolist()) == {str(site) for site in range(9)}
    assert found.warnings == ()


def test_one_column_as_group_and_slice(study: Any, tmp_path: Path) -> None:
    assert set(study(slice=["site:0.1"], group="site").groups.tolist()) == {str(site) for site in range(9)}
    with pytest.raises(DataError, match="'age' is the group and, cut at its quartiles, a slice"):
        study(slice=["age:0.1"], group="age")


def test_without_a_target_there_is_agreement(study: Any, tmp_path: Path) -> None:
    _csv(tmp_path / "data.csv", label=None)
    assert study().rows.target is None
    assert study(metric="none").target is None
    with pytest.raises(DataError, match=r"data\.csv: no column label or y; the metric accuracy needs the true answers"):
        study(metric="accuracy")


def test_the_other_files_are_checked_too(study: Any, tmp_path: Path) -> None:
    _csv(tmp_path / "winter.csv", label=None)
    with pytest.raises(DataError, match=r"winter\.csv: no column 'label'"):
        study(ood=["winter=winter.csv:0.1"], target="label")
    _csv(tmp_path / "winter.csv", label=np.zeros(N, int))
    with pytest.raises(DataError, match=r"winter\.csv: its target holds numbers; needed text, as in data\.csv"):
        study(ood=["winter=winter.csv:0.1"])
    _csv(tmp_path / "winter.csv", site=None)
    with pytest.raises(DataError, match=r"winter\.csv: no column 'site'"):
        study(ood=["winter=winter.csv:0.1"], group="site")
    _csv(tmp_path / "train.csv", sex=None)
    with pytest.raises(DataError, match=r"train\.csv: no column sex"):
        study(train="train.csv")


def test_columns_of_a_single_input_are_found_by_name_in_further_files(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not read here")
    heads = {"data": "b,a,label,site", "winter": "label,site,a,b", "calibration": "a,label,b", "train": "z,b,a"}
    for name, head in heads.items():
        cells = [str({"a": 1, "b": 2, "z": 9}.get(column, 0)) for column in head.split(",")]
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *[",".join(cells)] * 4]) + "\n")
    brief = brief_from_options(
        model=tmp_path / "model.onnx",
        data=tmp_path / "data.csv",
        group="site",
        ood=[f"winter={tmp_path / 'winter.csv'}:0.1"],
        calibration=tmp_path / "calibration.csv",
        train=tmp_path / "train.csv",
    )
    spec = ModelSpec(inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 2)),), outputs=())
    found = load_study_data(brief, spec)
    assert found.columns == ("b", "a")
    assert found.calibration is not None
    assert found.train is not None
    for rows in (found.rows, found.calibration, found.train):
        np.testing.assert_array_equal(rows.feeds["x"], [[2, 1]] * rows.n)
    (tmp_path / "train.csv").write_text("b,c\n1,2\n")
    with pytest.raises(DataError, match=r"train\.csv: no column a; the model takes b, a; it has b, c"):
        load_study_data(brief, spec)


def test_a_training_file_may_lack_targets(study: Any, tmp_path: Path) -> None:
    _csv(tmp_path / "train.csv", label=np.full(N, ""))
    assert study(train="train.csv").train.n == N


def test_real_census_rows(shared_data: Path) -> None:
    columns = "age,workclass,fnlwgt,education,years,marital,job,relation,race,sex,gain,loss,hours,country,income"
    names = columns.split(",")
    text = {"workclass", "education", "marital", "job", "relation", "race", "sex", "country"}
    tensors = (
        TensorSpec(name=name, dtype="string" if name in text else "int64", shape=(None, 1)) for name in names[:-1]
    )
    brief = brief_from_options(
        model=shared_data / "cifar10" / "resnet20.onnx",  # not read here
        data=shared_data / "adult" / "adult-test.csv",
        train=shared_data / "adult" / "adult-train.csv",
        columns=columns,
        target="income",
        slice=["sex:0.01", "race:0.01", "age:0.02"],
    )
    found = load_study_data(brief, ModelSpec(inputs=tuple(tensors), outputs=()))
    assert found.rows.n == 16_281
    assert set(found.rows.target.tolist()) == {" <=50K.", " >50K."}  # type: ignore[union-attr]
    assert set(found.rows.extra["sex"].tolist()) == {" Female", " Male"}
    assert len(set(found.rows.extra["race"].tolist())) == 5
    assert set(found.rows.extra["age"].tolist()) >= {"[17, 28]"}
    _, splits = split_rows(found.rows, train=found.train)
    assert splits.duplicates.in_training is not None
    assert splits.duplicates.in_training > 0
    assert splits.certify * 2 > found.rows.n
