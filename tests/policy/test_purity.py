"""No policy function looks at a clock, draws at random, or remembers anything."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import QueueState, ServiceModel, decide
from equipoise.policy.cache import cache_key, cache_worth, lru_hit_shares
from equipoise.policy.overload import Load, admit
from equipoise.policy.rate import Bucket, Rate, take
from equipoise.policy.route import choose_machine, entry_stage, next_stage
from equipoise.policy.schedule import next_batch
from equipoise.policy.served import serve_stages

CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep")
DRAWS = ("random", "uniform", "randint", "choice", "getrandbits")
SERVICE = ServiceModel([(1, 0.010), (8, 0.024)])


@st.composite
def arguments(draw):
    rules = [BatchRule(max_rows=draw(st.integers(1, 8)), max_wait_s=draw(st.floats(0, 0.1))) for _ in range(3)]
    plan = serve_stages(rules, [SERVICE] * 3, [1.0, draw(st.floats(0, 1))], 2, fallback=True, queue_rows=20)
    queues = []
    for _ in range(3):
        waiting = sorted(draw(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), max_size=6)))
        queues.append(QueueState([at for at, _ in waiting], [rows for _, rows in waiting], draw(st.integers(0, 2))))
    return plan, queues, draw(st.floats(0, 2)), draw(st.lists(st.integers(0, 5), min_size=1, max_size=9))


def answers(plan, queues, now_s, numbers):
    high, down = bool(numbers[0] % 2), frozenset(numbers[:1])
    load = Load([sum(queue.rows) for queue in queues], [now_s, now_s + 0.01], 1)
    inputs = {"x": np.array(numbers, dtype=np.float32), "t": np.array(["a", None], dtype=object)}
    return (
        next_batch(plan, queues, now_s),
        decide(queues[0], plan.stages[0].rule, plan.stages[0].whole, now_s),
        entry_stage(plan, high, False, down),
        next_stage(plan, 0, high, down),
        choose_machine(numbers, len(numbers)),
        admit(plan, load, 0, now_s, limit_s=0.05, may_degrade=not high),
        take(Bucket(numbers[0], 0.0), Rate(len(numbers), 1.0), now_s),
        cache_key("plan", "1", "", ["y"], inputs, {"x": 0.5}, high=high),
        lru_hit_shares(numbers, [1, 2]).tolist(),
        cache_worth(0.5, 1.0, 1e-5, 0.1, 0.01, 10.0),
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments())
def test_the_same_arguments_give_the_same_decision_without_a_clock_or_a_draw(given_arguments):
    def refused(*_, **__):
        raise AssertionError("a policy function looked at a clock or drew at random")

    first = answers(*given_arguments)
    with pytest.MonkeyPatch.context() as patch:
        for name in CLOCKS:
            patch.setattr(time, name, refused)
        for name in DRAWS:
            patch.setattr(random, name, refused)
        patch.setattr(np.random, "default_rng", refused)
        again = answers(*given_arguments)
    assert again == first
