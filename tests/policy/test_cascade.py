"""When a stage's answer stands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equipoise.core.plan import AcceptRule, Calibration
from equipoise.policy.cascade import calibrated, raw_confidence, stands

OF_PROBABILITIES = ("max_probability", "margin", "entropy")

temperatures = st.sampled_from([0.05, 0.5, 1.0, 3.0, 20.0])


@st.composite
def probabilities(draw: st.DrawFn):
    shape = (draw(st.integers(1, 12)), draw(st.integers(2, 6)))
    weights = draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))
    weights[weights.sum(axis=1) < 1e-6] = 1.0
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("measure", OF_PROBABILITIES)
@given(shares=probabilities(), temperature=temperatures)
def test_confidence_is_bounded_finite_and_blind_to_the_order_of_classes(measure, shares, temperature):
    confidence = raw_confidence(measure, probabilities=shares, temperature=temperature)
    least = 1 / shares.shape[1] if measure == "max_probability" else 0.0
    assert confidence.shape == (len(shares),)
    assert (confidence >= least - 1e-9).all()
    assert (confidence <= 1 + 1e-9).all()
    turned = raw_confidence(measure, probabilities=shares[:, ::-1], temperature=temperature)
    assert turned == pytest.approx(confidence, abs=1e-9)


@pytest.mark.parametrize("measure", OF_PROBABILITIES)
@given(shares=probabilities(), part=st.floats(0, 1))
def test_confidence_rises_as_probability_moves_to_the_answer(measure, shares, part):
    answer = np.eye(shares.shape[1])[shares.argmax(axis=1)]
    surer = (1 - part) * shares + part * answer
    before, after = (raw_confidence(measure, probabilities=each) for each in (shares, surer))
    assert (after >= before - 1e-9).all()


@given(shares=probabilities(), cooler=st.floats(0.1, 10), hotter=st.floats(1, 10))
def test_a_higher_temperature_is_less_sure(shares, cooler, hotter):
    cold, warm = (
        raw_confidence("max_probability", probabilities=shares, temperature=each) for each in (cooler, cooler * hotter)
    )
    assert (warm <= cold + 1e-9).all()


@pytest.mark.parametrize("measure", OF_PROBABILITIES)
def test_the_extremes_are_nought_and_one(measure):
    confidence = raw_confidence(measure, probabilities=np.array([[0.25] * 4, [0.0, 0.0, 1.0, 0.0]]))
    assert confidence == pytest.approx([0.25 if measure == "max_probability" else 0.0, 1.0], abs=1e-9)


def test_members_that_agree_make_sure():
    members = np.array([[0, 1, 2], [0, 1, 1], [0, 0, 0]])
    assert raw_confidence("agreement", members=members, answer=np.array([0, 1, 0])) == pytest.approx([1, 2 / 3, 1 / 3])
    numbers = np.array([[1.0, 5.0], [1.0, 7.0]])
    assert raw_confidence("spread", members=numbers) == pytest.approx([0.0, -1.0])


@pytest.mark.parametrize("measure", [*OF_PROBABILITIES, "agreement", "spread"])
def test_what_a_measure_reads_must_be_there(measure):
    with pytest.raises(ValueError, match=measure):
        raw_confidence(measure)
    if measure == "agreement":
        with pytest.raises(ValueError, match=measure):
            raw_confidence(measure, members=np.zeros((2, 3)))


lines = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6, unique_by=lambda knot: knot[0]
).map(
    lambda knots: Calibration(
        method="isotonic",
        knots=tuple(zip(sorted(place for place, _ in knots), sorted(share for _, share in knots), strict=True)),
    )
)
confidences = hnp.arrays(np.float64, st.integers(0, 20), elements=st.floats(0, 1) | st.just(np.nan))


@given(confidences, lines)
def test_calibration_keeps_the_order_and_stays_within_its_knots(raw, calibration):
    sure = calibrated(raw, calibration)
    known = ~np.isnan(raw)
    order = np.argsort(raw[known], kind="stable")
    assert (np.diff(sure[known][order]) >= 0).all()
    shares = [share for _, share in calibration.knots]
    assert ((sure[known] >= min(shares)) & (sure[known] <= max(shares))).all()
    assert np.isnan(sure[~known]).all()


@given(confidences)
def test_only_an_isotonic_line_changes_a_confidence(raw):
    for calibration in (Calibration(), Calibration(method="temperature", temperature=3.0)):
        np.testing.assert_array_equal(calibrated(raw, calibration), raw)


@settings(max_examples=200)
@given(confidences, st.floats(0, 1), st.floats(0, 1))
def test_answers_stand_from_the_threshold_on_and_never_without_a_number(raw, first, second):
    low, high = sorted((first, second))
    easy, strict = (stands(raw, AcceptRule(measure="margin", at_least=each)) for each in (low, high))
    assert not easy[np.isnan(raw)].any()
    assert (easy | ~strict).all()
    assert (easy[~np.isnan(raw)] == (raw[~np.isnan(raw)] >= low)).all()


@given(confidences)
def test_without_a_rule_every_answer_stands(raw):
    assert stands(raw, None).all()
    assert len(stands(raw, None)) == len(raw)
