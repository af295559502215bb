"""Those who are told what happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.errors import Overloaded
from equipoise.serve import Engine
from equipoise.serve.events import BatchEnd, RequestEnd

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


class Broken:
    def request_ended(self, end: RequestEnd) -> None:
        raise RuntimeError("an observer's own fault")

    def batch_ended(self, end: BatchEnd) -> None:
        raise RuntimeError("an observer's own fault")


class Listener:
    def __init__(self) -> None:
        self.requests: list[RequestEnd] = []
        self.batches: list[BatchEnd] = []

    def request_ended(self, end: RequestEnd) -> None:
        self.requests.append(end)

    def batch_ended(self, end: BatchEnd) -> None:
        self.batches.append(end)


def test_an_observer_that_raises_breaks_no_request_and_silences_no_other(
    run: Run, cascade: Cascades, cache_rule: Any, images: Array, caplog: pytest.LogCaptureFixture
) -> None:
    made = cascade(cache=cache_rule)
    listener = Listener()
    many = np.concatenate([images] * 60)

    async def main() -> None:
        async with Engine([made.loaded], observers=[Broken(), listener]) as engine:
            for _ in range(3):
                made.require_right(await engine.infer("m", {"image": images}), images)
            waiting = [engine.submit("m", {"image": np.roll(many, place)}) for place in range(2)]
            with pytest.raises(Overloaded):
                engine.submit("m", {"image": np.roll(many, 9)})
            await asyncio.gather(*waiting)

    caplog.set_level(logging.ERROR)
    run(main())
    assert len([record for record in caplog.records if record.name == "equipoise.serve.events"]) == 1
    assert {"answered", "shed"} <= {end.outcome for end in listener.requests}
    assert sum(end.rows for end in listener.batches) >= len(images)


def test_each_request_and_batch_is_told_once_with_what_became_of_it(
    run: Run, cascade: Cascades, gate: Any, images: Array, unsure: Array
) -> None:
    made = cascade()
    listener = Listener()

    async def main() -> None:
        async with Engine([made.gated(0, gate)], observers=[listener]) as engine:
            tasks = [
                asyncio.create_task(engine.infer("m", {"image": unsure[:1]}, request_id=name, deadline_s=deadline_s))
                for name, deadline_s in (("first", None), ("late", 0.02), ("left", None), ("last", None))
            ]
            await gate.reached(1)
            tasks[2].cancel()
            await asyncio.sleep(0.05)
            gate.open.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        outcomes = {end.request_id: end.outcome for end in listener.requests}
        assert outcomes == {"first": "answered", "late": "late", "left": "left", "last": "answered"}
        assert len(listener.requests) == 4
        assert {(end.stage, end.rows, end.requests) for end in listener.batches} == {(0, 1, 1), (1, 1, 1)}
        assert {end.stages for end in listener.requests if end.outcome == "answered"} == {(0, 1)}
        assert all(end.total_s >= end.queued_s + end.computing_s for end in listener.requests)

    run(main())


def test_times_of_instant_batches_are_those_of_each_stage(
    run: Run, cascade: Cascades, images: Array, unsure: Array
) -> None:
    made = cascade(lanes=2, service_s=(1e-5, 1e-5, 1e-5))
    listener = Listener()

    async def main() -> None:
        async with Engine([made.loaded], observers=[listener], cores=2) as engine:
            for _ in range(20):
                answer = engine.submit("m", {"image": unsure[:1]})
                assert answer.done()  # both lanes were free, and each of its batches took less than a turn of the loop
                made.require_right(answer.result(), unsure[:1])
                await asyncio.sleep(0)
                await asyncio.gather(*(engine.infer("m", {"image": each[None]}) for each in (*unsure[:3], *images[:3])))

    run(main())
    assert len(listener.requests) == 20 * 7
    for end in listener.requests:
        assert end.outcome == "answered"
        assert end.queued_s >= 0
        assert 0 < end.computing_s <= end.total_s
        moments_s = [moment_s for part in end.parts for moment_s in (part.start_s, part.end_s)]
        assert moments_s == sorted(moments_s)
