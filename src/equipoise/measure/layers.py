"""The child that times one batch again and again, with a look at each layer or without.

These functions run inside a `host.sandbox.Sandbox`; the opened model is the child's only state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.profile import Settings
from equipoise.errors import EquipoiseError
from equipoise.registry import runtimes
from equipoise.runtimes.base import Session
from equipoise.runtimes.layers import LayeredSession, LayerRuntime, TimedLayers, Turn

Array = NDArray[Any]
WARM_RUNS = 2
MOST_RUNS = 20
"""Of a turn: a profiler keeps a record of each layer of each run."""


class _Opened:
    def __init__(self, session: Session | LayeredSession, feeds: Mapping[str, Array]) -> None:
        self.session = session
        self.prepared = session.prepare(feeds)
        self.runs = 0
        self.turns: list[Turn] = []

    def run(self) -> float:
        self.runs += 1
        begin = time.perf_counter()
        own_s = self.session.run(self.prepared)
        elapsed_s = time.perf_counter() - begin
        return own_s if isinstance(own_s, float) else elapsed_s


_opened: _Opened | None = None


def open_batch(settings: Settings, artifact: Path, feeds: Mapping[str, Array], scratch: Path | None) -> None:
    """Open a model and answer the batch a few times: the first runs of a process are slower.

    Args:
        settings: Where and how it runs.
        artifact: Folder of the model.
        feeds: The batch, input name to [batch, ...].
        scratch: An existing, empty folder for what the runtime writes of its layers; null to time the whole alone.

    Raises:
        EquipoiseError: The runtime cannot say what layers take, or cannot open the model.
    """
    global _opened
    runtime = runtimes()[settings.runtime]
    if scratch is None:
        _opened = _Opened(runtime.open(artifact, settings), feeds)
    elif isinstance(runtime, LayerRuntime):
        _opened = _Opened(runtime.open_layers(artifact, settings, scratch), feeds)
    else:
        raise EquipoiseError(f"the runtime {settings.runtime!r} does not say what each layer of a model takes")
    for _ in range(WARM_RUNS):
        _opened.run()


def time_batch(seconds: float, *, warm: bool = True) -> float:
    """Answer the batch for `seconds`, at least once and at most 20 times: one turn.

    Args:
        seconds: How long.
        warm: Answer once before, which is left out: it finds the caches as another process left them.

    Returns:
        Mean seconds of a run.
    """
    opened = _current()
    if warm:
        opened.run()
    taken: list[float] = []
    while not taken or (sum(taken) < seconds and len(taken) < MOST_RUNS):
        taken.append(opened.run())
    opened.turns.append((opened.runs - len(taken), opened.runs))
    return float(np.mean(taken))


def timed_layers() -> TimedLayers:
    """The layers with their times in each turn of `time_batch`; it runs no more."""
    opened = _current()
    if not hasattr(opened.session, "layers"):
        raise RuntimeError("the model was opened to time the whole alone")
    found: TimedLayers = opened.session.layers(opened.turns)
    return found


def _current() -> _Opened:
    if _opened is None:
        raise RuntimeError("open_batch was not called in this process")
    return _opened
