"""Rows that a runtime cannot take, and stages that can take none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.errors import BadRequest, DeadlineExceeded, StageFailed, Unavailable
from equipoise.serve import Engine

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


def test_rows_that_a_runtime_cannot_take_fail_alone(run: Run, cascade: Cascades, gate: Any, images: Array) -> None:
    made = cascade()
    poison = np.full((1, 2, 2), 255, np.uint8)
    gate.raises_on = lambda batch: bool((batch == 255).all(axis=(1, 2)).any())

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            asked = [images[:1], images[1:2], poison, images[2:3]]
            tasks = [asyncio.create_task(engine.infer("m", {"image": each})) for each in asked]
            await gate.reached(1)
            gate.open.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(found[2], BadRequest)
            assert "stage 1 of m failed on this request, while it answers others" in str(found[2])
            for place in (0, 1, 3):
                made.require_right(found[place], asked[place])
            made.require_right(await engine.infer("m", {"image": images}), images)
            with pytest.raises(BadRequest):  # alone in its batch, it is found out by a golden row
                await engine.infer("m", {"image": poison})
            assert engine.ready

    run(main())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for requested buffer")])
def test_a_batch_that_there_is_no_room_for_is_not_the_fault_of_its_rows(
    run: Run, cascade: Cascades, gate: Any, images: Array, error: Exception
) -> None:
    def large(batch: Array) -> bool:
        if len(batch) > 1:
            raise error
        return False

    made = cascade()
    gate.open.set()
    gate.raises_on = large

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            with pytest.raises(StageFailed):
                await engine.infer("m", {"image": images[:3]})
            await until(lambda: engine.ready)
            made.require_right(await engine.infer("m", {"image": images[:1]}), images[:1])

    run(main())


def test_who_waits_to_hear_whose_fault_it_was_waits_no_longer_than_its_deadline(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    def raises(batch: Array) -> bool:  # and whoever is asked next has to wait
        gate.open.clear()
        return True

    made = cascade()
    gate.open.set()
    gate.raises_on = raises

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            task = asyncio.create_task(engine.infer("m", {"image": images[:1]}, deadline_s=0.3))
            await gate.reached(2)
            with pytest.raises(DeadlineExceeded):
                await task
            gate.raises_on = lambda batch: False
            gate.open.set()
            await until(lambda: engine.ready)
            made.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


def test_a_broken_stage_takes_its_plan_out_until_it_answers_its_own_golden_row(
    run: Run, cascade: Cascades, gate: Any, images: Array, unsure: Array
) -> None:
    made = cascade()
    gate.open.set()
    gate.raises_on = lambda batch: True

    async def main() -> None:
        async with Engine([made.gated(1, gate)]) as engine:
            with pytest.raises(Unavailable, match="stage 2 fails on a golden row"):
                await engine.infer("m", {"image": unsure[:1]})
            await until(lambda: not engine.ready)
            assert "stage 2 fails on a golden row" in (engine.trouble("m") or "")
            with pytest.raises(Unavailable, match="stage 2 fails"):
                await engine.infer("m", {"image": images})
            gate.raises_on = lambda batch: False
            await until(lambda: engine.ready)
            made.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


def test_the_fallback_stands_in_for_a_broken_stage(run: Run, cascade: Cascades, gate: Any, unsure: Array) -> None:
    made = cascade(fallback=True)
    gate.raises_on = lambda batch: True

    async def main() -> None:
        async with Engine([made.gated(1, gate)]) as engine:
            broken = asyncio.create_task(engine.infer("m", {"image": unsure[:1]}))
            await gate.reached(1)
            waiting = asyncio.create_task(engine.infer("m", {"image": unsure[1:2]}))
            high = asyncio.create_task(engine.infer("m", {"image": unsure[2:3]}, priority="high"))
            gate.open.set()
            with pytest.raises(Unavailable):
                await high
            for answer, asked in (
                (await broken, unsure[:1]),
                (await waiting, unsure[1:2]),
                (await engine.infer("m", {"image": unsure}), unsure),
            ):
                assert answer.degraded
                np.testing.assert_allclose(answer.outputs["logits"], made.of_stage(0, asked), rtol=1e-5)
            assert engine.model_ready("m")
            with pytest.raises(Unavailable):
                await engine.infer("m", {"image": unsure}, priority="high")

    run(main())
