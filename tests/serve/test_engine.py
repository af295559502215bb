"""The engine, with real models, real threads and a real event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.errors import DeadlineExceeded, NotFound, Overloaded, ServeError, Unavailable
from equipoise.execute.stages import TRUSTED
from equipoise.serve import Answer, Engine, load_plan
from equipoise.serve.instant import LATE_S

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


def random_images(rng: np.random.Generator, rows: int) -> Array:
    return rng.integers(0, 256, (rows, 2, 2), dtype=np.uint8)


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_answer_is_the_right_one_for_its_own_rows(run: Run, cascade: Cascades, lanes: int) -> None:
    made = cascade(lanes=lanes)
    rng = np.random.default_rng(3)
    asked = [random_images(rng, int(rows)) for rows in rng.integers(1, 10, 300)]

    async def main() -> None:
        async with Engine([made.loaded]) as engine:
            answers = []
            for start in range(0, len(asked), 60):
                batch = asked[start : start + 60]
                answers += await asyncio.gather(*(engine.infer("m", {"image": each}) for each in batch))
        for answer, images in zip(answers, asked, strict=True):
            made.require_right(answer, images)
        deepest = [int(answer.stage.max()) for answer in answers]
        assert {0, 1} == set(deepest)

    run(main())


@pytest.mark.parametrize("workers", [0, 1])
def test_an_ensemble_answers_with_the_mean_of_its_models(
    run: Run, cascade: Cascades, images: Array, workers: int
) -> None:
    made = cascade(ensemble=True)
    members = [
        session.run(session.prepare({"image": images}))["logits"] for session in made.direct.stages.stages[0].sessions
    ]
    exponents = [np.exp(logits - logits.max(axis=1, keepdims=True)) for logits in members]
    mean = np.mean([each / each.sum(axis=1, keepdims=True) for each in exponents], axis=0)

    async def main() -> None:
        async with Engine([await asyncio.to_thread(load_plan, made.folder, "m", "1", workers)]) as engine:
            answers = await asyncio.gather(
                *(engine.infer("m", {"image": images[n : n + 1]}) for n in range(len(images)))
            )
        found = np.exp(np.concatenate([answer.outputs["logits"] for answer in answers]))
        np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), mean, rtol=1e-4)

    run(main())


def test_a_wait_for_a_fuller_batch_ends_by_itself(run: Run, cascade: Cascades, images: Array) -> None:
    made = cascade(wait_s=0.02)

    async def main() -> None:
        async with Engine([made.loaded]) as engine:
            made.require_right(await engine.infer("m", {"image": images[:1]}), images[:1])

    run(main())


def test_one_who_leaves_disturbs_nobody_and_is_not_computed(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            tasks = [asyncio.create_task(engine.infer("m", {"image": images[i : i + 1]})) for i in range(5)]
            await gate.reached(1)
            tasks[0].cancel()  # its batch has begun
            tasks[2].cancel()  # waits
            await asyncio.sleep(0)
            gate.open.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in found] == [True, False, True, False, False]
        for place in (1, 3, 4):
            made.require_right(found[place], images[place : place + 1])
        assert gate.batches == [1, 3]

    run(main())


def test_batches_are_counted_in_rows_and_requests_stay_whole(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            asked = [images[:rows] for rows in (1, 3, 1, 2, 3, 4)]
            tasks = [asyncio.create_task(engine.infer("m", {"image": each})) for each in asked]
            await gate.reached(1)
            gate.open.set()
            for answer, each in zip(await asyncio.gather(*tasks), asked, strict=True):
                made.require_right(answer, each)
        assert gate.batches == [1, 4, 2, 3, 4]

    run(main())


@pytest.mark.parametrize("deadline_s", [None, 0.02])
def test_a_lane_is_free_when_its_thread_is_whatever_became_of_who_asked(
    run: Run, cascade: Cascades, gate: Any, images: Array, deadline_s: float | None
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            gone = asyncio.create_task(engine.infer("m", {"image": images[:1]}, deadline_s=deadline_s))
            await gate.reached(1)
            if deadline_s is None:
                gone.cancel()
            (left,) = await asyncio.gather(gone, return_exceptions=True)
            assert isinstance(left, asyncio.CancelledError if deadline_s is None else DeadlineExceeded)
            waiting = asyncio.create_task(engine.infer("m", {"image": images[1:2]}))
            await asyncio.sleep(0.02)
            assert gate.batches == [1]
            gate.open.set()
            made.require_right(await waiting, images[1:2])
        assert gate.batches == [1, 1]

    run(main())


@pytest.mark.parametrize("distrust", ["refer", "simple", "default"])
def test_what_is_not_trusted_is_told_as_the_plan_itself_tells_it(
    run: Run, cascade: Cascades, images: Array, distrust: str
) -> None:
    made = cascade(distrust=distrust)
    expected = made.expected(images)
    assert 0 < expected[TRUSTED].sum() < len(images)

    async def main() -> None:
        async with Engine([made.loaded]) as engine:
            answers = await asyncio.gather(
                *(engine.infer("m", {"image": images[i : i + 1]}) for i in range(len(images)))
            )
            whole = await engine.infer("m", {"image": images})
        for name, found in (
            ("logits", np.concatenate([answer.outputs["logits"] for answer in answers])),
            ("logits", whole.outputs["logits"]),
            (TRUSTED, np.concatenate([answer.trusted for answer in answers])),
            (TRUSTED, whole.trusted),
        ):
            np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)

    run(main())


def test_rows_of_different_lengths_meet_in_a_batch_and_stay_apart(run: Run, tmp_path: Path, bundled: Any) -> None:
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["total"], keepdims=1)],
        "sums",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", "length"])],
        [helper.make_tensor_value_info("total", onnx.TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )
    (tmp_path / "sums").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "sums" / "model.onnx")
    golden = {"x": np.ones((2, 3), np.float32)}
    folder = bundled(tmp_path / "bundle", tmp_path / "sums", golden, output="total", output_kind="value", batch=64)
    rng = np.random.default_rng(0)
    asked = [rng.integers(0, 9, (1 + i % 3, 1 + i % 5)).astype(np.float32) for i in range(60)]

    async def main() -> None:
        async with Engine([load_plan(folder, "sums")]) as engine:
            answers = await asyncio.gather(*(engine.infer("sums", {"x": each}) for each in asked))
        for each, answer in zip(asked, answers, strict=True):
            np.testing.assert_array_equal(answer.outputs["total"], each.sum(axis=1, keepdims=True))

    run(main())


@pytest.mark.parametrize("stage", [0, 1])
def test_a_deadline_holds_in_the_queue_of_every_stage(
    run: Run, cascade: Cascades, gate: Any, unsure: Array, stage: int
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(stage, gate)]) as engine:
            first = asyncio.create_task(engine.infer("m", {"image": unsure[:1]}))
            await gate.reached(1)
            with pytest.raises(DeadlineExceeded, match="deadline passed"):
                await engine.infer("m", {"image": unsure[1:2]}, deadline_s=0.05)
            gate.open.set()
            made.require_right(await first, unsure[:1])
        assert gate.batches == [1]
        with pytest.raises(Unavailable):
            await engine.infer("m", {"image": unsure[:1]})

    run(main())


def test_a_deadline_that_has_passed_is_refused_at_once(run: Run, cascade: Cascades, images: Array) -> None:
    async def main() -> None:
        async with Engine([cascade().loaded]) as engine:
            with pytest.raises(DeadlineExceeded):
                await engine.infer("m", {"image": images}, deadline_s=-0.1)

    run(main())


def test_overload_sheds_and_what_was_taken_in_is_answered(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade(limit_s=350, service_s=(100, 0.001))

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            tasks = [asyncio.create_task(engine.infer("m", {"image": images[i : i + 1]})) for i in range(5)]
            await gate.reached(1)
            with pytest.raises(Overloaded) as refused:
                await engine.infer("m", {"image": images[:1]})
            assert refused.value.retry_after_s > 0
            gate.open.set()
            for place, answer in enumerate(await asyncio.gather(*tasks)):
                made.require_right(answer, images[place : place + 1])

    run(main())


def test_a_plan_without_a_limit_has_a_bounded_queue(run: Run, cascade: Cascades, gate: Any, images: Array) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            many = np.concatenate([images] * 50)
            tasks = [asyncio.create_task(engine.infer("m", {"image": many})) for _ in range(4)]
            await asyncio.sleep(0.01)
            gate.open.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(each, Overloaded) for each in found] == [False, False, True, True]

    run(main())


def test_the_fallback_answers_what_the_plan_could_not_in_time(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade(limit_s=150, service_s=(100, 0.001, 1), fallback=True)

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            first = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await gate.reached(1)
            second = asyncio.create_task(engine.infer("m", {"image": images[1:3]}))
            await asyncio.sleep(0)
            gate.open.set()
            made.require_right(await first, images[:1])
            degraded = await second
        assert degraded.degraded
        assert degraded.stage.tolist() == [2, 2]
        np.testing.assert_allclose(degraded.outputs["logits"], made.of_stage(0, images[1:3]), rtol=1e-5)

    run(main())


def test_closing_fails_what_waits_and_draining_answers_it(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        engine = Engine([made.gated(0, gate)])
        tasks = [asyncio.create_task(engine.infer("m", {"image": images[i : i + 1]})) for i in range(3)]
        await gate.reached(1)
        engine.close()
        gate.open.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, Unavailable | Answer) for each in found)
        assert isinstance(found[-1], Unavailable)
        await engine.drain()

    run(main())


def test_versions_stand_side_by_side(run: Run, cascade: Cascades, images: Array) -> None:
    made = cascade()
    plans = [load_plan(made.folder, "m", version) for version in ("1", "2")]

    async def main() -> None:
        async with Engine(plans) as engine:
            assert engine.versions("m") == ("1", "2")
            assert (await engine.infer("m", {"image": images})).version == "2"
            assert (await engine.infer("m", {"image": images}, version="1")).version == "1"
            for model, version in (("m", "3"), ("n", None)):
                with pytest.raises(NotFound):
                    await engine.infer(model, {"image": images}, version=version)

    run(main())
    with pytest.raises(ValueError, match="twice"):
        Engine([plans[0], plans[0]])


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.integers(1, 6),
            st.sampled_from(["normal", "high"]),
            st.sampled_from([None, None, 0.0005, 5.0]),
        ),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("pause"), st.sampled_from([0.0, 0.0, 0.001])),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, remembers=st.booleans(), lanes=st.integers(1, 3))
def test_whatever_happens_each_request_ends_once(
    run: Run, interleaved: dict[tuple[bool, int], Any], steps: list[Any], remembers: bool, lanes: int
) -> None:
    made = interleaved[remembers, lanes]
    rng = np.random.default_rng(len(steps))

    async def main() -> None:
        asked: list[tuple[Array, str, asyncio.Task[Answer]]] = []
        left = set()
        async with Engine([made.loaded]) as engine:
            for step, *what in steps:
                if step == "ask":
                    images = random_images(rng, what[0])
                    if asked and what[0] % 2:
                        images = asked[-1][0]  # an equal one
                    task = asyncio.create_task(
                        engine.infer("m", {"image": images}, priority=what[1], deadline_s=what[2])
                    )
                    asked.append((images, what[1], task))
                elif step == "leave" and what[0] < len(asked):
                    asked[what[0]][2].cancel()
                    left.add(what[0])
                else:
                    await asyncio.sleep(float(what[0]) if step == "pause" else 0)
            await asyncio.gather(*(task for *_, task in asked), return_exceptions=True)
        for place, (images, priority, task) in enumerate(asked):
            if task.cancelled():
                assert place in left
            elif task.exception() is not None:
                assert isinstance(task.exception(), ServeError)
                assert isinstance(task.exception(), DeadlineExceeded | Overloaded)
            elif priority == "normal":
                made.require_right(task.result(), images)
            else:
                expected = made.of_stage(1, images)
                np.testing.assert_allclose(task.result().outputs["logits"], expected, rtol=1e-5, atol=1e-6)

    run(main())


@pytest.fixture
def interleaved(cascade: Cascades, cache_rule: Any) -> dict[tuple[bool, int], Any]:
    return {
        (remembers, lanes): cascade(cache=cache_rule if remembers else None, lanes=lanes)
        for remembers in (False, True)
        for lanes in (1, 2, 3)
    }


def test_instant_batches_are_computed_in_the_loop_until_they_are_not(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade(service_s=(1e-5, 1e-5, 1e-5))
    in_loop: list[bool] = []

    def slow_from_now_on(_: Array) -> bool:
        in_loop.append(threading.current_thread() is threading.main_thread())
        time.sleep(5 * LATE_S)
        return False

    gate.open.set()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            made.require_right(await engine.infer("m", {"image": images[:1]}), images[:1])
            gate.raises_on = slow_from_now_on
            for _ in range(5):
                made.require_right(await engine.infer("m", {"image": images[:1]}), images[:1])

    run(main())
    assert in_loop == [True] * 3 + [False] * 2
