"""Conversions that must fail, and those that must not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from equipoise.compress.conversion import check_conversion
from equipoise.errors import ConversionError

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((400, 10)).astype(np.float32)
LABELS = np.array(["cat", "dog", "bird"], dtype=object)[RNG.integers(0, 3, 400)]


def altered(values: Any, rows: int, value: Any) -> Any:
    changed = values.copy()
    changed[:rows] = value
    return changed


def test_what_was_taught_need_only_have_the_form() -> None:
    check_conversion({"logits": LOGITS}, {"logits": LOGITS + 1923}, "taught")
    for wrong in (LOGITS[:, :1], np.full_like(LOGITS, np.nan), LOGITS.astype(np.int64)):
        with pytest.raises(ConversionError):
            check_conversion({"logits": LOGITS}, {"logits": wrong}, "taught")


@pytest.mark.parametrize("fidelity", ["exact", "lossy", "taught"])
def test_the_same_answers_pass(fidelity: Any) -> None:
    source = {"logits": LOGITS, "label": LABELS, "count": np.arange(400), "flag": LOGITS[:, 0] > 0}
    check_conversion(source, {name: values.copy() for name, values in source.items()}, fidelity)


def test_rounding_and_a_few_rows_at_a_threshold_pass_as_exact() -> None:
    noise = 1e-5 * RNG.standard_normal(LOGITS.shape).astype(np.float32)
    check_conversion({"logits": LOGITS}, {"logits": altered(LOGITS + noise, 2, 9.0)}, "exact")
    check_conversion({"label": LABELS}, {"label": altered(LABELS, 2, "cow")}, "exact")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (LOGITS + 1923, "1.92e+03"),  # an export that "succeeded" (huggingface/optimum#1755)
        (LOGITS * 1.05, "beyond tolerance"),
        (altered(LOGITS, 20, 9.0), "5.00% of 4,000"),
        (altered(LOGITS, 1, np.nan), "10 of 4,000 values are not finite"),
        (LOGITS[:, :9], r"shape (400, 9)"),
        (LOGITS[:-1], r"shape (399, 10)"),
        (LOGITS.argmax(1), "shape (400,)"),
        (LOGITS.astype(np.int64), "type int64"),
    ],
)
def test_an_exact_conversion_that_differs_fails_and_says_how(found: Any, reason: str) -> None:
    with pytest.raises(ConversionError, match=re.escape(reason)) as caught:
        check_conversion({"logits": LOGITS}, {"logits": found}, "exact")
    assert caught.value.output == "logits"
    assert caught.value.allowed


def test_a_quantised_model_s_noise_passes_as_lossy_and_not_as_exact() -> None:
    found = {"logits": LOGITS + 0.3 * RNG.standard_normal(LOGITS.shape)}
    check_conversion({"logits": LOGITS}, found, "lossy")
    with pytest.raises(ConversionError):
        check_conversion({"logits": LOGITS}, found, "exact")


@pytest.mark.parametrize(
    "found",
    [
        LOGITS + 1923,
        np.broadcast_to(LOGITS.mean(0), LOGITS.shape) * 0.999,
        np.zeros_like(LOGITS) + LOGITS.mean(0),
        RNG.permutation(LOGITS),
        altered(LOGITS, 1, np.inf),
        -LOGITS,
    ],
    ids=["offset", "means", "constant", "shuffled", "infinite", "negated"],
)
def test_garbage_fails_even_as_lossy(found: Any) -> None:
    with pytest.raises(ConversionError):
        check_conversion({"logits": LOGITS}, {"logits": found}, "lossy")


def test_labels_no_better_than_chance_fail_as_lossy() -> None:
    with pytest.raises(ConversionError, match="chance"):
        check_conversion({"label": LABELS}, {"label": np.full(400, "cat", dtype=object)}, "lossy")
    half = np.where(np.arange(400) % 2, LABELS, RNG.permutation(LABELS)).astype(object)
    check_conversion({"label": LABELS}, {"label": half}, "lossy")


def test_a_one_sided_answer_is_left_to_the_judgement_of_quality() -> None:
    source = altered(np.zeros(400, dtype=np.int64), 4, 1)
    check_conversion({"label": source}, {"label": np.zeros(400, dtype=np.int64)}, "lossy")


def test_every_output_is_compared() -> None:
    source = {"logits": LOGITS, "hidden": LOGITS}
    with pytest.raises(ConversionError, match="hidden"):
        check_conversion(source, {"logits": LOGITS, "hidden": LOGITS + 1}, "exact")
    with pytest.raises(ConversionError, match="hidden"):
        check_conversion(source, {"logits": LOGITS}, "lossy")
    with pytest.raises(ConversionError, match="extra"):
        check_conversion({"logits": LOGITS}, {"logits": LOGITS, "extra": LOGITS}, "exact")


def test_infinite_and_missing_values_of_the_source_must_stay_where_exact() -> None:
    source = altered(LOGITS, 40, np.nan)
    check_conversion({"x": source}, {"x": source.copy()}, "exact")
    check_conversion({"x": source}, {"x": source.copy()}, "lossy")
    with pytest.raises(ConversionError):
        check_conversion({"x": source}, {"x": np.nan_to_num(source)}, "exact")


def test_zeros_one_row_and_no_rows_do_not_divide_by_zero() -> None:
    zeros = np.zeros((5, 3), np.float32)
    for fidelity in ("exact", "lossy"):
        check_conversion({"x": zeros}, {"x": zeros.copy()}, fidelity)
        check_conversion({"x": LOGITS[:1]}, {"x": LOGITS[:1] * 1.0001}, fidelity)
        check_conversion({"x": zeros[:0]}, {"x": zeros[:0]}, fidelity)
        with pytest.raises(ConversionError):
            check_conversion({"x": zeros}, {"x": zeros + 1}, fidelity)
