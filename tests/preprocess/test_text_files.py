"""Labelled text: what is read, and how bad lines are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import DataError
from equipoise.ingest.table import read_table
from equipoise.preprocess.text_files import text_columns


def test_a_line_is_a_label_and_text(tmp_path: Path) -> None:
    path = tmp_path / "reviews.test"
    path.write_text("1 a fine  film .\n\n0\tdull ; and long \n", encoding="utf-8")
    table = read_table(path)
    assert table.columns["label"].tolist() == [1, 0]
    assert table.columns["label"].dtype == np.int64
    assert table.columns["text"].tolist() == ["a fine  film .", "dull ; and long"]


def test_labels_may_be_names(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text("DESC:manner How did it end ?\nNUM:dist How far is it ?\n")
    assert read_table(path).columns["label"].tolist() == ["DESC:manner", "NUM:dist"]


def test_a_line_without_text_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text("1 a film\n0\n1 another\nfine\n")
    with pytest.raises(DataError, match="a label and no text in 2 of 4 lines: 2, 4; needed `label text`"):
        read_table(path)


def test_another_encoding_is_named_with_its_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_bytes("1 a film\n0 a clich\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2 is not UTF-8 text: byte 0xe9, 10 bytes into it"):
        read_table(path)


def test_json_lines_are_columns(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"text": "a film", "label": "good", "stars": 5}\n{"text": null, "label": "bad", "stars": 1.5}\n')
    columns = read_table(path).columns
    assert columns["text"].tolist() == ["a film", None]
    assert columns["label"].tolist() == ["good", "bad"]
    assert columns["stars"].tolist() == [5.0, 1.5]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "half', "line 2 is not JSON"),
        ('"a film"', "line 2 is .*needed an object"),
        ('{"text": ["a", "film"]}', "a list or an object under 'text' in 1 of 2 lines: 2"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "reviews.jsonl"
    path.write_text(f'{{"text": "a film"}}\n{line}\n')
    with pytest.raises(DataError, match=said):
        read_table(path)


def test_pieces_are_those_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text("".join(f"{number % 2} film number {number}\n" for number in range(7)))
    pieces = list(text_columns(path, rows=3))
    assert [len(columns["text"]) for columns, _ in pieces] == [3, 3, 1]
    assert pieces[-1][1] == 1.0
    (whole, _), *_ = text_columns(path)
    assert np.concatenate([columns["text"] for columns, _ in pieces]).tolist() == whole["text"].tolist()


def test_a_file_without_lines_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "reviews.txt"
    path.write_text("\n \n")
    with pytest.raises(DataError, match="no columns"):
        read_table(path)
