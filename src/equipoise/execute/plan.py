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
from equipoise.execute.stages import OpenStages, answer_in_batches, open_stages, rows_of
from equipoise.store.bundle import Bundle

Array = NDArray[Any]


@dataclass(frozen=True)
class OpenPlan:
    """A plan whose artifacts are loaded.

    Attributes:
        plan: What is executed.
        stages: Its stages, ready to be asked.
        fallback: What answers under pressure; null where the plan has none.
    """

    plan: Plan
    stages: OpenStages
    fallback: OpenStages | None = None

    @property
    def spec(self) -> ModelSpec:
        """What the plan takes and gives."""
        return self.stages.spec

    @property
    def rows_at_once(self) -> int:
        """Rows that keep every replica busy once; feeding multiples of it makes every batch a full one."""
        return self.stages.stages[0].rows * self.plan.stages[0].lanes

    def answer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Answer rows.

        Args:
            feeds: Input name to array of shape [n, ...], n >= 1, in the dtypes of `spec`.

        Returns:
            Output name to array of shape [n, ...], in the order of the rows; of a cascade also what
            `execute.stages.OpenStages.run` says of the stages.
        """
        return _answered(self.stages, feeds, self.plan.stages[0].lanes)

    def answer_degraded(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Answer rows as the plan does under pressure.

        Raises:
            ValueError: It has no fallback.
        """
        if self.fallback is None:
            raise ValueError(f"plan {self.plan.name!r} has no fallback")
        return _answered(self.fallback, feeds, self.plan.stages[0].lanes)


def open_plan(bundle: Bundle) -> OpenPlan:
    """Load what a bundle serves.

    Raises:
        BundleError: A runtime that the plan names is not installed.
        ModelError: An artifact cannot be opened.
    """
    return open_plan_from(bundle.plan, bundle.artifacts)


def open_plan_from(plan: Plan, artifacts: Mapping[str, Path]) -> OpenPlan:
    """Load a plan whose artifacts lie anywhere.

    Args:
        plan: What to execute.
        artifacts: Digest to folder, for every model of the plan.

    Raises:
        BundleError: A runtime that the plan names is not installed.
        ModelError: An artifact cannot be opened.
    """
    everything = open_stages(plan.all_stages, plan.form, artifacts).stages
    stages = OpenStages(everything[: len(plan.stages)], plan.form, plan.distrust.answer if plan.distrust else None)
    fallback = None if plan.fallback is None else OpenStages(everything[len(plan.stages) :], plan.form)
    return OpenPlan(plan, stages, fallback)


def _answered(stages: OpenStages, feeds: Mapping[str, Array], lanes: int) -> dict[str, Array]:
    n, rows = rows_of(feeds), stages.stages[0].rows
    if lanes == 1 or n <= rows:
        return answer_in_batches(stages, feeds, rows)
    pieces = [{name: array[start : start + rows] for name, array in feeds.items()} for start in range(0, n, rows)]
    with ThreadPoolExecutor(lanes) as pool:
        parts = list(pool.map(lambda piece: answer_in_batches(stages, piece, rows), pieces))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
