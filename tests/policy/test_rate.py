"""How often a caller may ask."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.policy.rate import Bucket, Rate, take

rates = st.builds(Rate, st.integers(1, 50), st.sampled_from([0.01, 1.0, 60.0, 3600.0]))
gaps = st.lists(st.floats(0, 3) | st.just(0.0), min_size=1, max_size=80)


@settings(max_examples=300, deadline=None)
@given(rates, gaps, st.floats(0, 1e7))
def test_no_stretch_of_time_lets_more_through_than_a_full_bucket_and_what_filled_it(rate, shares, start_s):
    bucket, passed_s = None, []
    for now_s in accumulate((share * rate.period_s / rate.requests for share in shares), initial=start_s):
        bucket, wait_s = take(bucket, rate, now_s)
        assert 0 <= bucket.tokens <= rate.requests
        if not wait_s:
            passed_s.append(now_s)
    for first, begin_s in enumerate(passed_s):
        for last in range(first, len(passed_s)):
            most = rate.requests + (passed_s[last] - begin_s) * rate.requests / rate.period_s
            assert last - first + 1 <= most * (1 + 1e-6)


@settings(max_examples=300, deadline=None)
@given(rates, gaps, st.floats(0, 0.999))
def test_who_waits_as_long_as_was_said_passes_and_who_does_not_does_not(rate, shares, early):
    bucket, now_s = None, 0.0
    for share in shares:
        now_s += share * rate.period_s / rate.requests
        bucket, wait_s = take(bucket, rate, now_s)
        if wait_s:
            assert take(bucket, rate, now_s + wait_s)[1] == 0
            after, still_s = take(bucket, rate, now_s + early * wait_s)
            assert still_s == pytest.approx((1 - early) * wait_s)
            assert take(after, rate, now_s + wait_s)[1] == 0  # asking too early cost nothing


@given(rates, st.integers(1, 50))
def test_a_rested_caller_may_ask_as_often_as_its_rate_says_at_once(rate, more):
    bucket, waits_s = None, []
    for _ in range(rate.requests + more):
        bucket, wait_s = take(bucket, rate, 1e6)
        waits_s.append(wait_s)
    assert waits_s == [0.0] * rate.requests + [rate.period_s / rate.requests] * more


def test_a_clock_that_goes_back_gives_nothing_and_a_new_rate_holds_at_once():
    empty, rate = Bucket(0.0, 100.0), Rate(1, 1.0)
    assert take(empty, rate, 50.0) == (empty, 1.0)
    assert take(Bucket(100.0, 0.0), rate, 0.0) == (Bucket(0.0, 0.0), 0.0)
