"""Where the time goes in the original and in what was chosen, layer by layer, for the report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.choice import Choice
from equipoise.compose.servable import Config
from equipoise.core.anatomy import Anatomy
from equipoise.core.profile import Settings
from equipoise.core.roofline import Roofline
from equipoise.errors import EquipoiseError, InputError
from equipoise.flow.anatomy import Subject, anatomy_of, time_layers
from equipoise.flow.prepare import Prepared
from equipoise.flow.roofline import machine_roofline
from equipoise.flow.workbench import Workbench
from equipoise.report.details import BeforeAfter

Array = NDArray[Any]
LEAST_BUDGET_S = 120.0
"""Timing layers takes a few seconds of each model after the search has ended: too much for a shorter study."""
TURNS, TURN_S = 4, 0.3
MOST_S = 60.0
"""For all models together; those that are not begun by then are left out."""
MOST_MODELS = 4


def before_and_after(choice: Choice, prepared: Prepared, workbench: Workbench) -> BeforeAfter:
    """Where the time goes in the original with its best settings, and in each model of the chosen plan.

    Args:
        choice: Where the search ended.
        prepared: What it started from.
        workbench: Holds the artifacts.

    Returns:
        What was found, and why what is not there is not.
    """
    if prepared.brief.limits.budget_s < LEAST_BUDGET_S:
        return BeforeAfter((), ("the layers are timed in studies of two minutes and more",))
    anatomies: list[Anatomy] = []
    missing: list[str] = []
    ends_s = time.monotonic() + MOST_S
    for label, config, settings in _models(choice):
        name = f"{label}: {config.name}"
        if len(anatomies) == MOST_MODELS:
            missing.append(f"{name} (those of {MOST_MODELS} models are shown)")
            continue
        left_s = ends_s - time.monotonic()
        if left_s <= 0:
            missing.append(f"{name} (timing the others took {MOST_S:g} s)")
            continue
        try:
            anatomies.append(anatomy(name, config, settings, prepared, workbench, left_s))
        except Exception as error:  # whatever it was: a picture less is no reason to lose an answer
            missing.append(f"{name} ({_why(error)})")
    return BeforeAfter(tuple(anatomies), tuple(missing))


def _models(choice: Choice) -> Iterator[tuple[str, Config, Settings]]:
    """The original, and each model of what was chosen; once where they are the same in the same settings."""
    original = choice.entrants[choice.baseline_tuned.name]
    chosen = None if choice.chosen is None else choice.entrants[choice.chosen.name]
    same = chosen is not None and (chosen.config, chosen.settings) == (original.config, original.settings)
    for config in original.config.configs:
        yield ("before and after" if same else "before"), config, original.settings
    if chosen is not None and not same:
        for config in chosen.config.configs:
            yield "after", config, chosen.settings


def anatomy(
    name: str, config: Config, settings: Settings, prepared: Prepared, workbench: Workbench, timeout_s: float
) -> Anatomy:
    """Which layers of one model cost what; one replica alone, in the settings in which it would serve.

    Args:
        name: What it is, for people.
        config: The model, its runtime and precision.
        settings: Threads and rows at once.
        prepared: Holds the rows.
        workbench: Holds the artifacts.
        timeout_s: The longest that timing it may take; the roofs, where they are not known yet, take some time more.

    Raises:
        EquipoiseError: Its layers cannot be timed.
    """
    rows = prepared.material.splits["search"].feeds
    places = np.arange(settings.batch) % len(next(iter(rows.values())))
    subject = Subject(
        model=name,
        format=config.variant.format,
        spec=config.variant.spec,
        artifact=workbench.study.artifact(config.digest),
        settings=settings.model_copy(update={"runtime": config.runtime, "precision": config.precision, "replicas": 1}),
        feeds={each: np.ascontiguousarray(array[places]) for each, array in rows.items()},
        rows=Path(prepared.brief.data.path).name,
    )
    notes: list[str] = []
    roofline: Roofline | None = None
    with tempfile.TemporaryDirectory(prefix="equipoise-layers-") as scratch:
        folder = Path(scratch)
        times = time_layers(subject, folder, turns=TURNS, turn_s=TURN_S, timeout_s=timeout_s)
        if not times.layers.layers:
            raise EquipoiseError("its runtime executes no layers")
        if times.counted:
            try:
                roofline = machine_roofline(prepared.environment, settings.threads, folder)
            except EquipoiseError as error:
                notes.append(f"What this machine can do at most could not be measured: {_why(error)}.")
    return anatomy_of(subject, times, roofline, prepared.environment, notes)


def _why(error: Exception) -> str:
    return error.found if isinstance(error, InputError) else str(error) or type(error).__name__
