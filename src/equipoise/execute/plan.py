"""A plan, opened: answers rows in this process, in the plan's own batches."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.plan import Plan
from equipoise.core.tensor import ModelSpec
from equipoise.errors import BundleError
from equipoise.registry import runtimes
from equipoise.runtimes.base import Session
from equipoise.store.bundle import Bundle

Array = NDArray[Any]


@dataclass(frozen=True)
class OpenStage:
    """A variant that is loaded and ready.

    Attributes:
        session: Answers batches.
        rows: Rows a batch.
        replicas: Batches that may be computed at the same time.
    """

    session: Session
    rows: int
    replicas: int

    def answer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Answer rows in batches; a model that takes one batch size only is given filling, which is dropped again."""
        n = len(next(iter(feeds.values())))
        starts = range(0, n, self.rows)
        if self.replicas == 1 or len(starts) == 1:
            parts = [self._batch(feeds, start, n) for start in starts]
        else:
            with ThreadPoolExecutor(self.replicas) as pool:
                parts = list(pool.map(lambda start: self._batch(feeds, start, n), starts))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, feeds: Mapping[str, Array], start: int, n: int) -> dict[str, Array]:
        end = min(start + self.rows, n)
        index = np.arange(start, end)
        if self.session.spec.fixed_batch is not None and len(index) < self.rows:
            index = np.concatenate([index, np.full(self.rows - len(index), end - 1)])
        batch = {name: np.ascontiguousarray(array[index]) for name, array in feeds.items()}
        answers = self.session.run(self.session.prepare(batch))
        return {name: array[: end - start] for name, array in answers.items()}


@dataclass(frozen=True)
class OpenPlan:
    """A plan whose artifacts are loaded.

    Attributes:
        plan: What is executed.
        stages: Its stages, in the order they are asked.
    """

    plan: Plan
    stages: tuple[OpenStage, ...]

    @property
    def spec(self) -> ModelSpec:
        """What the plan takes and gives."""
        return self.stages[0].session.spec

    @property
    def rows_at_once(self) -> int:
        """Rows that keep every replica busy once; feeding multiples of it makes every batch a full one."""
        return self.stages[0].rows * self.stages[0].replicas

    def answer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Answer rows.

        Args:
            feeds: Input name to array of shape [n, ...], n >= 1, in the dtypes of `spec`.

        Returns:
            Output name to array of shape [n, ...], in the order of the rows.
        """
        return self.stages[0].answer(feeds)


def open_plan(bundle: Bundle) -> OpenPlan:
    """Load what a bundle serves.

    Raises:
        BundleError: A runtime that the plan names is not installed.
        ModelError: An artifact cannot be opened.
    """
    return open_stages(bundle.plan, bundle.artifacts)


def open_stages(plan: Plan, artifacts: Mapping[str, Path]) -> OpenPlan:
    """Load a plan whose artifacts lie anywhere.

    Args:
        plan: What to execute.
        artifacts: Digest to folder, for every stage.

    Raises:
        BundleError: A runtime that the plan names is not installed, or the plan has another number of stages than one.
        ModelError: An artifact cannot be opened.
    """
    if len(plan.stages) != 1:
        raise BundleError(
            f"plan {plan.name!r}", f"{len(plan.stages)} stages", "this version executes plans of one stage"
        )
    stages = []
    for stage in plan.stages:
        runtime = runtimes().get(stage.settings.runtime)
        if runtime is None:
            raise BundleError(
                f"plan {plan.name!r}",
                f"it runs on {stage.settings.runtime!r}, which is not installed here",
                f"installed are {', '.join(sorted(runtimes()))}; install the package that brings it",
            )
        session = runtime.open(artifacts[stage.artifact], stage.settings)
        rows = session.spec.fixed_batch or max(1, min(stage.settings.batch, stage.batch_rule.max_rows))
        stages.append(OpenStage(session, rows, stage.settings.replicas))
    return OpenPlan(plan, tuple(stages))
