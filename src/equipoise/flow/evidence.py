"""Brings rows, targets, claims and a candidate's outputs together for the judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, Judgement, judge
from equipoise.core.brief import DataBrief
from equipoise.core.certificate import Margin
from equipoise.core.estimate import Estimate
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target
from equipoise.preprocess.rows import Rows
from equipoise.stats.metrics import Metric, metric_estimate
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
MAIN = "main"


@dataclass(frozen=True)
class Judge:
    """Judges outputs on the first rows of a split.

    Attributes:
        metric: What is compared.
        meaning: What the judged output holds.
        data: The brief's slices, groups, out-of-distribution sets and their margins.
        max_drop: The margin on the brief's own distribution.
        confidence: Of the certificate.
        splits: `search` and `certify` rows.
        seed: For bootstraps.
    """

    metric: Metric
    meaning: OutputMeaning
    data: DataBrief
    max_drop: Margin
    confidence: float
    splits: dict[str, Rows]
    seed: int
    _claims: dict[tuple[str, int], tuple[Claim, ...]] = field(default_factory=dict)

    def predictions(self, outputs: dict[str, Array], split: str) -> Predictions:
        """A model's outputs to the first rows of a split, decoded."""
        n = len(next(iter(outputs.values())))
        rows = self.splits[split].take(slice(0, n))
        return decode(outputs, self.meaning, rows.target, n)

    def evidence(self, baseline: dict[str, Array], split: str, n: int) -> Evidence:
        """The baseline's answers to the first `n` rows of a split, and what is claimed on them."""
        rows = self.splits[split].take(slice(0, n))
        group = self.data.group
        return Evidence(
            metric=self.metric,
            baseline=self.predictions(baseline, split),
            target=self._target(rows),
            groups=None if group is None else np.unique(rows.extra[group].astype(str), return_inverse=True)[1],
            claims=self._claims_on(rows, split),
            confidence=self.confidence,
            small_slices=self.data.small_slices,
        )

    def __call__(
        self, outputs: dict[str, Array], baseline: dict[str, Array], split: str, n: int
    ) -> tuple[Judgement, Estimate]:
        """Judge a candidate's outputs against the baseline's, and estimate its metric on the main rows."""
        evidence = self.evidence(baseline, split, n)
        candidate = self.predictions(outputs, split)
        return judge(candidate, evidence, self.seed), self.quality(candidate, evidence)

    def quality(self, candidate: Predictions, evidence: Evidence) -> Estimate:
        """A candidate's metric on the main rows."""
        rows = evidence.main.rows
        target = evidence.baseline.labels if self.metric.name == "agreement" else evidence.target
        return metric_estimate(
            self.metric,
            candidate.take(rows),
            None if target is None else target[rows],
            None if evidence.groups is None else evidence.groups[rows],
            self.confidence,
            self.seed,
        )

    def _target(self, rows: Rows) -> Array | None:
        if rows.target is None or self.metric.name == "agreement":
            return None
        return encode_target(rows.target, self.meaning)

    def _claims_on(self, rows: Rows, split: str) -> tuple[Claim, ...]:
        key = (split, rows.n)
        if key not in self._claims:
            main = np.flatnonzero(rows.population == MAIN)
            claims = [Claim(MAIN, "metric", self.max_drop, main)]
            for column, margin in self.data.slices.items():
                values = rows.extra[column][main].astype(str)
                claims += [
                    Claim(f"{column}={value}", "slice", margin, main[values == value], column=column)
                    for value in np.unique(values)
                ]
            claims += [
                Claim(name, "ood", ood.max_drop, np.flatnonzero(rows.population == name))
                for name, ood in self.data.ood.items()
            ]
            self._claims[key] = tuple(claims)
        return self._claims[key]
