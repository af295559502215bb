from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from equipoise.errors import DataError
from equipoise.ingest.table import read_table


def test_npz(tmp_path: Path) -> None:
    arrays = {"image": np.zeros((3, 2, 2), np.uint8), "text": np.array(["a", "", "b "]), "half": np.ones(3, np.float16)}
    np.savez_compressed(tmp_path / "d.npz", **arrays)
    table = read_table(tmp_path / "d.npz")
    assert list(table.columns) == ["image", "text", "half"]
    assert table.columns["image"].dtype == np.uint8
    assert table.columns["text"].tolist() == ["a", "", "b "]
    assert table.n == 3
    assert table.head(2).n == 2


def test_csv_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(
        "whole,part,text,state,gap,flag,padded\n1,1.5, a,NA,,True, 7\n2,,null,nan,3,False, 8\n3,2.5,,None,4,True, 9\n"
    )
    columns = read_table(tmp_path / "d.csv").columns
    assert columns["whole"].dtype == np.int64
    assert columns["padded"].tolist() == [7, 8, 9]
    assert columns["flag"].dtype == bool
    np.testing.assert_array_equal(columns["part"], [1.5, np.nan, 2.5])
    np.testing.assert_array_equal(columns["gap"], [np.nan, 3, 4])
    assert columns["text"].tolist() == [" a", "null", None]
    assert columns["state"].tolist() == ["NA", "nan", "None"]
    assert columns["text"].dtype == object


def test_csv_without_header(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("39, Private\n50, State\n")
    table = read_table(tmp_path / "d.csv", ("age", "work"))
    assert table.columns["age"].tolist() == [39, 50]
    assert table.columns["work"].tolist() == [" Private", " State"]


def test_a_byte_order_mark_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text('a,"b, c"\n1,"x\ny"\n', encoding="utf-8-sig")
    columns = read_table(tmp_path / "d.csv").columns
    assert list(columns) == ["a", "b, c"]
    assert columns["b, c"].tolist() == ["x\ny"]


def test_parquet(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {
            "whole": pandas.array([1, None, 3], dtype="Int64"),
            "sure": np.array([1, 2, 3], np.int32),
            "text": ["a", None, " b"],
            "kind": pandas.Categorical(["x", "y", "x"]),
            "flag": [True, False, True],
            "day": pandas.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]),
            "pixels": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        }
    )
    frame.to_parquet(tmp_path / "d.parquet", index=True)
    columns = read_table(tmp_path / "d.parquet").columns
    np.testing.assert_array_equal(columns["whole"], [1, np.nan, 3])
    assert columns["sure"].dtype == np.int32
    assert columns["text"].tolist() == ["a", None, " b"]
    assert columns["kind"].tolist() == ["x", "y", "x"]
    assert columns["flag"].dtype == bool
    assert columns["day"][0].startswith("2026-01-01")
    assert columns["pixels"].shape == (3, 2)


def test_the_same_table_in_csv_and_parquet(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"n": [1, 2], "x": [0.5, np.nan], "t": ["a ", None]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet", index=False)
    csv, parquet = read_table(tmp_path / "d.csv").columns, read_table(tmp_path / "d.parquet").columns
    assert list(csv) == list(parquet)
    for name in csv:
        assert csv[name].dtype == parquet[name].dtype
        np.testing.assert_array_equal(csv[name], parquet[name])


def test_parquet_with_ragged_lists_or_structures(tmp_path: Path) -> None:
    for values, says in (([[1], [1, 2]], "lists of unequal lengths"), ([{"a": 1}, {"a": 2}], "holds struct")):
        pyarrow.parquet.write_table(pyarrow.table({"v": values}), tmp_path / "d.parquet")
        with pytest.raises(DataError, match=f"'v' {says}|'v' .*{says}"):
            read_table(tmp_path / "d.parquet")


def test_an_npz_with_one_key_twice(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(2))
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        file.write(tmp_path / "x.npy", "x.npy")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(DataError, match="found x more than once"):
        read_table(tmp_path / "d.npz")


def test_a_truncated_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.random.default_rng(0).standard_normal(1000))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[200:400] = bytes(200)  # the directory at its end is whole, the array is not
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"not a complete \.npz file"):
        read_table(tmp_path / "d.npz")


@pytest.mark.parametrize(("name", "says"), [("d.docx", "kind .docx"), ("gone.csv", "cannot be read: No such file")])
def test_what_cannot_be_read(tmp_path: Path, name: str, says: str) -> None:
    if name == "d.docx":
        (tmp_path / name).write_text("1")
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / name)
