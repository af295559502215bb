"""A bundle, ready to be served: verified, opened, warm, and with the measured seconds that decisions need."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import Plan
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.execute.plan import OpenPlan
from equipoise.execute.verify import environment_differences
from equipoise.host.environment import cores, environment
from equipoise.policy.batch import ServiceModel
from equipoise.preprocess.lengths import sequence_inputs
from equipoise.preprocess.raw import Preprocessor, open_preprocessor
from equipoise.serve.cores import within_cores
from equipoise.serve.crew import Crew
from equipoise.serve.opening import Ask, Facts, Opening, all_stages, answered, measured, open_verified
from equipoise.store.bundle import Bundle, read_bundle

Array = NDArray[Any]


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that may be served.

    Attributes:
        name: What clients call it.
        version: Its version under that name.
        bundle: Where it came from.
        opened: Who computes it: its models, loaded in this process, or worker processes that have loaded them.
        services: Measured seconds of each of `Plan.all_stages`.
        outputs: What each request can get, in the model's order.
        fallback_outputs: Names of what its fallback gives; empty where it has none.
        notes: What the person should know: that its speed was measured again here, above all.
        preprocessor: Makes its inputs of raw images or texts; null where it takes none.
    """

    name: str
    version: str
    bundle: Bundle
    opened: OpenPlan | Crew
    services: tuple[ServiceModel, ...]
    outputs: tuple[TensorSpec, ...]
    fallback_outputs: frozenset[str]
    notes: tuple[str, ...]
    preprocessor: Preprocessor | None = None

    @property
    def plan(self) -> Plan:
        """The bundle's plan as it runs here: with fewer lanes or threads, where there are fewer cores."""
        return self.opened.plan

    @cached_property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        return self.opened.spec

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Names of `outputs`."""
        return tuple(output.name for output in self.outputs)

    @property
    def asks(self) -> list[list[Ask]]:
        """For each lane, what computes each stage there."""
        return _asks(self.opened)

    @property
    def filling(self) -> dict[str, int]:
        """Inputs that are token sequences, each with what shorter rows of a batch are filled up with."""
        if self.preprocessor is not None:
            return self.preprocessor.filling
        return dict.fromkeys(sequence_inputs(self.spec), 0)

    @property
    def pids(self) -> tuple[int, ...]:
        """Ids of its worker processes that live; none where it is computed in this process."""
        return self.opened.pids if isinstance(self.opened, Crew) else ()

    def close(self) -> None:
        """End its worker processes, if it has any."""
        if isinstance(self.opened, Crew):
            self.opened.close()


def load_plan(folder: Path, name: str | None = None, version: str = "1", workers: int = 0) -> LoadedPlan:
    """Verify a bundle and open it.

    Its digests are checked before a file is opened, then its golden answers are computed again: on this machine it must
    answer as it was certified. Speed that was measured on another machine, or in other lanes than there are here, is
    measured again, in a short warm-up. It takes a while: in an event loop, call it in a thread.

    Args:
        folder: The bundle.
        name: What clients call it; null for the folder's name, or its parent's where that is `bundle`.
        version: Its version under that name.
        workers: Processes that compute it, at most one for each of its lanes; 0 for this one, in threads.

    Raises:
        BundleError: It is not a bundle, was changed, or answers differently here.
        ModelError: An artifact cannot be opened.
        DataError: A library is not installed that its preprocessing needs.
    """
    bundle = read_bundle(folder)
    preprocessor = None if bundle.preprocessing is None else open_preprocessor(bundle.preprocessing)
    plan, shrunk = within_cores(bundle.plan, cores(), _visible_cores())
    opened, facts = _opened(bundle, plan, workers)
    try:
        differences = environment_differences(bundle.environment, environment())
        known = bundle.service if len(bundle.service) == len(plan.all_stages) else ({},) * len(plan.all_stages)
        if differences or shrunk is not None or workers:
            known = tuple({} for _ in known)
        services = tuple(
            _medians(seconds)
            if seconds
            else measured([lane[place] for lane in _asks(opened)], bundle.golden_inputs, plan.all_stages[place].rows)
            for place, seconds in enumerate(known)
        )
        elsewhere = "speed was measured elsewhere, and again here: " + "; ".join(differences) if differences else None
        lanes = plan.stages[0].lanes
        spare = f"{workers} worker processes would be too many: it has lanes for {lanes}" if workers > lanes else None
        return LoadedPlan(
            name=name or default_name(folder),
            version=version,
            bundle=bundle,
            opened=opened,
            services=services,
            outputs=facts.outputs,
            fallback_outputs=facts.fallback_outputs,
            notes=tuple(note for note in (elsewhere, shrunk, spare) if note is not None),
            preprocessor=preprocessor,
        )
    except BaseException:
        if isinstance(opened, Crew):
            opened.close()
        raise


def default_name(folder: Path) -> str:
    """The name of a bundle's folder, or its parent's where that is `bundle`.

    Example:
        >>> default_name(Path("equipoise-model/bundle")), default_name(Path("digits"))
        ('equipoise-model', 'digits')
    """
    place = folder.resolve()
    return place.parent.name if place.name == "bundle" and place.parent.name else place.name


def _opened(bundle: Bundle, plan: Plan, workers: int) -> tuple[OpenPlan | Crew, Facts]:
    if not workers:
        return open_verified(bundle, plan)
    opening = Opening(bundle.folder.resolve(), bundle.manifest.content_digest, plan)
    crew = Crew(opening, plan.stages[0].lanes, workers)
    return crew, crew.facts


def _asks(opened: OpenPlan | Crew) -> list[list[Ask]]:
    lanes = range(opened.plan.stages[0].lanes)
    if isinstance(opened, Crew):
        return [opened.asks(lane) for lane in lanes]
    stages: list[Ask] = [partial(answered, stage) for stage in all_stages(opened)]
    return [stages for _ in lanes]


def _medians(seconds: Mapping[int, Array]) -> ServiceModel:
    return ServiceModel([(rows, float(np.median(samples))) for rows, samples in seconds.items()])


def _visible_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
