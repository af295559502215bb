"""The batching policy, in any order of events."""

from __future__ import annotations

import heapq
import itertools
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import Dispatch, QueueState, ServiceModel, WaitUntil, batch_rule, decide, wait_for

LINEAR = ServiceModel([(1, 0.011), (101, 0.111)])  # 10 ms and 1 ms a row

points = st.dictionaries(st.integers(1, 64), st.floats(1e-4, 1.0), min_size=1, max_size=6)
services = points.map(lambda measured: ServiceModel(list(measured.items())))
rules = st.builds(
    BatchRule,
    max_rows=st.integers(1, 32),
    max_wait_s=st.sampled_from([0.0, 0.001, 0.02, 0.5]),
    limit_s=st.none() | st.floats(1e-3, 2.0),
)
requests = st.lists(st.tuples(st.floats(0.0, 3.0), st.integers(1, 40)), min_size=1, max_size=30)


@st.composite
def queues(draw: st.DrawFn) -> QueueState:
    waiting = sorted(draw(requests))
    return QueueState([at_s for at_s, _ in waiting], [rows for _, rows in waiting], draw(st.integers(1, 4)))


def follow(waiting, rule, service, replicas, seed):
    """Play the policy on random events: arrivals, answers that take any time at all, and needless questions."""
    rng = random.Random(seed)
    waiting = sorted(waiting)
    events = [(at_s, "arrival") for at_s, _ in waiting]
    events += [(rng.uniform(0, 4), "nothing") for _ in range(5)]
    heapq.heapify(events)
    arrived = sent = questions = 0
    free, batches = replicas, []
    while events:
        now_s, event = heapq.heappop(events)
        arrived += event == "arrival"
        free += event == "answer"
        while True:
            questions += 1
            assert questions < 50 * (len(waiting) + 5)
            queue = waiting[sent:arrived]
            step = decide(QueueState([at for at, _ in queue], [rows for _, rows in queue], free), rule, service, now_s)
            if isinstance(step, WaitUntil):
                if step.at_s is not None:
                    assert step.at_s > now_s
                    heapq.heappush(events, (step.at_s, "wake"))
                break
            batches.append((sent, step, now_s))
            sent += step.requests
            free -= 1
            heapq.heappush(events, (now_s + rng.choice([1e-6, 0.01, 3.0]), "answer"))
    return waiting, batches


@settings(max_examples=150, deadline=None)
@given(requests, rules, services, st.integers(1, 3), st.integers(0, 2**16))
def test_every_request_goes_once_in_order_and_whole_whatever_happens(waiting, rule, service, replicas, seed):
    waiting, batches = follow(waiting, rule, service, replicas, seed)
    next_request = 0
    for first, batch, _ in batches:
        assert first == next_request
        assert batch.requests >= 1
        next_request += batch.requests
        rows = [rows for _, rows in waiting[first:next_request]]
        assert batch.rows == sum(rows)
        assert batch.rows <= rule.max_rows or len(rows) == 1
    assert next_request == len(waiting)


@settings(max_examples=200, deadline=None)
@given(queues(), rules, services, st.floats(0, 4))
def test_a_batch_is_the_largest_that_answers_its_oldest_in_time(queue, rule, service, now_s):
    step = decide(queue, rule, service, now_s)
    if isinstance(step, WaitUntil):
        return
    by_rows = [k for k in range(1, len(queue.rows) + 1) if k == 1 or sum(queue.rows[:k]) <= rule.max_rows]
    allowed = max(by_rows)
    if rule.limit_s is not None:
        latest_s = queue.arrival_s[0] + rule.limit_s
        in_time = [k for k in by_rows if now_s <= latest_s - service.seconds(sum(queue.rows[:k]))]
        allowed = max(in_time, default=max(by_rows))
    assert step == Dispatch(allowed, sum(queue.rows[:allowed]))


@settings(max_examples=200, deadline=None)
@given(queues(), rules, services, st.floats(0, 4), st.floats(0, 4), st.integers(0, 29))
def test_a_started_batch_is_not_taken_back_later_nor_with_more_behind_it(queue, rule, service, now_s, more_s, shorter):
    fewer = max(1, len(queue.rows) - shorter)
    earlier = QueueState(queue.arrival_s[:fewer], queue.rows[:fewer], queue.free_replicas)
    if isinstance(decide(earlier, rule, service, now_s), Dispatch):
        assert isinstance(decide(earlier, rule, service, now_s + more_s), Dispatch)
        assert isinstance(decide(queue, rule, service, now_s), Dispatch)


@settings(max_examples=200, deadline=None)
@given(queues(), rules, services, st.floats(0, 4))
def test_a_wait_ends_and_costs_the_oldest_neither_its_limit_nor_more_than_the_rule_says(queue, rule, service, now_s):
    step = decide(queue, rule, service, now_s)
    if isinstance(step, Dispatch):
        return
    assert step.at_s is not None
    assert now_s < step.at_s <= queue.arrival_s[0] + rule.max_wait_s
    if rule.limit_s is not None:
        assert step.at_s + service.seconds(sum(queue.rows)) <= queue.arrival_s[0] + rule.limit_s + 1e-9
    assert decide(queue, rule, service, step.at_s) == Dispatch(len(queue.rows), sum(queue.rows))


@settings(max_examples=100, deadline=None)
@given(queues(), rules, services, st.floats(0, 4))
def test_a_decision_depends_on_its_arguments_alone(queue, rule, service, now_s):
    before = (list(queue.arrival_s), list(queue.rows))
    first = decide(queue, rule, service, now_s)
    time.sleep(0)
    random.seed(now_s)
    assert decide(queue, rule, service, now_s) == first
    assert (list(queue.arrival_s), list(queue.rows)) == before
    head = rule.max_rows + 1
    assert decide(QueueState(queue.arrival_s[:head], queue.rows[:head], 1), rule, service, now_s) == first
    as_arrays = QueueState(np.asarray(queue.arrival_s), np.asarray(queue.rows), queue.free_replicas)
    assert decide(as_arrays, rule, service, now_s) == first


def test_it_waits_for_a_replica_and_for_a_request():
    rule = BatchRule(max_rows=8)
    assert decide(QueueState([0.0], [1], free_replicas=0), rule, LINEAR, 5.0) == WaitUntil(None)
    assert decide(QueueState([], [], free_replicas=2), rule, LINEAR, 5.0) == WaitUntil(None)


def test_a_full_batch_does_not_wait():
    rule = BatchRule(max_rows=4, max_wait_s=1.0)
    assert decide(QueueState([0.0] * 4, [1] * 4, 1), rule, LINEAR, 0.0) == Dispatch(4, 4)
    assert decide(QueueState([0.0] * 2, [3, 2], 1), rule, LINEAR, 0.0) == Dispatch(1, 3)
    assert decide(QueueState([0.0], [9], 1), rule, LINEAR, 0.0) == Dispatch(1, 9)


def test_a_batch_shrinks_for_its_oldest_request_and_grows_when_that_one_is_lost():
    rule = BatchRule(max_rows=50, limit_s=0.1)
    queue = QueueState([0.0] * 50, [1] * 50, 1)
    assert decide(queue, rule, LINEAR, 0.0) == Dispatch(50, 50)
    assert decide(queue, rule, LINEAR, 0.0699) == Dispatch(20, 20)  # 10 ms + 20 * 1 ms end at 99.9 ms
    assert decide(queue, rule, LINEAR, 0.2) == Dispatch(50, 50)


@given(points)
def test_service_times_never_fall_with_rows_nor_below_what_was_measured(measured):
    service = ServiceModel(list(measured.items()))
    seconds = [service.seconds(rows) for rows in range(1, 130)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(seconds))
    assert all(service.seconds(rows) >= measured_s for rows, measured_s in measured.items())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "none"),
        ([(1, 0.1), (1, 0.2)], "once"),
        ([(0, 0.1)], "0 rows"),
        ([(1, 0.0)], "0.0 s"),
        ([(1, float("nan"))], "nan"),
    ],
)
def test_a_service_model_refuses_points_that_were_not_measured(bad, message):
    with pytest.raises(ValueError, match=message):
        ServiceModel(bad)


@settings(deadline=None)
@given(services, st.floats(1e-3, 3.0), st.none() | st.floats(0.1, 1e4))
def test_a_rule_leaves_room_for_the_batch_ahead_and_its_own(service, limit_s, rate_rps):
    rule = batch_rule(service, limit_s, rate_rps)
    single_s, full_s = service.seconds(1), service.seconds(rule.max_rows)
    assert 1 <= rule.max_rows <= service.largest_rows
    assert 2 * full_s <= limit_s or full_s <= 1.1 * single_s + 1e-12
    assert rule.max_wait_s == 0 or rule.max_wait_s + 2 * full_s <= limit_s
    assert rule.limit_s == limit_s


def test_a_rule_takes_the_size_of_highest_throughput_within_the_limit():
    service = ServiceModel([(1, 0.010), (8, 0.020), (32, 0.060), (64, 0.130)])
    assert batch_rule(service, None, None) == BatchRule(max_rows=32)
    assert batch_rule(service, 1.0, None).max_rows == 32
    assert batch_rule(service, 0.06, None).max_rows == 10  # 80% of 60 ms, halved: 24 ms
    assert batch_rule(service, 0.001, None).max_rows == 1


def test_a_rule_waits_only_where_single_requests_would_be_too_many():
    service = ServiceModel([(1, 0.004), (64, 0.016)])
    assert batch_rule(service, 0.1, 240.0).max_wait_s == 0  # 96% busy one by one
    assert batch_rule(service, 0.1, 2000.0).max_wait_s == pytest.approx(0.024)
    assert batch_rule(service, 0.1, 400.0, replicas=2).max_wait_s == 0


def test_a_wait_is_only_worth_it_where_others_arrive_meanwhile():
    assert wait_for(0.1, 0.02, requests=8, rate_rps=1000.0) == pytest.approx(0.007)
    assert wait_for(0.1, 0.02, requests=1000, rate_rps=1000.0) == pytest.approx(0.03)
    assert wait_for(0.1, 0.02, requests=8, rate_rps=10.0) == 0
    assert wait_for(0.1, 0.06, requests=8, rate_rps=1000.0) == 0
