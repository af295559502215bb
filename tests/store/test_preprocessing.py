"""The part of a bundle that says how raw rows become inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing, TextPreprocessing
from equipoise.errors import BundleError
from equipoise.store.preprocessing import read_preprocessing, write_preprocessing

CONTENT = b'{"model": {}}'


@pytest.fixture
def words(tmp_path: Path) -> PlacedPreprocessing:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "words.json").write_bytes(CONTENT)
    settings = TextPreprocessing(tokenizer="words.json", tokenizer_sha256=hashlib.sha256(CONTENT).hexdigest())
    return PlacedPreprocessing(settings=settings, folder=str(tmp_path / "own"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"


def test_nothing_is_written_for_nothing(bundle: Path) -> None:
    write_preprocessing(bundle, None)
    assert list(bundle.iterdir()) == []
    assert read_preprocessing(bundle) is None


def test_settings_come_back(bundle: Path) -> None:
    placed = PlacedPreprocessing(settings=ImagePreprocessing(input="image", layout="NHWC", dtype="uint8"))
    write_preprocessing(bundle, placed)
    assert [path.name for path in bundle.iterdir()] == ["preprocess.json"]
    assert read_preprocessing(bundle) == placed


def test_files_go_with_them(bundle: Path, words: PlacedPreprocessing) -> None:
    write_preprocessing(bundle, words)
    found = read_preprocessing(bundle)
    assert found is not None
    assert (found.settings, found.folder) == (words.settings, str(bundle / "preprocess"))
    assert (bundle / "preprocess" / "words.json").read_bytes() == CONTENT
    (bundle / "preprocess" / "words.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match="not the file that the preprocessing names"):
        read_preprocessing(bundle)
    (bundle / "preprocess.json").write_text("{}")
    with pytest.raises(BundleError, match="cannot be read"):
        read_preprocessing(bundle)


def test_a_file_that_changed_meanwhile_is_not_written(bundle: Path, words: PlacedPreprocessing) -> None:
    place = Path(words.folder or "") / "words.json"
    place.write_bytes(b"{}")
    with pytest.raises(BundleError, match="not the file that the preprocessing names"):
        write_preprocessing(bundle, words)
    place.unlink()
    with pytest.raises(BundleError, match="it is not there"):
        write_preprocessing(bundle, words)


@pytest.mark.parametrize("name", ["../words.json", "a/b.json", "C:words.json", ""])
def test_a_file_stays_beside_its_settings(name: str) -> None:
    with pytest.raises(ValueError, match="tokenizer"):
        TextPreprocessing(tokenizer=name, tokenizer_sha256="0" * 64)
