"""Plans that are loaded, swapped and unloaded while they answer."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.errors import DeadlineExceeded, NotFound, Unavailable
from equipoise.serve import Answer, Engine, load_plan

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]
SWAPS = 20


@pytest.mark.parametrize("remembers", [False, True])
def test_swaps_under_load_fail_no_request_and_take_effect_at_once(
    run: Run, cascade: Cascades, cache_rule: Any, remembers: bool
) -> None:
    rule = cache_rule if remembers else None
    plans = [cascade(cache=rule, lanes=2, seed=seed) for seed in (0, 1)]
    rng = np.random.default_rng(5)
    asked = [rng.integers(0, 256, (int(rows), 2, 2), dtype=np.uint8) for rows in rng.integers(1, 6, 12)]
    serving = {"1": 0}
    done: list[tuple[int, int, Answer]] = []

    async def client(engine: Engine, start: int, stop: asyncio.Event) -> None:
        number = start
        while not stop.is_set():
            number = (number + 1) % len(asked)
            plan = serving["1"]
            done.append((plan, number, await engine.infer("m", {"image": asked[number]}, version="1")))
            await asyncio.sleep(0.002)  # a remembered answer does not wait for anything

    async def swap(engine: Engine) -> None:
        for turn in range(SWAPS):
            new = (turn + 1) % 2
            loaded = await asyncio.to_thread(load_plan, plans[new].folder, "m", "1")
            answered = len(done)
            serving["1"] = new
            await engine.load(loaded)
            await engine.load(await asyncio.to_thread(load_plan, plans[turn % 2].folder, "m", f"other-{turn}"))
            assert (await engine.infer("m", {"image": asked[0]})).version == f"other-{turn}"
            while len(done) < answered + 20:
                await asyncio.sleep(0)
            if turn:
                await engine.unload("m", f"other-{turn - 1}")

    async def main() -> None:
        async with Engine([plans[0].loaded]) as engine:
            stop = asyncio.Event()
            clients = [asyncio.create_task(client(engine, place, stop)) for place in range(8)]
            await swap(engine)
            stop.set()
            await asyncio.gather(*clients)
            assert engine.versions("m") == ("1", f"other-{SWAPS - 1}")
        for plan, number, answer in done:
            plans[plan].require_right(answer, asked[number])

    run(main())


def test_the_old_plan_ends_what_it_began_and_the_new_one_does_not_wait_for_it(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    old, new = cascade(), cascade(seed=1)

    async def main() -> None:
        async with Engine([old.gated(0, gate)]) as engine:
            begun = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            late = asyncio.create_task(engine.infer("m", {"image": images[1:2]}, deadline_s=0.05))
            waiting = asyncio.create_task(engine.infer("m", {"image": images[2:3]}))
            leaves = asyncio.create_task(engine.infer("m", {"image": images[3:4]}))
            await asyncio.sleep(0)
            swap = asyncio.create_task(engine.load(new.loaded))
            await asyncio.sleep(0)
            leaves.cancel()
            new.require_right(await engine.infer("m", {"image": images}), images)
            with pytest.raises(DeadlineExceeded):
                await late
            assert not swap.done()
            gate.open.set()
            await swap
            assert begun.done()
            assert waiting.done()
            old.require_right(await begun, images[:1])
            old.require_right(await waiting, images[2:3])
        assert gate.batches == [1, 1]

    run(main())


def test_unloading_answers_what_was_taken_in_and_nothing_more(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            begun = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            gone = asyncio.create_task(engine.unload("m"))
            await asyncio.sleep(0)
            assert engine.models == ()
            with pytest.raises(NotFound):
                await engine.infer("m", {"image": images[:1]})
            with pytest.raises(NotFound):
                await engine.unload("m")
            gate.open.set()
            made.require_right(await begun, images[:1])
            await gone
            await engine.load(made.loaded)
            with pytest.raises(NotFound):
                await engine.unload("m", "2")
            made.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


def test_who_names_no_version_gets_the_last_loaded_that_is_still_there(run: Run, cascade: Cascades) -> None:
    made = cascade()
    plans = {version: load_plan(made.folder, "m", version) for version in ("1", "2", "3")}

    async def main() -> None:
        async with Engine([plans["1"], plans["2"]]) as engine:
            answers = [engine.plan("m").version]
            for change in (
                engine.load(plans["3"]),
                engine.load(plans["1"]),
                engine.unload("m", "1"),
                engine.unload("m", "3"),
            ):
                await change
                answers.append(engine.plan("m").version)
        assert answers == ["2", "3", "1", "3", "2"]

    run(main())


def test_a_swap_that_is_given_up_has_happened_and_the_end_waits_for_it(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    old, new = cascade(), cascade(seed=1)

    async def main() -> None:
        async with Engine([old.gated(0, gate)]) as engine:
            begun = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            swap = asyncio.create_task(engine.load(new.loaded))
            await asyncio.sleep(0)
            swap.cancel()
            new.require_right(await engine.infer("m", {"image": images}), images)
            asyncio.get_running_loop().call_later(0.02, gate.open.set)
        assert swap.cancelled()
        old.require_right(begun.result(), images[:1])
        with pytest.raises(Unavailable, match="shutting down"):
            await engine.load(new.loaded)

    run(main())


def test_the_models_of_an_old_plan_are_let_go_at_once(run: Run, cascade: Cascades, images: Array) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([load_plan(made.folder, "m")]) as engine:
            session = weakref.ref(engine.plan("m").opened.stages.stages[0].sessions[0])
            await engine.infer("m", {"image": images})
            gc.collect()
            gc.disable()  # memory must not wait for it
            try:
                await engine.load(load_plan(made.folder, "m"))
                while session() is not None:
                    await asyncio.sleep(0.001)
            finally:
                gc.enable()

    run(main())
