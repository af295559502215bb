"""What answers cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.brief import OwnedMachine
from equipoise.policy.cost import (
    LaneUse,
    break_even_rps,
    machines_needed,
    monthly_usd,
    owned_usd_per_hour,
    shared_usd,
    usd_per_million_correct,
    usd_per_million_packed,
    usd_per_million_provisioned,
)

prices = st.floats(0.001, 100)
rates = st.floats(0.01, 1e5)


def test_packed_cost_is_the_price_over_the_answers_of_an_hour():
    assert usd_per_million_packed(0.36, 100.0) == pytest.approx(1.0)  # 360,000 answers for 36 cents


@given(prices, rates, rates)
def test_idle_time_is_paid_so_provisioned_is_never_below_packed(usd_per_hour, rate_rps, sustained_rps):
    provisioned = usd_per_million_provisioned(usd_per_hour, rate_rps, sustained_rps)
    assert provisioned >= usd_per_million_packed(usd_per_hour, sustained_rps) * (1 - 1e-12)


@given(prices, rates, st.integers(1, 1000))
def test_provisioned_falls_to_packed_where_traffic_fills_its_machines(usd_per_hour, sustained_rps, machines):
    rate_rps = machines * sustained_rps * (1 - 1e-9)
    assert machines_needed(rate_rps, sustained_rps) == machines
    packed = usd_per_million_packed(usd_per_hour, sustained_rps)
    assert usd_per_million_provisioned(usd_per_hour, rate_rps, sustained_rps) == pytest.approx(packed, rel=1e-6)


@given(rates, rates)
def test_machines_carry_the_traffic_and_one_fewer_would_not(rate_rps, sustained_rps):
    machines = machines_needed(rate_rps, sustained_rps)
    assert machines * sustained_rps >= rate_rps * (1 - 1e-12)
    assert machines == 1 or (machines - 1) * sustained_rps < rate_rps


@given(prices, rates, rates)
def test_a_month_pays_for_its_answers(usd_per_hour, rate_rps, sustained_rps):
    answers = rate_rps * 3600 * 730.5
    per_million = usd_per_million_provisioned(usd_per_hour, rate_rps, sustained_rps)
    assert monthly_usd(usd_per_hour, rate_rps, sustained_rps) == pytest.approx(per_million * answers / 1e6)


@given(st.integers(1, 400), st.integers(1, 400))
def test_above_the_break_even_a_plan_always_needs_fewer_machines_and_not_before(sustained, other):
    rate = break_even_rps(float(sustained), float(other))
    if sustained <= other:
        assert rate is None
        return
    assert rate is not None
    assert machines_needed(rate, sustained) >= machines_needed(rate, other)
    above = [rate * (1 + 1e-9), *(rate + step for step in range(1, 200)), *(rate * factor for factor in (2, 3.7, 10))]
    assert all(machines_needed(r, sustained) < machines_needed(r, other) for r in above)


def test_correct_answers_cost_more_and_none_cost_no_number():
    assert usd_per_million_correct(1.0, 0.8) == pytest.approx(1.25)
    assert usd_per_million_correct(1.0, 1.0) == 1.0
    assert usd_per_million_correct(1.0, 0.0) is None
    with pytest.raises(ValueError, match=r"found 1\.2"):
        usd_per_million_correct(1.0, 1.2)


def test_an_owned_machine_costs_its_price_over_its_life_and_its_electricity():
    machine = OwnedMachine(capex_usd=730.5 * 36, months=36, watts=200, usd_per_kwh=0.30)
    assert owned_usd_per_hour(machine) == pytest.approx(1.0 + 0.06)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_that_are_no_positive_number_are_refused_by_name(bad):
    with pytest.raises(ValueError, match="throughput_rps"):
        usd_per_million_packed(1.0, bad)
    with pytest.raises(ValueError, match="usd_per_hour"):
        usd_per_million_provisioned(bad, 1.0, 1.0)
    with pytest.raises(ValueError, match="sustained_rps"):
        machines_needed(1.0, bad)


uses = st.dictionaries(st.sampled_from("abcd"), st.builds(LaneUse, st.floats(0, 1e6), st.floats(0.01, 1e6)), min_size=1)


@given(usd=st.floats(0, 1e4), use=uses)
def test_the_whole_machine_is_paid_for_idle_or_not(usd, use):
    shares = shared_usd(usd, use)
    assert sum(shares.values()) == pytest.approx(usd)
    assert all(share >= 0 for share in shares.values())


@given(usd=st.floats(0.01, 1e4), lane_s=st.floats(1, 1e6), busy=st.floats(0, 0.5), more=st.floats(0, 0.5))
def test_of_two_with_the_same_lanes_the_busier_pays_more(usd, lane_s, busy, more):
    shares = shared_usd(
        usd, {"calm": LaneUse(busy * lane_s, lane_s), "busier": LaneUse((busy + more) * lane_s, lane_s)}
    )
    assert shares["busier"] >= shares["calm"] * (1 - 1e-12)


def test_no_lane_pays_nothing():
    assert shared_usd(1.0, {}) == {}
    assert shared_usd(0.0, {"m": LaneUse(0.0, 0.0)}) == {"m": 0.0}


def test_use_since_a_count_that_began_anew_is_all_of_it():
    assert LaneUse(3.0, 10.0).since(LaneUse(1.0, 4.0)) == LaneUse(2.0, 6.0)
    assert LaneUse(0.5, 1.0).since(LaneUse(1.0, 4.0)) == LaneUse(0.5, 1.0)
    assert LaneUse(0.5, 1.0).since(None) == LaneUse(0.5, 1.0)
