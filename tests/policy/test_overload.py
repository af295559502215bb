"""Who is taken in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import ServiceModel
from equipoise.policy.overload import ADMIT, DEGRADE, Degrade, Load, Shed, admit, expected_s
from equipoise.policy.served import serve_stages

SLOW = ServiceModel([(1, 0.010), (8, 0.024)])
FAST = ServiceModel([(1, 0.001), (8, 0.002)])


def plan(fallback=True, lanes=1, queue_rows=None, max_wait_s=0.0, max_rows=8, limit_s=None):
    first = BatchRule(max_rows=max_rows, max_wait_s=max_wait_s, limit_s=limit_s)
    stages = 2 + fallback
    rules = [first, *[BatchRule(max_rows=max_rows)] * (stages - 1)]
    services = [FAST, SLOW, FAST][:stages]
    return serve_stages(rules, services, [1.0, 0.5], lanes, fallback=fallback, queue_rows=queue_rows)


@st.composite
def loads(draw):
    served = plan(draw(st.booleans()), draw(st.integers(1, 3)), draw(st.none() | st.integers(1, 40)))
    waiting = [draw(st.integers(0, 30)) for _ in served.stages]
    free = draw(st.integers(0, served.lanes))
    busy_s = [0.0] * free + [draw(st.floats(0, 0.1)) for _ in range(served.lanes - free)]
    return served, Load(waiting, busy_s, free)


limits = st.none() | st.floats(1e-4, 0.5)


@settings(max_examples=300, deadline=None)
@given(loads(), st.sampled_from([0, 1, 2]), limits, st.booleans(), st.integers(1, 10), st.floats(0, 0.05))
def test_a_decision_keeps_every_promise(state, entry, limit_s, may_degrade, rows, waited_s):
    served, load = state
    entry = min(entry, len(served.stages) - 1)
    options = {"rows": rows, "limit_s": limit_s, "waited_s": waited_s, "may_degrade": may_degrade}
    step = admit(served, load, entry, 0.0, **options)
    idle = load.free_lanes > 0 and not sum(load.waiting_rows)
    if isinstance(step, Degrade):
        assert may_degrade
        assert served.fallback is not None
        assert entry != served.fallback
        assert expected_s(served, load, served.fallback, 0.0, rows) + waited_s <= limit_s + 1e-12
    if isinstance(step, Shed):
        assert not idle
        assert 0 < step.retry_after_s < float("inf")
    if step == ADMIT and not idle:
        assert limit_s is None or expected_s(served, load, entry, 0.0, rows) + waited_s <= limit_s + 1e-12
        assert served.queue_rows is None or sum(load.waiting_rows) + rows <= served.queue_rows


@settings(max_examples=200, deadline=None)
@given(loads(), st.integers(0, 2), st.integers(0, 2), st.integers(1, 20))
def test_nothing_gets_faster_by_more_that_waits(state, entry, where, more):
    served, load = state
    entry, where = min(entry, len(served.stages) - 1), min(where, len(served.stages) - 1)
    rows = served.stages[where].rule.max_rows * more  # whole batches: a part of one may fill up to no one's harm
    longer = [count + rows * (place == where) for place, count in enumerate(load.waiting_rows)]
    before = expected_s(served, load, entry, 0.0)
    assert expected_s(served, Load(longer, load.lane_free_s, load.free_lanes), entry, 0.0) >= before - 1e-12


def test_deeper_rows_go_first_so_that_high_priority_waits_for_few():
    busy = Load([80, 0, 0], [0.0], 0)
    assert expected_s(plan(), busy, 1, 0.0) == pytest.approx(0.010)
    assert expected_s(plan(), busy, 0, 0.0) > 0.1
    assert expected_s(plan(), Load([0, 8, 0], [0.0], 0), 1, 0.0) == pytest.approx((0.024 + 0.010) / 0.8)
    assert expected_s(plan(), Load([0, 0, 8], [0.0], 0), 1, 0.0) == pytest.approx((0.002 + 0.010) / 0.8)


def test_what_joins_a_batch_waits_for_none():
    assert expected_s(plan(), Load([0, 3, 0], [0.0], 1), 1, 0.0) == pytest.approx(SLOW.seconds(4))


def test_lanes_share_the_work():
    assert expected_s(plan(lanes=2), Load([0, 16, 0], [0.0, 0.0], 0), 1, 0.0) == pytest.approx((0.024 + 0.010) / 0.8)
    one_busy = Load([0, 8, 0], [0.0, 9.0], 0)
    assert expected_s(plan(lanes=2), one_busy, 1, 0.0) == pytest.approx((0.024 + 0.010) / 0.8)


def test_a_batch_may_be_held_back_but_not_past_its_limit():
    idle = Load([0, 0, 0], [0.0], 1)
    whole_s = plan().stages[0].whole.seconds(1)
    assert expected_s(plan(max_wait_s=0.02), idle, 0, 0.0) == pytest.approx((0.02 + whole_s) / 0.8)
    assert expected_s(plan(max_wait_s=0.02, limit_s=0.016), idle, 0, 0.0) == pytest.approx(0.016 / 0.8)


def test_pressure_degrades_before_it_sheds():
    def at(waiting, fallback=True, may_degrade=True):
        load = Load([0, waiting] + [0] * fallback, [0.0], 0)
        return admit(plan(fallback, max_rows=1), load, 1, 0.0, limit_s=0.052, may_degrade=may_degrade)

    assert at(3) == ADMIT  # 30 ms ahead and 10 ms of its own: 40 ms are within 80% of the limit
    assert at(4) == DEGRADE  # 50 ms are not, 41 ms are
    assert isinstance(at(4, fallback=False), Shed)
    assert isinstance(at(4, may_degrade=False), Shed)
    assert isinstance(at(5), Shed)


def test_an_idle_machine_sheds_nothing_and_a_full_queue_takes_nothing():
    assert admit(plan(False), Load([0, 0], [0.0], 1), 0, 0.0, limit_s=1e-6) == ADMIT
    assert admit(plan(), Load([0, 0, 0], [0.0], 1), 1, 0.0, limit_s=0.005) == DEGRADE
    full = Load([8, 0, 0], [0.0], 0)
    assert isinstance(admit(plan(queue_rows=8), full, 0, 0.0), Shed)
    assert admit(plan(queue_rows=9), full, 0, 0.0) == ADMIT
    assert admit(plan(queue_rows=4), Load([0, 0, 0], [0.0], 1), 0, 0.0, rows=9) == ADMIT
