from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import equipoise
from equipoise.cli.predict import predict
from equipoise.errors import DataError
from equipoise.execute.predict_file import predict_file
from equipoise.preprocess import chunks
from equipoise.store.bundle import read_bundle

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 200)  # several pieces even of a tiny file


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    with np.load(path) as file:
        return pd.DataFrame({"label": file["label"], "confidence": file["confidence"]})


@pytest.mark.parametrize("source", [".csv", ".parquet"])
@pytest.mark.parametrize("target", [".csv", ".parquet", ".npz"])
def test_a_table_is_answered_as_the_pipeline_itself_does(
    sklearn_bundle: Path, tmp_path: Path, table: pd.DataFrame, source: str, target: str
) -> None:
    import skops.io

    data, out = tmp_path / f"in{source}", tmp_path / f"out{target}"
    table.to_csv(data, index=False) if source == ".csv" else table.to_parquet(data)
    seen: list[tuple[int, float]] = []
    done = predict_file(read_bundle(sklearn_bundle), data, out, lambda rows, share: seen.append((rows, share)))
    estimator = skops.io.load(next(sklearn_bundle.glob("artifacts/*/model.skops")))
    features = table[["age", "income", "town"]]
    found = read(out)
    assert found["label"].tolist() == estimator.predict(features).tolist()
    np.testing.assert_allclose(found["confidence"], estimator.predict_proba(features).max(axis=1))
    assert done.rows == len(table) == seen[-1][0]
    assert len(seen) > 3
    assert seen[-1][1] == 1.0
    assert sorted(seen) == seen


def test_arrays_are_answered_with_all_outputs(onnx_bundle: Path, tmp_path: Path, images: Array) -> None:
    for save, name in ((np.savez, "plain"), (np.savez_compressed, "compressed")):
        data, out = tmp_path / f"{name}.npz", tmp_path / f"{name}-out.npz"
        save(data, image=images, label=np.zeros(len(images)))
        predict_file(read_bundle(onnx_bundle), data, out)
        with np.load(out) as file:
            expected = images.reshape(len(images), -1)[:, :3] / np.float32(64)
            np.testing.assert_allclose(file["logits"], expected)
            names = np.array(["cat", "dog", "eel"])
            assert file["label"].tolist() == names[expected.argmax(axis=1)].tolist()


def test_column_major_arrays_keep_their_rows(onnx_bundle: Path, tmp_path: Path, images: Array) -> None:
    np.savez(tmp_path / "in.npz", image=np.asfortranarray(images))
    predict_file(read_bundle(onnx_bundle), tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_allclose(file["logits"], images.reshape(len(images), -1)[:, :3] / np.float32(64))


def test_the_sole_array_that_fits_needs_no_name(onnx_bundle: Path, tmp_path: Path, images: Array) -> None:
    np.savez(tmp_path / "in.npz", picture=images, weight=np.ones(len(images)), y=images)
    assert predict_file(read_bundle(onnx_bundle), tmp_path / "in.npz", tmp_path / "out.csv").rows == len(images)


def test_columns_make_up_a_plain_array_by_name(array_bundle: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"height": [1.0, 2.0], "price": [0.0, 0.0], "width": [10.0, 20.0]})
    table.to_csv(tmp_path / "in.csv", index=False)
    table.to_parquet(tmp_path / "in.parquet")
    np.savez(tmp_path / "in.npz", **{name: table[name].to_numpy() for name in table})  # type: ignore[arg-type]
    for name in ("in.csv", "in.parquet", "in.npz"):
        predict_file(read_bundle(array_bundle), tmp_path / name, tmp_path / "out.csv")
        np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["value"], [23.0, 46.0])


def test_lists_of_a_parquet_file_are_rows_of_an_array(array_bundle: Path, tmp_path: Path) -> None:
    pd.DataFrame({"x": [[10.0, 1.0], [20.0, 2.0]]}).to_parquet(tmp_path / "in.parquet")
    predict_file(read_bundle(array_bundle), tmp_path / "in.parquet", tmp_path / "out.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["value"], [23.0, 46.0])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("width,height\n1,2\n1,2,3\n", "rows of unequal length"),
        ("width,width\n1,2\n", "width more than once"),
        ("width,height\n", "no rows"),
        ("", "0 bytes"),
        ("width,depth\n1,2\n", "no column height; the model takes width, height; it has width, depth"),
    ],
)
def test_tables_that_are_none(array_bundle: Path, tmp_path: Path, content: str, found: str) -> None:
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(DataError, match=found):
        predict_file(read_bundle(array_bundle), tmp_path / "in.csv", tmp_path / "out.csv")


def test_a_file_without_header_is_given_one(sklearn_bundle: Path, tmp_path: Path, table: pd.DataFrame) -> None:
    data = tmp_path / "in.csv"
    table.to_csv(data, index=False, header=False)
    bundle = read_bundle(sklearn_bundle)
    assert predict_file(bundle, data, tmp_path / "out.csv", header=list(table.columns)).rows == len(table)
    with pytest.raises(DataError, match=r"no column age, income, town; the model takes age, income, town"):
        predict_file(bundle, data, tmp_path / "out.csv")


def test_both_interfaces_take_the_names_of_the_columns(
    sklearn_bundle: Path, tmp_path: Path, table: pd.DataFrame
) -> None:
    data, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.to_csv(data, index=False, header=False)
    names = ", ".join(table.columns)
    for columns in (names, list(table.columns)):
        assert equipoise.predict(sklearn_bundle, data=data, out=out, columns=columns) == len(table)
    answered = out.read_text()
    given = [str(sklearn_bundle), "--data", str(data), "--out", str(out), "--columns", names]
    assert CliRunner().invoke(predict, given).exit_code == 0
    assert out.read_text() == answered


def spoiled(tmp_path: Path, table: pd.DataFrame, column: str, value: Any) -> Path:
    changed = table.astype({column: object})
    changed.loc[37, column] = value
    changed.to_csv(tmp_path / "in.csv", index=False)
    return tmp_path / "in.csv"


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        ("age", "", "has 1 missing values, first in row 38 ?; .*takes int64"),
        ("age", 20.5, "holds 20.5 in row 38 "),
        ("age", "old", "holds text, 'old' in row 38 "),
        ("income", "NA", "holds text, 'NA' in row 38 "),
    ],
)
def test_a_value_that_the_model_does_not_take_is_named(
    sklearn_bundle: Path, tmp_path: Path, table: pd.DataFrame, column: str, value: Any, found: str
) -> None:
    data, out = spoiled(tmp_path, table, column, value), tmp_path / "out.csv"
    out.write_text("kept")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match=f"'{column}'.*{found}"):
        predict_file(read_bundle(sklearn_bundle), data, out)
    assert out.read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "arrays", "found"),
    [
        (
            "shape",
            {"image": np.zeros((2, 3, 3), np.uint8)},
            r"'image' has the shape \[3, 3\] a row; input 'image' takes \[2, 2\]",
        ),
        ("range", {"image": np.full((2, 2, 2), 300)}, "300 in row 1 .*takes uint8"),
        ("name", {"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}, "no array 'image' among a, b"),
        ("empty", {"image": np.zeros((0, 2, 2), np.uint8)}, "no rows"),
        ("objects", {"image": np.array([None])}, "Python objects"),
    ],
)
def test_arrays_that_do_not_fit(
    onnx_bundle: Path, tmp_path: Path, name: str, arrays: dict[str, Array], found: str
) -> None:
    np.savez(tmp_path / "in.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=found):
        predict_file(read_bundle(onnx_bundle), tmp_path / "in.npz", tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["in.npz", "in.parquet", "in.csv", "in.txt"])
def test_damaged_files(onnx_bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x93nonsense\xff\n")
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        predict_file(read_bundle(onnx_bundle), tmp_path / name, tmp_path / "out.csv")


def test_where_answers_cannot_go(onnx_bundle: Path, tmp_path: Path, images: Array) -> None:
    np.savez(tmp_path / "in.npz", image=images)
    bundle = read_bundle(onnx_bundle)
    for out, found in (("out.txt", "kind '.txt'"), ("nowhere/out.csv", "no folder"), ("in.npz", "being read")):
        with pytest.raises(DataError, match=found):
            predict_file(bundle, tmp_path / "in.npz", tmp_path / out)


def test_command_line(onnx_bundle: Path, tmp_path: Path, images: Array) -> None:
    np.savez(tmp_path / "in.npz", image=images)
    arguments = [str(onnx_bundle), "--data", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.csv"), "--json"]
    done = CliRunner().invoke(predict, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rows"] == len(images)
    assert list(pd.read_csv(tmp_path / "out.csv")) == ["label", "confidence"]
