"""What people's hands do to text: typos, careless case, words left out. Whitespace stays as it is.

Typos are the four of natural keyboard noise (Belinkov and Bisk, arXiv 1711.02173; Pruthi et al., arXiv 1905.11268):
two letters swapped, one left out, one doubled, one replaced by its neighbour on a keyboard. Words are left out as in
EDA (Wei and Zou, arXiv 1901.11196).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

TYPO_SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Share of the words with a typo, by strength."""
CASE_SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Share of the words whose case changes; at the fifth strength the text is all in capitals."""
DROP_SHARES = (0.05, 0.1, 0.15, 0.2, 0.3)
"""Share of the words that are left out; one of each line is always left."""
LEAST_LETTERS = 3
"""Shorter words are spared: what is left of them would be another word."""
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: "".join(
        other
        for across, row_of in enumerate(ROWS)
        for place, other in enumerate(row_of)
        if other != letter and abs(across - down) <= 1 and abs(place - where) <= 1
    )
    for down, row in enumerate(ROWS)
    for where, letter in enumerate(row)
}
Change = Callable[[str, np.random.Generator], str]
_WORDS = re.compile(r"(\s+)")


def typos(texts: Sequence[str], strengths: NDArray[np.intp], rng: np.random.Generator) -> list[str]:
    """Texts with typos, one a word at most.

    Args:
        texts: n of them.
        strengths: Of each, 1 to 5: [n].
        rng: Draws the words and what happens to them.
    """
    return [
        _each_word(text, TYPO_SHARES[strength - 1], rng, misspelt)
        for text, strength in zip(texts, strengths.tolist(), strict=True)
    ]


def letter_case(texts: Sequence[str], strengths: NDArray[np.intp], rng: np.random.Generator) -> list[str]:
    """Texts in which some words are in capitals; those that were, in small letters."""
    return [
        _each_word(text, CASE_SHARES[strength - 1], rng, _other_case)
        for text, strength in zip(texts, strengths.tolist(), strict=True)
    ]


def dropped_words(texts: Sequence[str], strengths: NDArray[np.intp], rng: np.random.Generator) -> list[str]:
    """Texts in which some words are left out, never all of a line."""
    return [
        "\n".join(_fewer_words(line, DROP_SHARES[strength - 1], rng) for line in text.split("\n"))
        for text, strength in zip(texts, strengths.tolist(), strict=True)
    ]


def misspelt(word: str, rng: np.random.Generator) -> str:
    """A word with one typo; as it is where it has fewer than three letters.

    >>> misspelt("certain", np.random.default_rng(0)), misspelt("an", np.random.default_rng(0))
    ('certsin', 'an')
    """
    letters = [place for place, letter in enumerate(word) if letter.isalpha()]
    if len(letters) < LEAST_LETTERS:
        return word
    kind = int(rng.integers(4))
    place = letters[int(rng.integers(len(letters)))]
    if kind == 0:  # the first letter is the one that people get right
        place = letters[1 + int(rng.integers(len(letters) - 2))]
        return word[:place] + word[place + 1 : place + 2] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[: place + 1] + word[place:]
    near = NEIGHBOURS.get(word[place].lower(), word[place])
    other = near[int(rng.integers(len(near)))]
    return word[:place] + (other.upper() if word[place].isupper() else other) + word[place + 1 :]


def _other_case(word: str, rng: np.random.Generator) -> str:  # noqa: ARG001 - nothing of it is left to chance
    return word.lower() if word.isupper() else word.upper()


def _fewer_words(line: str, share: float, rng: np.random.Generator) -> str:
    words = line.split()
    kept = rng.random(len(words)) >= share
    if words and not kept.any():
        kept[rng.integers(len(words))] = True
    return line if kept.all() else " ".join(word for word, keep in zip(words, kept.tolist(), strict=True) if keep)


def _each_word(text: str, share: float, rng: np.random.Generator, change: Change) -> str:
    parts = _WORDS.split(text)
    chosen = rng.random(len(parts)) < share
    return "".join(
        change(part, rng) if hit and part.strip() else part for part, hit in zip(parts, chosen.tolist(), strict=True)
    )
