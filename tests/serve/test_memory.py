"""What a plan remembers, and equal requests that share an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.serve import Engine
from equipoise.serve.lull import SETTLING_TURNS

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


def test_an_answer_of_the_fallback_is_neither_shared_nor_remembered(
    run: Run, cascade: Cascades, gate: Any, images: Array, cache_rule: Any
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001, 1), fallback=True, cache=cache_rule)

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            first = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            tasks = [asyncio.create_task(engine.infer("m", {"image": images[1:2]})) for _ in range(2)]
            patient = asyncio.create_task(engine.infer("m", {"image": images[1:2]}, deadline_s=1e4))
            await asyncio.sleep(0)
            gate.open.set()
            await first
            assert [answer.degraded for answer in await asyncio.gather(*tasks)] == [True, True]
            made.require_right(await patient, images[1:2])
            later = await engine.infer("m", {"image": images[1:2]})
        made.require_right(later, images[1:2])
        assert (later.cached, later.degraded) == (True, False)

    run(main())


def test_equal_requests_are_computed_once_whoever_leaves(
    run: Run, cascade: Cascades, gate: Any, images: Array, cache_rule: Any
) -> None:
    made = cascade(cache=cache_rule)

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            tasks = [
                asyncio.create_task(engine.infer("m", {"image": images[:2].copy()}, request_id=str(i)))
                for i in range(5)
            ]
            await gate.reached(1)
            tasks[0].cancel()
            await asyncio.sleep(0)
            gate.open.set()
            answers = await asyncio.gather(*tasks[1:])
            later = await engine.infer("m", {"image": images[:2]}, request_id="later")
            other = await engine.infer("m", {"image": images[2:4]})
        assert [answer.request_id for answer in answers] == ["1", "2", "3", "4"]
        assert (later.cached, later.request_id, other.cached) == (True, "later", False)
        assert gate.batches == [2, 2]
        for answer in (*answers, later):
            made.require_right(answer, images[:2])
        with pytest.raises(ValueError, match="read-only"):
            later.outputs["logits"][0] = 0

    run(main())


def test_what_is_remembered_is_answered_while_models_have_every_core(
    run: Run, cascade: Cascades, gate: Any, images: Array, cache_rule: Any
) -> None:
    made = cascade(cache=cache_rule)
    gate.open.set()

    async def main() -> None:
        async with Engine([made.gated(0, gate)], cores=1, lull_s=8.0) as engine:
            await engine.infer("m", {"image": images[:1]})
            gate.open.clear()
            held = [engine.submit("m", {"image": images[n : n + 1]}) for n in range(1, 8)]  # no core is free
            began_s = time.monotonic()
            for _ in range(2 * SETTLING_TURNS):
                await asyncio.sleep(0)
            again = await engine.infer("m", {"image": images[:1]})
            waited_s = time.monotonic() - began_s
            gate.open.set()
            await asyncio.gather(*held)
            assert again.cached
            assert waited_s < 4
        assert engine._lull.hurried == 0

    run(main())


def test_answers_of_very_many_rows_are_not_remembered(
    run: Run, cascade: Cascades, images: Array, cache_rule: Any
) -> None:
    made = cascade(cache=cache_rule.model_copy(update={"entry_bytes": 10}))

    async def main() -> None:
        async with Engine([made.loaded]) as engine:
            for asked, remembered in ((images[:1], True), (images, False)):
                await engine.infer("m", {"image": asked})
                again = await engine.infer("m", {"image": asked})
                assert again.cached is remembered
                made.require_right(again, asked)

    run(main())


def test_a_request_that_all_have_left_is_computed_for_the_next(
    run: Run, cascade: Cascades, gate: Any, images: Array, cache_rule: Any
) -> None:
    made = cascade(cache=cache_rule)

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            first = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            first.cancel()
            await asyncio.sleep(0.01)
            second = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await asyncio.sleep(0.01)
            gate.open.set()
            made.require_right(await second, images[:1])
        assert gate.batches == [1, 1]

    run(main())


def test_high_priority_gets_the_last_stage_and_no_remembered_answer_of_an_early_one(
    run: Run, cascade: Cascades, images: Array, cache_rule: Any
) -> None:
    made = cascade(cache=cache_rule)

    async def main() -> None:
        async with Engine([made.loaded]) as engine:
            await engine.infer("m", {"image": images})
            answer = await engine.infer("m", {"image": images}, priority="high")
        assert not answer.cached
        assert answer.stage.tolist() == [1] * len(images)
        np.testing.assert_allclose(answer.outputs["logits"], made.of_stage(1, images), rtol=1e-5, atol=1e-6)

    run(main())


def test_what_is_remembered_is_of_one_name_and_version(
    run: Run, cascade: Cascades, images: Array, cache_rule: Any
) -> None:
    made, other = cascade(cache=cache_rule), cascade(cache=cache_rule, seed=1)
    plans = [made.loaded, replace(made.loaded, version="2"), replace(made.loaded, name="n")]

    async def main() -> None:
        async with Engine(plans) as engine:
            for name, version in (("m", "1"), ("m", "2"), ("n", "1")):
                for cached in (False, True):
                    answer = await engine.infer(name, {"image": images}, version=version)
                    assert (answer.model, answer.version, answer.cached) == (name, version, cached)
            await engine.load(other.loaded)
            answer = await engine.infer("m", {"image": images}, version="1")
            assert not answer.cached
            other.require_right(answer, images)

    run(main())


def test_an_answer_that_the_fallback_gave_for_a_broken_stage_is_not_remembered(
    run: Run, cascade: Cascades, gate: Any, unsure: Array, cache_rule: Any
) -> None:
    made = cascade(fallback=True, cache=cache_rule)
    gate.raises_on = lambda batch: True

    async def main() -> None:
        async with Engine([made.gated(1, gate)]) as engine:
            broken = asyncio.create_task(engine.infer("m", {"image": unsure[1:2]}))
            await gate.reached(1)
            waiting = [asyncio.create_task(engine.infer("m", {"image": unsure[:1]})) for _ in range(2)]
            gate.open.set()
            assert (await broken).degraded
            assert [(answer.degraded, answer.cached) for answer in await asyncio.gather(*waiting)] == [
                (True, False)
            ] * 2
            assert (await engine.infer("m", {"image": unsure[:1]})).degraded
            gate.raises_on = lambda batch: False
            answer = await engine.infer("m", {"image": unsure[:1]})
            while answer.degraded:
                assert not answer.cached
                await asyncio.sleep(0.01)
                answer = await engine.infer("m", {"image": unsure[:1]})
            assert not answer.cached
            made.require_right(answer, unsure[:1])

    run(main())
