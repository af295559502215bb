from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.policy.payback import paid_back, training_usd

usd = st.floats(1e-6, 1e4)


def test_minutes_cost_the_machine_s_price() -> None:
    assert training_usd(0.6, 90 * 60) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="found 0 and 1"):
        training_usd(0, 1)


@given(cost=usd, saved=usd, rate=st.floats(1e-3, 1e5))
def test_after_so_many_requests_the_savings_are_the_cost(cost: float, saved: float, rate: float) -> None:
    found = paid_back(cost, saved, rate, within_days=90)
    assert found.requests is not None
    assert found.days is not None
    assert found.requests / 1e6 * saved == pytest.approx(cost)
    assert found.days * 86_400 * rate == pytest.approx(found.requests)
    assert found.in_time == (found.days <= 90)


@given(cost=usd, saved=st.floats(-1e4, 0), rate=st.none() | st.floats(1e-3, 1e5))
def test_what_saves_nothing_never_pays(cost: float, saved: float, rate: float | None) -> None:
    found = paid_back(cost, saved, rate, within_days=1e9)
    assert (found.requests, found.days, found.in_time) == (None, None, False)


def test_without_a_rate_it_is_in_time_if_it_ever_is() -> None:
    assert paid_back(5.0, 1e-6, None, within_days=1).in_time


def test_where_nothing_else_will_do_it_pays_at_once() -> None:
    assert paid_back(5.0, math.inf, 1.0, within_days=1).requests == 0


@pytest.mark.parametrize(
    "wrong", [(-1.0, 1.0, 1.0, 1.0), (1.0, math.nan, 1.0, 1.0), (1.0, 1.0, 0.0, 1.0), (1.0, 1.0, 1.0, 0.0)]
)
def test_figures_out_of_range_are_refused(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="found"):
        paid_back(*wrong)
