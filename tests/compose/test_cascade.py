"""Thresholds of cascades, chosen on the search rows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.compose.cascade import (
    ESCALATED,
    FEW_ESCALATED,
    LEAST_POWER,
    SURE_POWER,
    StageRows,
    Thresholds,
    batch_for,
    confidences,
    promising,
    search_thresholds,
)
from equipoise.compose.certify import WANTED_POWER, Claim, Evidence, judge
from equipoise.core.certificate import Margin
from equipoise.core.plan import AcceptRule, Measure
from equipoise.policy.batch import ServiceModel
from equipoise.policy.cascade import calibrated, raw_confidence, stands
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

ROWS, CLASSES = 600, 3
LIGHT, MIDDLE, STRONG = (ServiceModel([(1, each), (64, 40 * each)]) for each in (1e-3, 3e-3, 1e-2))

SOME = Predictions(labels=np.ones(40, dtype=int))
JUDGED = judge(
    SOME,
    Evidence(
        metric_named("accuracy"),
        SOME,
        np.ones(40, dtype=int),
        None,
        (Claim("main", "metric", Margin(drop=0.1), np.arange(40)),),
    ),
)

points = st.dictionaries(st.integers(1, 300), st.floats(1e-4, 1.0), min_size=1, max_size=5)
services = points.map(lambda measured: ServiceModel(list(measured.items())))


def answers(right: np.ndarray, sure: np.ndarray, target: np.ndarray) -> Predictions:
    """Labels that are right or the next class, with the rest of the probability split unevenly."""
    labels = np.where(right, target, (target + 1) % CLASSES)
    rest = np.stack([sure, 0.7 * (1 - sure), 0.3 * (1 - sure)], axis=1)
    places = (np.arange(CLASSES) - labels[:, None]) % CLASSES
    return Predictions(labels=labels, probabilities=np.take_along_axis(rest, places, axis=1))


@pytest.fixture(scope="module")
def world() -> tuple[list[StageRows], Evidence]:
    """A light, a middling and a strong stage; the light one is wrong where it is unsure."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, CLASSES, ROWS)
    ease = rng.random(ROWS)
    strong = answers(rng.random(ROWS) < 0.95, np.full(ROWS, 0.9), target)
    light = answers(ease + 0.1 * rng.random(ROWS) > 0.3, 0.6 + 0.35 * ease, target)
    middle = answers(ease + 0.1 * rng.random(ROWS) > 0.15, 0.6 + 0.35 * rng.permutation(ease), target)
    stages = [StageRows(light, LIGHT), StageRows(middle, MIDDLE), StageRows(strong, STRONG)]
    claims = (
        Claim("main", "metric", Margin(drop=0.03), np.arange(500)),
        Claim("far", "ood", Margin(drop=0.1), np.arange(500, ROWS)),
    )
    return stages, Evidence(metric_named("accuracy"), strong, target, None, claims)


def served(stages: list[StageRows], found: Thresholds) -> tuple[Predictions, np.ndarray]:
    """What the served rules make of the stages' answers, and which stage each row's answer comes from."""
    by = np.zeros(ROWS, dtype=int)
    left = np.ones(ROWS, dtype=bool)
    for stage, rule in zip(stages, found.accepts, strict=True):
        if rule is None:
            continue
        shares = stage.predictions.probabilities
        raw = raw_confidence(rule.measure, probabilities=shares, temperature=rule.calibration.temperature)
        left = left & ~stands(calibrated(raw, rule.calibration), rule)
        by += left
    return Predictions.chosen([stage.predictions for stage in stages], by), by


@pytest.mark.parametrize("places", [(0, 2), (0, 1, 2)])
def test_what_is_judged_is_what_would_be_served(world, places):
    stages, evidence = [world[0][place] for place in places], world[1]
    found = search_thresholds(stages, evidence, scale=1.5)
    assert found
    for each in found[:: max(1, len(found) // 12)]:
        predictions, by = served(stages, each)
        assert judge(predictions, evidence).p_value == each.judgement.p_value
        main = by[evidence.main.rows]
        assert each.shares == pytest.approx([np.mean(main >= stage) for stage in range(len(stages))])


def test_thresholds_pass_on_the_shares_that_were_asked_for(world):
    stages, evidence = [world[0][0], world[0][2]], world[1]
    found = search_thresholds(stages, evidence)
    by_measure = {}
    for each in found:
        by_measure.setdefault(each.accepts[0].measure, []).append(each.shares[1])
    assert set(by_measure) == {"max_probability", "margin", "entropy"}
    for shares in by_measure.values():
        assert shares == sorted(shares)
        assert min(abs(share - 0.3) for share in shares) < 0.05
        # Ties pass on fewer rows than asked for, never more (but for one row's share).
        assert all(share <= asked + 1 / 500 for share, asked in zip(shares, ESCALATED[-len(shares) :], strict=True))


def test_the_more_rows_are_passed_on_the_slower(world):
    found = search_thresholds([world[0][0], world[0][2]], world[1])
    by_share = sorted(found, key=lambda each: each.shares[1])
    rates = [each.rows_per_s for each in by_share]
    assert all(after <= before * 1.03 for before, after in itertools.pairwise(rates))
    doubled = search_thresholds([world[0][0], world[0][2]], world[1], replicas=2)
    assert [each.rows_per_s for each in doubled] == pytest.approx([2 * each.rows_per_s for each in found])


def test_no_combination_is_judged_twice(world):
    """Three members agree in two ways only: many shares come to the same threshold."""
    stages, evidence = world
    rng = np.random.default_rng(1)
    labels = np.asarray(stages[0].predictions.labels)
    members = tuple(
        Predictions(labels=np.where(rng.random(ROWS) < 0.8, labels, (labels + 1) % CLASSES)) for _ in range(3)
    )
    ensemble = StageRows(Predictions(labels=labels), LIGHT, members)
    found = search_thresholds([ensemble, stages[2]], evidence)
    assert {each.accepts[0].measure for each in found} == {"agreement"}
    assert 1 <= len(found) <= 3
    assert len({each.accepts[0].at_least for each in found}) == len(found)


def test_numbers_are_passed_on_where_the_members_spread(world):
    rng = np.random.default_rng(2)
    target = rng.standard_normal(ROWS)
    noise = np.where(rng.random(ROWS) < 0.3, 1.0, 0.05)
    members = tuple(Predictions(values=target + noise * rng.standard_normal(ROWS)) for _ in range(3))
    mean = Predictions(values=np.mean([member.values for member in members], axis=0))
    strong = Predictions(values=target + 0.05 * rng.standard_normal(ROWS))
    claims = (Claim("main", "metric", Margin(drop=0.05), np.arange(ROWS)),)
    evidence = Evidence(metric_named("mae"), strong, target, None, claims)
    found = search_thresholds([StageRows(mean, LIGHT, members), StageRows(strong, STRONG)], evidence)
    assert [each.accepts[0].measure for each in found] == ["spread"] * len(FEW_ESCALATED)
    assert found[-1].judgement.passed
    assert found[-1].judgement.p_value <= found[0].judgement.p_value


def test_stages_that_say_nothing_of_how_sure_they_are_make_no_cascade(world):
    stages, evidence = world
    silent = StageRows(Predictions(labels=stages[0].predictions.labels), LIGHT)
    assert search_thresholds([silent, stages[2]], evidence) == []
    assert confidences(silent, evidence) == []


def test_a_confidence_that_is_not_a_number_is_never_accepted(world):
    stages, evidence = world
    shares = np.array(stages[0].predictions.probabilities)
    shares[::7] = np.nan
    broken = StageRows(replace(stages[0].predictions, probabilities=shares), LIGHT)
    found = search_thresholds([broken, stages[2]], evidence)
    assert found
    for each in found[::10]:
        _, by = served([broken, stages[2]], each)
        assert (by[::7] == 1).all()
        assert np.isfinite(each.accepts[0].at_least)


def test_calibration_reads_the_main_rows_only(world):
    stages, evidence = world
    assert evidence.target is not None
    elsewhere = np.array(evidence.target)
    elsewhere[500:] = (elsewhere[500:] + 1) % CLASSES
    before = confidences(stages[0], evidence)
    after = confidences(stages[0], replace(evidence, target=elsewhere))
    assert [(measure, calibration) for measure, calibration, _ in before] == [
        (measure, calibration) for measure, calibration, _ in after
    ]


def test_calibrated_confidence_says_how_often_answers_are_right(world):
    stages, evidence = world
    right = np.asarray(stages[0].predictions.labels == evidence.target)[:500]
    for measure, _, confidence in confidences(stages[0], evidence):
        sure = confidence[:500]
        for part in (sure < 0.5, sure > 0.9):
            assert part.sum() > 20, measure
            assert abs(sure[part].mean() - right[part].mean()) < 0.1, measure


def test_the_same_rows_give_the_same_thresholds_whatever_else_drew_random_numbers(world):
    stages, evidence = [world[0][0], world[0][2]], world[1]
    first = search_thresholds(stages, evidence)
    np.random.seed(0)  # noqa: NPY002 - the global state is what must not matter
    assert search_thresholds(stages, evidence) == first


@settings(max_examples=200)
@given(st.lists(st.tuples(services, st.floats(0.0, 1.0)), min_size=1, max_size=3), st.floats(1e-4, 2.0))
def test_a_batch_is_as_long_as_allowed_or_a_single_row(stages, longest_s):
    stage_services = [service for service, _ in stages]
    shares = [1.0, *(share for _, share in stages[1:])]
    rows, seconds = batch_for(stage_services, shares, longest_s)
    assert 1 <= rows <= stage_services[0].largest_rows
    assert seconds <= longest_s or rows == 1
    assert seconds > 0
    # With more time a batch answers no fewer rows a second, but for what is given up to have answers sooner.
    more_rows, more_s = batch_for(stage_services, shares, 2 * longest_s)
    assert more_rows / more_s >= 0.97 * rows / seconds - 1e-9


def test_a_batch_shrinks_to_what_reaches_a_stage():
    first, last = ServiceModel([(1, 0.01), (64, 0.02)]), ServiceModel([(1, 0.1), (64, 0.2)])
    rows, seconds = batch_for([first, last], [1.0, 0.25], np.inf)
    assert rows == 64
    assert seconds == pytest.approx(first.seconds(64) + last.seconds(16))
    assert batch_for([first, last], [1.0, 0.0], np.inf) == (64, pytest.approx(first.seconds(64)))
    # Half a row in a hundred batches: the last stage is asked for one row now and then.
    assert batch_for([first, last], [1.0, 0.005], first.seconds(1))[1] == pytest.approx(0.01 + 0.005 * 0.1)


def test_of_batches_that_are_about_as_good_the_shortest_is_taken():
    nearly_linear = ServiceModel([(1, 0.0101), (64, 0.64)])
    assert batch_for([nearly_linear], [1.0], np.inf) == (1, pytest.approx(0.0101))


def made(power: float, rows_per_s: float, measure: Measure = "margin") -> Thresholds:
    rule = AcceptRule(measure=measure, at_least=0.5)
    return Thresholds((rule, None), (1.0, 0.5), rows_per_s, JUDGED, power)


def test_the_cheapest_that_is_likely_to_pass_goes_with_a_surer_one():
    fast, likely, sure, slow = (made(*each) for each in ((0.6, 9), (WANTED_POWER, 5), (SURE_POWER, 3), (1, 1)))
    assert promising([slow, sure, fast, likely], most=2) == [likely, sure]
    assert promising([slow, sure, fast, likely], most=1) == [likely]
    assert promising([sure, fast], most=2) == [sure]


def test_where_none_is_likely_the_likeliest_may_be_tried():
    even, worse = made(LEAST_POWER, 1), made(LEAST_POWER - 0.01, 5)
    assert promising([worse, even], most=2) == [even]
    assert promising([worse], most=2) == []
    assert promising([], most=2) == []


@settings(max_examples=100)
@given(powers=st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), max_size=12), most=st.integers(1, 3))
def test_what_is_promising_is_likely_and_so_is_all_that_is_surer(powers, most):
    found = [made(*each) for each in powers]
    chosen = promising(found, most)
    assert len(chosen) <= min(2, most)
    assert bool(chosen) == any(each.power >= LEAST_POWER for each in found)
    if chosen and chosen[0].power >= WANTED_POWER:
        likely = [each.rows_per_s for each in found if each.power >= WANTED_POWER]
        unlikely = [each.rows_per_s for each in found if each.power < WANTED_POWER]
        assert not any(min(likely) < other < chosen[0].rows_per_s for other in unlikely)
    elif chosen:
        assert chosen[0].power == max(each.power for each in found)


def test_a_lucky_threshold_behind_an_unlikely_one_is_not_taken():
    surest, unlikely, lucky = made(0.995, 1), made(0.7, 2), made(0.95, 3)
    assert promising([lucky, unlikely, surest], most=2) == [surest]


def test_the_measure_is_chosen_by_several_powers():
    steady = [made(power, rate, "entropy") for power, rate in ((0.995, 4), (0.95, 5), (0.91, 6), (0.8, 7), (0.7, 8))]
    lucky = [made(power, rate, "margin") for power, rate in ((0.995, 1), (0.95, 2), (0.91, 6.5), (0.6, 9))]
    assert promising([*lucky, *steady], most=2) == [steady[2], steady[0]]
