"""Corruptions of tables and text: only in columns that can take them, as often as the strength says."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.corruption import FAMILY_OF, STRENGTHS, Corruption
from equipoise.corrupt.cells import SHARES
from equipoise.corrupt.rows import Corruptible
from equipoise.corrupt.text import CASE_SHARES, DROP_SHARES, TYPO_SHARES
from equipoise.preprocess.rows import Rows

N = 4000
TABLES = [name for name, family in FAMILY_OF.items() if family == "tables"]
SENTENCE = "It was  a truly\tcharming film, and nobody left before the end."


@pytest.fixture
def table() -> Rows:
    rng = np.random.default_rng(0)
    feeds = {
        "pay": rng.gamma(2.0, 500.0, (N, 1)),
        "age": rng.integers(18, 90, (N, 1)),
        "married": rng.integers(0, 2, (N, 1)).astype(np.float64),
        "job": rng.choice(np.array(["clerk", "nurse", None], dtype=object), (N, 1)),
        "code": rng.choice(np.array(["A1", "B2"], dtype=object), (N, 1)),
        "tokens": rng.integers(0, 30000, (N, 16)),
        "mixed": np.stack([rng.standard_normal(N), rng.integers(0, 2, N)], axis=1).astype(np.float32),
    }
    return Rows(feeds, None, {}, np.full(N, "main", dtype=object))


@pytest.fixture
def reviews() -> Rows:
    return Rows({"text": np.array([SENTENCE] * N, dtype=object)}, None, {}, np.full(N, "main", dtype=object))


def test_only_columns_that_can_take_it(table: Rows, reviews: Rows) -> None:
    quantities = ("pay", "age", "mixed")
    wanted = {
        "missing_values": ("pay", "married", "job", "mixed"),
        "unit_x10": quantities,
        "unit_x0.1": quantities,
        "offset": quantities,
        "category_typos": ("job",),
    }
    assert {name: Corruptible(table).inputs_for(name) for name in TABLES} == wanted
    assert Corruptible(table).families == ("tables",)
    assert Corruptible(reviews).families == ("text",)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_as_many_cells_as_the_strength_says(table: Rows, name: str, strength: int) -> None:
    found = Corruptible(table).corrupted(table, Corruption(name=name, strength=strength), 0)
    column = "job" if name == "category_typos" else "pay"
    before, after = table.feeds[column], found.feeds[column]
    known = np.array([value is not None for value in before[:, 0]])
    changed = (before != after)[known].mean()
    assert changed == pytest.approx(SHARES[strength - 1], abs=4 * np.sqrt(SHARES[strength - 1] / N))
    untouched = set(table.feeds) - set(Corruptible(table).inputs_for(name))
    assert all(table.feeds[column] is found.feeds[column] for column in untouched)
    assert all(table.feeds[column].dtype == found.feeds[column].dtype for column in table.feeds)


def test_what_is_done_to_a_cell(table: Rows) -> None:
    def after(name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        found = Corruptible(table).corrupted(table, Corruption(name=name, strength=5), 1).feeds[column]
        changed = found != table.feeds[column]
        return found[changed], table.feeds[column][changed]

    assert np.isnan(after("missing_values", "pay")[0]).all()
    assert set(after("missing_values", "job")[0]) == {None}
    pay, was = after("unit_x10", "pay")
    assert np.allclose(pay, 10 * was)
    age, was = after("unit_x0.1", "age")
    assert np.abs(age - was / 10).max() <= 0.5
    pay, was = after("offset", "pay")
    low, high = np.quantile(table.feeds["pay"], [0.25, 0.75])
    assert np.allclose(pay - was, 2 * (high - low))
    jobs, was = after("category_typos", "job")
    assert not {"clerk", "nurse", None} & set(jobs)
    flags = Corruptible(table).corrupted(table, Corruption(name="unit_x10", strength=5), 1).feeds["mixed"][:, 1]
    assert set(flags) == {0.0, 1.0}


def test_numbers_stay_within_their_type() -> None:
    small = np.arange(100, dtype=np.int8).reshape(-1, 1)
    rows = Rows({"x": small}, None, {}, np.full(100, "main", dtype=object))
    found = Corruptible(rows).corrupted(rows, Corruption(name="unit_x10", strength=5), 0).feeds["x"]
    assert found.dtype == np.int8
    assert found.max() == 127


@pytest.mark.parametrize("strength", STRENGTHS)
def test_text_changes_as_often_as_the_strength_says(reviews: Rows, strength: int) -> None:
    words = SENTENCE.split()

    def each(name: str) -> list[list[str]]:
        found = Corruptible(reviews).corrupted(reviews, Corruption(name=name, strength=strength), 0).feeds["text"]
        return [text.split() for text in found]

    spelt = each("typos")
    long = [place for place, word in enumerate(words) if sum(letter.isalpha() for letter in word) >= 3]
    changed = np.mean([[row[place] != words[place] for place in long] for row in spelt])
    # Two of the same letters swapped, or a letter beside itself, leave a word as it was.
    assert 0.9 * TYPO_SHARES[strength - 1] < changed <= 1.02 * TYPO_SHARES[strength - 1]
    cased = each("letter_case")
    assert all([word.lower() for word in row] == [word.lower() for word in words] for row in cased)
    louder = np.mean([[word != was for word, was in zip(row, words, strict=True)] for row in cased])
    assert louder == pytest.approx(CASE_SHARES[strength - 1], abs=0.02)
    shorter = each("dropped_words")
    assert min(len(row) for row in shorter) >= 1
    assert 1 - np.mean([len(row) for row in shorter]) / len(words) == pytest.approx(DROP_SHARES[strength - 1], abs=0.02)


def test_missing_text_stays_missing(reviews: Rows) -> None:
    reviews.feeds["text"][7] = None
    assert Corruptible(reviews).corrupted(reviews, Corruption(name="typos", strength=5), 0).feeds["text"][7] is None


def test_a_corruption_that_no_input_can_take_is_refused(reviews: Rows) -> None:
    with pytest.raises(ValueError, match="no input can take gaussian_noise"):
        Corruptible(reviews).corrupted(reviews, Corruption(name="gaussian_noise"), 0)
