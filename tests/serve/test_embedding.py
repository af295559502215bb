"""The engine in somebody else's process: it takes nothing of it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from numpy.typing import NDArray

from equipoise.serve import Engine, load_plan

Array = NDArray[Any]
Cascades = Callable[..., Any]


def owned() -> dict[str, object]:
    """What belongs to a process and not to a library in it."""
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "policy": asyncio.get_event_loop_policy(),
        "handlers": list(logging.getLogger().handlers),
        "level": logging.getLogger().level,
        "filters": list(warnings.filters),
        "hooks": (threading.excepthook,),
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_it_lives_in_anybodys_event_loop(cascade: Cascades, images: Array, workers: int) -> None:
    made = cascade()
    load_plan(made.folder)  # libraries that are imported for the first time may do as they please
    before, threads = owned(), set(threading.enumerate())
    beats: list[int] = []

    async def something_else(stop: asyncio.Event) -> None:
        while not stop.is_set():
            beats.append(1)
            await asyncio.sleep(0)

    async def main() -> None:
        inside, stop = owned(), asyncio.Event()
        other = asyncio.create_task(something_else(stop))
        exceptions = asyncio.get_running_loop().get_exception_handler()
        async with Engine([await asyncio.to_thread(load_plan, made.folder, "m", "1", workers)]) as engine:
            assert owned() == inside
            for _ in range(5):
                heard = len(beats)
                made.require_right(await engine.infer("m", {"image": images}), images)
                assert len(beats) > heard
            processes = [psutil.Process(pid) for pid in engine.pids]
        assert asyncio.get_running_loop().get_exception_handler() is exceptions
        stop.set()
        await other
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left
        assert not psutil.wait_procs(processes, 60)[1]

    asyncio.run(main())
    assert owned() == before
    for thread in set(threading.enumerate()) - threads:
        thread.join(60)
        assert not thread.is_alive()


def test_one_process_may_hold_several_engines_in_several_loops(cascade: Cascades, images: Array) -> None:
    made = [cascade(seed=seed) for seed in (0, 1, 2)]
    failed: list[BaseException] = []

    async def serve(one: Any) -> None:
        async with Engine([one.loaded]) as engine:
            for answer in await asyncio.gather(*(engine.infer("m", {"image": images}) for _ in range(50))):
                one.require_right(answer, images)

    def loop(one: Any) -> None:
        try:
            asyncio.run(serve(one))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=loop, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_the_example_runs(cascade: Cascades, images: Array) -> None:
    example = Path(__file__).parents[2] / "examples" / "serving" / "embedded.py"
    done = subprocess.run(
        [sys.executable, str(example), str(cascade().folder)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(images) + 1
    assert lines[0].endswith(", logits")
    assert lines[-1] == "swapped; ready: True"
