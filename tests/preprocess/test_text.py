"""Texts to token ids: what a model gets, and which settings its inputs complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equipoise.core.preprocessing import PlacedPreprocessing, TextPreprocessing
from equipoise.core.tensor import DType, ModelSpec, TensorSpec
from equipoise.errors import DataError
from equipoise.preprocess.fitting import fitted
from equipoise.preprocess.raw import Preprocessor, open_preprocessor
from equipoise.store.artifacts import file_digest

pytest.importorskip("tokenizers", reason="needs the extra text")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "dull", ".", "##s")
PAD, UNK, CLS, SEP, A, FINE, FILM, DULL, PLURAL = 0, 1, 2, 3, 5, 6, 7, 8, 10
BERT = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


def spec(*names: str, width: int | None = None, dtype: DType = "int64") -> ModelSpec:
    inputs = tuple(TensorSpec(name=name, dtype=dtype, shape=(None, width)) for name in names)
    return ModelSpec(inputs=inputs, outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 2)),))


def opened(vocabulary: Path, model: ModelSpec, **settings: object) -> Preprocessor:
    given = TextPreprocessing.model_validate(
        {"tokenizer": vocabulary.name, "tokenizer_sha256": file_digest(vocabulary)} | settings
    )
    return open_preprocessor(PlacedPreprocessing(settings=fitted(given, model), folder=str(vocabulary.parent)))


def test_texts_are_filled_up_to_the_longest(vocabulary: Path) -> None:
    feeds = opened(vocabulary, spec(*BERT))(["A fine film", "dull"], ["row 1", "row 2"])
    assert feeds["input_ids"].tolist() == [[CLS, A, FINE, FILM, SEP], [CLS, DULL, SEP, PAD, PAD]]
    assert feeds["attention_mask"].tolist() == [[1] * 5, [1, 1, 1, 0, 0]]
    assert feeds["token_type_ids"].tolist() == [[0] * 5, [0] * 5]
    assert {array.dtype for array in feeds.values()} == {np.dtype("int64")}


def test_only_what_the_model_takes_is_made(vocabulary: Path) -> None:
    feeds = opened(vocabulary, spec("input_word_ids", "input_mask", dtype="int32"))(["films"], ["row 1"])
    assert {name: array.tolist() for name, array in feeds.items()} == {
        "input_word_ids": [[CLS, FILM, PLURAL, SEP]], "input_mask": [[1, 1, 1, 1]],
    }  # fmt: skip
    assert feeds["input_mask"].dtype == np.int32


def test_a_fixed_length_is_filled_up_and_cut(vocabulary: Path) -> None:
    preprocessor = opened(vocabulary, spec(*BERT[:2], width=4))
    assert preprocessor(["dull", "a fine film"], ["row 1", "row 2"])["input_ids"].tolist() == [
        [CLS, DULL, SEP, PAD], [CLS, A, FINE, SEP],
    ]  # fmt: skip


def test_without_a_mask_all_rows_are_filled_up_alike(vocabulary: Path) -> None:
    assert opened(vocabulary, spec("tokens"), max_length=6)(["dull"], ["row 1"])["tokens"].shape == (1, 6)


def test_pairs_say_which_text_a_token_is_of(vocabulary: Path) -> None:
    feeds = opened(vocabulary, spec(*BERT), columns=("first", "second"))([("dull", "a film")], ["row 1"])
    assert feeds["input_ids"].tolist() == [[CLS, DULL, SEP, A, FILM, SEP]]
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]


def test_too_long_a_text_is_named_where_none_are_cut(vocabulary: Path) -> None:
    preprocessor = opened(vocabulary, spec(*BERT), truncation=False, max_length=4)
    with pytest.raises(DataError, match="row 2: a text of 5 tokens; needed at most 4"):
        preprocessor(["dull", "a fine film"], ["row 1", "row 2"])


@pytest.mark.parametrize("raw", [None, b"bytes", ("a", "pair")])
def test_what_is_no_text_is_named(vocabulary: Path, raw: object) -> None:
    with pytest.raises(DataError, match=r"row 7: .*needed a text"):
        opened(vocabulary, spec(*BERT))([raw], ["row 7"])  # type: ignore[list-item]


@pytest.mark.parametrize(("words", "lower"), [(WORDS, True), ((*WORDS, "Film"), False)])
def test_a_vocabulary_with_capitals_keeps_them(vocabulary: Path, words: tuple[str, ...], lower: bool) -> None:
    vocabulary.write_text("\n".join(words) + "\n")
    found = opened(vocabulary, spec("input_ids", "attention_mask"))(["Film"], ["row 1"])["input_ids"]
    assert found.tolist() == [[CLS, FILM if lower else len(WORDS), SEP]]


def test_a_model_that_takes_something_else_is_refused(vocabulary: Path) -> None:
    with pytest.raises(DataError, match=r"the model takes pixels \(int64 \[any\] a row\); needed token ids"):
        opened(vocabulary, spec(*BERT, "pixels"))


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": 3}')
    with pytest.raises(DataError, match="not a tokenizer's file"):
        opened(path, spec(*BERT))
