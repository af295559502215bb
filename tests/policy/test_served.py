"""What deciding knows of a plan."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import ServiceModel
from equipoise.policy.served import continuing, default_queue_rows, serve_stages

FAST = ServiceModel([(1, 0.001), (8, 0.004)])
SLOW = ServiceModel([(1, 0.010), (8, 0.040)])
RULE = BatchRule(max_rows=8)


def test_the_whole_of_a_stage_is_its_own_seconds_and_what_is_expected_later():
    served = serve_stages([RULE] * 2, [FAST, SLOW], [1.0, 0.5])
    first = served.stages[0].whole
    assert first.seconds(1) == pytest.approx(0.001 + 0.5 * 0.010)
    # Some row of 8 goes on almost surely, and then a little more than 4 do.
    assert first.seconds(8) == pytest.approx(0.004 + (1 - 0.5**8) * SLOW.seconds(5))
    assert served.stages[1].whole == SLOW
    assert served.stages[0].own == FAST


def test_a_fallback_stands_alone_and_a_share_of_nothing_costs_nothing():
    served = serve_stages([RULE] * 3, [FAST, SLOW, FAST], [1.0, 0.0], fallback=True)
    assert (served.nominal, served.last, served.fallback) == (2, 1, 2)
    assert served.stages[2].whole == FAST
    assert served.stages[0].whole.seconds(8) == FAST.seconds(8)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 8))
def test_the_whole_takes_no_less_than_the_stage_and_no_less_for_more_rows(share, further, max_rows):
    shares = [1.0, share, share * further]
    served = serve_stages([BatchRule(max_rows=max_rows)] * 3, [FAST, SLOW, SLOW], shares)
    for stage in served.stages:
        seconds = [stage.whole.seconds(rows) for rows in range(1, 20)]
        assert all(later >= earlier for earlier, later in itertools.pairwise(seconds))
        assert all(total >= stage.own.seconds(rows) - 1e-12 for rows, total in enumerate(seconds, start=1))


@pytest.mark.parametrize(
    ("rules", "services", "shares", "options", "message"),
    [
        ([], [], [], {}, "0 rules"),
        ([RULE], [FAST, SLOW], [1.0], {}, "2 services"),
        ([RULE] * 2, [FAST, SLOW], [1.0, 0.5], {"fallback": True}, "with a fallback"),
        ([RULE], [FAST], [1.0], {"lanes": 0}, "lanes"),
        ([RULE] * 2, [FAST, SLOW], [0.5, 1.0], {}, "never rise"),
        ([RULE], [FAST], [1.5], {}, "between 0 and 1"),
    ],
)
def test_stages_that_do_not_go_together_are_refused(rules, services, shares, options, message):
    with pytest.raises(ValueError, match=message):
        serve_stages(rules, services, shares, **options)


def test_shares_and_bounds():
    assert continuing(0.5, 0.1) == pytest.approx(0.2)
    assert continuing(0.0, 0.0) == 0
    assert default_queue_rows(1, 1) == 1024
    assert default_queue_rows(128, 4) == 16 * 128 * 4
