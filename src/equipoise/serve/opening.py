"""A plan, opened and held against its golden answers, in whichever process is to compute it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import Plan
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.errors import BundleError, InputError
from equipoise.execute.plan import OpenPlan, open_plan_from
from equipoise.execute.stages import OpenStage, rows_of, stage_outputs
from equipoise.execute.verify import changed_answers
from equipoise.policy.batch import ServiceModel
from equipoise.store.bundle import Bundle, read_bundle

Array = NDArray[Any]
Ask = Callable[[Mapping[str, Array]], tuple[dict[str, Array], Array]]
"""Computes one batch of one stage: inputs to outputs, one entry a row, and how sure the stage is of each row."""
WARM_UP_SIZES = (1, 4, 16, 64, 256)
WARM_UP_RUNS = 5
WARM_UP_S = 0.3


@dataclass(frozen=True)
class Opening:
    """What is to be opened.

    Attributes:
        folder: The bundle.
        digest: Of its manifest: a bundle that was put in its place is another one.
        plan: As it runs here.
    """

    folder: Path
    digest: str
    plan: Plan


@dataclass(frozen=True)
class Facts:
    """What is known of a plan once it was opened.

    Attributes:
        spec: What it takes and gives.
        outputs: What each request can get, in the model's order: what every stage gives, one entry a row.
        fallback_outputs: Names of what its fallback gives; empty where it has none.
    """

    spec: ModelSpec
    outputs: tuple[TensorSpec, ...]
    fallback_outputs: frozenset[str]


def open_again(opening: Opening) -> tuple[OpenPlan, Facts]:
    """Read a bundle that was read before, and open it.

    Raises:
        BundleError: It is another one by now, or answers differently here.
        ModelError: An artifact cannot be opened.
    """
    bundle = read_bundle(opening.folder)
    if bundle.manifest.content_digest != opening.digest:
        raise BundleError(str(opening.folder), "another bundle lies here by now", "load it to serve that one")
    return open_verified(bundle, opening.plan)


def open_verified(bundle: Bundle, plan: Plan) -> tuple[OpenPlan, Facts]:
    """Load a bundle's models, and require that they answer its golden inputs as they did when it was written.

    Args:
        bundle: Its bytes were checked.
        plan: Its plan, as it runs here.

    Raises:
        BundleError: It answers differently here, or not at all.
        ModelError: An artifact cannot be opened.
    """
    remedy = "do not serve it: make it again on this machine with `equipoise optimize`"
    opened = open_plan_from(plan, bundle.artifacts)
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
    changed = changed_answers(plan, bundle.golden_outputs, found)
    if changed:
        raise BundleError(str(bundle.folder), f"it answers differently here: {'; '.join(changed)}", remedy)
    return opened, _facts(bundle, opened)


def all_stages(opened: OpenPlan) -> tuple[OpenStage, ...]:
    """A plan's stages, and the fallback's at the end, as in `Plan.all_stages`."""
    return (*opened.stages.stages, *(() if opened.fallback is None else opened.fallback.stages))


def answered(stage: OpenStage, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
    """What a stage answers: outputs with one entry a row, and how sure it is of each.

    Raises:
        ValueError: It has no such output.
        Exception: Whatever its runtime raises.
    """
    n = rows_of(feeds)
    outputs, confidence = stage.ask(feeds, stage.prepare(feeds))
    whole = {name: array for name, array in outputs.items() if array.ndim and len(array) == n}
    if not whole or len(confidence) != n:
        raise ValueError(f"the model gave no output with one entry for each of {n} rows")
    return whole, confidence


def measured(lanes: Sequence[Ask], golden: Mapping[str, Array], most_rows: int) -> ServiceModel:
    """Seconds of a stage's batches as they are here while all lanes are busy: a few sizes, a few runs each.

    Args:
        lanes: The stage, in each lane of its plan.
        golden: Inputs to repeat.
        most_rows: Rows of its largest batch.
    """
    points = []
    with ThreadPoolExecutor(len(lanes)) as threads:
        for rows in sorted({*(size for size in WARM_UP_SIZES if size < most_rows), most_rows}):
            index = np.arange(rows) % rows_of(golden)
            feeds = {name: array[index] for name, array in golden.items()}
            points.append((rows, float(np.median(_seconds(lanes, feeds, threads)))))
    return ServiceModel(points)


def _seconds(lanes: Sequence[Ask], feeds: Mapping[str, Array], threads: ThreadPoolExecutor) -> list[float]:
    """Seconds of a batch in every lane, each computing one after the other until all have computed a few."""
    samples: list[list[float]] = [[] for _ in lanes]

    def keep_busy(lane: int) -> None:
        done = False
        while not done:
            start_s = time.perf_counter()
            lanes[lane](feeds)
            end_s = time.perf_counter()
            samples[lane].append(max(end_s - start_s, 1e-9))
            done = end_s >= until_s or min(map(len, samples)) >= WARM_UP_RUNS

    list(threads.map(lambda ask: ask(feeds), lanes))
    until_s = time.perf_counter() + WARM_UP_S
    list(threads.map(keep_busy, range(len(lanes))))
    return list(chain.from_iterable(samples))


def _facts(bundle: Bundle, opened: OpenPlan) -> Facts:
    common = set.intersection(*(stage_outputs(stage) for stage in opened.stages.stages))
    n, golden = rows_of(bundle.golden_inputs), bundle.golden_outputs
    one_a_row = {name for name in common if name in golden and golden[name].ndim and len(golden[name]) == n}
    return Facts(
        spec=opened.spec,
        outputs=tuple(output for output in opened.spec.outputs if output.name in one_a_row),
        fallback_outputs=frozenset()
        if opened.fallback is None
        else frozenset(stage_outputs(opened.fallback.stages[0])),
    )
