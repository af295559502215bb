"""Worker processes: they answer as the server would, and whatever becomes of them is noticed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from equipoise.errors import BadRequest, BundleError, Unavailable
from equipoise.serve import Engine, LoadedPlan, crew, load_plan

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)


async def loaded(made: Any, workers: int) -> LoadedPlan:
    return await asyncio.to_thread(load_plan, made.folder, "m", "1", workers)


def test_processes_share_the_lanes_and_every_answer_is_the_right_one(run: Run, cascade: Cascades) -> None:
    made = cascade(lanes=2)
    rng = np.random.default_rng(3)
    asked = [rng.integers(0, 256, (int(rows), 2, 2), dtype=np.uint8) for rows in rng.integers(1, 10, 200)]

    async def main() -> None:
        plan = await loaded(made, 3)
        assert plan.notes == ("3 worker processes would be too many: it has lanes for 2",)
        assert plan.spec == made.loaded.spec
        assert plan.outputs == made.loaded.outputs
        async with Engine([plan]) as engine:
            processes = [psutil.Process(pid) for pid in engine.pids]
            assert len(processes) == 2
            assert all(process.ppid() == os.getpid() for process in processes)
            for start in range(0, len(asked), 50):
                batch = asked[start : start + 50]
                answers = await asyncio.gather(*(engine.infer("m", {"image": each}) for each in batch))
                for answer, images in zip(answers, batch, strict=True):
                    made.require_right(answer, images)
            for seed in (1, 2):  # large enough for shared memory
                many = np.random.default_rng(seed).integers(0, 256, (6000, 2, 2), dtype=np.uint8)
                made.require_right(await engine.infer("m", {"image": many}), many)
            for process in processes:
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)
            made.require_right(await engine.infer("m", {"image": asked[0]}), asked[0])
        assert not psutil.wait_procs(processes, 60)[1]

    run(main())


def test_a_death_fails_what_it_computed_and_is_over_when_the_process_is_back(
    run: Run, cascade: Cascades, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([await loaded(made, 1)]) as engine:
            (pid,) = engine.pids
            os.kill(pid, signal.SIGSTOP)
            asked = [asyncio.create_task(engine.infer("m", {"image": images})) for _ in range(3)]
            await asyncio.sleep(0.01)
            assert engine.ready
            os.kill(pid, signal.SIGKILL)
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(each, Unavailable) and "SIGKILL" in str(each) for each in found)
            assert not engine.ready
            assert not engine.model_ready("m")
            assert "died (signal SIGKILL)" in (engine.trouble("m") or "")
            assert engine.pids == ()
            with pytest.raises(Unavailable, match="SIGKILL"):
                await engine.infer("m", {"image": images})
            await until(lambda: engine.ready)
            assert engine.pids != (pid,)
            made.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


def test_a_process_that_hangs_is_killed_and_replaced(
    run: Run, cascade: Cascades, images: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cascade()
    monkeypatch.setattr(crew, "HUNG_S", 0.2)

    async def main() -> None:
        async with Engine([await loaded(made, 1)]) as engine:
            (pid,) = engine.pids
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(Unavailable, match=r"had not answered for 0\.2 s, and was killed"):
                await engine.infer("m", {"image": images})
            await until(lambda: engine.ready)
            assert engine.pids != (pid,)
            made.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


def test_a_process_that_hangs_while_it_opens_is_killed(cascade: Cascades, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "OPENS_WITHIN_S", 0.5)
    monkeypatch.setattr(crew, "PROGRAM", "import time; time.sleep(3600)")
    with pytest.raises(BundleError, match=r"died \(signal SIGKILL\)"):
        load_plan(cascade().folder, workers=1)


def test_kills_under_load_leave_no_request_without_its_own_answer_or_an_error(run: Run, cascade: Cascades) -> None:
    made = cascade(lanes=2)
    rng = np.random.default_rng(4)
    asked = [rng.integers(0, 256, (int(rows), 2, 2), dtype=np.uint8) for rows in rng.integers(1, 9, 20)]
    expected = [made.expected(each)["logits"] for each in asked]
    outcomes: dict[str, int] = {}

    async def client(engine: Engine, number: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = (number + 7) % len(asked)
            try:
                answer = await engine.infer("m", {"image": asked[number]})
            except Unavailable:
                outcomes["unavailable"] = outcomes.get("unavailable", 0) + 1
                await asyncio.sleep(0.01)
            else:
                np.testing.assert_allclose(answer.outputs["logits"], expected[number], rtol=1e-5, atol=1e-6)
                outcomes["answered"] = outcomes.get("answered", 0) + 1

    async def main() -> None:
        async with Engine([await loaded(made, 2)]) as engine:
            stop = asyncio.Event()
            clients = [asyncio.create_task(client(engine, place, stop)) for place in range(16)]
            for kills in (1, 2, 2):
                for pid in engine.pids[:kills]:
                    os.kill(pid, signal.SIGKILL)
                await until(lambda: len(engine.pids) < 2)
                await until(lambda: len(engine.pids) == 2 and engine.ready)
            before = outcomes["answered"]
            await until(lambda: outcomes["answered"] > before + 100)
            stop.set()
            await asyncio.gather(*clients)
        assert outcomes["unavailable"] > 0

    run(main())


def test_an_idle_process_is_missed_too_and_other_plans_go_on(run: Run, cascade: Cascades, images: Array) -> None:
    made = cascade()
    other = load_plan(made.folder, "other")

    async def main() -> None:
        async with Engine([await loaded(made, 1), other]) as engine:
            os.kill(engine.pids[0], signal.SIGKILL)
            await until(lambda: not engine.ready)
            assert engine.model_ready("other")
            made.require_right(await engine.infer("other", {"image": images}), images)

    run(main())


def test_the_fallback_answers_for_the_stage_that_was_being_computed(run: Run, cascade: Cascades, images: Array) -> None:
    made = cascade(lanes=2, fallback=True)

    async def main() -> None:
        async with Engine([await loaded(made, 2)]) as engine:
            living, dying = engine.pids  # lanes are given out from the last one
            for pid in (living, dying):
                os.kill(pid, signal.SIGSTOP)
            begun = asyncio.create_task(engine.infer("m", {"image": images[:1]}))
            await asyncio.sleep(0.05)
            os.kill(dying, signal.SIGKILL)
            os.kill(living, signal.SIGCONT)
            answer = await begun
            assert answer.degraded
            np.testing.assert_allclose(answer.outputs["logits"], made.of_stage(0, images[:1]), rtol=1e-5)
            assert engine.ready
            made.require_right(await engine.infer("m", {"image": images}), images)
            await until(lambda: len(engine.pids) == 2)

    run(main())


def test_what_a_runtime_raises_in_a_process_fails_its_request_alone(run: Run, tmp_path: Path, bundled: Any) -> None:
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["value"])],
        "look-up",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["n", 1])],
        [helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.arange(5, dtype=np.float32), "table")],
    )
    (tmp_path / "table").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "table" / "model.onnx")
    golden = {"x": np.array([[1], [2]])}
    folder = bundled(tmp_path / "bundle", tmp_path / "table", golden, output="value", output_kind="value", batch=64)

    async def main() -> None:
        async with Engine([await asyncio.to_thread(load_plan, folder, "m", "1", 1)]) as engine:
            pids = engine.pids
            asked = [[[1]], [[99]], [[4], [3]]]
            tasks = [asyncio.create_task(engine.infer("m", {"x": np.array(each)})) for each in [[[0]], *asked]]
            _, first, poison, last = await asyncio.gather(*tasks, return_exceptions=True)
            assert first.outputs["value"].tolist() == [[1.0]]
            assert isinstance(poison, BadRequest)
            assert "99" in str(poison)
            assert last.outputs["value"].tolist() == [[4.0], [3.0]]
            assert engine.pids == pids
            assert engine.ready

    run(main())


def test_a_process_computes_only_what_the_bundle_was(run: Run, cascade: Cascades, images: Array) -> None:
    old, new = cascade(), cascade(seed=1)

    async def main() -> None:
        async with Engine([await loaded(old, 1)]) as engine:
            shutil.rmtree(old.folder)
            new.folder.rename(old.folder)
            os.kill(engine.pids[0], signal.SIGKILL)
            await until(lambda: "another bundle lies here by now" in (engine.trouble("m") or ""))
            await engine.load(await loaded(old, 1))
            assert engine.ready
            new.require_right(await engine.infer("m", {"image": images}), images)

    run(main())


def test_health_tells_of_a_dead_process(cascade: Cascades, served: Any, images: Array) -> None:
    made = cascade()
    paths = ("/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready")
    with served([load_plan(made.folder, "m", "1", 1)]) as server:

        def statuses() -> set[int]:
            return {server.ask("GET", path)[0] for path in paths}

        assert statuses() == {200}
        os.kill(server.engine.pids[0], signal.SIGKILL)
        while statuses() != {503}:
            time.sleep(0.005)
        status, said, headers = server.ask("POST", "/v1/predict/m", {"rows": images.tolist()})
        assert (status, headers.get("connection")) == (503, None)
        assert "SIGKILL" in said["error"]
        while statuses() != {200}:
            time.sleep(0.005)
        assert server.ask("POST", "/v1/predict/m", {"rows": images.tolist()})[0] == 200


def test_processes_end_with_a_server_that_is_killed(cascade: Cascades, serving: Any) -> None:
    with serving(f"m={cascade(lanes=2).folder}", "--workers", "2") as server:
        children = psutil.Process(server.process.pid).children()
        assert len(children) == 2
        server.process.kill()
        assert psutil.wait_procs(children, 60)[1] == []


def test_a_bundle_whose_process_dies_of_it_is_not_served(
    cascade: Cascades, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = cascade(lanes=2)
    second_dies = f"import os; os.open({str(tmp_path / 'flag')!r}, os.O_CREAT | os.O_EXCL)"
    monkeypatch.setattr(crew, "PROGRAM", f"{second_dies}; {crew.PROGRAM}")
    mine = psutil.Process()
    others = set(mine.children())
    with pytest.raises(BundleError, match=r"died \(exit status 1\)"):
        load_plan(made.folder, workers=2)
    while set(mine.children()) - others:  # a process that nobody waited for would stay
        time.sleep(0.005)
    monkeypatch.undo()
    (made.folder / "README.md").write_text("changed")
    with pytest.raises(BundleError, match="README"):
        load_plan(made.folder, workers=1)
