"""Open-loop load: requests arrive when users send them, whether or not the machine keeps up.

A load generator that waits for an answer before it sends the next request stops sending exactly when the system is
slow, and so leaves out the requests that would have suffered ("coordinated omission"). Here each request has an
intended arrival, fixed beforehand, and its latency counts from that moment: time spent behind a slow answer counts, and
so does the generator's own lateness.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import BatchRule
from equipoise.policy.batch import Dispatch, QueueState, ServiceModel, decide

Answer = Callable[[NDArray[np.intp]], object]
LATE_SHARE = 0.01
PATIENCE_LIMITS = 10.0
PATIENCE_BATCHES = 5.0
LEAST_PATIENCE_S = 1.0
FIRST_PROBE = 0.7


@dataclass(frozen=True)
class LoadResult:
    """What an open-loop run saw after its warm-up.

    Attributes:
        latency_s: From intended arrival to answer, in the order of arrival, answered requests only: float64[n].
        batch_rows: Rows of each batch, in the order in which they were started: int64[batches].
        busy_share: Share of the time that a replica was computing, mean over the replicas, 0 to 1.
        duration_s: From the end of the warm-up to the last answer.
        unfinished: Requests that arrived or were still to arrive when the run was given up: 0 where it was not.
        gave_up: Why the run ended early, in a sentence; null where it ran to its end.
    """

    latency_s: NDArray[np.float64]
    batch_rows: NDArray[np.int64]
    busy_share: float
    duration_s: float
    unfinished: int
    gave_up: str | None

    def late_share(self, limit_s: float) -> float:
        """Share of requests not answered within `limit_s`, unfinished ones among them; 1 where there are none."""
        requests = len(self.latency_s) + self.unfinished
        late = int(np.count_nonzero(self.latency_s > limit_s)) + self.unfinished
        return late / requests if requests else 1.0


def run_load(
    answer: Answer,
    arrival_s: NDArray[np.float64],
    rule: BatchRule,
    service: ServiceModel,
    replicas: int,
    limit_s: float | None,
    *,
    warm_up_s: float = 0.0,
    patience_s: float | None = None,
) -> LoadResult:
    """Send requests of one row each at their intended arrivals, in batches, and measure how long each one takes.

    The calling thread dispatches: it sleeps until the next event (an arrival, the end of a wait, an answer) and asks
    `policy.batch.decide` what to do. `replicas` threads compute. Request `i` is row `i`; `answer` maps indices to rows.

    The run is given up once the oldest waiting request has waited for `patience_s`: the machine is then so far behind
    that no answer comes within the limit, and the backlog only grows. Batches that were started are finished.

    Args:
        answer: Answers the rows at some indices; called from `replicas` threads at once.
        arrival_s: Ascending intended arrivals, seconds from the start: float64[n], n >= 1.
        rule: How requests are put together.
        service: Measured service times.
        replicas: Batches that are computed at the same time, >= 1.
        limit_s: The p99 limit, seconds; null for none.
        warm_up_s: Requests intended before this moment are sent, and not counted.
        patience_s: Null for the largest of 1 s, 10 limits and 5 full batches.

    Returns:
        What was seen of the requests that arrived after the warm-up.

    Raises:
        ValueError: No arrivals, unsorted or negative ones, or no replica.
        Exception: Whatever `answer` raised, once the other batches have ended.
    """
    if not len(arrival_s) or arrival_s[0] < 0 or np.any(np.diff(arrival_s) < 0):
        raise ValueError(f"arrivals must be ascending, not negative and at least 1, found {len(arrival_s)}")
    if replicas < 1:
        raise ValueError(f"replicas must be at least 1, found {replicas}")
    if patience_s is None:
        batch_s = service.seconds(rule.max_rows)
        patience_s = max(LEAST_PATIENCE_S, PATIENCE_LIMITS * (limit_s or 0.0), PATIENCE_BATCHES * batch_s)
    workers = _Workers(answer, replicas)
    try:
        sent, gave_up = _dispatch(workers, arrival_s, rule, service, patience_s)
    finally:
        workers.stop()
    if workers.error is not None:
        raise workers.error
    return _result(workers.batches, arrival_s, sent, replicas, warm_up_s, gave_up)


def sustainable_rate(
    load_at: Callable[[float], LoadResult], limit_s: float, throughput_rps: float, runs: int = 5
) -> float:
    """Largest rate at which 99 of 100 requests are answered within the limit, found by a few short open-loop runs.

    The throughput of a machine kept full is a ceiling: requests that arrive at random queue well before it is reached.
    The first run is at 70% of it, the others halve what is left between the largest rate that met the limit and the
    smallest that did not. The answer is a rate that was run and met the limit, so it errs on the dear side, by at most
    `throughput_rps / 2**(runs - 1)`.

    Args:
        load_at: Runs the traffic at a mean rate in requests a second (`arrivals(kind, rate, ...)`, or `share_of` a
            trace). A few hundred requests at the least are needed for the share of late ones to mean much.
        limit_s: The p99 limit, seconds.
        throughput_rps: Requests a second of one full machine.
        runs: How many runs may be spent, >= 1.

    Returns:
        Requests a second; 0 where the limit was missed at every rate that was run.

    Example:
        >>> def load_at(rate_rps):  # a machine that answers in time up to 60 requests a second
        ...     latency_s = np.full(100, 0.01 if rate_rps <= 60 else 1.0)
        ...     return LoadResult(latency_s, np.ones(100, dtype=np.int64), 0.5, 1.0, unfinished=0, gave_up=None)
        >>> sustainable_rate(load_at, limit_s=0.1, throughput_rps=100.0)
        56.875
    """
    met, missed = 0.0, throughput_rps
    rate_rps = FIRST_PROBE * throughput_rps
    for _ in range(runs):
        if load_at(rate_rps).late_share(limit_s) <= LATE_SHARE:
            met = rate_rps
        else:
            missed = rate_rps
        rate_rps = (met + missed) / 2
    return met


@dataclass(frozen=True)
class _Batch:
    """A computed batch: requests `first` to `first + requests`, and when it began and ended."""

    first: int
    requests: int
    begin_s: float
    end_s: float


class _Workers:
    """Threads that compute batches; seconds count from the moment they are all ready."""

    def __init__(self, answer: Answer, replicas: int) -> None:
        self.batches: list[_Batch] = []
        self.error: BaseException | None = None
        self.free = replicas
        self._answer = answer
        self._work: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._done: SimpleQueue[_Batch | BaseException] = SimpleQueue()
        ready = threading.Barrier(replicas + 1)
        self._threads = [threading.Thread(target=self._compute, args=(ready,), daemon=True) for _ in range(replicas)]
        for thread in self._threads:
            thread.start()
        ready.wait()
        self._start = time.perf_counter()

    def now_s(self) -> float:
        return time.perf_counter() - self._start

    def begin(self, first: int, requests: int) -> None:
        """Give a batch to a free worker."""
        self.free -= 1
        self._work.put((first, requests))

    def wait(self, timeout_s: float | None) -> None:
        """Sleep until a batch has ended, at most `timeout_s`; null for as long as it takes."""
        try:
            self._note(self._done.get(timeout=None if timeout_s is None else max(0.0, timeout_s)))
            while True:
                self._note(self._done.get_nowait())
        except Empty:
            return

    def stop(self) -> None:
        """Wait for the batches that were begun, and end the threads."""
        for _ in self._threads:
            self._work.put(None)
        while self.free < len(self._threads):
            self.wait(None)
        for thread in self._threads:
            thread.join()

    def _note(self, outcome: _Batch | BaseException) -> None:
        self.free += 1
        if isinstance(outcome, BaseException):
            self.error = self.error or outcome
        else:
            self.batches.append(outcome)

    def _compute(self, ready: threading.Barrier) -> None:
        ready.wait()
        while (work := self._work.get()) is not None:
            first, requests = work
            begin_s = self.now_s()
            try:
                self._answer(np.arange(first, first + requests))
            except BaseException as error:  # border of a thread: the caller raises it
                self._done.put(error)
            else:
                self._done.put(_Batch(first, requests, begin_s, self.now_s()))


def _dispatch(
    workers: _Workers, arrival_s: NDArray[np.float64], rule: BatchRule, service: ServiceModel, patience_s: float
) -> tuple[int, str | None]:
    """Put all requests into batches; say how many were, and why not all."""
    times = arrival_s.tolist()
    ones = [1] * (rule.max_rows + 1)
    sent, n = 0, len(times)
    arrived = 0
    while sent < n and workers.error is None:
        now_s = workers.now_s()
        while arrived < n and times[arrived] <= now_s:
            arrived += 1
        waited_s = now_s - times[sent]
        if waited_s > patience_s:
            backlog = arrived - sent
            return sent, f"overloaded: after {now_s:.1f} s, {backlog} requests waited, the oldest for {waited_s:.1f} s"
        waiting = times[sent : min(arrived, sent + len(ones))]
        step = decide(QueueState(waiting, ones[: len(waiting)], workers.free), rule, service, now_s)
        if isinstance(step, Dispatch):
            workers.begin(sent, step.requests)
            sent += step.requests
            continue
        events = [] if step.at_s is None else [step.at_s]
        if workers.free and arrived < n:  # while all are busy an arrival changes nothing
            events.append(times[arrived])
        workers.wait(min(events) - workers.now_s() if events else None)
    return sent, None


def _result(
    batches: list[_Batch],
    arrival_s: NDArray[np.float64],
    sent: int,
    replicas: int,
    warm_up_s: float,
    gave_up: str | None,
) -> LoadResult:
    in_order = sorted(batches, key=lambda batch: batch.first)
    answered_s = np.repeat(
        np.asarray([batch.end_s for batch in in_order], dtype=np.float64), [batch.requests for batch in in_order]
    )
    first = int(np.searchsorted(arrival_s, warm_up_s))
    end_s = max((batch.end_s for batch in in_order), default=warm_up_s)
    duration_s = max(0.0, end_s - warm_up_s)
    busy_s = sum(max(0.0, batch.end_s - max(batch.begin_s, warm_up_s)) for batch in in_order)
    return LoadResult(
        latency_s=answered_s[first:] - arrival_s[first:sent],
        batch_rows=np.asarray([batch.requests for batch in in_order if batch.begin_s >= warm_up_s], dtype=np.int64),
        busy_share=busy_s / (replicas * duration_s) if duration_s else 0.0,
        duration_s=duration_s,
        unfinished=len(arrival_s) - max(sent, first),
        gave_up=gave_up,
    )
