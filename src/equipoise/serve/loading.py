"""A bundle, ready to be served: verified, opened, warm, and with the measured seconds that decisions need."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import TensorSpec
from equipoise.errors import BundleError, InputError
from equipoise.execute.plan import OpenPlan, open_plan
from equipoise.execute.stages import OpenStage, rows_of, stage_outputs
from equipoise.execute.verify import changed_answers, environment_differences
from equipoise.host.environment import environment
from equipoise.policy.batch import ServiceModel
from equipoise.store.bundle import Bundle, read_bundle

Array = NDArray[Any]
WARM_UP_RUNS = 5
WARM_UP_S = 0.3


@dataclass(frozen=True)
class LoadedPlan:
    """A plan that may be served.

    Attributes:
        name: What clients call it.
        version: Its version under that name.
        bundle: Where it came from.
        opened: Its models, loaded.
        services: Measured seconds of each of `Plan.all_stages`.
        outputs: What each request can get, in the model's order.
        notes: What the person should know: that its speed was measured again here, above all.
    """

    name: str
    version: str
    bundle: Bundle
    opened: OpenPlan
    services: tuple[ServiceModel, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...]

    @property
    def stages(self) -> tuple[OpenStage, ...]:
        """Its stages, and the fallback's at the end."""
        fallback = () if self.opened.fallback is None else self.opened.fallback.stages
        return (*self.opened.stages.stages, *fallback)


def load_plan(folder: Path, name: str | None = None, version: str = "1") -> LoadedPlan:
    """Verify a bundle and open it.

    Its digests are checked before a file is opened, then its golden answers are computed again: on this machine it must
    answer as it was certified. Speed that was measured on another machine is measured again, in a short warm-up.

    Args:
        folder: The bundle.
        name: What clients call it; null for the folder's name, or its parent's where that is `bundle`.
        version: Its version under that name.

    Raises:
        BundleError: It is not a bundle, was changed, or answers differently here.
        ModelError: An artifact cannot be opened.
    """
    bundle = read_bundle(folder)
    opened = open_plan(bundle)
    _require_golden_answers(bundle, opened)
    differences = environment_differences(bundle.environment, environment())
    measured: tuple[Mapping[int, Array], ...] = bundle.service
    stages = (*opened.stages.stages, *(() if opened.fallback is None else opened.fallback.stages))
    if differences or len(measured) != len(stages):
        measured = tuple({} for _ in stages)
    services = tuple(
        _medians(seconds) if seconds else _measured(stage, bundle.golden_inputs)
        for stage, seconds in zip(stages, measured, strict=True)
    )
    notes = ("speed was measured elsewhere, and again here: " + "; ".join(differences),) if differences else ()
    return LoadedPlan(
        name=name or default_name(folder),
        version=version,
        bundle=bundle,
        opened=opened,
        services=services,
        outputs=_outputs(bundle, opened),
        notes=notes,
    )


def default_name(folder: Path) -> str:
    """The name of a bundle's folder, or its parent's where that is `bundle`.

    Example:
        >>> default_name(Path("equipoise-model/bundle")), default_name(Path("digits"))
        ('equipoise-model', 'digits')
    """
    place = folder.resolve()
    return place.parent.name if place.name == "bundle" and place.parent.name else place.name


def _require_golden_answers(bundle: Bundle, opened: OpenPlan) -> None:
    remedy = "do not serve it: make it again on this machine with `equipoise optimize`"
    try:
        found = opened.answer(bundle.golden_inputs)
        if opened.fallback is not None:  # it has no golden answers; that it answers at all is known before it must
            opened.answer_degraded(bundle.golden_inputs)
    except InputError:
        raise
    except Exception as error:  # a runtime's own exceptions: whatever it raised, there is no answer
        raise BundleError(
            str(bundle.folder), f"it cannot answer here: {type(error).__name__}: {error}", remedy
        ) from error
    changed = changed_answers(bundle.plan, bundle.golden_outputs, found)
    if changed:
        raise BundleError(str(bundle.folder), f"it answers differently here: {'; '.join(changed)}", remedy)


def _outputs(bundle: Bundle, opened: OpenPlan) -> tuple[TensorSpec, ...]:
    """Outputs that every stage gives, one entry a row."""
    common = set.intersection(*(stage_outputs(stage) for stage in opened.stages.stages))
    n, golden = rows_of(bundle.golden_inputs), bundle.golden_outputs
    one_a_row = {name for name in common if name in golden and golden[name].ndim and len(golden[name]) == n}
    return tuple(output for output in opened.spec.outputs if output.name in one_a_row)


def _medians(seconds: Mapping[int, Array]) -> ServiceModel:
    return ServiceModel([(rows, float(np.median(samples))) for rows, samples in seconds.items()])


def _measured(stage: OpenStage, golden: Mapping[str, Array]) -> ServiceModel:
    """Seconds of a stage's batches as they are here: a few sizes, a few runs each."""
    points = []
    for rows in sorted({1, *(size for size in (4, 16, 64, 256) if size < stage.rows), stage.rows}):
        index = np.arange(rows) % rows_of(golden)
        feeds = {name: array[index] for name, array in golden.items()}
        stage.ask(feeds, stage.prepare(feeds))
        samples: list[float] = []
        while len(samples) < WARM_UP_RUNS and sum(samples) < WARM_UP_S:
            start_s = time.perf_counter()
            stage.ask(feeds, stage.prepare(feeds))
            samples.append(max(time.perf_counter() - start_s, 1e-9))
        points.append((rows, float(np.median(samples))))
    return ServiceModel(points)
