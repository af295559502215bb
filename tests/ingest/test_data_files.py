"""Data files of a study as tables: images through their preprocessing, decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.brief import Brief
from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BriefError, DataError
from equipoise.ingest import data_files
from equipoise.ingest.brief import brief_from_options
from equipoise.ingest.data_files import DataFiles
from equipoise.ingest.duplicates import find_duplicates
from equipoise.ingest.study_data import load_study_data
from equipoise.store.study import StudyFolder
from picturing import COLOURS, encoded, picture_folder
from sentencing import SPEC as SENTENCES
from sentencing import sentences_file, vocabulary

Array = NDArray[Any]
BYTES = ModelSpec(inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, 8, 8, 3)),), outputs=())
FLOATS = ModelSpec(inputs=(TensorSpec(name="image", dtype="float32", shape=(None, 3, 8, 8)),), outputs=())


def test_images_without_settings(tmp_path: Path) -> None:
    files = DataFiles(BYTES)
    table = files.read(picture_folder(tmp_path / "pictures", 2))
    assert table.columns["image"].shape == (6, 8, 8, 3)
    assert table.columns["label"].tolist() == [colour for colour in COLOURS for _ in range(2)]
    assert files.classes == COLOURS
    assert files.placed is not None
    assert "no preprocessing was given" in files.notes[0]
    assert "ms of a core" in files.notes[1]
    files.read(tmp_path / "pictures" / "red")
    assert len(files.notes) == 2
    with pytest.raises(DataError, match="needed do_rescale or rescale_factor"):
        DataFiles(FLOATS).read(tmp_path / "pictures")
    with pytest.raises(DataError, match="images, and no preprocessing for them; needed rows as tensors"):
        DataFiles(None).read(tmp_path / "pictures")


def test_settings_are_completed_by_the_model_and_images_kept(tmp_path: Path) -> None:
    folder = picture_folder(tmp_path / "pictures", 2, side=12)
    placed = PlacedPreprocessing(
        settings=ImagePreprocessing.model_validate({"do_resize": True, "size": {"height": 8, "width": 8}})
    )
    study = StudyFolder(tmp_path / "study", {})
    first = DataFiles(FLOATS, None, placed, study.kept_arrays).read(folder)
    assert first.columns["image"].dtype == np.float32
    assert 0 <= first.columns["image"].min() < first.columns["image"].max() <= 1
    for file in folder.rglob("*.png"):
        file.write_bytes(b"gone")
    again = DataFiles(FLOATS, None, placed, study.kept_arrays).read(folder)
    np.testing.assert_array_equal(again.columns["image"], first.columns["image"])


def test_other_files_are_read_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", image=np.zeros((3, 8, 8, 3), np.uint8), label=["red", "blue", "red"])
    table = DataFiles(BYTES).read(tmp_path / "rows.npz")
    assert list(table.columns) == ["image", "label"]


def test_numbered_classes_are_in_the_order_of_text(tmp_path: Path) -> None:
    for name in ("0", "2", "10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8)))
    files = DataFiles(BYTES)
    files.read(tmp_path)
    assert files.classes == ("0", "10", "2")
    assert "--labels" in files.notes[-1]


def test_more_images_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "memory_bytes", lambda: 4_000)
    with pytest.raises(DataError, match="6 images that become"):
        DataFiles(BYTES).read(picture_folder(tmp_path / "pictures", 2))


def brief(tmp_path: Path, **options: object) -> Brief:
    (tmp_path / "model.onnx").write_bytes(b"")
    return brief_from_options(model=str(tmp_path / "model.onnx"), **options)


def test_a_study_reads_images_everywhere_and_finds_those_that_repeat(tmp_path: Path) -> None:
    main, train = picture_folder(tmp_path / "main", 4), picture_folder(tmp_path / "train", 2)
    (main / "red" / "again.png").write_bytes((main / "red" / "000.png").read_bytes())
    wanted = brief(tmp_path, data=str(main), train=str(train), calibration=str(train), ood=[f"other={train}:0.1"])
    data = load_study_data(wanted, BYTES)
    assert data.rows.n == 13 + 6
    assert data.classes == COLOURS
    assert data.files[4 + 4 : 4 + 4 + 2] == ("red/000.png", "red/001.png")
    assert data.preprocessing is not None
    assert data.train is not None
    found = find_duplicates(data.rows.take(slice(0, 13)), data.train, data.calibration).counts
    assert found.exact == 1
    assert found.in_training == 7


def test_sets_of_texts_may_be_of_any_length(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="needs the extra text")
    sentences_file(tmp_path / "main.txt", 6, longest=4)
    (tmp_path / "long.txt").write_text("1 a fine film and the plot of a film is bright and warm and funny\n0 dull\n")
    vocabulary(tmp_path / "vocab.txt")
    wanted = brief(
        tmp_path, data=str(tmp_path / "main.txt"), preprocess=str(tmp_path / "vocab.txt"),
        ood=[f"long={tmp_path / 'long.txt'}:0.1"],
    )  # fmt: skip
    rows = load_study_data(wanted, SENTENCES).rows
    assert rows.feeds["attention_mask"].sum(axis=1).tolist()[-2:] == [17, 3]
    assert rows.feeds["input_ids"].shape == (8, 17)


def test_sets_of_token_ids_may_be_of_any_length_and_other_free_sizes_are_one(tmp_path: Path) -> None:
    for name, length in (("main", 3), ("long", 5)):
        ids = np.ones((4, length), np.int64)
        np.savez(
            tmp_path / f"{name}.npz", input_ids=ids, attention_mask=ids, sound=np.ones((4, length)), label=[0, 1] * 2
        )
    paths = {"data": str(tmp_path / "main.npz"), "ood": [f"long={tmp_path / 'long.npz'}:0.1"]}
    rows = load_study_data(brief(tmp_path, **paths), SENTENCES).rows
    assert rows.feeds["attention_mask"].sum(axis=1).tolist() == [3] * 4 + [5] * 4
    sound = ModelSpec(inputs=(TensorSpec(name="sound", dtype="float32", shape=(None, None)),), outputs=())
    with pytest.raises(DataError, match=r"input 'sound' is \[5\] a row; needed \[3\], as in the main rows"):
        load_study_data(brief(tmp_path, **paths), sound)


def test_a_folder_needs_images_and_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("empty", "gone.tar.gz"):
        with pytest.raises(BriefError, match="--data"):
            brief(tmp_path, data=str(tmp_path / path))
