"""How strongly a model is made simpler: as little as brings its measured time down to what is wanted."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from torch import nn

from equipoise.compress.tools import TORCH_FILE, load_torch
from equipoise.core.tensor import ModelSpec
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Rows
from equipoise.train.changeable import Changeable, graph_of
from equipoise.train.export import write_traced
from equipoise.train.timing import BATCH, row_seconds

T = TypeVar("T")
MEASURING_SHARE = 0.2
"""Share of a training's time after which no further strength is measured."""


def largest(
    sizes: Sequence[T], takes_s: Callable[[T], float], allowed_s: float, goes_on: Callable[[], bool] = lambda: True
) -> T:
    """The largest size that takes no longer than is allowed, found by halving.

    Args:
        sizes: From small to large.
        takes_s: Measures one, in seconds a row; infinity for one that cannot be made.
        allowed_s: Seconds a row.
        goes_on: Whether there is time to measure another.

    Returns:
        That size; where the time ended first, the largest that is known to do, or the smallest.

    Raises:
        TechniqueError: Even the smallest takes longer.

    Example:
        >>> largest((8, 16, 24, 32), lambda width: width / 10, allowed_s=2.5)
        24
    """
    low, high, shortest_s = 0, len(sizes) - 1, math.inf
    while low <= high and goes_on():
        middle = (low + high) // 2
        takes = takes_s(sizes[middle])
        shortest_s = min(takes, shortest_s)
        if takes <= allowed_s:
            low = middle + 1
        else:
            high = middle - 1
    if high < 0:
        raise TechniqueError(
            f"its fastest form takes {shortest_s * 1e6:,.1f} us a row, and {allowed_s * 1e6:,.1f} us were allowed: "
            "a larger share may do"
        )
    return sizes[max(0, low - 1)]


def module_row_seconds(module: nn.Module, spec: ModelSpec, rows: Rows) -> float:
    """What a module takes for a row once it is exported; see `timing.row_seconds`."""
    with tempfile.TemporaryDirectory(prefix="equipoise-strength-") as folder:
        write_traced(module, spec, Path(folder), batch=BATCH)
        return row_seconds(Path(folder), rows)


def model_row_seconds(source: Path, spec: ModelSpec, rows: Rows) -> float:
    """What the model under study takes for a row, a torch program once it is exported.

    A program that this cannot export is timed as it is.
    """
    if not (source / TORCH_FILE).is_file():
        return row_seconds(source, rows)
    program, _ = load_torch(source)
    try:
        return module_row_seconds(Changeable(graph_of(program), spec, spec.outputs[0].name, "logits"), spec, rows)
    except TechniqueError:
        return row_seconds(source, rows)
