"""Bundles that a server was started with: loaded anew, refused, taken away, and what is said of them."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from numpy.typing import NDArray

from equipoise.errors import BadRequest, NotFound
from equipoise.serve import Engine, LoadedPlan, load_plan
from equipoise.serve import repository as module
from equipoise.serve.repository import Repository, RepositoryEntry

Array = NDArray[Any]
Cascades = Callable[..., Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


def states(repository: Repository) -> list[str]:
    return [entry.state for entry in repository.index()]


def test_a_bundle_in_the_place_of_another_is_swapped_in(run: Run, cascade: Cascades, images: Array) -> None:
    old, new = cascade(), cascade(seed=1)

    async def main() -> None:
        async with Engine([old.loaded]) as engine:
            repository = Repository({"m": {"1": old.folder}}, engine)
            assert repository.index() == [RepositoryEntry("m", "1", "READY", "")]
            shutil.rmtree(old.folder)
            new.folder.rename(old.folder)
            old.require_right(await engine.infer("m", {"image": images}), images)
            await repository.load("m")
            new.require_right(await engine.infer("m", {"image": images}), images)
            assert states(repository) == ["READY"]

    run(main())


def test_a_bundle_that_is_not_intact_leaves_the_old_one_and_says_why(
    run: Run, cascade: Cascades, images: Array
) -> None:
    made, other = cascade(), cascade(seed=1)

    async def main() -> None:
        async with Engine([load_plan(made.folder, "m", version) for version in ("1", "2")]) as engine:
            repository = Repository({"m": {"1": other.folder, "2": made.folder}}, engine)
            (made.folder / "README.md").write_text("changed")
            with pytest.raises(BadRequest, match=r"README\.md: changed.*what served before goes on"):
                await repository.load("m")
            for version in ("1", "2"):
                made.require_right(await engine.infer("m", {"image": images}, version=version), images)
            entries = repository.index()
            assert [entry.state for entry in entries] == ["READY", "READY"]
            assert all("README.md" in entry.reason for entry in entries)

    run(main())


def test_only_what_was_given_can_be_loaded_and_what_was_unloaded_can_be_again(
    run: Run, cascade: Cascades, gate: Any, images: Array
) -> None:
    made = cascade()

    async def main() -> None:
        async with Engine([made.gated(0, gate)]) as engine:
            repository = Repository({"m": {"1": made.folder}, "later": {"1": made.folder}}, engine)
            assert repository.index()[1] == RepositoryEntry("later", "1", "UNAVAILABLE", "it is not loaded")
            for ask in (repository.load, repository.unload):
                with pytest.raises(NotFound, match="there is m, later"):
                    await ask(str(made.folder))
            begun = asyncio.create_task(engine.infer("m", {"image": images}))
            await gate.reached(1)
            unloading = asyncio.create_task(repository.unload("m"))
            await asyncio.sleep(0.01)
            assert states(repository) == ["UNLOADING", "UNAVAILABLE"]
            gate.open.set()
            await unloading
            made.require_right(await begun, images)
            assert repository.index()[0] == RepositoryEntry("m", "1", "UNAVAILABLE", "it was unloaded")
            await repository.unload("m")
            for name in ("m", "later"):
                await repository.load(name)
                made.require_right(await engine.infer(name, {"image": images}), images)
            assert states(repository) == ["READY", "READY"]

    run(main())


def test_loads_of_a_name_take_turns_and_end_though_their_caller_left(
    run: Run, cascade: Cascades, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cascade()
    go_on = threading.Semaphore(0)
    at_once: list[int] = []
    running = threading.Semaphore(1)

    def slow(*arguments: Any) -> LoadedPlan:
        assert running.acquire(blocking=False)
        at_once.append(1)
        assert go_on.acquire(timeout=60)
        loaded = load_plan(*arguments)
        running.release()
        return loaded

    monkeypatch.setattr(module, "load_plan", slow)

    async def main() -> None:
        async with Engine() as engine:
            repository = Repository({"m": {"1": made.folder}}, engine)
            loads = [asyncio.create_task(repository.load("m")) for _ in range(2)]
            while not at_once:
                await asyncio.sleep(0.001)
            assert states(repository) == ["LOADING"]
            loads[0].cancel()
            go_on.release()
            while states(repository) != ["READY"] or len(at_once) < 2:
                await asyncio.sleep(0.001)
            first = engine.plan("m")
            go_on.release()
            await loads[1]
            assert loads[0].cancelled()
            assert engine.plan("m") is not first
            assert states(repository) == ["READY"]

    run(main())
