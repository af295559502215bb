"""How many cores a plan takes, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.errors import Overloaded
from equipoise.serve import Engine
from equipoise.serve.cores import CoreBudget, CoreShare, with_settings, within_cores

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize(
    ("threads", "lanes", "default", "cores", "visible", "expected"),
    [
        (1, 4, False, 4, 8, (1, 4, False)),
        (1, 4, False, 2, 8, (1, 2, False)),
        (2, 2, False, 3, 8, (2, 1, False)),
        (8, 1, False, 2, 8, (2, 1, False)),
        (4, 1, True, 4, 4, (4, 1, True)),
        (4, 1, True, 4, 16, (4, 1, False)),
        (4, 1, True, 2, 2, (2, 1, False)),
    ],
)
def test_a_plan_takes_no_more_threads_than_there_are_cores(
    cascade: Cascades, threads: int, lanes: int, default: bool, cores: int, visible: int, expected: tuple[int, ...]
) -> None:
    made = with_settings(cascade(fallback=True).loaded.bundle.plan, threads=threads, replicas=lanes, default=default)
    plan, note = within_cores(made, cores, visible)
    found = {(s.threads, s.replicas, s.default) for s in (model.settings for model in plan.models)}
    assert found == {expected}
    assert (note is None) == (plan == made)
    assert note is None or f"this process may use {cores} cores" in note


@settings(deadline=None)
@given(
    cores=st.integers(1, 8),
    threads=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60),
)
def test_no_core_is_given_twice_and_turns_come_in_order(
    cores: int, threads: list[int], steps: list[tuple[int, bool]]
) -> None:
    budget = CoreBudget(cores)
    running: list[int] = []
    waiting: list[int] = []
    woken: list[int] = []
    shares: list[CoreShare] = [
        budget.share(each, lambda place=place: woken.append(place)) for place, each in enumerate(threads)
    ]

    def take(place: int) -> None:
        if shares[place].take(0.0):
            if waiting:
                assert waiting.pop(0) == place
            running.append(place)
        elif place not in waiting:
            waiting.append(place)

    def give() -> None:
        shares[running.pop(0)].give()
        while woken:
            take(woken.pop(0))

    for place, starts in steps:
        if starts:
            take(place % len(shares))
            while woken:
                take(woken.pop(0))
        elif running:
            give()
        assert sum(shares[each].threads for each in running) + budget.free == cores
        assert budget.free >= 0
        assert not waiting or shares[waiting[0]].threads > budget.free
    while running:
        give()
    assert not waiting
    assert budget.free == cores


def test_plans_take_turns_on_the_cores_that_they_share(run: Run, cascade: Cascades, gate: Any, images: Array) -> None:
    made = cascade(lanes=2)
    other = cascade(seed=1)

    async def main() -> None:
        async with Engine([made.gated(0, gate), replace(other.loaded, name="other")], cores=1) as engine:
            many = [asyncio.create_task(engine.infer("m", {"image": images})) for _ in range(20)]
            await gate.reached(1)
            one = asyncio.create_task(engine.infer("other", {"image": images}))
            await asyncio.sleep(0.02)
            assert gate.batches == [4]
            assert not one.done()
            gate.open.set()
            other.require_right(await one, images)
            assert not all(task.done() for task in many)
            for answer in await asyncio.gather(*many):
                made.require_right(answer, images)

    run(main())


def test_a_request_is_taken_in_where_the_cores_that_others_use_are_free_in_time(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade(service_s=(100, 0.001))
    other = cascade(seed=1, limit_s=50)

    async def main() -> None:
        async with Engine([made.gated(0, gate), replace(other.loaded, name="other")], cores=1) as engine:
            other.require_right(await engine.infer("other", {"image": images[:1]}), images[:1])
            long = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            with pytest.raises(Overloaded):
                await engine.infer("other", {"image": images[:1]})
            patient = asyncio.create_task(engine.infer("other", {"image": images[:1]}, deadline_s=1000))
            await asyncio.sleep(0.01)
            gate.open.set()
            made.require_right(await long, images[:1])
            other.require_right(await patient, images[:1])

    run(main())
