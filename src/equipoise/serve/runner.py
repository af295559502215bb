"""One plan at work: takes requests in, starts batches, carries rows on from stage to stage, answers each request once.

Nothing is decided here. At each arrival, end of a batch and end of a wait the functions of `policy/` are asked, those
that the simulator asks (`compose/fleet.py`), in the same order. All of it runs in the event loop's thread, so that no
lock is needed; only `serve.lanes.ask` runs in others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DeadlineExceeded, Overloaded, ServeError, StageFailed, Unavailable
from equipoise.execute.stages import stage_outputs
from equipoise.policy.batch import QueueState
from equipoise.policy.cascade import stands
from equipoise.policy.overload import Degrade, Load, Shed, admit
from equipoise.policy.route import End, entry_stage, next_stage
from equipoise.policy.schedule import Start, next_batch
from equipoise.policy.served import served_plan
from equipoise.serve.events import OUTCOME_OF, BatchEnd, Observer, RequestEnd
from equipoise.serve.lanes import Asked, Lanes
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.memory import Memory
from equipoise.serve.queue import StageQueue
from equipoise.serve.work import Answer, Part, Rows, Waiter, Work, assembled

Array = NDArray[Any]
NOBODY = QueueState((), (), 0)
NO_ROWS: Rows = np.empty(0, dtype=np.intp)


class Runner:
    """Queues, lanes and cache of one plan.

    Args:
        loaded: The plan.
        observers: Are told what becomes of each request and batch.
    """

    def __init__(self, loaded: LoadedPlan, observers: Sequence[Observer] = ()) -> None:
        plan = loaded.bundle.plan
        self.loaded = loaded
        self._observers = observers
        self._plan = served_plan(plan, loaded.services)
        self._stages = loaded.stages
        self._limit_s = plan.stages[0].batch_rule.limit_s
        self._simple = plan.distrust is not None and plan.distrust.answer == "simple"
        self._fallback_gives = (
            frozenset[str]() if self._plan.fallback is None else frozenset(stage_outputs(self._stages[-1]))
        )
        self._queues = [StageQueue() for _ in self._stages]
        self._look_at = [stage.rule.max_rows + 1 for stage in self._plan.stages]
        self._lanes = Lanes(loaded.name, self._plan.lanes)
        self._memory = (
            None if plan.cache is None else Memory(plan.cache, plan.content_digest, loaded.name, loaded.version)
        )
        self._wake: asyncio.TimerHandle | None = None
        self._wake_s = inf
        self._closed = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(
        self,
        feeds: Mapping[str, Array],
        outputs: tuple[str, ...],
        *,
        n: int,
        high: bool,
        deadline_s: float | None,
        request_id: str | None,
    ) -> asyncio.Future[Answer]:
        """Take a request in.

        Args:
            feeds: Input name to [n, ...], as the plan takes them.
            outputs: Outputs that are wanted.
            n: Rows.
            high: Whether it has high priority.
            deadline_s: Seconds from now within which it wants its answer; null for no such limit.
            request_id: The client's own name for it.

        Returns:
            Where the answer, or a `ServeError`, will be. Cancel it to leave: what has not begun is then not computed,
            unless somebody else waits for it.

        Raises:
            Overloaded: It is refused, as it would not be answered in time.
            Unavailable: A stage that it needs is down.
        """
        now_s = asyncio.get_running_loop().time()
        waiter = self._waiter(now_s, deadline_s, request_id)
        key = None
        if self._memory is not None:
            key = self._memory.key(feeds, outputs, high=high)
            known = self._memory.answer(key)
            if known is not None:
                answer = replace(known, request_id=request_id)
                waiter.future.set_result(answer)
                self._tell(RequestEnd(self.loaded, "answered", n, request_id, 0.0, answer=answer))
                return waiter.future
            flight = self._memory.flight(key)
            if flight is not None:
                return self._join(flight, waiter)
        try:
            entry = self._entry(outputs, n, now_s, deadline_s, high=high)
        except ServeError as error:
            self._tell(RequestEnd(self.loaded, OUTCOME_OF[type(error)], n, request_id, 0.0))
            raise
        work = Work(feeds, n, now_s, high, outputs, key if entry != self._plan.fallback else None)
        if self._memory is not None and work.key is not None:
            self._memory.begin(work)
        self._open += 1
        self._idle.clear()
        self._join(work, waiter)
        self._push(work, entry, now_s)
        self._start(now_s)
        return waiter.future

    async def drain(self) -> None:
        """Wait until every request has its answer and every lane is free."""
        await self._idle.wait()

    def close(self) -> None:
        """End the threads; requests that are still here fail."""
        self._closed = True
        if self._wake is not None:
            self._wake.cancel()
        self._fail_waiting()
        self._lanes.close()

    def _entry(self, outputs: tuple[str, ...], n: int, now_s: float, deadline_s: float | None, *, high: bool) -> int:
        """Ask where a request enters, and whether it may."""
        plan, lanes = self._plan, self._lanes
        entry = entry_stage(plan, high)
        if isinstance(entry, End):
            raise Unavailable(f"a stage of {self.loaded.name} is down, and nothing stands in for it")
        step = admit(
            plan,
            Load([queue.waiting_rows for queue in self._queues], lanes.free_at_s, len(lanes.free)),
            entry,
            now_s,
            rows=n,
            limit_s=self._limit_s if deadline_s is None else deadline_s,
            may_degrade=not high and self._fallback_gives.issuperset(outputs),
        )
        if isinstance(step, Shed):
            raise Overloaded(
                f"{self.loaded.name} has more to do than it could answer in time; come again in "
                f"{step.retry_after_s:.3g} s",
                step.retry_after_s,
            )
        if isinstance(step, Degrade):
            entry = entry_stage(plan, high, degrade=True)
            assert not isinstance(entry, End)
        return entry

    @staticmethod
    def _waiter(now_s: float, deadline_s: float | None, request_id: str | None) -> Waiter:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return Waiter(future, request_id, now_s, inf if deadline_s is None else now_s + deadline_s)

    def _join(self, work: Work, waiter: Waiter) -> asyncio.Future[Answer]:
        work.waiters.append(waiter)
        if waiter.deadline_s < inf:
            waiter.timer = asyncio.get_running_loop().call_at(waiter.deadline_s, self._expire, work, waiter)
        waiter.future.add_done_callback(partial(self._left, work, waiter))
        return waiter.future

    def _left(self, work: Work, waiter: Waiter, future: asyncio.Future[Answer]) -> None:
        """A client has its answer, or is gone; what nobody waits for any more is not begun."""
        if waiter.timer is not None:
            waiter.timer.cancel()
        if self._observers:
            self._tell(self._end_of(work, waiter, future))
        if not work.over:
            work.waiters.remove(waiter)
            if not work.waiters:
                self._abandon(work)

    def _end_of(self, work: Work, waiter: Waiter, future: asyncio.Future[Answer]) -> RequestEnd:
        error = None if future.cancelled() else future.exception()
        answer = None if future.cancelled() or error is not None else future.result()
        return RequestEnd(
            self.loaded,
            "answered" if answer is not None else "left" if error is None else OUTCOME_OF.get(type(error), "failed"),
            work.n,
            waiter.request_id,
            asyncio.get_running_loop().time() - waiter.arrival_s,
            work.queued_s,
            work.computing_s,
            tuple(part.stage for part in work.parts),
            answer,
            joined=waiter.arrival_s > work.arrival_s,
        )

    def _tell(self, end: RequestEnd) -> None:
        for observer in self._observers:
            observer.request_ended(end)

    def _expire(self, work: Work, waiter: Waiter) -> None:
        if not waiter.future.done():
            since_s = asyncio.get_running_loop().time() - work.arrival_s
            message = (
                f"{self.loaded.name} has no answer {since_s:.3g} s after the request came, and its deadline passed"
            )
            waiter.future.set_exception(DeadlineExceeded(message))

    def _abandon(self, work: Work) -> None:
        if work.queued_at is not None:
            self._queues[work.queued_at].remove(work)
        self._close(work)

    def _close(self, work: Work) -> None:
        """A request is over, whatever came of it."""
        work.over, work.queued_at = True, None
        if self._memory is not None:
            self._memory.end(work)
        self._open -= 1
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._open and self._lanes.all_free:
            self._idle.set()

    def _push(self, work: Work, stage: int, now_s: float) -> None:
        work.queued_at, work.since_s = stage, now_s
        self._queues[stage].push(work)

    def _start(self, now_s: float) -> None:
        """Start batches as long as one is to be started now."""
        if self._closed:
            self._fail_waiting()
        while self._lanes.free and any(map(len, self._queues)):
            free = len(self._lanes.free)
            queues = [
                queue.oldest(self._look_at[stage], free) if len(queue) else NOBODY
                for stage, queue in enumerate(self._queues)
            ]
            step = next_batch(self._plan, queues, now_s)
            if not isinstance(step, Start):
                self._wake_at(step.at_s)
                return
            works = [work for work in self._queues[step.stage].pop(step.requests) if self._wanted(work, now_s)]
            if works:
                self._launch(step.stage, works, now_s)

    def _wanted(self, work: Work, now_s: float) -> bool:
        """Whether anybody still waits for a request that was just taken out of its queue; if not, it is over."""
        work.queued_at = None
        if work.deadline_s > now_s:
            return True
        for waiter in work.waiters:
            self._expire(work, waiter)
        self._close(work)
        return False

    def _wake_at(self, at_s: float | None) -> None:
        if at_s is None or (self._wake is not None and self._wake_s <= at_s):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake_s = at_s
        self._wake = asyncio.get_running_loop().call_at(at_s, self._woken)

    def _woken(self) -> None:
        self._wake = None
        # A timer may fire a clock tick early, and the wait would then be asked for again and again.
        self._start(max(self._wake_s, asyncio.get_running_loop().time()))

    def _launch(self, stage: int, works: list[Work], now_s: float) -> None:
        rows = sum(work.rows for work in works)
        for work in works:
            work.queued_s += now_s - work.since_s
            work.since_s = now_s
        pieces = [(work.feeds, work.left) for work in works]
        ends_s = now_s + self._plan.stages[stage].own.seconds(rows)
        lane, job = self._lanes.start(self._stages[stage], pieces, ends_s)
        job.add_done_callback(partial(self._ended, stage, lane, works, rows, now_s))

    def _ended(
        self, stage: int, lane: int, works: list[Work], rows: int, start_s: float, job: asyncio.Future[list[Asked]]
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        self._lanes.end(lane, now_s)
        for observer in self._observers:
            observer.batch_ended(BatchEnd(self.loaded, stage, rows, len(works), now_s - start_s))
        if job.cancelled():
            found: list[Asked] = [RuntimeError("the server is being closed")] * len(works)
        else:
            error = job.exception()
            found = job.result() if error is None else [RuntimeError(repr(error))] * len(works)
        for work, asked in zip(works, found, strict=True):
            if work.over:
                continue
            work.computing_s += now_s - start_s
            try:
                self._advance(work, stage, asked, now_s)
            except Exception as error:  # answers that do not fit together: this request fails, and no other
                self._fail(work, self._failed(stage, error))
        self._tell_idle()
        self._start(now_s)

    def _advance(self, work: Work, stage: int, asked: Asked, now_s: float) -> None:
        """Take in what a stage answered, and answer the request or send what is left of it on."""
        if isinstance(asked, Exception):
            raise asked
        outputs, confidence = asked
        work.parts.append(Part(stage, work.left, outputs, confidence))
        accept = self._stages[stage].stage.accept
        unsure = NO_ROWS if accept is None else np.flatnonzero(~stands(confidence, accept))
        left = unsure if work.left is None else work.left[unsure]
        step = next_stage(self._plan, stage, not len(left))
        if step is End.UNAVAILABLE:
            self._fail(work, Unavailable(f"a stage of {self.loaded.name} is down, and nothing stands in for it"))
        elif isinstance(step, End):
            self._answer(work, left)
        else:
            work.left = left
            self._push(work, step, now_s)

    def _answer(self, work: Work, untrusted: Rows) -> None:
        loaded = self.loaded
        answer = assembled(
            work,
            loaded.name,
            loaded.version,
            self._plan.nominal,
            untrusted,
            simple_where_untrusted=self._simple,
        )
        if self._memory is not None and work.key is not None and not answer.degraded:
            answer = self._memory.keep(work.key, answer)
        self._close(work)
        for waiter in work.waiters:
            if not waiter.future.done():
                mine = answer if waiter.request_id is None else replace(answer, request_id=waiter.request_id)
                waiter.future.set_result(mine)

    def _fail(self, work: Work, error: ServeError) -> None:
        self._close(work)
        for waiter in work.waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)

    def _fail_waiting(self) -> None:
        for queue in self._queues:
            for work in queue.pop(len(queue)):
                self._fail(work, Unavailable(f"{self.loaded.name} is no longer served"))

    def _failed(self, stage: int, error: Exception) -> StageFailed:
        number = "the fallback" if stage == self._plan.fallback else f"stage {stage + 1}"
        failed = StageFailed(f"{number} of {self.loaded.name} failed on this request ({type(error).__name__}: {error})")
        failed.__cause__ = error
        return failed
