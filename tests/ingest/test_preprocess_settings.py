"""Preprocessing as people have it: files of Hugging Face's, older and newer, tokenizers, and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from equipoise.core.preprocessing import ImagePreprocessing, ImageSize, TextPreprocessing
from equipoise.errors import BriefError
from equipoise.ingest.brief import brief_from_options, brief_from_toml
from equipoise.ingest.preprocess_settings import image_settings, preprocessing

HALF = [0.5, 0.5, 0.5]
VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": HALF,
    "image_processor_type": "ViTImageProcessor", "image_std": HALF, "resample": 2,
    "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224},
}  # fmt: skip
CLIP = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
    "resample": 3, "size": 224,
}  # fmt: skip
CONVNEXT = {
    "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": HALF, "image_std": HALF, "resample": 3, "size": 224,
}  # fmt: skip


def test_vit() -> None:
    found = image_settings(VIT, "x")
    assert (found.do_resize, found.size) == (True, ImageSize(height=224, width=224))
    assert (found.do_center_crop, found.do_rescale, found.do_normalize, found.resample) == (False, True, True, 2)


def test_one_number_is_the_shorter_side_where_the_middle_is_cut_out() -> None:
    found = image_settings(CLIP, "x")
    assert found.size == ImageSize(shortest_edge=224)
    assert found.crop_size == ImageSize(height=224, width=224)
    assert image_settings({"size": 32}, "x").size == ImageSize(height=32, width=32)


def test_a_share_that_is_cut_out() -> None:
    found = image_settings(CONVNEXT, "x")
    assert (found.size, found.crop_size) == (ImageSize(shortest_edge=256), ImageSize(height=224, width=224))
    large = image_settings(CONVNEXT | {"size": {"shortest_edge": 384}}, "x")
    assert (large.size, large.do_center_crop) == (ImageSize(height=384, width=384), False)


def test_figures_are_used_where_it_is_not_said() -> None:
    found = image_settings({"image_mean": HALF, "image_std": HALF}, "x")
    assert (found.do_normalize, found.do_resize, found.do_rescale) == (True, False, None)
    assert image_settings({"image_mean": 0.5, "image_std": 0.5}, "x").channel_order == "grey"
    mobile = image_settings({"image_mean": HALF, "image_std": HALF, "do_flip_channel_order": True}, "x")
    assert (mobile.channel_order, mobile.do_normalize) == ("BGR", False)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"do_pad": True}, "do_pad"),
        ({"sise": 224}, "sise"),
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, "longest_edge"),
        ({"size": {"height": 224}}, "size"),
        ({"size": 0}, "size"),
        ({"resample": 9}, "resample"),
        ({"image_std": [0.5, 0.5]}, "do_normalize"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std"),
        ({"crop_pct": "most"}, "crop_pct"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"image_processor_type": "LevitImageProcessor"}, "more than its settings say"),
    ],
)
def test_what_is_not_done_here_is_refused(change: dict[str, Any], place: str) -> None:
    with pytest.raises(BriefError, match=place):
        image_settings(VIT | change, "x")


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    expected = image_settings(VIT, "x")
    for path in (tmp_path, tmp_path / "preprocessor_config.json"):
        placed = preprocessing(str(path), "--preprocess")
        assert (placed.settings, placed.folder) == (expected, None)
    words = tmp_path / "words"
    words.mkdir()
    (words / "tokenizer.json").write_text(json.dumps({"model": {}, "added_tokens": []}))
    for path in (words, words / "tokenizer.json"):
        placed = preprocessing(str(path), "--preprocess")
        assert isinstance(placed.settings, TextPreprocessing)
        assert (placed.settings.tokenizer, placed.folder) == ("tokenizer.json", str(words))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no file"),
        ("{", "cannot be read as JSON"),
        ("[1]", "holds no settings"),
        ('{"do_pad": 1}', "do_pad"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BriefError, match=message):
        preprocessing(str(path), "--preprocess")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BriefError, match="which has neither"):
        preprocessing(str(tmp_path / "empty"), "--preprocess")
    with pytest.raises(BriefError, match="needed a preprocessor_config"):
        preprocessing(3, "--preprocess")


def test_a_brief_says_it_as_a_path_or_a_table(files: Path) -> None:
    (files / "settings.json").write_text(json.dumps(VIT))
    by_option = brief_from_options(
        model=str(files / "model.onnx"), data=str(files / "data.npz"), preprocess=str(files / "settings.json")
    )
    head = '[model]\npath = "model.onnx"\n[data]\npath = "data.npz"\n'
    (files / "brief.toml").write_text('preprocess = "settings.json"\n' + head)
    assert brief_from_toml(files / "brief.toml").preprocess == by_option.preprocess
    table = (
        "[preprocess]\nsize = {height = 224, width = 224}\nimage_mean = [0.5, 0.5, 0.5]\nimage_std = [0.5, 0.5, 0.5]\n"
    )
    (files / "brief.toml").write_text(head + table)
    placed = brief_from_toml(files / "brief.toml").preprocess
    assert placed is not None
    assert isinstance(placed.settings, ImagePreprocessing)
    assert placed.settings.size == ImageSize(height=224, width=224)
    (files / "brief.toml").write_text(head + "[preprocess]\nmean = [0.5]\n")
    with pytest.raises(BriefError, match=r"preprocess: mean"):
        brief_from_toml(files / "brief.toml")


def test_a_tokenizer_in_a_table_counts_from_the_briefs_folder(files: Path) -> None:
    (files / "tokenizer.json").write_text("{}")
    head = '[model]\npath = "model.onnx"\n[data]\npath = "data.npz"\n'
    (files / "brief.toml").write_text(head + '[preprocess]\ntokenizer = "tokenizer.json"\nmax_length = 64\n')
    placed = brief_from_toml(files / "brief.toml").preprocess
    assert placed is not None
    assert placed.folder == str(files)
    (files / "brief.toml").write_text(head + '[preprocess]\ntokenizer = "gone.json"\n')
    with pytest.raises(BriefError, match="found no file"):
        brief_from_toml(files / "brief.toml")
