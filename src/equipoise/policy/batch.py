"""When to start a batch, and how many waiting requests to put into it.

A decision is a function of the waiting requests, a rule, measured service times and the time it is told: no clock, no
state, no input or output. A simulator and a server that call it with the same arguments act alike.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice

from equipoise.core.plan import BatchRule

LIMIT_SHARE = 0.8
"""Share of the p99 limit that is planned for; the rest is for the scatter of service times, which medians hide."""

GAIN = 1.02
"""How much more throughput a larger batch must bring before it is worth the longer wait for the batch ahead."""
USUAL_ROWS = 64
"""Batches up to here have their seconds looked up: they are asked for at every arrival."""


@dataclass(frozen=True)
class ServiceModel:
    """Seconds that a batch takes to compute, from measured batch sizes.

    Between measured sizes the time is interpolated linearly. A larger batch is never taken to be faster than a smaller
    one: each point is raised to the largest before it, so that noise cannot promise what was not measured. Below the
    smallest measured size the time stays at that size's; beyond the largest it grows in proportion to the rows, the
    cost a row that the largest was measured at.

    Args:
        points: (rows, seconds) of each measured batch size, in any order; rows >= 1, seconds > 0.

    Raises:
        ValueError: No point, a size twice, or a point out of range.

    Example:
        >>> model = ServiceModel([(1, 0.010), (9, 0.050)])
        >>> [round(model.seconds(rows), 6) for rows in (1, 5, 9, 18)]
        [0.01, 0.03, 0.05, 0.1]
    """

    points: Sequence[tuple[int, float]]
    _usual: Sequence[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted((int(rows), float(seconds)) for rows, seconds in self.points)
        if not ordered:
            raise ValueError("a service model needs at least one measured batch size, found none")
        sizes = [rows for rows, _ in ordered]
        if len(set(sizes)) < len(sizes):
            raise ValueError(f"each batch size must be measured once, found {sizes}")
        for rows, seconds in ordered:
            if rows < 1 or not 0 < seconds < float("inf"):
                raise ValueError(
                    f"a batch has at least 1 row and takes more than 0 s, found {rows} rows in {seconds} s"
                )
        raised = accumulate((seconds for _, seconds in ordered), max)
        object.__setattr__(self, "points", tuple(zip(sizes, raised, strict=True)))
        object.__setattr__(self, "_usual", tuple(self._between(rows) for rows in range(1, USUAL_ROWS + 1)))

    @property
    def largest_rows(self) -> int:
        """The largest measured batch size."""
        return self.points[-1][0]

    def seconds(self, rows: int) -> float:
        """Seconds for one batch of `rows` (>= 1) rows: never less for more rows."""
        return self._usual[rows - 1] if rows <= USUAL_ROWS else self._between(rows)

    def _between(self, rows: int) -> float:
        place = bisect_left(self.points, (rows,))
        if place == len(self.points):
            largest, seconds = self.points[-1]
            return seconds * rows / largest
        high_rows, high_s = self.points[place]
        if place == 0 or high_rows == rows:
            return high_s
        low_rows, low_s = self.points[place - 1]
        return min(high_s, low_s + (high_s - low_s) * (rows - low_rows) / (high_rows - low_rows))


@dataclass(frozen=True)
class QueueState:
    """What waits, and what is free to compute it.

    Attributes:
        arrival_s: Intended arrival of each waiting request, oldest first, on the clock of `now_s`. `decide` looks at no
            more than the oldest `max_rows + 1` of them: a caller with a long queue may leave the others out.
        rows: Rows of each of those requests, >= 1.
        free_replicas: Replicas that could start a batch now.
    """

    arrival_s: Sequence[float]
    rows: Sequence[int]
    free_replicas: int


@dataclass(frozen=True)
class Dispatch:
    """Start a batch now, of the oldest `requests` requests, which have `rows` rows together."""

    requests: int
    rows: int


@dataclass(frozen=True)
class WaitUntil:
    """Ask again at `at_s`, or as soon as a request arrives or a replica becomes free; null for no time of its own."""

    at_s: float | None


def decide(queue: QueueState, rule: BatchRule, service: ServiceModel, now_s: float) -> Dispatch | WaitUntil:
    """Start a batch of the oldest requests, or wait.

    Requests are taken in order and whole. A batch holds at most `rule.max_rows` rows; a larger request is a batch of
    its own. With a limit, a batch is the largest one that, started now, still answers its oldest request in time; at
    least one request goes. Where the oldest request can no longer be in time whatever is done, a small batch saves
    nothing and lets the queue behind it grow, so the batch is as large as the rule allows: this is what lets a server
    that fell behind catch up.

    A batch that is not full waits for more requests while a replica is free, until its oldest request has waited for
    `rule.max_wait_s`, and never past the moment at which that request could still be in time. Asked again later with
    the same queue, or with more requests behind it, a batch that was started is not taken back.

    Args:
        queue: What waits.
        rule: How requests are put together.
        service: Measured service times.
        now_s: The time, on the clock of the arrivals, seconds.

    Returns:
        What to do now.

    Example:
        >>> service = ServiceModel([(1, 0.010), (8, 0.024)])
        >>> rule = BatchRule(max_rows=8, max_wait_s=0.005, limit_s=0.050)
        >>> decide(QueueState([0.0, 0.001], [1, 1], free_replicas=1), rule, service, now_s=0.002)
        WaitUntil(at_s=0.005)
        >>> decide(QueueState([0.0, 0.001], [1, 1], free_replicas=1), rule, service, now_s=0.005)
        Dispatch(requests=2, rows=2)
    """
    if not len(queue.arrival_s) or queue.free_replicas < 1:
        return WaitUntil(None)
    total_rows, full = _oldest(queue.rows, rule.max_rows)
    oldest_s = float(queue.arrival_s[0])
    requests = len(total_rows)
    if rule.limit_s is not None:
        requests = _in_time(total_rows, service, latest_s=oldest_s + rule.limit_s, now_s=now_s)
    if requests == len(total_rows) and not full:
        start_s = oldest_s + rule.max_wait_s
        if rule.limit_s is not None:
            start_s = min(start_s, _latest_start(oldest_s + rule.limit_s, service, total_rows[-1]))
        if now_s < start_s:
            return WaitUntil(start_s)
    return Dispatch(requests, total_rows[requests - 1])


def batch_rule(
    service: ServiceModel,
    limit_s: float | None,
    rate_rps: float | None,
    rows_per_request: float = 1.0,
    replicas: int = 1,
) -> BatchRule:
    """Choose the batch size and the wait that suit a p99 limit.

    *Rows.* The unlucky request of a busy server arrives just after a batch was started: it waits for that batch and
    then for its own, so that `2 * seconds(max_rows)` must stay within the limit. Among the sizes that do, the one of
    highest throughput is taken, and of those that are within 2% of it the smallest. Where not even one row passes twice
    within the limit, a batch takes what costs at most a tenth more than a single row. Sizes that were not measured are
    not trusted: `max_rows` never passes the largest that was.

    *Wait.* While all replicas are busy, requests gather by themselves; a wait only matters while a replica is free, and
    then trades latency that nobody needs for fewer, fuller batches and a less busy machine. So half of what the limit
    leaves beyond those two batches may be waited, no longer than it takes to fill a batch at the given rate. There is
    no wait where less than one further request is to be expected, nor where the replicas could answer all requests
    alone, one by one: it would save nothing that is paid for.

    Args:
        service: Measured service times, with all replicas busy.
        limit_s: The p99 limit, seconds; null for no limit, which means the batch size of highest throughput, no wait.
        rate_rps: Mean requests a second that one machine gets; null where unknown, which means no wait.
        rows_per_request: Mean rows of a request, >= 1.
        replicas: Batches that are computed at the same time, >= 1.

    Returns:
        The rule, sized for that limit.
    """
    planned_s = None if limit_s is None else limit_s * LIMIT_SHARE
    max_rows = _best_rows(service, planned_s)
    if planned_s is None or rate_rps is None or rate_rps * service.seconds(round(rows_per_request)) < replicas:
        return BatchRule(max_rows=max_rows, limit_s=limit_s)
    return BatchRule(
        max_rows=max_rows,
        max_wait_s=wait_for(planned_s, service.seconds(max_rows), max_rows / rows_per_request, rate_rps),
        limit_s=limit_s,
    )


def wait_for(limit_s: float, batch_s: float, requests: float, rate_rps: float) -> float:
    """Longest that a first request should wait for others while a replica is free, in seconds.

    `min((limit_s - 2 * batch_s) / 2, (requests - 1) / rate_rps)`, and 0 where less than one request arrives meanwhile.

    Args:
        limit_s: Seconds that may pass from arrival to answer.
        batch_s: Seconds that a full batch takes.
        requests: Requests in a full batch.
        rate_rps: Mean requests a second.

    Example:
        >>> wait_for(limit_s=0.1, batch_s=0.02, requests=8, rate_rps=1000.0)
        0.007
        >>> wait_for(limit_s=0.1, batch_s=0.02, requests=8, rate_rps=10.0)
        0.0
    """
    wait_s = min((limit_s - 2 * batch_s) / 2, (requests - 1) / rate_rps)
    return wait_s if wait_s > 0 and wait_s * rate_rps >= 1 else 0.0


def _oldest(rows: Sequence[int], max_rows: int) -> tuple[list[int], bool]:
    """Cumulative rows of the oldest requests that go into one batch, and whether nothing more would."""
    totals: list[int] = []
    total = 0
    for request in islice(rows, max_rows + 1):
        if totals and total + request > max_rows:
            return totals, True
        total += int(request)
        totals.append(total)
    return totals, total >= max_rows


def _in_time(total_rows: Sequence[int], service: ServiceModel, latest_s: float, now_s: float) -> int:
    """How many of the oldest requests go into a batch that ends by `latest_s`; all, where not even one can."""
    if now_s <= _latest_start(latest_s, service, total_rows[-1]):
        return len(total_rows)
    fitting = bisect_right(total_rows, -now_s, key=lambda rows: -_latest_start(latest_s, service, rows))
    return fitting or len(total_rows)


def _latest_start(latest_s: float, service: ServiceModel, rows: int) -> float:
    return latest_s - service.seconds(rows)


def _best_rows(service: ServiceModel, planned_s: float | None) -> int:
    sizes: Iterable[int] = (rows for rows, _ in service.points)
    if planned_s is not None:
        allowed_s = max(planned_s / 2, 1.1 * service.seconds(1))
        largest = bisect_right(range(1, service.largest_rows + 1), allowed_s, key=service.seconds)
        sizes = [*(rows for rows in sizes if rows < largest), largest]
    best, best_rps = 0, 0.0
    for rows in sizes:
        if rows / service.seconds(rows) > best_rps * GAIN:
            best, best_rps = rows, rows / service.seconds(rows)
    return best
