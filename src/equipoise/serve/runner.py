"""One plan at work: takes requests in, starts batches, carries rows on from stage to stage, answers each request once.

Nothing is decided here. At each arrival, end of a batch and end of a wait the functions of `policy/` are asked, those
that the simulator asks (`compose/fleet.py`), in the same order. All of it runs in the event loop's thread, so that no
lock is needed; `serve.lanes.ask` runs in others, but for batches that are over before another thread had begun them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DeadlineExceeded, Overloaded, ServeError, Unavailable
from equipoise.policy.batch import QueueState
from equipoise.policy.cascade import stands
from equipoise.policy.route import End, entry_stage, next_stage
from equipoise.policy.schedule import Start, next_batch
from equipoise.policy.served import served_plan
from equipoise.preprocess.lengths import sequence_inputs
from equipoise.serve.admission import Admission, unavailable
from equipoise.serve.alarm import Alarm
from equipoise.serve.blame import Blame
from equipoise.serve.cores import CoreBudget
from equipoise.serve.crew import Crew
from equipoise.serve.events import OUTCOME_OF, Audience, BatchEnd, RequestEnd, request_end
from equipoise.serve.inputs import InputCheck
from equipoise.serve.instant import Instant
from equipoise.serve.lanes import Answered, Asked, Lanes, raised
from equipoise.serve.loading import LoadedPlan
from equipoise.serve.lull import Lull
from equipoise.serve.memory import Memory
from equipoise.serve.probes import Probes
from equipoise.serve.queue import StageQueue
from equipoise.serve.weakly import weakly
from equipoise.serve.work import Answer, Part, Rows, Waiter, Work, assembled

Array = NDArray[Any]
NOBODY = QueueState((), (), 0)
NO_ROWS: Rows = np.empty(0, dtype=np.intp)


class Runner:
    """Queues, lanes and cache of one plan.

    Args:
        loaded: The plan.
        observers: Are told what becomes of each request and batch.
        cores: What it shares with other plans.
        lull: Where the loop waits while all of them are taken.

    Attributes:
        checked_inputs: What a request brings, as the plan takes it, or why it cannot.
    """

    def __init__(self, loaded: LoadedPlan, observers: Audience, cores: CoreBudget, lull: Lull) -> None:
        plan = loaded.plan
        self.loaded = loaded
        self.checked_inputs = InputCheck(loaded.spec)
        self._observers = observers
        self._plan = served_plan(plan, loaded.services)
        self._accept = [stage.accept for stage in plan.all_stages]
        self._simple = plan.distrust is not None and plan.distrust.answer == "simple"
        self._queues = [StageQueue() for _ in plan.all_stages]
        self._look_at = [stage.rule.max_rows + 1 for stage in self._plan.stages]
        self._lanes = Lanes(loaded.name, loaded.asks, lull, loaded.filling)
        self._lull = lull
        lull.hurried += plan.cache is not None
        self._cores = cores.share(plan.stages[0].models[0].settings.threads, weakly(self._start_now))
        names = [*(f"stage {place + 1}" for place in range(self._plan.nominal)), "the fallback"]
        self._probes = Probes(
            loaded.bundle.golden_inputs, names, self._lanes, self._cores, self._cores.wake, weakly(self._probed)
        )
        self._blame = Blame(loaded.name, names, weakly(self._fail), weakly(self._stand_in))
        self._down: frozenset[int] = frozenset()
        self._crew_trouble = ""
        digest = loaded.bundle.plan.content_digest
        self._memory = None if plan.cache is None else Memory(plan.cache, digest, loaded.name, loaded.version)
        self._alarm = Alarm(weakly(self._start))
        self._admission = Admission(loaded, self._plan, self._queues, self._lanes, self._cores)
        in_process = not isinstance(loaded.opened, Crew) and not sequence_inputs(loaded.spec)
        self._instant = Instant(len(plan.all_stages), in_process=in_process)
        self._closed = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        if isinstance(loaded.opened, Crew):
            loaded.opened.watch(asyncio.get_running_loop(), weakly(self._crew_changed))

    @property
    def trouble(self) -> str | None:
        """Why no request of normal priority would be answered; null where they are, by the fallback at least."""
        able = entry_stage(self._plan, high=False, down=self._down) is not End.UNAVAILABLE
        return None if able else self._why_down

    @property
    def waiting_rows(self) -> tuple[int, ...]:
        """Rows that wait for each stage."""
        return tuple(queue.waiting_rows for queue in self._queues)

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
        """Take in a request that `Engine.submit` has checked: `n` rows, as the plan takes them.

        Returns:
            Where the answer, or a `ServeError`, will be. Cancel it to leave: what has not begun is then not computed,
            unless somebody else waits for it.

        Raises:
            Overloaded: It is refused, as it would not be answered in time.
            Unavailable: A stage that it needs is down.
        """
        now_s = monotonic()
        waiter = self._waiter(now_s, deadline_s, request_id)
        key = None
        if self._memory is not None:
            key = self._memory.key(feeds, outputs, high=high)
            known = self._memory.answer(key)
            if known is not None:
                answer = known._replace(request_id=request_id)
                waiter.future.set_result(answer)
                if self._observers:
                    end = RequestEnd(self.loaded, "answered", n, request_id, 0.0, answer=answer, inputs=feeds)
                    self._observers.request_ended(end)
                return waiter.future
            flight = self._memory.flight(key)
            if flight is not None:
                return self._join(flight, waiter)
        try:
            entry = self._entry(outputs, n, now_s, deadline_s, high=high)
        except ServeError as error:
            self._observers.request_ended(
                RequestEnd(self.loaded, OUTCOME_OF[type(error)], n, request_id, 0.0, inputs=feeds)
            )
            raise
        work = Work(feeds, n, now_s, high, outputs, key if entry != self._plan.fallback else None)
        if self._memory is not None and work.key is not None:
            self._memory.begin(work)
        self._open += 1
        self._idle.clear()
        self._join(work, waiter)
        self._push(work, entry, now_s)
        self._start(now_s)
        self._lull.arrived()
        return waiter.future

    @property
    def pressed(self) -> bool:
        """Whether requests were refused just now, so that it is worth finding out early who else must be.

        Never of a plan that remembers answers: it might know one.
        """
        return self._memory is None and self._admission.pressed

    def refuse_early(self) -> None:
        """Refuse a request of which nothing was read, if it is certain that it would be refused.

        It is where one row would be, of normal priority and without a deadline of its own: more rows only take longer.

        Raises:
            Overloaded: It would not be answered in time.
            Unavailable: A stage that it needs is down.
        """
        try:
            self._entry((), 1, monotonic(), None, high=False)
        except ServeError as error:
            self._observers.request_ended(RequestEnd(self.loaded, OUTCOME_OF[type(error)], 0, None, 0.0))
            raise

    async def drain(self) -> None:
        """Wait until every request has its answer and every lane is free."""
        await self._idle.wait()

    def close(self) -> None:
        """End the threads; requests that are still here fail."""
        self._lull.hurried -= self._memory is not None and not self._closed
        self._closed = True
        self._alarm.cancel()
        self._probes.close()
        self._fail_waiting()
        self._cores.leave()
        self._lanes.close()
        self.loaded.close()

    def _entry(self, outputs: tuple[str, ...], n: int, now_s: float, deadline_s: float | None, *, high: bool) -> int:
        try:
            return self._admission.entry(
                outputs, n, now_s, deadline_s, high=high, down=self._down, why_down=self._why_down
            )
        except Overloaded:
            self._lull.arrived()
            raise

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
            self._observers.request_ended(request_end(self.loaded, work, waiter, future, monotonic()))
        if not work.over:
            work.waiters.remove(waiter)
            if not work.waiters:
                self._abandon(work)

    def _expire(self, work: Work, waiter: Waiter) -> None:
        if not waiter.future.done():
            since_s = monotonic() - work.arrival_s
            message = f"{self.loaded.name} has no answer {since_s:.3g} s after the request came; its deadline passed"
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
        if not self._open and self._lanes.idle:
            self._idle.set()

    def _push(self, work: Work, stage: int, now_s: float) -> None:
        work.queued_at, work.since_s = stage, now_s
        self._queues[stage].push(work)

    def _start(self, now_s: float) -> None:
        """Start batches as long as one is to be started now."""
        if self._closed:
            self._fail_waiting()
            return
        while self._lanes.free and (self._probes.due or any(map(len, self._queues))):
            if self._probes.due:
                if not self._cores.take(now_s):
                    return
                self._probes.start(now_s)
                continue
            free = len(self._lanes.free)
            queues = [
                queue.oldest(self._look_at[stage], free) if len(queue) else NOBODY
                for stage, queue in enumerate(self._queues)
            ]
            step = next_batch(self._plan, queues, now_s)
            if not isinstance(step, Start):
                self._alarm.set(step.at_s)
                break
            ends_s = now_s + self._plan.stages[step.stage].own.seconds(step.rows)
            if not self._cores.take(ends_s):
                return
            works = [work for work in self._queues[step.stage].pop(step.requests) if self._wanted(work, now_s)]
            if works:
                now_s = self._launch(step.stage, works, now_s, ends_s)
            else:
                self._cores.give()
        if self._cores.waits:
            self._cores.leave()

    def _start_now(self) -> None:
        self._start(monotonic())

    def _wanted(self, work: Work, now_s: float) -> bool:
        """Whether anybody still waits for a request that was just taken out of its queue; if not, it is over."""
        work.queued_at = None
        if work.deadline_s > now_s:
            return True
        for waiter in work.waiters:
            self._expire(work, waiter)
        self._close(work)
        return False

    def _launch(self, stage: int, works: list[Work], now_s: float, ends_s: float) -> float:
        """Start a batch, and return what time it is then."""
        rows = sum(work.rows for work in works)
        for work in works:
            work.queued_s += now_s - work.since_s
            work.since_s = now_s
        pieces = [(work.feeds, work.left) for work in works]
        if not self._instant.expects(stage, ends_s - now_s):
            self._lanes.start(stage, pieces, ends_s, partial(self._ended, stage, works, rows, now_s))
            return now_s
        found = self._lanes.compute(stage, pieces, ends_s, self._freed)
        self._instant.took(stage, monotonic() - now_s)
        self._take_answers(stage, works, rows, now_s, found)
        return monotonic()

    def _ended(self, stage: int, works: list[Work], rows: int, start_s: float, lane: int, found: list[Asked]) -> None:
        try:
            self._take_answers(stage, works, rows, start_s, found)
        finally:
            self._freed(lane)

    def _freed(self, lane: int) -> None:
        self._lanes.end(lane, monotonic())
        self._tell_idle()
        self._cores.give()
        self._start_now()

    def _take_answers(self, stage: int, works: list[Work], rows: int, start_s: float, found: list[Asked]) -> None:
        now_s = monotonic()
        if self._observers:
            self._observers.batch_ended(BatchEnd(self.loaded, stage, rows, len(works), now_s - start_s))
        answers = not all(isinstance(asked, Exception) for asked in found)
        for work, asked in zip(works, found, strict=True):
            if work.over:
                continue
            work.computing_s += now_s - start_s
            if isinstance(asked, Unavailable):
                self._stand_in(work, stage, now_s, str(asked))
            elif isinstance(asked, Exception):
                self._blame.raised(stage, work, asked, answers=answers)
            else:
                self._take_in(work, stage, asked, now_s)
        if stage in self._down:
            self._blame.judge(stage, self._why_down, now_s)
        elif not answers and any(map(raised, found)):
            self._probes.suspect(stage)

    def _take_in(self, work: Work, stage: int, answered: Answered, now_s: float) -> None:
        try:
            self._advance(work, stage, answered, now_s)
        except Exception as error:  # answers that do not fit together: this request fails, and no other
            self._fail(work, self._blame.failed(stage, error))

    def _advance(self, work: Work, stage: int, answered: Answered, now_s: float) -> None:
        """Take in what a stage answered, and answer the request or send what is left of it on."""
        outputs, confidence = answered
        work.parts.append(Part(stage, work.left, outputs, confidence, work.since_s, now_s))
        accept = self._accept[stage]
        unsure = NO_ROWS if accept is None else np.flatnonzero(~stands(confidence, accept))
        left = unsure if work.left is None else work.left[unsure]
        step = next_stage(self._plan, stage, not len(left), self._down)
        if step is End.ANSWER:
            self._answer(work, left)
            return
        work.left = left
        if step == stage + 1:
            self._push(work, step, now_s)
        else:
            self._stand_in(work, stage + 1, now_s, self._why_down)

    def _stand_in(self, work: Work, stage: int, now_s: float, why: str) -> None:
        """A stage that cannot run should have answered: the fallback does, where there is one for this request."""
        plan, gives = self._plan, self.loaded.fallback_outputs
        entry = entry_stage(plan, work.high, down=self._down | {stage})
        if isinstance(entry, End) or stage == plan.fallback or not gives.issuperset(work.outputs):
            self._fail(work, unavailable(self.loaded.name, why))
            return
        if self._memory is not None:
            self._memory.end(work)  # equal requests that come from now on may get the whole plan's answer again
            work.key = None
        self._push(work, entry, now_s)

    def _crew_changed(self, lanes: Sequence[int], trouble: str | None) -> None:
        """Worker processes of some lanes have died, or are back."""
        if trouble is None:
            self._lanes.bring_back(lanes, monotonic())
        else:
            self._crew_trouble = trouble
            self._lanes.take_down(lanes)
        self._set_down()

    def _probed(self, stage: int, why: str | None) -> None:
        """A stage was asked what it is known to answer, and did, or did not for some reason."""
        self._blame.judge(stage, why, monotonic())  # before anything else that waits for its verdict can be held
        self._set_down()

    def _set_down(self) -> None:
        """Find which stages can run, and send what waits for others elsewhere."""
        now_s = monotonic()
        self._down = frozenset(range(len(self._queues))) if self._lanes.all_down else self._probes.broken
        for stage in self._down:
            for work in self._queues[stage].pop(len(self._queues[stage])):
                self._stand_in(work, stage, now_s, self._why_down)
            self._blame.judge(stage, self._why_down, now_s)
        self._tell_idle()
        self._start(now_s)

    @property
    def _why_down(self) -> str:
        return self._crew_trouble if self._lanes.all_down else self._probes.trouble

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
        work.answer(answer)

    def _fail(self, work: Work, error: ServeError) -> None:
        self._close(work)
        work.fail(error)

    def _fail_waiting(self) -> None:
        for queue in self._queues:
            for work in queue.pop(len(queue)):
                self._fail(work, Unavailable(f"{self.loaded.name} is no longer served"))
        for work in self._blame.let_go():
            self._fail(work, Unavailable(f"{self.loaded.name} is no longer served"))
