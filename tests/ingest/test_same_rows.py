"""A study and a prediction read the same file in the same way, to the bit."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.ingest.rows import bind_rows, feature_columns
from equipoise.ingest.table import read_table
from equipoise.preprocess import chunks
from equipoise.preprocess.chunks import read_chunks

N = 40
KINDS = (".csv", ".parquet", ".npz")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 100)


def _spec(**inputs: tuple[DType, tuple[int | None, ...]]) -> ModelSpec:
    tensors = (TensorSpec(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items())
    return ModelSpec(inputs=tuple(tensors), outputs=())


def _written(folder: Path, kind: str, columns: dict[str, Any]) -> Path:
    path = folder / f"d{kind}"
    if kind == ".npz":
        np.savez(path, **{name: np.asarray(values) for name, values in columns.items()})  # type: ignore[arg-type]
    else:
        frame = pandas.DataFrame({name: pandas.Series(values) for name, values in columns.items()})
        frame.to_csv(path, index=False) if kind == ".csv" else frame.to_parquet(path)
    return path


def _study(path: Path, spec: ModelSpec, extra: Sequence[str] = ()) -> dict[str, np.ndarray]:
    return bind_rows(read_table(path), spec, extra=extra).feeds


def _prediction(path: Path, spec: ModelSpec, columns: Sequence[str] = ()) -> dict[str, np.ndarray]:
    parts = [chunk.feeds for chunk in read_chunks(path, spec, columns=columns)]
    assert len(parts) > 1 or len(next(iter(parts[0].values()))) == 1
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _require_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        if array.dtype == object:
            assert [*map(repr, found[name].ravel())] == [*map(repr, array.ravel())], name
        else:
            assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name


WHOLE = np.arange(N)
REAL = np.random.default_rng(0).standard_normal(N)
GAPS = np.where(WHOLE % 7 == 3, np.nan, REAL)
TEXT = np.array(["Ulm", " NA", "nan", "42", "b "], dtype=object)[WHOLE % 5]
HOLES = np.where(WHOLE % 6 == 5, None, TEXT)
TRUTH = WHOLE % 3 == 0
MAYBE = np.where(WHOLE > N // 2, None, TRUTH.astype(object))  # pieces with and without gaps
COUNTS = np.where(WHOLE == N - 1, np.nan, WHOLE + 2.0**24 + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (WHOLE, "int64"),
        (WHOLE, "uint8"),
        (WHOLE, "float32"),
        (WHOLE * 1.0, "int32"),
        (REAL, "float64"),
        (REAL, "float32"),
        (REAL, "float16"),
        (GAPS, "float64"),
        (GAPS, "float32"),
        (COUNTS, "float32"),
        (COUNTS, "float64"),
        (TRUTH, "bool"),
        (TRUTH, "float32"),
        (TRUTH, "string"),
        (WHOLE % 2, "bool"),
        (TEXT, "string"),
        (HOLES, "string"),
        (MAYBE, "string"),
    ],
)
def test_a_column(tmp_path: Path, kind: str, values: np.ndarray, dtype: DType) -> None:
    if kind == ".npz" and values.dtype == object:
        if any(value is None for value in values):
            pytest.skip("an .npz file has no missing text")
        values = values.astype(str)
    spec = _spec(x=(dtype, (None, 1)))
    path = _written(tmp_path, kind, {"other": TEXT.astype(str), "x": values, "label": TRUTH})
    _require_same(_prediction(path, spec), _study(path, spec))


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
@pytest.mark.parametrize("last", [None, 0.5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_whole_numbers_of_a_column_that_is_float_in_its_last_row(
    tmp_path: Path, kind: str, last: float | None, dtype: DType
) -> None:
    values = [*(WHOLE[1:] + {"float16": 2**11, "float32": 2**24, "float64": 2**53}[dtype]).tolist(), last]
    path = tmp_path / f"d{kind}"
    if kind == ".csv":
        path.write_text("x,z\n" + "".join(f"{'' if value is None else value},7\n" for value in values))
    else:
        x = pandas.array(values, dtype="Int64") if last is None else values
        pandas.DataFrame({"x": x, "z": 7}).to_parquet(path)
    for spec in (_spec(x=(dtype, (None, 1))), _spec(both=(dtype, (None, 2)))):
        _require_same(_prediction(path, spec), _study(path, spec))


@pytest.mark.parametrize("kind", KINDS)
def test_many_columns_by_name(tmp_path: Path, kind: str) -> None:
    spec = _spec(
        town=("string", (None, 1)), age=("int64", (None, 1)), pay=("float64", (None, 1)), home=("bool", (None, 1))
    )
    columns = {"pay": GAPS, "town": TEXT.astype(str), "label": TEXT.astype(str), "home": TRUTH, "age": WHOLE}
    path = _written(tmp_path, kind, columns)
    study = _study(path, spec)
    assert study["town"].ravel().tolist() == TEXT.tolist()
    _require_same(_prediction(path, spec), study)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [4, 5, None])
def test_columns_side_by_side(tmp_path: Path, kind: str, dtype: DType, width: int | None) -> None:
    columns = {"b": COUNTS, "a": WHOLE, "home": TRUTH, "c": GAPS, "site": WHOLE % 4, "label": TRUTH}
    spec = _spec(x=(dtype, (None, width)))
    path = _written(tmp_path, kind, columns)
    table = read_table(path)
    sources = feature_columns(table, spec, "label", ("site",))["x"]
    assert sources == (("b", "a", "home", "c", "site") if width != 4 else ("b", "a", "home", "c"))
    study = _study(path, spec, extra=("site",))
    assert study["x"].shape == (N, len(sources))
    _require_same(_prediction(path, spec, columns=sources), study)
    if width != 4:  # without the study's word: all columns but the true answers
        _require_same(_prediction(path, spec), study)


@pytest.mark.parametrize("kind", [".parquet", ".npz"])
def test_the_one_array_that_fits(tmp_path: Path, kind: str) -> None:
    rows = np.random.default_rng(1).integers(0, 256, (N, 3))
    pixels: Any = list(rows) if kind == ".parquet" else rows
    spec = _spec(x=("uint8", (None, 3)))
    path = _written(tmp_path, kind, {"pixels": pixels, "weight": REAL, "y": TRUTH})
    study = _study(path, spec)
    np.testing.assert_array_equal(study["x"], rows)
    for columns in ((), ("pixels",), ("images",)):
        _require_same(_prediction(path, spec, columns=columns), study)


def test_text_of_a_csv_file_is_what_stands_there(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("code,flag\n" + "007,true\n1.50,\n,FALSE\n" * 5)
    spec = _spec(code=("string", (None, 1)), flag=("string", (None, 1)))
    study = _study(tmp_path / "d.csv", spec)
    assert study["code"].ravel().tolist()[:3] == ["007", "1.50", None]
    assert study["flag"].ravel().tolist()[:3] == ["true", None, "FALSE"]
    _require_same(_prediction(tmp_path / "d.csv", spec), study)
    (tmp_path / "row.csv").write_text("code,flag\n007,true\n")  # a row alone is read as it was among others
    alone = _prediction(tmp_path / "row.csv", spec)
    assert {name: array.ravel().tolist() for name, array in alone.items()} == {"code": ["007"], "flag": ["true"]}


def test_what_is_no_array_in_an_archive(tmp_path: Path) -> None:
    spec, path = _spec(x=("float64", (None, 1))), tmp_path / "d.npz"
    np.savez(path, x=REAL)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "left alone")
    _require_same(_prediction(path, spec), _study(path, spec))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("z.npy", "no array")
    for read in (_study, _prediction):
        with pytest.raises(DataError, match=r"not a complete \.npz file"):
            read(path, spec)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (WHOLE + 2**24, "float32"),
        (WHOLE + 2**62 + 1, "float64"),
        (GAPS, "int64"),
        (REAL, "int64"),
        (WHOLE - 1, "uint8"),
        (REAL * 1e300, "float32"),
        (np.where(WHOLE == 0, "blue", "1"), "float64"),
        (WHOLE, "bfloat16"),
    ],
)
def test_refusals_are_the_same(tmp_path: Path, kind: str, values: np.ndarray, dtype: DType) -> None:
    spec = _spec(x=(dtype, (None, 1)))
    path = _written(tmp_path, kind, {"x": values, "label": TRUTH})
    with pytest.raises(DataError) as study:
        _study(path, spec)
    with pytest.raises(DataError) as prediction:
        _prediction(path, spec)
    first, second = str(study.value), str(prediction.value)
    if "missing values" in first:  # a prediction has counted those of one piece only
        first, second = (message.partition("first in row")[2] for message in (first, second))
    assert first == second


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", b""),
        ("d.csv", b"x,x\n1,2\n"),
        ("d.csv", b"x,\n1,2\n"),
        ("d.csv", b"x,b\n1,2\n1,2,3\n"),
        ("d.csv", b"x\n\xff\n"),
        ("d.csv", b"a,b\n1,2\n"),
        ("d.parquet", b"PAR1 and then nothing"),
        ("d.npz", b"\x93NUMPY"),
        ("d.docx", b"1"),
        ("gone.csv", None),
    ],
)
def test_broken_files_are_refused_with_the_same_words(tmp_path: Path, name: str, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    spec = _spec(x=("float64", (None, 1)), b=("float64", (None, 1)))
    messages = []
    for read in (_study, _prediction):
        with pytest.raises(DataError) as caught:
            read(tmp_path / name, spec)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
