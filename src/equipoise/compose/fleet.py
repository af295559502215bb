"""Machines that run a plan, event by event: what happens next, and what the policy says to it.

Nothing is decided here. Events are arrivals, ends of batches and ends of waits; at each, the functions of `policy/` are
asked as a server asks them, with what a server would know.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, pairwise

import numpy as np

from equipoise.compose.service_times import ServiceTimes
from equipoise.policy.batch import QueueState
from equipoise.policy.cache import Lru
from equipoise.policy.overload import Degrade, Load, Shed, admit
from equipoise.policy.route import End, choose_machine, entry_stage, next_stage
from equipoise.policy.schedule import Start, next_batch
from equipoise.policy.served import ServedPlan, continuing

CACHED, SHED, UNAVAILABLE = -1, -2, -3
NEVER = float("inf")
BLOCK = 1 << 14
COMPACT_AFTER = 4096
NOBODY = QueueState((), (), 0)


class Queue:
    """Rows that wait for a stage, by intended arrival of their request."""

    __slots__ = ("arrival_s", "head", "request", "rows")

    def __init__(self) -> None:
        self.arrival_s: list[float] = []
        self.request: list[int] = []
        self.rows: list[int] = []
        self.head = 0

    def push(self, arrival_s: float, request: int, rows: int) -> None:
        """Put rows behind all that came no later."""
        if not self.arrival_s or self.arrival_s[-1] <= arrival_s:
            self.arrival_s.append(arrival_s)
            self.request.append(request)
            self.rows.append(rows)
            return
        place = bisect_right(self.arrival_s, arrival_s, lo=self.head)
        self.arrival_s.insert(place, arrival_s)
        self.request.insert(place, request)
        self.rows.insert(place, rows)

    def oldest(self, most: int, free_lanes: int) -> QueueState:
        """What a decision looks at."""
        part = slice(self.head, self.head + most)
        return QueueState(self.arrival_s[part], self.rows[part], free_lanes)

    def pop(self, requests: int) -> tuple[list[int], list[int]]:
        """Take out the oldest: their numbers and rows."""
        part = slice(self.head, self.head + requests)
        taken = self.request[part], self.rows[part]
        self.head += requests
        if self.head == len(self.request) or self.head > COMPACT_AFTER:
            gone = slice(0, self.head)
            del self.arrival_s[gone], self.request[gone], self.rows[gone]
            self.head = 0
        return taken


class MachineState:
    """Queues, lanes and cache of one machine; `flights` has those who wait for the answer to an equal request."""

    __slots__ = ("cache", "flights", "free", "lane_free_s", "queues", "waiting", "waiting_rows", "wake_s")

    def __init__(self, plan: ServedPlan, cache: Lru[bool] | None) -> None:
        self.queues = [Queue() for _ in plan.stages]
        self.waiting_rows = [0] * len(plan.stages)
        self.waiting = 0
        self.lane_free_s = [0.0] * plan.lanes
        self.free = list(range(plan.lanes))
        self.wake_s = NEVER
        self.cache = cache
        self.flights: dict[tuple[int, bool], list[int]] = {}


@dataclass(frozen=True)
class Requests:
    """What comes, as lists: an array hands out one element at a time too slowly.

    Attributes:
        arrival_s: Intended arrivals, ascending.
        limit_s: Seconds within which each needs its answer, null for no limit; a single element for all of them alike.
        rows: Of each; null for one.
        high: Whether each has high priority; null where none has.
        keys: Equal keys are equal requests; null where that is not known.
        depth: Deepest stage that each is asked; null to draw it.
    """

    arrival_s: list[float]
    limit_s: list[float | None]
    rows: list[int] | None = None
    high: list[bool] | None = None
    keys: list[int] | None = None
    depth: list[int] | None = None


class Fleet:
    """Some machines behind a balancer, and what became of each request.

    Args:
        requests: What comes.
        plan: What deciding needs to know of the plan.
        times: Seconds of each stage's batches.
        shares: Share of rows that reach each stage that is not the fallback's.
        machines: How many, >= 1.
        cache_entries: Answers that each machine remembers; null where none are, or hits are drawn.
        hit_share: Chance of a hit of any request, where requests have no keys.
        lookup_s: Seconds for a look-up, of every request.
        down: Places of stages that cannot run.
        rng: Source of all draws.
        levels: Quantile levels of the seconds of the batches, in the order in which they start, again and again; null
            to draw them.
    """

    def __init__(
        self,
        requests: Requests,
        plan: ServedPlan,
        times: Sequence[ServiceTimes],
        shares: Sequence[float],
        machines: int,
        cache_entries: int | None,
        hit_share: float,
        lookup_s: float,
        down: Collection[int],
        rng: np.random.Generator,
        levels: Sequence[float] | None = None,
    ) -> None:
        self.plan, self.times, self.down = plan, times, down
        self.machines = [
            MachineState(plan, None if cache_entries is None else Lru(cache_entries)) for _ in range(machines)
        ]
        self.outstanding = [0] * machines
        self.busy_s = 0.0
        self.batch_rows: list[list[int]] = [[] for _ in plan.stages]
        self._goes_on = [continuing(a, b) for a, b in pairwise(shares)]
        self._hit_share, self._lookup_s = hit_share, lookup_s
        self._may_degrade = plan.fallback is not None and plan.fallback not in down
        self._look_at = [stage.rule.max_rows + 1 for stage in plan.stages]
        # Of their own each, so that a plan with a cache sees the same service times as one without.
        self._service_draw, self._share_draw, self._hit_draw = (_uniform(child) for child in rng.spawn(3))
        if levels is not None:
            self._service_draw = cycle(levels).__next__
        self._events: list[tuple[float, int, int, int, int, list[int], list[int]]] = []
        self._order = count()
        n = len(requests.arrival_s)
        self._arrival_s, self._limit_s, self._rows = requests.arrival_s, requests.limit_s, requests.rows
        self._high, self._keys, self._depth = requests.high, requests.keys, requests.depth
        self.latency_s = [float("nan")] * n
        self.computing_s = [0.0] * n
        self.outcome = [UNAVAILABLE] * n
        self._joined: dict[int, list[int]] = {}  # a request whose answer others may wait for, to those who do

    def run(self) -> None:
        """Answer all requests."""
        arrival_s, limit_s, lookup_s = self._arrival_s, self._limit_s, self._lookup_s
        events = self._events
        one_limit = limit_s[0] if len(limit_s) == 1 else None
        several = len(limit_s) > 1
        request, n = 0, len(arrival_s)
        next_s = arrival_s[0] + lookup_s
        while True:
            if request < n and (not events or next_s < events[0][0]):
                self._arrive(request, next_s, limit_s[request] if several else one_limit)
                request += 1
                if request < n:
                    next_s = arrival_s[request] + lookup_s
            elif events:
                now_s, _, place, lane, stage, requests, batch = heapq.heappop(events)
                machine = self.machines[place]
                if lane < 0:
                    if machine.wake_s == now_s:
                        machine.wake_s = NEVER
                else:
                    machine.free.append(lane)
                    machine.lane_free_s[lane] = now_s
                    self._finish(place, machine, stage, requests, batch, now_s)
                self._start(place, machine, now_s)
            else:
                return

    def _arrive(self, request: int, now_s: float, limit_s: float | None) -> None:
        plan = self.plan
        arrival_s = self._arrival_s[request]
        high = self._high is not None and self._high[request]
        place = choose_machine(self.outstanding, request) if len(self.outstanding) > 1 else 0
        machine = self.machines[place]
        key = None if self._keys is None or machine.cache is None else self._key(request)
        if self._found(machine, key):
            self.latency_s[request] = now_s - arrival_s
            self.outcome[request] = CACHED
            return
        if key in machine.flights:
            machine.flights[key].append(request)
            self.outstanding[place] += 1
            return
        entry = entry_stage(plan, high, False, self.down)
        if isinstance(entry, End):
            return
        rows = self._rows[request] if self._rows is not None else 1
        step = admit(
            plan,
            Load(machine.waiting_rows, machine.lane_free_s, len(machine.free)),
            entry,
            now_s,
            rows=rows,
            limit_s=limit_s,
            waited_s=now_s - arrival_s,
            may_degrade=self._may_degrade and not high,
        )
        if isinstance(step, Shed):
            self.outcome[request] = SHED
            return
        if isinstance(step, Degrade):
            degraded = entry_stage(plan, high, True, self.down)
            assert not isinstance(degraded, End)
            entry = degraded
        self.outstanding[place] += 1
        if key is not None and entry != plan.fallback:
            machine.flights[key] = self._joined[request] = []
        self._push(machine, entry, arrival_s, request, rows)
        self._start(place, machine, now_s)

    def _found(self, machine: MachineState, key: tuple[int, bool] | None) -> bool:
        if self._keys is None:
            return self._hit_share > 0 and self._hit_draw() < self._hit_share
        return key is not None and machine.cache is not None and machine.cache.get(key) is not None

    @staticmethod
    def _push(machine: MachineState, stage: int, arrival_s: float, request: int, rows: int) -> None:
        machine.queues[stage].push(arrival_s, request, rows)
        machine.waiting_rows[stage] += rows
        machine.waiting += 1

    def _start(self, place: int, machine: MachineState, now_s: float) -> None:
        plan, look_at = self.plan, self._look_at
        while machine.waiting and machine.free:
            free = len(machine.free)
            queues = [
                queue.oldest(look_at[stage], free) if machine.waiting_rows[stage] else NOBODY
                for stage, queue in enumerate(machine.queues)
            ]
            step = next_batch(plan, queues, now_s)
            if not isinstance(step, Start):
                if step.at_s is not None and step.at_s < machine.wake_s:
                    machine.wake_s = step.at_s
                    heapq.heappush(self._events, (step.at_s, next(self._order), place, -1, 0, [], []))
                return
            stage, rows = step.stage, step.rows
            requests, batch = machine.queues[stage].pop(step.requests)
            machine.waiting -= step.requests
            machine.waiting_rows[stage] -= rows
            seconds = self.times[stage].draw(rows, self._service_draw())
            computing_s = self.computing_s
            for request in requests:
                computing_s[request] += seconds
            self.busy_s += seconds
            self.batch_rows[stage].append(rows)
            lane = machine.free.pop()
            machine.lane_free_s[lane] = now_s + plan.stages[stage].own.seconds(rows)
            heapq.heappush(self._events, (now_s + seconds, next(self._order), place, lane, stage, requests, batch))

    def _finish(
        self, place: int, machine: MachineState, stage: int, requests: list[int], batch: list[int], now_s: float
    ) -> None:
        plan, down, depth = self.plan, self.down, self._depth
        goes_on = self._goes_on[stage] if stage < plan.last else 0.0
        for request, rows in zip(requests, batch, strict=True):
            going_on = 0
            if depth is not None:
                going_on = rows if stage < depth[request] else 0
            elif goes_on:
                going_on = int(rows * goes_on + self._share_draw())  # its mean is rows * goes_on
            step = next_stage(plan, stage, not going_on, down)
            flight = self._joined.get(request)
            if flight is not None and (isinstance(step, End) or step == plan.fallback):
                key = self._key(request)
                if machine.flights.get(key) is flight:  # who comes from now on does not wait for it
                    del machine.flights[key]
            if not isinstance(step, End):
                self._push(machine, step, self._arrival_s[request], request, going_on)
                continue
            for answered in (request, *self._joined.pop(request, ())):
                self.outstanding[place] -= 1
                if step is not End.UNAVAILABLE:
                    self.latency_s[answered] = now_s - self._arrival_s[answered]
                    self.outcome[answered] = stage
            if step is not End.UNAVAILABLE and machine.cache is not None and self._keys and stage <= plan.last:
                machine.cache.put(self._key(request), True)

    def _key(self, request: int) -> tuple[int, bool]:
        """Equal requests of the same priority have equal ones; called where it is known which are equal."""
        assert self._keys is not None
        return self._keys[request], self._high is not None and self._high[request]


def _uniform(rng: np.random.Generator) -> Callable[[], float]:
    """Draws from [0, 1), made in blocks."""

    def draws() -> Iterator[float]:
        while True:
            yield from rng.random(BLOCK).tolist()

    return draws().__next__
