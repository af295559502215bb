"""Where requests go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import ServiceModel
from equipoise.policy.route import ANSWER, UNAVAILABLE, choose_machine, entry_stage, next_stage
from equipoise.policy.served import serve_stages

SERVICE = ServiceModel([(1, 0.01)])
places = st.frozensets(st.integers(0, 4))


def plan(nominal, fallback):
    stages = nominal + fallback
    shares = [0.5**place for place in range(nominal)]
    return serve_stages([BatchRule(max_rows=4)] * stages, [SERVICE] * stages, shares, fallback=fallback)


plans = st.builds(plan, st.integers(1, 4), st.booleans())


@given(plans, places)
def test_high_priority_always_gets_the_last_stage_or_nothing(served, down):
    expected = UNAVAILABLE if served.last in down else served.last
    assert entry_stage(served, high=True, down=down) == expected
    assert next_stage(served, served.last, accepted=False, down=down) is ANSWER


@given(plans, places, st.booleans())
def test_a_normal_request_enters_at_the_first_stage_unless_something_is_wrong(served, down, degrade):
    if degrade and served.fallback is None:
        return
    broken = any(place in down for place in range(served.nominal))
    entry = entry_stage(served, high=False, degrade=degrade, down=down)
    if not broken and not degrade:
        assert entry == 0
    elif served.fallback is None or served.fallback in down:
        assert entry is UNAVAILABLE
    else:
        assert entry == served.fallback


@given(plans, places, st.data())
def test_rows_go_one_stage_further_until_an_answer_stands(served, down, data):
    stage = data.draw(st.integers(0, len(served.stages) - 1))
    assert next_stage(served, stage, accepted=True, down=down) is ANSWER
    step = next_stage(served, stage, accepted=False, down=down)
    if stage >= served.last:
        assert step is ANSWER
    elif stage + 1 not in down:
        assert step == stage + 1
    else:
        assert step == (UNAVAILABLE if served.fallback is None or served.fallback in down else served.fallback)


def test_what_must_not_be_degraded_is_not():
    with pytest.raises(ValueError, match="high priority"):
        entry_stage(plan(2, True), high=True, degrade=True)
    with pytest.raises(ValueError, match="without a fallback"):
        entry_stage(plan(2, False), high=False, degrade=True)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 100))
def test_a_machine_has_the_fewest_unanswered_requests_and_equal_ones_take_turns(outstanding, turn):
    chosen = choose_machine(outstanding, turn)
    n = len(outstanding)
    fewest = [place for place in range(n) if outstanding[place] == min(outstanding)]
    assert chosen == min(fewest, key=lambda place: (place - turn) % n)
