"""Where the loop waits while models have every core: that it does, and that nobody's answer waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from equipoise.serve import lull as module
from equipoise.serve.cores import CoreBudget
from equipoise.serve.lull import Lull

FOREVER_S = 60.0


@pytest.fixture(autouse=True)
def without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LULL_S", FOREVER_S)


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def taken(cores: CoreBudget) -> None:
    assert cores.share(cores.cores, lambda: None).take(0.0)


def test_a_batch_that_ends_ends_the_wait() -> None:
    cores = CoreBudget(1)
    waits = Lull(cores)
    taken(cores)
    ended = threading.Timer(0.05, waits.batch_ended)

    async def main() -> None:
        ended.start()
        waits.arrived()
        await turns()
        assert not ended.is_alive() or ended.finished.is_set()

    asyncio.run(main())


def test_a_batch_that_ended_just_before_ends_it_too() -> None:
    cores = CoreBudget(1)
    waits = Lull(cores)
    taken(cores)

    async def main() -> None:
        waits.arrived()
        waits.batch_ended()
        waits.batch_ended()
        await turns()

    asyncio.run(main())


def test_what_the_loop_knows_of_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LULL_S", 0.02)
    cores = CoreBudget(1)
    waits = Lull(cores)
    taken(cores)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waits.batch_ended()
        waits.taken_in()
        waits.arrived()
        began_s = loop.time()
        await turns()
        assert loop.time() - began_s >= 0.015

    asyncio.run(main())


def test_it_waits_only_while_no_core_is_free() -> None:
    cores = CoreBudget(2)
    waits = Lull(cores)
    assert cores.share(1, lambda: None).take(0.0)

    async def main() -> None:
        waits.arrived()
        await turns()
        second = cores.share(1, lambda: None)
        assert second.take(0.0)
        waits.arrived()
        second.give()  # before its turn came
        await turns()

    asyncio.run(main())
