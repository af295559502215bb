"""Whether a converted model still answers like the model it came from.

Exports and quantisers report success for models whose answers are wrong: logits off by 1,923
(huggingface/optimum#1755), an accuracy of 70% turned to 0.1%. So every conversion is compared with its source on real
rows before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compress.base import Fidelity
from equipoise.errors import ConversionError

Array = NDArray[Any]

RELATIVE, ABSOLUTE_SHARE = 1e-3, 1e-3
"""Tolerance of an exact conversion: |difference| <= RELATIVE |source| + ABSOLUTE_SHARE * RMS of the source."""

EQUAL_SHARE = 0.995
"""Share of elements (rows, for labels) within tolerance. The rest are values at a tree's threshold, or ties."""

LARGEST_ERROR = 1.0
"""Relative RMS error at which a lossy form is garbage: as far off as the source's mean, given for every row."""

AGREEMENT_ENOUGH = 0.9
"""Share of equal labels from which they are never called garbage, however one-sided the labels are."""


def check_conversion(source: Mapping[str, Array], converted: Mapping[str, Array], fidelity: Fidelity) -> None:
    """Compare all outputs of a converted model with its source's on the same rows.

    Both kinds must have the same outputs, shapes and kinds of types, and be finite where the source is. Beyond that,
    `exact` forms must be equal to rounding; `lossy` forms only no garbage, since their quality is judged later: numbers
    nearer to the source's than its own mean is (relative RMS error below 1, that is R2 above 0), labels that agree with
    the source's more often than independent ones of the same frequencies would (Cohen's kappa above 0). Nothing more
    is asked of `taught` ones: what was trained for seconds may yet be trained for minutes.

    Args:
        source: Output name to answers of the source, [n, ...].
        converted: The same of the converted model, to the same rows.
        fidelity: What the technique promises.

    Raises:
        ConversionError: They differ by more than that; it names the output, the difference and the tolerance.

    Example:
        >>> logits = np.array([[1.0, 2.0], [3.0, -1.0]])
        >>> check_conversion({"logits": logits}, {"logits": logits + 1e-5}, "exact")
        >>> check_conversion({"logits": logits}, {"logits": logits + 1923}, "lossy")
        Traceback (most recent call last):
        ...
        equipoise.errors.ConversionError: output 'logits' differs from its source: relative RMS error 1.51e+03, ...
    """
    missing, added = source.keys() - converted.keys(), converted.keys() - source.keys()
    if missing or added:
        name = min(missing or added)
        raise ConversionError(name, f"outputs are {', '.join(converted)}", f"exactly {', '.join(source)}")
    for name, expected in source.items():
        found = np.asarray(converted[name])
        _check_form(name, np.asarray(expected), found)
        if expected.size == 0 or fidelity == "taught":
            continue
        if expected.dtype.kind != "f":
            _check_labels(name, expected, found, fidelity)
        elif fidelity == "exact":
            _check_equal(name, expected.astype(np.float64), found.astype(np.float64))
        else:
            _check_sane(name, expected.astype(np.float64), found.astype(np.float64))


def _check_form(name: str, expected: Array, found: Array) -> None:
    if expected.shape != found.shape:
        raise ConversionError(name, f"shape {found.shape}", f"shape {expected.shape}")
    if _kind(expected) != _kind(found):
        raise ConversionError(name, f"type {found.dtype}", f"type {expected.dtype}")
    if expected.dtype.kind == "f":
        lost = np.isfinite(expected) & ~np.isfinite(found)
        if lost.any():
            raise ConversionError(name, f"{int(lost.sum()):,} of {found.size:,} values are not finite", "none")


def _kind(array: Array) -> str:
    return {"U": "text", "O": "text", "S": "text", "i": "integer", "u": "integer"}.get(
        array.dtype.kind, array.dtype.kind
    )


def _check_equal(name: str, expected: Array, found: Array) -> None:
    """Exact numbers: nearly all within tolerance; where the source is infinite or NaN, the same."""
    finite = np.isfinite(expected)
    scale = float(np.sqrt(np.mean(np.square(expected[finite])))) if finite.any() else 0.0
    equal = np.isclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE_SHARE * scale, equal_nan=True)
    share = float(equal.mean())
    if share < EQUAL_SHARE:
        largest = float(np.max(np.abs(np.where(finite, found - expected, 0.0))))
        raise ConversionError(
            name,
            f"{1 - share:.2%} of {expected.size:,} values are beyond tolerance, largest difference {largest:.3g}",
            f"{1 - EQUAL_SHARE:.1%} beyond {RELATIVE:g} of the value plus {ABSOLUTE_SHARE * scale:.2g}",
        )


def _check_sane(name: str, expected: Array, found: Array) -> None:
    """Lossy numbers: nearer to the source's than its own mean is.

    The spread is taken around each column's mean, and around the mean of all values where the columns hardly vary from
    row to row (a single row, say).
    """
    finite = np.isfinite(expected)
    if not finite.any():
        return
    error = float(np.sqrt(np.mean(np.square((found - expected)[finite]))))
    with np.errstate(invalid="ignore"):
        centred = expected - np.nanmean(np.where(finite, expected, np.nan), axis=0, keepdims=True)
    spread = float(np.sqrt(np.mean(np.square(centred[finite]))))
    magnitude = float(np.sqrt(np.mean(np.square(expected[finite]))))
    if spread < 1e-6 * magnitude or len(expected) < 2:
        spread = magnitude
    relative = error / spread if spread > 0 else float(error > 0) * np.inf
    if relative >= LARGEST_ERROR:
        largest = float(np.max(np.abs((found - expected)[finite])))
        raise ConversionError(
            name,
            f"relative RMS error {relative:.3g}, largest difference {largest:.3g}",
            f"relative RMS error below {LARGEST_ERROR:g}",
        )


def _check_labels(name: str, expected: Array, found: Array, fidelity: Fidelity) -> None:
    rows = len(expected)
    same = (expected == found).reshape(rows, -1).all(axis=1)
    agreement = float(same.mean())
    if fidelity == "exact":
        if agreement < EQUAL_SHARE:
            raise ConversionError(
                name, f"{1 - agreement:.2%} of {rows:,} rows have another answer", f"{1 - EQUAL_SHARE:.1%}"
            )
        return
    first, second = expected.reshape(-1), found.reshape(-1)
    agreement = float((first == second).mean())
    chance = sum(float(np.mean(first == value)) * float(np.mean(second == value)) for value in set(first.tolist()))
    if agreement <= chance and agreement < AGREEMENT_ENOUGH:
        raise ConversionError(name, f"agrees on {agreement:.1%} of the answers", f"more than chance, {chance:.1%}")
