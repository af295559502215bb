"""The child that times layers: it opens a model in a runtime that says what each of its layers takes.

These functions run inside a `host.sandbox.Sandbox`; the opened model is the child's only state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.profile import Settings
from equipoise.errors import EquipoiseError
from equipoise.registry import runtimes
from equipoise.runtimes.layers import LayeredSession, LayerRuntime, TimedLayers

Array = NDArray[Any]
WARM_RUNS = 2
MOST_RUNS = 500
"""A profiler keeps a record of each layer of each run."""


class _Opened:
    def __init__(self, session: LayeredSession, feeds: Mapping[str, Array]) -> None:
        self.session = session
        self.prepared = session.prepare(feeds)
        self.seconds: list[float] = []


_opened: _Opened | None = None


def open_layers(settings: Settings, artifact: Path, feeds: Mapping[str, Array], scratch: Path) -> None:
    """Open a model and answer the batch a few times: the first runs of a process are slower.

    Args:
        settings: Where and how it runs.
        artifact: Folder of the model.
        feeds: The batch, input name to [batch, ...].
        scratch: An existing, empty folder for what the runtime writes.

    Raises:
        EquipoiseError: The runtime cannot say what layers take, or cannot open the model.
    """
    global _opened
    runtime = runtimes()[settings.runtime]
    if not isinstance(runtime, LayerRuntime):
        raise EquipoiseError(f"the runtime {settings.runtime!r} does not say what each layer of a model takes")
    _opened = _Opened(runtime.open_layers(artifact, settings, scratch), feeds)
    for _ in range(WARM_RUNS):
        _opened.session.run(_opened.prepared)


def time_layers(seconds: float, least: int = 1) -> NDArray[np.float64]:
    """Answer the batch for `seconds`, at least `least` times and at most 500 times in all; seconds of each run.

    One run goes before, which is left out: it finds the caches as another process left them.
    """
    opened = _current()
    opened.session.run(opened.prepared)
    opened.seconds.append(float("nan"))
    taken: list[float] = []
    while (sum(taken) < seconds or len(taken) < least) and len(opened.seconds) < MOST_RUNS:
        taken.append(opened.session.run(opened.prepared))
        opened.seconds.append(taken[-1])
    return np.asarray(taken)


def timed_layers() -> TimedLayers:
    """The layers with their times in the runs of `time_layers`, those left out which went before; it runs no more."""
    opened = _current()
    counted = ~np.isnan(np.asarray(opened.seconds))
    found = opened.session.layers(len(opened.seconds))
    return replace(found, layers=tuple(replace(layer, seconds=layer.seconds[counted]) for layer in found.layers))


def _current() -> _Opened:
    if _opened is None:
        raise RuntimeError("open_layers was not called in this process")
    return _opened
