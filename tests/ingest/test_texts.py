"""Text in data files: which column it is, its tokens, and duplicates by what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.core.preprocessing import PlacedPreprocessing, TextPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.ingest.data_files import DataFiles
from equipoise.ingest.duplicates import find_duplicates
from equipoise.ingest.rows import bind_rows
from equipoise.ingest.table import read_table
from equipoise.ingest.texts import text_columns
from equipoise.store.artifacts import file_digest

pytest.importorskip("tokenizers", reason="needs the extra text")
NAMES = ("input_ids", "attention_mask")
SPEC = ModelSpec(
    inputs=tuple(TensorSpec(name=name, dtype="int64", shape=(None, None)) for name in NAMES),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 2)),),
)


@pytest.fixture
def placed(tmp_path: Path) -> PlacedPreprocessing:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film"]) + "\n")
    settings = TextPreprocessing(tokenizer=path.name, tokenizer_sha256=file_digest(path), max_length=4)
    return PlacedPreprocessing(settings=settings, folder=str(tmp_path))


def written(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_the_only_column_of_text_is_the_text(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    files = DataFiles(SPEC, placed=placed, besides=("verdict",))
    path = written(tmp_path, "d.csv", "review,verdict,length\na film,good,2\na fine fine film,bad,4\n")
    table = files.read(path)
    assert table.columns["input_ids"].tolist() == [[2, 4, 6, 3], [2, 4, 5, 3]]
    assert table.texts is not None
    assert table.texts.tolist() == ["a film", "a fine fine film"]
    assert files.placed is not None
    assert isinstance(files.placed.settings, TextPreprocessing)
    assert files.placed.settings.columns == ("review",)
    assert files.notes == (f"{path}: 2 of 2 texts fill all 4 tokens of a row, and may have been cut (max_length)",)


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("title,text,label", "a,b,c", "text"),
        ("title,sentence,label", "a,b,c", "sentence"),
        ("review,label", "a,c", "review"),
    ],
)
def test_which_column_is_the_text(tmp_path: Path, header: str, row: str, found: str) -> None:
    assert text_columns(read_table(written(tmp_path, "d.csv", f"{header}\n{row}\n"))) == (found,)


@pytest.mark.parametrize(("header", "row", "said"), [("a,b", "x,y", "2 columns of text"), ("a,b", "1,2", "0 columns")])
def test_an_unclear_column_is_asked_for(tmp_path: Path, header: str, row: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"{said}.*--text-column"):
        text_columns(read_table(written(tmp_path, "d.csv", f"{header}\n{row}\n")))


def test_numbers_in_the_text_column_are_read_as_they_stand(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    settings = placed.settings.model_copy(update={"columns": ("review",)})
    files = DataFiles(SPEC, placed=placed.model_copy(update={"settings": settings}))
    table = files.read(written(tmp_path, "d.csv", "review\n007\n8\n"))
    assert table.texts is not None
    assert table.texts.tolist() == ["007", "8"]


def test_a_missing_text_is_named_by_its_row(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    with pytest.raises(DataError, match=r"row 2: no text"):
        DataFiles(SPEC, placed=placed).read(written(tmp_path, "d.csv", "text,stars\na film,1\n,2\n"))


def test_duplicates_are_told_by_the_text(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    files = DataFiles(SPEC, placed=placed)
    # The tokens of the first two are the same, since neither word is known; the third differs in its case alone.
    rows = bind_rows(files.read(written(tmp_path, "d.txt", "0 dull\n1 sharp\n0 Dull\n1 sharp\n")), SPEC)
    train = bind_rows(files.read(written(tmp_path, "t.txt", "1 sharp\n0 bright\n")), SPEC)
    clusters = find_duplicates(rows, train)
    assert clusters.of_row.tolist() == [0, 1, 0, 1] or clusters.of_row.tolist() == [1, 0, 1, 0]
    assert (clusters.counts.exact, clusters.counts.near, clusters.counts.in_training) == (1, 1, 2)


def test_rows_keep_their_texts(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    rows = bind_rows(DataFiles(SPEC, placed=placed).read(written(tmp_path, "d.txt", "0 dull\n1 film\n")), SPEC)
    taken = rows.take(np.array([1]))
    assert taken.texts is not None
    assert taken.texts.tolist() == ["film"]


def test_tokens_need_no_text(tmp_path: Path, placed: PlacedPreprocessing) -> None:
    np.savez(tmp_path / "d.npz", input_ids=np.ones((2, 3), int), attention_mask=np.ones((2, 3), int))
    table = DataFiles(SPEC, placed=placed).read(tmp_path / "d.npz")
    assert table.texts is None
