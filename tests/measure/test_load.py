"""Open-loop load, with real threads."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from equipoise.core.plan import BatchRule
from equipoise.measure.arrivals import arrivals
from equipoise.measure.load import LoadResult, run_load, sustainable_rate
from equipoise.policy.batch import ServiceModel

SERVICE = ServiceModel([(1, 0.001), (16, 0.002)])


class Recorder:
    """Answers by sleeping, and remembers what it was asked and when."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.lock = threading.Lock()
        self.asked = []
        self.at_once = self.most_at_once = 0

    def __call__(self, index):
        with self.lock:
            self.asked.append(index)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1


@pytest.mark.parametrize("replicas", [1, 3])
def test_every_request_is_answered_once_in_batches_within_the_rule(replicas):
    times = arrivals("poisson", 800.0, 0.5, np.random.default_rng(0))
    answer = Recorder(0.002)
    result = run_load(answer, times, BatchRule(max_rows=8, limit_s=0.1), SERVICE, replicas, 0.1)
    asked = np.concatenate(answer.asked)
    assert np.array_equal(np.sort(asked), np.arange(len(times)))
    assert all(len(index) <= 8 for index in answer.asked)
    assert answer.most_at_once <= replicas
    assert len(result.latency_s) == len(times)
    assert result.batch_rows.sum() == len(times)
    assert np.all(result.latency_s >= 0.002)
    assert result.duration_s >= times[-1]
    assert 0 < result.busy_share <= 1
    assert (result.unfinished, result.gave_up) == (0, None)


def test_requests_that_arrive_during_a_stall_wait_for_it_from_their_intended_arrival():
    stall_s, stalled = 0.3, threading.Event()

    def answer(index):
        if not stalled.is_set() and index[0] >= 20:
            stalled.set()
            time.sleep(stall_s)

    times = np.arange(100) * 0.005
    result = run_load(answer, times, BatchRule(max_rows=4, limit_s=0.05), SERVICE, 1, 0.05)
    first = int(np.argmax(result.latency_s >= stall_s))  # the request that was being computed
    ended_s = times[first] + stall_s
    during = (times > times[first]) & (times < ended_s)
    assert during.sum() > 40
    assert np.all(result.latency_s[during] >= ended_s - times[during])


def test_a_slow_machine_is_not_sent_less():
    """A closed loop would send one request per answer and see 20 ms each; users do not wait for each other."""
    times = np.arange(30) * 0.001
    result = run_load(Recorder(0.02), times, BatchRule(max_rows=1), SERVICE, 1, None, patience_s=60)
    assert np.all(result.latency_s >= 0.02 * np.arange(1, 31) - times)


def test_the_warm_up_is_sent_and_not_counted():
    slow = threading.Event()

    def answer(index):
        if not slow.is_set():
            slow.set()
            time.sleep(0.2)

    times = np.concatenate([np.linspace(0, 0.05, 20), np.linspace(0.5, 0.7, 50)])
    result = run_load(answer, times, BatchRule(max_rows=8), SERVICE, 1, None, warm_up_s=0.45)
    whole = run_load(answer, times, BatchRule(max_rows=8), SERVICE, 1, None)
    assert len(result.latency_s) == result.batch_rows.sum() == 50
    assert len(whole.latency_s) == 70


def test_a_hopeless_overload_is_given_up_and_said():
    answer = Recorder(0.02)
    times = arrivals("constant", 1000.0, 600.0, np.random.default_rng(0))
    result = run_load(answer, times, BatchRule(max_rows=2, limit_s=0.05), SERVICE, 1, 0.05, patience_s=0.25)
    assert result.gave_up is not None
    assert "overloaded" in result.gave_up
    assert result.unfinished > 0
    assert len(result.latency_s) + result.unfinished == len(times)
    assert np.concatenate(answer.asked).tolist() == list(range(len(result.latency_s)))
    assert result.late_share(10.0) > 0.9


def test_what_the_model_raises_reaches_the_caller_and_ends_the_threads():
    before = threading.active_count()

    def answer(index):
        if index[0] > 5:
            raise RuntimeError("no such row")

    with pytest.raises(RuntimeError, match="no such row"):
        run_load(answer, np.arange(1000) * 0.001, BatchRule(max_rows=1), SERVICE, 2, None)
    assert threading.active_count() == before


@pytest.mark.parametrize("times", [[], [0.2, 0.1], [-0.1, 0.2]])
def test_arrivals_that_cannot_be_sent_are_refused(times):
    with pytest.raises(ValueError, match="arrivals must be ascending"):
        run_load(Recorder(), np.asarray(times, dtype=np.float64), BatchRule(max_rows=1), SERVICE, 1, None)


def test_late_requests_are_those_over_the_limit_and_those_never_answered():
    result = LoadResult(np.asarray([0.1, 0.2, 0.3]), np.ones(3, dtype=np.int64), 0.5, 1.0, unfinished=1, gave_up="x")
    assert result.late_share(0.25) == 0.5
    assert result.late_share(1.0) == 0.25


def result_at(late):
    latency_s = np.where(np.arange(1000) < late, 1.0, 0.01)
    return LoadResult(latency_s, np.ones(1000, dtype=np.int64), 0.5, 1.0, unfinished=0, gave_up=None)


@pytest.mark.parametrize("truth_rps", [3.0, 40.0, 69.0, 80.0, 99.0])
def test_the_sustained_rate_is_found_from_below_in_few_runs(truth_rps):
    tried = []

    def load_at(rate_rps):
        tried.append(rate_rps)
        return result_at(10 if rate_rps <= truth_rps else 11)  # 1% may be late, not more

    found = sustainable_rate(load_at, limit_s=0.1, throughput_rps=100.0)
    assert len(tried) == 5
    assert found <= truth_rps
    assert truth_rps - found <= 100 / 2**4
    assert found == 0 or found in tried


def test_a_machine_that_is_always_late_sustains_nothing():
    assert sustainable_rate(lambda _: result_at(1000), limit_s=0.1, throughput_rps=100.0, runs=3) == 0


def test_a_machine_is_sustained_below_its_throughput():
    """The real thing: one server of about 5 ms a row under Poisson arrivals, within ten service times."""

    def load_at(rate_rps):
        times = arrivals("poisson", rate_rps, 0.6, np.random.default_rng(0))
        rule = BatchRule(max_rows=1, limit_s=0.05)
        return run_load(Recorder(0.005), times, rule, ServiceModel([(1, 0.005)]), 1, 0.05)

    assert sustainable_rate(load_at, limit_s=0.05, throughput_rps=200.0, runs=3) < 200
