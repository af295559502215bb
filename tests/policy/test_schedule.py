"""Which queue a free lane serves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import Dispatch, QueueState, ServiceModel, WaitUntil, decide
from equipoise.policy.schedule import Start, next_batch
from equipoise.policy.served import serve_stages

SERVICE = ServiceModel([(1, 0.010), (8, 0.024)])
EAGER = BatchRule(max_rows=4)
PATIENT = BatchRule(max_rows=4, max_wait_s=0.5)


def queue(*arrival_s, free=1):
    return QueueState(list(arrival_s), [1] * len(arrival_s), free)


def cascade(first=EAGER, fallback=EAGER):
    return serve_stages([first, EAGER, fallback], [SERVICE] * 3, [1.0, 0.4], fallback=True)


def test_the_deepest_stage_goes_first_even_where_an_earlier_one_waits_longer():
    assert next_batch(cascade(), [queue(0.0), queue(0.5), queue()], 1.0) == Start(1, 1, 1)


def test_the_fallback_counts_by_age():
    assert next_batch(cascade(), [queue(0.2), queue(), queue(0.1)], 1.0) == Start(2, 1, 1)
    assert next_batch(cascade(), [queue(0.1), queue(), queue(0.2)], 1.0) == Start(0, 1, 1)
    assert next_batch(cascade(), [queue(0.0), queue(0.3), queue(0.2)], 1.0) == Start(2, 1, 1)


def test_a_fallback_that_waits_for_others_does_not_hold_back_what_is_ready():
    assert next_batch(cascade(fallback=PATIENT), [queue(0.9), queue(), queue(0.8)], 1.0) == Start(0, 1, 1)


def test_where_nothing_is_ready_the_earliest_wait_counts():
    plan = cascade(first=PATIENT, fallback=PATIENT)
    assert next_batch(plan, [queue(0.9), queue(), queue(0.8)], 1.0) == WaitUntil(1.3)
    assert next_batch(plan, [queue(), queue(), queue()], 1.0) == WaitUntil(None)
    assert next_batch(plan, [queue(0.0, free=0), queue(0.0, free=0), queue(free=0)], 1.0) == WaitUntil(None)


@st.composite
def states(draw):
    nominal, fallback = draw(st.integers(1, 3)), draw(st.booleans())
    rules = [
        BatchRule(max_rows=draw(st.integers(1, 6)), max_wait_s=draw(st.sampled_from([0.0, 0.1, 0.9])))
        for _ in range(nominal + fallback)
    ]
    plan = serve_stages(rules, [SERVICE] * len(rules), [0.5**place for place in range(nominal)], fallback=fallback)
    free = draw(st.integers(0, 2))
    queues = []
    for _ in rules:
        waiting = sorted(draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 8)), max_size=8)))
        queues.append(QueueState([at for at, _ in waiting], [rows for _, rows in waiting], free))
    return plan, queues, draw(st.floats(1, 2))


@settings(max_examples=300, deadline=None)
@given(states())
def test_what_starts_is_what_its_stage_decides_and_nothing_ready_is_left_waiting(state):
    plan, queues, now_s = state
    steps = [decide(queues[k], stage.rule, stage.whole, now_s) for k, stage in enumerate(plan.stages)]
    ready = [place for place, step in enumerate(steps) if isinstance(step, Dispatch)]
    chosen = next_batch(plan, queues, now_s)
    if isinstance(chosen, Start):
        assert steps[chosen.stage] == Dispatch(chosen.requests, chosen.rows)
        assert chosen.rows <= plan.stages[chosen.stage].rule.max_rows or chosen.requests == 1
        deepest = max((place for place in ready if place < plan.nominal), default=None)
        if deepest is not None and chosen.stage != deepest:
            assert queues[chosen.stage].arrival_s[0] < queues[deepest].arrival_s[0]
    else:
        assert not ready
        wakes = [step.at_s for step in steps if isinstance(step, WaitUntil) and step.at_s is not None]
        assert chosen.at_s == min(wakes, default=None)
