"""Confidence that means what it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equipoise.core.plan import Calibration
from equipoise.policy.cascade import calibrated
from equipoise.stats.calibration import COLDEST, HOTTEST, LEAST_BLOCK, fit_isotonic, fit_temperature, tempered


@st.composite
def answers(draw: st.DrawFn):
    """Confidences, many of them equal, and who was right."""
    n = draw(st.integers(1, 120))
    values = st.floats(0, 1) if draw(st.booleans()) else st.sampled_from([0.25, 0.5, 0.75, 1.0])
    return draw(hnp.arrays(np.float64, n, elements=values)), draw(hnp.arrays(np.bool_, n))


@given(hnp.arrays(np.float64, (7, 4), elements=st.floats(0.001, 1)), st.floats(0.05, 20))
def test_tempered_shares_are_shares_with_the_same_answer(weights, temperature):
    shares = weights / weights.sum(axis=1, keepdims=True)
    changed = tempered(shares, temperature)
    assert changed.sum(axis=1) == pytest.approx(np.ones(7))
    best = np.take_along_axis(changed, shares.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert best == pytest.approx(changed.max(axis=1))
    np.testing.assert_array_equal(tempered(shares, 1.0), shares)


@given(hnp.arrays(np.float64, (5, 3), elements=st.floats(0.01, 1)), st.floats(0.3, 3))
def test_a_temperature_can_be_taken_back(weights, temperature):
    shares = weights / weights.sum(axis=1, keepdims=True)
    assert tempered(tempered(shares, temperature), 1 / temperature) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(truth):
    rng = np.random.default_rng(3)
    logits = 2 * rng.standard_normal((20_000, 4))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = (rng.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    overstated = tempered(honest, 1 / truth)
    assert fit_temperature(overstated, target) == pytest.approx(truth, rel=0.05)


def test_a_temperature_stays_in_its_range_and_reads_known_classes_only():
    always_right = np.array([[0.6, 0.4]] * 50)
    assert fit_temperature(always_right, np.zeros(50, dtype=int)) == pytest.approx(COLDEST, rel=0.01)
    assert fit_temperature(always_right, np.arange(50) % 2) == pytest.approx(HOTTEST, rel=0.01)
    assert fit_temperature(always_right, np.full(50, 7)) == 1.0
    mixed = np.concatenate([np.zeros(50, dtype=int), np.full(50, -1)])
    assert fit_temperature(np.tile(always_right, (2, 1)), mixed) == fit_temperature(always_right, mixed[:50])


@settings(max_examples=300)
@given(answers())
def test_knots_ascend_strictly_in_confidence_and_never_fall_in_probability(rows):
    raw, right = rows
    knots = fit_isotonic(raw, right)
    assert len(knots) >= 1
    assert all(before[0] < after[0] for before, after in itertools.pairwise(knots))
    assert all(before[1] <= after[1] for before, after in itertools.pairwise(knots))
    assert all(0 <= share <= 1 for _, share in knots)


@settings(max_examples=300)
@given(answers())
def test_more_confidence_is_always_more_between_nought_and_one(rows):
    raw, right = rows
    knots = fit_isotonic(raw, right)
    sure = calibrated(np.unique(raw), Calibration(method="isotonic", knots=knots))
    rising = np.diff(sure) > 0
    inside = (sure[1:] > 1e-9) & (sure[:-1] < 1 - 1e-9) & (np.diff(np.unique(raw)) > 1e-6)
    if len(knots) > 1:
        assert rising[inside].all()


@settings(max_examples=300)
@given(answers())
def test_no_step_rests_on_few_rows(rows):
    raw, right = rows
    assert len(fit_isotonic(raw, right)) <= len(raw) // LEAST_BLOCK + 2 or len(raw) < LEAST_BLOCK
    if len(raw) < 2 * LEAST_BLOCK:
        assert len(fit_isotonic(raw, right)) == 1


def test_few_rows_at_the_top_do_not_make_certain():
    """One right answer of great confidence behind twenty that are mostly wrong says little."""
    raw = np.concatenate([np.repeat(0.5, 20), [0.99]])
    right = np.concatenate([np.arange(20) < 5, [True]])
    assert fit_isotonic(raw, right) == (pytest.approx((10.99 / 21, 6 / 21)),)


def test_confidence_that_misleads_is_worth_nothing():
    raw = np.linspace(0, 1, 200)
    knots = fit_isotonic(raw, raw < 0.5)
    assert len(knots) == 1
    assert knots[0] == pytest.approx((0.5, 0.5))


def test_a_known_line_is_found():
    rng = np.random.default_rng(5)
    raw = rng.random(20_000)
    knots = fit_isotonic(raw, rng.random(20_000) < 0.2 + 0.7 * raw**2)
    places = np.linspace(0.02, 0.98, 25)
    sure = calibrated(places, Calibration(method="isotonic", knots=knots))
    assert sure == pytest.approx(0.2 + 0.7 * places**2, abs=0.06)


def test_what_is_not_a_number_is_left_out():
    raw, right = np.repeat([0.2, 0.9, np.nan], 50), np.repeat([False, True, False], 50)
    assert fit_isotonic(raw, right) == fit_isotonic(raw[:100], right[:100])
    assert fit_isotonic(np.full(3, np.nan), np.ones(3, dtype=bool)) == ((0.0, 0.0),)
