"""Where the time goes in the original and in what was chosen, for the report."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.choice import Choice
from equipoise.compose.servable import Config
from equipoise.core.profile import Settings
from equipoise.errors import EquipoiseError
from equipoise.flow.prepare import Prepared
from equipoise.flow.workbench import Workbench
from equipoise.host.sandbox import Sandbox
from equipoise.measure.anatomy import layer_costs, operator_costs, quieter_half
from equipoise.measure.layers import open_batch, time_batch, timed_layers
from equipoise.report.details import TimeByKind

Array = NDArray[Any]
LEAST_BUDGET_S = 120.0
"""Timing layers takes a few seconds after the search has ended: too much for a shorter study."""
TURN_S, TURNS = 0.3, 4
TIMEOUT_S = 60.0


def before_and_after(choice: Choice, prepared: Prepared, workbench: Workbench) -> tuple[TimeByKind, ...]:
    """Where the time goes in the original with its best settings, and in the chosen plan.

    Args:
        choice: Where the search ended.
        prepared: What it started from.
        workbench: Holds the artifacts.

    Returns:
        Both; nothing where the original is kept, the plan consists of several models, the study is a short one, or a
        runtime does not say what its layers take.
    """
    if choice.chosen is None or choice.decision != "replace" or prepared.brief.limits.budget_s < LEAST_BUDGET_S:
        return ()
    rows = prepared.material.splits["search"].feeds
    found = []
    for label, candidate in (("your model, best settings", choice.baseline_tuned), ("chosen", choice.chosen)):
        entrant = choice.entrants[candidate.name]
        if not isinstance(entrant.config, Config):
            return ()
        artifact = workbench.study.artifact(entrant.config.digest)
        settings = entrant.settings.model_copy(update={"replicas": 1})
        try:
            found.append(time_by_kind(label, settings, artifact, rows, workbench.study.log("layers")))
        except EquipoiseError:  # a picture less is no reason to lose an answer
            return ()
    return tuple(found)


def time_by_kind(label: str, settings: Settings, artifact: Path, rows: Mapping[str, Array], log: Path) -> TimeByKind:
    """Where the time of one model goes, by kind of layer.

    Args:
        label: What it is, for people.
        settings: Where and how it runs.
        artifact: Folder of the model.
        rows: Rows to feed, input name to [n, ...]; taken from the start again where a batch needs more.
        log: Receives what the process prints.

    Raises:
        EquipoiseError: Its layers cannot be timed.
    """
    n = len(next(iter(rows.values())))
    batch = {name: np.ascontiguousarray(array[np.arange(settings.batch) % n]) for name, array in rows.items()}
    with tempfile.TemporaryDirectory(prefix="equipoise-layers-") as scratch, Sandbox(log) as child:
        child.call(open_batch, settings, artifact, batch, Path(scratch), timeout_s=TIMEOUT_S)
        turns_s = [child.call(time_batch, TURN_S, timeout_s=TIMEOUT_S) for _ in range(TURNS)]
        layers = child.call(timed_layers, timeout_s=TIMEOUT_S).layers
    costs = operator_costs(layer_costs(layers, quieter_half(np.asarray(turns_s)), None))
    return TimeByKind(
        label=label,
        runtime=settings.runtime,
        seconds_per_row=tuple((cost.operator, cost.time_s / settings.batch) for cost in costs),
    )
