"""A model of text from its tokenizer to its answers: optimize, predict and check read sentences alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from equipoise.core.preprocessing import TextPreprocessing
from equipoise.errors import BriefError, DataError
from equipoise.execute.predict_file import predict_file
from equipoise.flow.api import check, optimize
from equipoise.store.bundle import read_bundle
from sentencing import LABELS, sentence_model, sentences_file, vocabulary

pytest.importorskip("tokenizers", reason="needs the extra text")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    sentence_model(folder)
    vocabulary(folder / "vocab.txt")
    sentences_file(folder / "test.txt", 1_200, seed=0)
    sentences_file(folder / "train.txt", 200, seed=0)
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    optimize(
        folder / "model.onnx", data=folder / "test.txt", train=folder / "train.txt", preprocess=folder / "vocab.txt",
        labels=",".join(LABELS), max_drop=0.05, budget="10s", out=folder / "study",
    )  # fmt: skip
    return folder / "study"


def test_sentences_go_from_the_file_to_the_proof(study: Path) -> None:
    from equipoise.core.result import Result

    result = Result.model_validate_json((study / "result.json").read_bytes())
    assert result.baseline.quality is not None
    assert result.baseline.quality.value == 1.0
    assert result.splits.duplicates.in_training is not None
    assert result.splits.duplicates.in_training >= 200
    assert result.padding is not None
    assert result.padding.by_length <= result.padding.as_run <= result.padding.to_longest_row
    assert "are filling" in (study / "report.html").read_text()


def test_the_bundle_reads_sentences_as_the_study_did(study: Path, tmp_path: Path) -> None:
    bundle = read_bundle(study / "bundle")
    assert bundle.preprocessing is not None
    settings = bundle.preprocessing.settings
    assert isinstance(settings, TextPreprocessing)
    assert settings.columns == ("text",)
    assert bundle.preprocessing.folder == str(study / "bundle" / "preprocess")
    pd.DataFrame({"text": ["warm and bright", "a flat plot"], "stars": 3}).to_csv(tmp_path / "in.csv", index=False)
    predict_file(bundle, tmp_path / "in.csv", tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == ["fine", "dull"]


def test_predictions_of_a_whole_file_keep_their_order(study: Path, folder: Path, tmp_path: Path) -> None:
    predict_file(read_bundle(study / "bundle"), folder / "test.txt", tmp_path / "out.csv")
    truth = [LABELS[int(line[0])] for line in (folder / "test.txt").read_text().splitlines()]
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == truth


def test_sentences_without_labels_are_predicted_whole(study: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("fine\ndull plot\nfunny film\n\ncold and warm and flat\n")
    predict_file(read_bundle(study / "bundle"), tmp_path / "plain.txt", tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == ["fine", "dull", "fine", "dull"]
    (tmp_path / "mixed.txt").write_text("dull a fine film\nfine a flat plot\nfime a slow one\n")
    with pytest.raises(DataError, match="2 of the first 3 lines begin with a class, and 1 with something else, 'fime'"):
        predict_file(read_bundle(study / "bundle"), tmp_path / "mixed.txt", tmp_path / "out.csv")
    (tmp_path / "named.txt").write_text("dull a fine film\nfine a flat plot\n")  # every line begins with a class
    predict_file(read_bundle(study / "bundle"), tmp_path / "named.txt", tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist() == ["fine", "dull"]


def test_check_reads_sentences_too(study: Path, folder: Path, tmp_path: Path) -> None:
    sentences_file(tmp_path / "new.txt", 1_500, seed=9)
    found = check(study / "bundle", data=tmp_path / "new.txt", baseline=folder / "model.onnx")
    assert found.ok, found


def test_a_text_column_needs_a_tokenizer(folder: Path) -> None:
    with pytest.raises(BriefError, match=r"--text-column.*--preprocess"):
        optimize(folder / "model.onnx", data=folder / "test.txt", text_column="text", budget="10s")


def test_a_bad_line_is_named_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "test.txt", tmp_path / "bad.txt")
    with (tmp_path / "bad.txt").open("a") as file:
        file.write("1\n")
    with pytest.raises(DataError, match=r"a label and no text in 1 of 1,201 lines: 1,201"):
        optimize(
            folder / "model.onnx", data=tmp_path / "bad.txt", preprocess=folder / "vocab.txt", budget="10s",
            out=tmp_path / "study",
        )  # fmt: skip
