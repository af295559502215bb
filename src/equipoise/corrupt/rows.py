"""Corrupts rows: finds what of them a corruption can be done to, and does it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.corruption import FAMILY_OF, STRENGTHS, Corruption, Family
from equipoise.corrupt import blur, digital, light, noise, text
from equipoise.corrupt.categories import MOST_WORDS, category_typos, is_category
from equipoise.corrupt.cells import has_unit, holed, rescaled, shifted, spoilt
from equipoise.corrupt.images import Corrupt, ImageForm, corrupt_images
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]
Strengths = NDArray[np.intp]
TextCorrupt = Callable[[Sequence[str], Strengths, np.random.Generator], list[str]]
Tokenise = Callable[[Sequence[str]], dict[str, Array]]

STRENGTH = "strength of the corruption"
"""Name of the extra column that holds it, 1 to 5; 0 where a row was not corrupted."""
TEXTS = "texts"
IMAGES: Mapping[str, Corrupt] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "gaussian_blur": blur.gaussian_blur,
    "defocus_blur": blur.defocus_blur,
    "motion_blur": blur.motion_blur,
    "contrast": light.contrast,
    "brightness": light.brightness,
    "jpeg": digital.jpeg,
    "pixelate": digital.pixelate,
}
TEXT: Mapping[str, TextCorrupt] = {
    "typos": text.typos,
    "letter_case": text.letter_case,
    "dropped_words": text.dropped_words,
}
FACTORS = {"unit_x10": 10.0, "unit_x0.1": 0.1}
_QUANTITIES = "columns of numbers with more than ten different values"
NEEDS: Mapping[str, str] = {
    "images": "images of bytes, or of floats from 0 to 1 or 255: [n, height, width, channels] or with channels first",
    "missing_values": "columns of floating numbers, or of text with at most 200 different short values",
    "unit_x10": _QUANTITIES,
    "unit_x0.1": _QUANTITIES,
    "offset": _QUANTITIES,
    "category_typos": "columns of text with at most 200 different short values",
    "text": "columns of text of more than four words",
}


@dataclass(frozen=True)
class Corruptible:
    """What of a data set's rows can be corrupted, and how.

    Attributes:
        like: Rows by which inputs are told to be images, quantities, categories or texts.
        forms: Input name to how it holds images, where that is known and not to be told from its values.
        tokenise: Makes a model's inputs of texts, where `Rows.texts` holds what the inputs were made of.
    """

    like: Rows
    forms: Mapping[str, ImageForm] = field(default_factory=dict)
    tokenise: Tokenise | None = None

    def inputs_for(self, name: str) -> tuple[str, ...]:
        """The inputs that a corruption can be done to; `texts` for the texts that the inputs are made of."""
        if self.tokenise is not None and self.like.texts is not None:
            return (TEXTS,) if FAMILY_OF[name] == "text" else ()
        return tuple(key for key, array in self.like.feeds.items() if self._takes(name, key, array))

    @property
    def families(self) -> tuple[Family, ...]:
        """The kinds of corruption that something can take."""
        return tuple({FAMILY_OF[name]: None for name in FAMILY_OF if self.inputs_for(name)})

    def corrupted(self, rows: Rows, corruption: Corruption, seed: int) -> Rows:
        """Rows put to a corruption.

        What is drawn depends on the seed, the corruption and each input's name, so that the same rows come out in the
        same way for every model that is fed them.

        Args:
            rows: What to corrupt.
            corruption: By what; not `all`.
            seed: Of everything random.

        Returns:
            As many rows, their population the corruption's set, with their strengths in the extra column `STRENGTH`.

        Raises:
            ValueError: No input can take it.
            BriefError: A library that it needs is missing.
        """
        inputs = self.inputs_for(corruption.name)
        if not inputs:
            raise ValueError(f"no input can take {corruption.name}")
        strengths = strengths_of(rows.n, corruption.strength)
        feeds, texts = dict(rows.feeds), rows.texts
        for name in inputs:
            rng = np.random.default_rng([seed, zlib.crc32(f"{corruption.set_name} {name}".encode())])
            if name == TEXTS and self.tokenise is not None and texts is not None:
                texts = _texts(texts, TEXT[corruption.name], strengths, rng)
                feeds |= self.tokenise(texts.tolist())
            else:
                feeds[name] = self._corrupted(name, feeds[name], corruption.name, strengths, rng)
        return replace(
            rows,
            feeds=feeds,
            texts=texts,
            extra=rows.extra | {STRENGTH: strengths},
            population=np.full(rows.n, corruption.set_name, dtype=object),
        )

    def _form(self, key: str, array: Array) -> ImageForm | None:
        return self.forms.get(key) or ImageForm.of(array)

    def _takes(self, name: str, key: str, array: Array) -> bool:
        family = FAMILY_OF[name]
        image = self._form(key, array) is not None
        if family == "images" or image:
            return image and family == "images"
        if array.dtype == object:
            if family == "text":
                return _is_text(array) and not is_category(array)
            return name in ("category_typos", "missing_values") and is_category(array)
        if family != "tables" or name == "category_typos" or array.ndim > 2:
            return False
        if name == "missing_values":
            return array.dtype.kind == "f"
        ids = array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] > 1  # of tokens, say
        return array.dtype.kind in "iuf" and not ids and bool(has_unit(_columns(array)).any())

    def _corrupted(self, key: str, array: Array, name: str, strengths: Strengths, rng: np.random.Generator) -> Array:
        like = self.like.feeds[key]
        if name in IMAGES:
            form = self._form(key, like)
            assert form is not None
            return corrupt_images(array, form, IMAGES[name], strengths, rng)
        if name in TEXT:
            columns = [_texts(column, TEXT[name], strengths, rng) for column in _columns(array).T]
            return np.stack(columns, axis=1).reshape(array.shape)
        mask = spoilt(array.shape, strengths, rng)
        if name == "missing_values":
            return holed(array, mask)
        if name == "category_typos":
            return category_typos(array, mask, rng)
        mask &= has_unit(_columns(like)).reshape(like.shape[1:])
        return shifted(array, mask, like) if name == "offset" else rescaled(array, mask, FACTORS[name])


def strengths_of(n: int, strength: int | None) -> Strengths:
    """The strength of each of n rows: the one that was asked for, or all five in turns."""
    if strength is not None:
        return np.full(n, strength, dtype=np.intp)
    return np.resize(np.asarray(STRENGTHS, dtype=np.intp), n)


def needed_for(name: str) -> str:
    """What an input must hold to take a corruption, in words."""
    return NEEDS.get(name) or NEEDS[FAMILY_OF[name]]


def _is_text(array: Array) -> bool:
    return any(len(str(value).split()) > MOST_WORDS for value in array.ravel().tolist() if value is not None)


def _columns(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _texts(column: Array, corrupt: TextCorrupt, strengths: Strengths, rng: np.random.Generator) -> Array:
    found = np.empty(len(column), dtype=object)
    found[:] = corrupt(["" if value is None else str(value) for value in column], strengths, rng)
    found[[value is None for value in column]] = None
    return found
