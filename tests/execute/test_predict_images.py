"""Answers to an image, a folder and an archive of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from equipoise.cli.predict import predict
from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.errors import DataError
from equipoise.execute.predict_file import predict_file
from equipoise.execute.verify import verify_bundle
from equipoise.store.bundle import read_bundle
from picturing import COLOURS, coloured, encoded, picture_bundle, picture_folder

FLOATS = ImagePreprocessing.model_validate(
    {
        "do_resize": True, "size": {"height": 8, "width": 8}, "do_rescale": True, "do_normalize": True,
        "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5), "layout": "NCHW", "dtype": "float32",
        "input": "image",
    }
)  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path, bundled: Any) -> Path:
    return picture_bundle(tmp_path / "bundle", bundled, FLOATS)


def test_a_folder_and_an_archive_of_it(tmp_path: Path, bundle: Path) -> None:
    folder = picture_folder(tmp_path / "pictures", 30, side=11, kind="JPEG")
    archive = Path(shutil.make_archive(str(tmp_path / "pictures"), "zip", tmp_path, "pictures"))
    found = {}
    for data in (folder, archive):
        done = predict_file(read_bundle(bundle), data, tmp_path / "out.csv")
        assert (done.rows, done.columns) == (90, ("file", "label", "confidence"))
        table = pd.read_csv(tmp_path / "out.csv")
        found[data] = table.assign(file=table["file"].str.removeprefix("pictures/")).sort_values("file")
        assert (table["file"].str.split("/").str[-2] == table["label"]).all()
    np.testing.assert_array_equal(found[folder].to_numpy(), found[archive].to_numpy())
    assert set(found[folder]["label"]) == set(COLOURS)


def test_one_image_is_answered_on_the_command_line(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "one.png").write_bytes(encoded(coloured("green", 1, 20)))
    done = CliRunner().invoke(predict, [str(bundle), "--data", str(tmp_path / "one.png")])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "file,label,confidence"
    assert lines[1].startswith("one.png,green,0.")


def test_a_broken_image_is_named_and_leaves_no_file(tmp_path: Path, bundle: Path) -> None:
    folder = picture_folder(tmp_path / "pictures", 2)
    (folder / "red" / "001.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"pictures/red/001\.png: neither a JPEG nor a PNG"):
        predict_file(read_bundle(bundle), folder, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_bundle_without_preprocessing_takes_no_images(tmp_path: Path, onnx_bundle: Path) -> None:
    folder = picture_folder(tmp_path / "pictures", 1)
    with pytest.raises(DataError, match="the bundle has no preprocessing"):
        predict_file(read_bundle(onnx_bundle), folder, tmp_path / "out.csv")


def test_settings_are_part_of_what_is_verified(bundle: Path) -> None:
    assert verify_bundle(bundle).ok
    settings = json.loads((bundle / "preprocess.json").read_text())
    (bundle / "preprocess.json").write_text(json.dumps(settings | {"resample": 3}))
    assert verify_bundle(bundle).changed_files[0].startswith("preprocess.json: changed")
    (bundle / "preprocess.json").unlink()
    assert verify_bundle(bundle).changed_files == ("preprocess.json: missing",)
