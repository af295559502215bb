"""Brings rows, targets, claims and a candidate's outputs together for the judge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.certify import Claim, Evidence, Judgement, judge
from equipoise.core.brief import DataBrief
from equipoise.core.certificate import FloorCertificate, Margin
from equipoise.core.corruption import Corruption
from equipoise.core.estimate import Estimate
from equipoise.core.value import ErrorLoss
from equipoise.errors import BriefError
from equipoise.execute.stages import STAGE_OUTPUTS, TRUSTED
from equipoise.policy.value import error_usd_per_row
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target
from equipoise.preprocess.rows import Rows
from equipoise.stats.floor import floor_test
from equipoise.stats.mean_test import mean_interval
from equipoise.stats.metrics import Metric, metric_estimate
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
MAIN = "main"
ROW = "row of the data file"
"""Name of the extra column that holds it, from 0."""


@dataclass(frozen=True)
class Judge:
    """Judges outputs on the first rows of a split.

    Attributes:
        metric: What is compared.
        meaning: What the judged output holds.
        data: The brief's slices, groups, out-of-distribution sets and their margins.
        max_drop: The margin on the brief's own distribution.
        confidence: Of the certificate.
        splits: `search` and `certify` rows; `trace`, where it is known what a trace's requests asked for.
        seed: For bootstraps.
        floor: Least figure that a degraded mode may have by itself; null for none.
        default: What is given where an answer is not trusted, as the data spells it; null for no default.
        corruptions: Those whose sets are among the rows.
        usd_per_error: What an error costs: one price for all, shape (), or one for each true class, [C]; null for none.
    """

    metric: Metric
    meaning: OutputMeaning
    data: DataBrief
    max_drop: Margin
    confidence: float
    splits: dict[str, Rows]
    seed: int
    floor: float | None = None
    default: str | None = None
    corruptions: tuple[Corruption, ...] = ()
    usd_per_error: Array | None = None
    _claims: dict[tuple[str, int], tuple[Claim, ...]] = field(default_factory=dict)

    def predictions(self, outputs: dict[str, Array], split: str) -> Predictions:
        """A model's outputs to the first rows of a split, decoded."""
        n = len(next(iter(outputs.values())))
        return self.decoded(outputs, self.splits[split].take(slice(0, n)).target)

    def decoded(self, outputs: dict[str, Array], target: Array | None) -> Predictions:
        """Outputs to n rows, decoded as answers to rows with these targets, [n] or [n, L]."""
        n = len(next(iter(outputs.values())))
        own = {name: array for name, array in outputs.items() if name not in STAGE_OUTPUTS}
        found = decode(own, self.meaning, target, n)
        if self.default is None or TRUSTED not in outputs:
            return found
        return with_default(found, ~outputs[TRUSTED], self.default, self.meaning)

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

    def floor_of(
        self, outputs: dict[str, Array], baseline: dict[str, Array], split: str, n: int, *, referred: bool
    ) -> tuple[FloorCertificate | None, float | None]:
        """A model's answers against the floor, by themselves.

        Args:
            outputs: What it answered.
            baseline: What the original answered.
            split: Which rows.
            n: How many of them.
            referred: Whether untrusted answers are not given at all, so that the others alone count.

        Returns:
            What is proved, null without a floor; and the share of main rows whose answer is trusted, null where none is
            doubted.
        """
        evidence = self.evidence(baseline, split, n)
        rows = evidence.main.rows
        trusted = outputs.get(TRUSTED)
        share = None if trusted is None else float(trusted[rows].mean())
        if self.floor is None:
            return None, share
        if trusted is not None and referred:
            rows = rows[trusted[rows]]
        target = evidence.baseline.labels if self.metric.name == "agreement" else evidence.target
        certificate = floor_test(
            self.metric,
            self.predictions(outputs, split).take(rows),
            None if target is None else target[rows],
            self.floor,
            None if evidence.groups is None else evidence.groups[rows],
            self.confidence,
            self.seed,
        )
        return certificate, share

    def error_loss(self, outputs: dict[str, Array], baseline: dict[str, Array], split: str, n: int) -> ErrorLoss | None:
        """What a model's errors on the main rows cost, and how much more than the original's; null without a price."""
        if self.usd_per_error is None:
            return None
        evidence = self.evidence(baseline, split, n)
        rows, target = evidence.main.rows, evidence.target
        labels = [self.predictions(outputs, split).labels, evidence.baseline.labels]
        if target is None or labels[0] is None or labels[1] is None:
            raise RuntimeError("a price of errors is refused where there are no true classes")
        usd, before_usd = (
            error_usd_per_row(each[rows], target[rows], self.usd_per_error) for each in labels if each is not None
        )
        groups = None if evidence.groups is None else evidence.groups[rows]
        return ErrorLoss(
            usd=mean_interval(usd, 0.0, groups, self.confidence),
            more_usd=mean_interval(usd - before_usd, 0.0, groups, self.confidence),
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
            claims += [
                Claim(
                    each.set_name,
                    "corruption",
                    each.max_drop or self.max_drop,
                    np.flatnonzero(rows.population == each.set_name),
                    counts=each.blocks,
                )
                for each in self.corruptions
            ]
            self._claims[key] = tuple(claims)
        return self._claims[key]


def numbered(rows: Rows) -> Rows:
    """Rows that keep their numbers when they are divided."""
    return replace(rows, extra=rows.extra | {ROW: np.arange(rows.n)})


def check_default(default: str, meaning: OutputMeaning) -> float | int:
    """What a default stands for: a number where the model predicts numbers, else the index of one of its classes.

    Raises:
        BriefError: It is no answer that the model could give.
    """
    if meaning.kind == "value":
        try:
            return float(default)
        except ValueError:
            raise BriefError(
                "--distrust-default", f"found {default!r}", "needed a number, as the model gives"
            ) from None
    names = [str(label) for label in meaning.labels or ()]
    if default not in names:
        raise BriefError("--distrust-default", f"found {default!r}", f"needed one of the classes: {', '.join(names)}")
    return names.index(default)


def with_default(
    answers: Predictions, untrusted: NDArray[np.bool_], default: str, meaning: OutputMeaning
) -> Predictions:
    """Answers in which the untrusted ones are replaced by a default.

    Args:
        answers: To n rows.
        untrusted: Which of them, [n].
        default: A number where the model predicts numbers, else one of its classes.
        meaning: What the judged output holds.

    Raises:
        BriefError: The default is no answer that the model could give.
    """
    instead = check_default(default, meaning)
    if answers.values is not None:
        return replace(answers, values=np.where(untrusted, instead, answers.values))
    labels = None if answers.labels is None else np.where(untrusted, int(instead), answers.labels)
    shares = answers.probabilities
    if shares is not None:
        shares = np.where(untrusted[:, None], np.eye(shares.shape[1])[int(instead)], shares)
    return replace(answers, labels=labels, probabilities=shares)
