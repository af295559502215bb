"""Corrupts rows: finds the inputs that a corruption can be done to, and does it to them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
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
TextCorrupt = Callable[[Any, Strengths, np.random.Generator], list[str]]

STRENGTH = "strength of the corruption"
"""Name of the extra column that holds it, 1 to 5; 0 where a row was not corrupted."""
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
NEEDS: Mapping[str, str] = {
    "images": "images of bytes, or of floats from 0 to 1 or 255: [n, height, width, channels] or with channels first",
    "missing_values": "columns of floating numbers, or of text with at most 200 different short values",
    "unit_x10": "columns of numbers with more than ten different values",
    "unit_x0.1": "columns of numbers with more than ten different values",
    "offset": "columns of numbers with more than ten different values",
    "category_typos": "columns of text with at most 200 different short values",
    "text": "columns of text of more than four words",
}


def corrupted(rows: Rows, corruption: Corruption, seed: int, like: Rows | None = None) -> Rows:
    """Rows put to a corruption.

    What is drawn depends on the seed, the corruption and each input's name, so that the same rows come out in the same
    way for every model that is fed them.

    Args:
        rows: What to corrupt.
        corruption: By what; not `all`.
        seed: Of everything random.
        like: Rows by which inputs are judged to be of a kind; `rows` where null.

    Returns:
        As many rows, their population the corruption's set, with their strengths in the extra column `STRENGTH`.

    Raises:
        ValueError: No input can take it.
        BriefError: A library that it needs is missing.
    """
    inputs = inputs_for(corruption.name, like or rows)
    if not inputs:
        raise ValueError(f"no input can take {corruption.name}")
    strengths = strengths_of(rows.n, corruption.strength)
    feeds = dict(rows.feeds)
    for name in inputs:
        key = zlib.crc32(f"{corruption.set_name} {name}".encode())
        rng = np.random.default_rng([seed, key])
        feeds[name] = _corrupted(feeds[name], (like or rows).feeds[name], corruption.name, strengths, rng)
    return replace(
        rows,
        feeds=feeds,
        extra=rows.extra | {STRENGTH: strengths},
        population=np.full(rows.n, corruption.set_name, dtype=object),
    )


def strengths_of(n: int, strength: int | None) -> Strengths:
    """The strength of each of n rows: the one that was asked for, or all five in turns."""
    if strength is not None:
        return np.full(n, strength, dtype=np.intp)
    return np.resize(np.asarray(STRENGTHS, dtype=np.intp), n)


def families_of(rows: Rows) -> tuple[Family, ...]:
    """The kinds of corruption that some input can take."""
    found = {FAMILY_OF[name]: None for name in FAMILY_OF if inputs_for(name, rows)}
    return tuple(found)


def inputs_for(name: str, rows: Rows) -> tuple[str, ...]:
    """The inputs that a corruption can be done to."""
    return tuple(key for key, array in rows.feeds.items() if _takes(name, array))


def needed_for(name: str) -> str:
    """What an input must hold to take a corruption, in words."""
    return NEEDS.get(name) or NEEDS[FAMILY_OF[name]]


def _takes(name: str, array: Array) -> bool:
    family = FAMILY_OF[name]
    image = ImageForm.of(array) is not None
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
    whole_matrix = array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] > 1  # ids, of tokens say
    return array.dtype.kind in "iuf" and not whole_matrix and bool(has_unit(_columns(array)).any())


def _is_text(array: Array) -> bool:
    return any(len(str(value).split()) > MOST_WORDS for value in array.ravel().tolist() if value is not None)


def _columns(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _corrupted(array: Array, like: Array, name: str, strengths: Strengths, rng: np.random.Generator) -> Array:
    if name in IMAGES:
        form = ImageForm.of(like)
        assert form is not None
        return corrupt_images(array, form, IMAGES[name], strengths, rng)
    if name in TEXT:
        flat = array.reshape(len(array), -1)
        return np.stack([_texts(column, TEXT[name], strengths, rng) for column in flat.T], axis=1).reshape(array.shape)
    mask = spoilt(array.shape, strengths, rng)
    if name == "missing_values":
        return holed(array, mask)
    if name == "category_typos":
        return category_typos(array, mask, rng)
    mask &= has_unit(_columns(like)).reshape(like.shape[1:])
    return shifted(array, mask) if name == "offset" else rescaled(array, mask, FACTORS[name])


def _texts(column: Array, corrupt: TextCorrupt, strengths: Strengths, rng: np.random.Generator) -> Array:
    found = np.empty(len(column), dtype=object)
    found[:] = corrupt(["" if value is None else str(value) for value in column], strengths, rng)
    found[[value is None for value in column]] = None
    return found
