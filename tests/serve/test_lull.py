"""Where the loop waits while models have every core: that it does, and that nobody's answer waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

from equipoise.serve.cores import CoreBudget
from equipoise.serve.lull import SETTLING_TURNS, Lull

FOREVER_S = 4.0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, which no wait may have kept it from until its time was over."""
    began_s = time.monotonic()
    asyncio.run(main)
    assert time.monotonic() - began_s < FOREVER_S


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def saturated(longest_s: float) -> Lull:
    """A loop's waits where the only core is taken."""
    cores = CoreBudget(1)
    assert cores.share(1, lambda: None).take(0.0)
    return Lull(cores, longest_s)


def test_a_batch_that_ends_ends_the_wait() -> None:
    waits = saturated(FOREVER_S)
    ended = threading.Timer(0.05, waits.batch_ended)

    async def main() -> None:
        ended.start()
        waits.arrived()
        await turns()
        assert ended.finished.is_set()

    run(main())


def test_a_batch_that_ended_just_before_ends_it_too() -> None:
    waits = saturated(FOREVER_S)

    async def main() -> None:
        waits.arrived()
        waits.batch_ended()
        waits.batch_ended()
        await turns()

    run(main())


def test_what_the_loop_knows_of_ends_no_wait() -> None:
    waits = saturated(0.02)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waits.batch_ended()
        waits.taken_in()
        waits.arrived()
        began_s = loop.time()
        for _ in range(SETTLING_TURNS):
            await turns()
        assert loop.time() - began_s >= 0.015

    run(main())


def test_it_waits_only_while_no_core_is_free() -> None:
    cores = CoreBudget(2)
    waits = Lull(cores, FOREVER_S)
    assert cores.share(1, lambda: None).take(0.0)

    async def main() -> None:
        waits.arrived()
        await turns()
        second = cores.share(1, lambda: None)
        assert second.take(0.0)
        waits.arrived()
        second.give()  # before its turn came
        await turns()

    run(main())


def test_nothing_waits_where_answers_are_remembered() -> None:
    waits = saturated(FOREVER_S)
    waits.hurried = 1

    async def main() -> None:
        waits.arrived()
        await turns()

    run(main())


def test_answers_of_a_batch_that_ended_leave_before_it_waits() -> None:
    waits = saturated(FOREVER_S)
    written = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        answer.add_done_callback(lambda _: loop.call_soon(written.set))

        def ended() -> None:
            waits.taken_in()
            answer.set_result(None)  # and the next batch begins: no core is free

        def next_ends() -> None:
            assert written.wait(FOREVER_S)
            waits.batch_ended()

        waits.batch_ended()
        loop.call_soon(ended)
        waits._unheard.clear()  # as where the request came just before the batch ended
        waits.arrived()
        waits._unheard.append(None)
        thread = threading.Thread(target=next_ends)
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)

    run(main())


def test_of_two_batches_that_end_none_is_overheard() -> None:
    waits = saturated(FOREVER_S)

    async def main() -> None:
        waits.arrived()
        waits.batch_ended()
        waits.batch_ended()  # by another thread, before the loop knows of the first
        waits.taken_in()
        for _ in range(SETTLING_TURNS + 1):
            await turns()
        waits.taken_in()

    run(main())


def test_a_loop_that_has_other_work_is_never_stopped() -> None:
    waits = saturated(0.0)

    async def main() -> None:
        waits.arrived()
        await turns()

    run(main())
