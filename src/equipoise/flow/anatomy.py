"""From an opened model to which of its layers cost what: times it in two children in turns, and adds up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.anatomy import Anatomy, FedInput, LayerCost
from equipoise.core.environment import Environment
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Settings
from equipoise.core.roofline import Roofline
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import Format
from equipoise.host.sandbox import Sandbox
from equipoise.measure.anatomy import flops_of, known_sum, layer_costs, operator_costs, quiet_mean, quieter_half
from equipoise.measure.layers import open_batch, time_batch, timed_layers
from equipoise.runtimes.layers import TimedLayers

Array = NDArray[Any]
LEAST_TIMEOUT_S = 1.0
ABOVE = 1.1
COVERED = 0.1
"""Layers whose times add up to this much more or less than the whole are worth a word."""


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        model: Its name, for people.
        format: What kind of model it is.
        spec: Its inputs and outputs.
        artifact: Folder of the model.
        settings: Where and how it runs.
        feeds: The batch that it is fed, input name to [batch, ...].
        rows: Where the batch came from, as `core.anatomy.Anatomy` has it.
    """

    model: str
    format: Format
    spec: ModelSpec
    artifact: Path
    settings: Settings
    feeds: Mapping[str, Array]
    rows: str


@dataclass(frozen=True)
class LayerTimes:
    """How long a batch took.

    Attributes:
        whole: Seconds of a run in each turn, in a process that is timed as a whole alone: float64[turns].
        observed: The same in a process whose layers are timed.
        layers: The layers, each with as many turns.
    """

    whole: NDArray[np.float64]
    observed: NDArray[np.float64]
    layers: TimedLayers

    @property
    def counted(self) -> bool:
        """Whether the operations of any layer are known, so that it can be held against a roof."""
        return any(flops_of(layer) is not None for layer in self.layers.layers)


def time_layers(subject: Subject, folder: Path, *, turns: int, turn_s: float, timeout_s: float) -> LayerTimes:
    """Time a model as a whole and layer by layer, in processes of their own that take turns.

    A noisy neighbour then hits both alike.

    Args:
        subject: What is looked at.
        folder: An existing folder for logs, and for what the runtime writes of its layers.
        turns: Of each process.
        turn_s: Seconds of a turn; one run at least.
        timeout_s: The longest that all of it may take.

    Raises:
        ModelError: Its runtime cannot open it.
        SandboxError: It does not run on these rows, or not in time.
        EquipoiseError: Its runtime does not say what its layers take.
    """
    events = folder / "events"
    events.mkdir()
    whole: list[float] = []
    observed: list[float] = []
    ends_s = time.monotonic() + timeout_s

    def called(child: Sandbox, function: Callable[..., Any], *arguments: Any) -> Any:
        return child.call(function, *arguments, timeout_s=max(LEAST_TIMEOUT_S, ends_s - time.monotonic()))

    with Sandbox(folder / "whole.log") as plain, Sandbox(folder / "layers.log") as watched:
        # The second first: it is the one that a runtime may refuse.
        for child, scratch in ((watched, events), (plain, None)):
            called(child, open_batch, subject.settings, subject.artifact, subject.feeds, scratch)
            child.pause()
        for _ in range(turns):
            for child, seconds in ((plain, whole), (watched, observed)):
                seconds.append(called(child, time_batch, turn_s))
                child.pause()
        layers: TimedLayers = called(watched, timed_layers)
    return LayerTimes(np.asarray(whole), np.asarray(observed), layers)


def anatomy_of(
    subject: Subject,
    times: LayerTimes,
    roofline: Roofline | None,
    machine: Environment,
    warnings: Sequence[str] = (),
) -> Anatomy:
    """Which layers and operators cost what.

    Args:
        subject: What was looked at.
        times: How long it took.
        roofline: The most that this machine can do; null where nothing is held against it.
        machine: This machine and its libraries.
        warnings: What reading the model warned of.
    """
    quiet = quieter_half(times.whole + times.observed)
    layers = layer_costs(times.layers.layers, quiet, roofline)
    whole_s = quiet_mean(times.whole, quiet)
    layers_s = sum(layer.time_s.value for layer in layers)
    return Anatomy(
        model=subject.model,
        format=subject.format,
        settings=subject.settings,
        inputs=tuple(
            FedInput(name=tensor.name, dtype=tensor.dtype, shape=subject.feeds[tensor.name].shape)
            for tensor in subject.spec.inputs
        ),
        rows=subject.rows,
        whole_s=whole_s,
        observed_s=quiet_mean(times.observed, quiet),
        layers_s=layers_s,
        flops=known_sum(layer.flops for layer in layers),
        unknown_share=sum(layer.share for layer in layers if layer.flops is None),
        parameters=times.layers.parameters,
        layers=layers,
        operators=operator_costs(layers),
        roofline=roofline,
        environment=machine,
        notes=(*warnings, *_notes(layers, layers_s, whole_s, subject.format)),
    )


def _notes(layers: Sequence[LayerCost], layers_s: float, whole_s: Estimate, format_: Format) -> list[str]:
    notes = []
    unknown = [layer for layer in layers if layer.flops is None]
    if format_ == "sklearn":
        notes.append("No operations are claimed for the steps of scikit-learn: what they take depends on the rows.")
    elif unknown:
        kinds = ", ".join(sorted({layer.operator for layer in unknown}))
        share = sum(layer.share for layer in unknown)
        notes.append(
            f"No formula for {kinds} ({len(unknown)} of {len(layers)} layers, {share:.1%} of the time): what they "
            "compute is not known, and in no sum."
        )
    if any(layer.bound == "compute" and (layer.roof_share or 0) > ABOVE for layer in layers):
        notes.append(
            "Some layers are faster than what this machine was found to do at most: it was busy when that was "
            "measured; `equipoise profile` measures it again with --remeasure."
        )
    covered = layers_s / whole_s.value
    if abs(covered - 1) > COVERED:
        notes.append(
            f"The layers' times add up to {covered:.0%} of the whole: either the runtime spends the rest between them "
            "and on looking at them, or the machine was busy with something else."
        )
    return notes
