"""Corruptions of what inputs are made of: images before they are normalised, texts before they become tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.corruption import Corruption
from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing, TextPreprocessing
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.corrupt.rows import STRENGTH, Corruptible
from equipoise.flow.corrupting import SPLITS, corrupted_parts, corruptible_of, with_corruptions
from equipoise.flow.evidence import MAIN
from equipoise.preprocess.fitting import fitted
from equipoise.preprocess.raw import open_preprocessor
from equipoise.preprocess.rows import Rows
from equipoise.store.artifacts import file_digest

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "truly", "fine", "film", "about", "dull", "people", ".")
SENTENCE = "A truly fine film about dull people ."


def rows_of(feeds: dict[str, Any], **more: Any) -> Rows:
    n = len(next(iter(feeds.values())))
    return Rows(feeds, None, {}, np.full(n, MAIN, dtype=object), **more)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("name", ["contrast", "brightness", "gaussian_blur", "pixelate"])
def test_normalised_images_are_corrupted_as_bytes_are(order: Any, name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    settings = ImagePreprocessing(
        do_rescale=True, do_normalize=True, image_mean=MEAN, image_std=STD, channel_order=order, layout="NCHW",
        dtype="float32", input="x",
    )  # fmt: skip
    placed = PlacedPreprocessing(settings=settings)
    turn = slice(None, None, -1 if order == "BGR" else 1)
    mean, std = (np.array(figures)[turn, None, None] for figures in (MEAN, STD))

    def normalised(bytes_: Any) -> Any:
        return ((bytes_ / 255 - mean) / std).astype(np.float32)

    corruption = Corruption(name=name, strength=4)
    wanted = Corruptible(rows_of({"x": image})).corrupted(rows_of({"x": image}), corruption, 0).feeds["x"]
    rows = rows_of({"x": normalised(image)})
    found = corruptible_of(rows, placed).corrupted(rows, corruption, 0).feeds["x"]
    assert np.abs(found - normalised(wanted)).max() <= 1.01 / 255 / min(STD)


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Rows, PlacedPreprocessing]:
    """Rows of token ids, and how they were made of texts."""
    pytest.importorskip("tokenizers", reason="needs the extra text")
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    settings = TextPreprocessing(tokenizer=vocabulary.name, tokenizer_sha256=file_digest(vocabulary), max_length=24)
    spec = ModelSpec(
        inputs=tuple(
            TensorSpec(name=each, dtype="int64", shape=(None, None)) for each in ("input_ids", "attention_mask")
        ),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 2)),),
    )
    placed = PlacedPreprocessing(settings=fitted(settings, spec), folder=str(tmp_path))
    raw = [SENTENCE] * 50
    feeds = open_preprocessor(placed)(raw, [f"row {row}" for row in range(50)])
    return rows_of(feeds, texts=np.array(raw, dtype=object)), placed


def test_texts_are_corrupted_before_they_become_tokens(texts: tuple[Rows, PlacedPreprocessing]) -> None:
    rows, placed = texts
    corruptible = corruptible_of(rows, placed)
    assert corruptible.families == ("text",)
    found = corruptible.corrupted(rows, Corruption(name="typos", strength=5), 0)
    assert found.texts is not None
    assert SENTENCE not in found.texts[:3]
    unknown = (found.feeds["input_ids"] == WORDS.index("[UNK]")).mean(axis=1)
    assert unknown.mean() > 0.15
    shorter = corruptible.corrupted(rows, Corruption(name="dropped_words", strength=5), 0)
    assert shorter.feeds["attention_mask"].sum(axis=1).mean() < rows.feeds["attention_mask"].sum(axis=1).mean() - 1


def test_sets_of_other_lengths_are_filled_up(texts: tuple[Rows, PlacedPreprocessing], every_brief: Any) -> None:
    rows, placed = texts
    splits = dict.fromkeys(SPLITS, rows)
    found = with_corruptions(every_brief("all:5"), splits, None, None, placed)  # type: ignore[arg-type]
    assert [each.set_name for each in found.corruptions] == ["typos:5", "letter_case:5", "dropped_words:5"]
    mixed = found.splits["certify"]
    assert mixed.n == 4 * rows.n
    assert mixed.texts is not None
    again = open_preprocessor(placed)(mixed.texts.tolist(), [""] * mixed.n)
    assert all(np.array_equal(again[name], mixed.feeds[name]) for name in again)
    assert set(mixed.extra[STRENGTH].tolist()) == {0, 5}


@pytest.fixture
def every_brief(tmp_path: Path) -> Any:
    from equipoise.ingest.brief import brief_from_options

    (tmp_path / "m.onnx").write_bytes(b"")
    np.savez(tmp_path / "d.npz", x=np.zeros(3))
    paths = {"model": str(tmp_path / "m.onnx"), "data": str(tmp_path / "d.npz")}
    return lambda *corrupt: brief_from_options(**paths, corrupt=list(corrupt))


def test_new_rows_take_what_they_can(texts: tuple[Rows, PlacedPreprocessing]) -> None:
    rows, placed = texts
    parts = corrupted_parts(rows, ["typos:2", "jpeg", "letter_case"], placed, 0)
    assert [str(part.population[0]) for part in parts] == ["typos:2", "letter_case"]
