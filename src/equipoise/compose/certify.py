"""The proof: judge candidates on paired rows, then test them in an order fixed beforehand, so that choosing is free.

Many candidates tried is a multiple test: the luckiest of fifty looks better than it is. Here the search split chooses
an order, surest first; the certify split is then opened for one candidate after the other, each tested at the full
level, and the first failure ends it. A candidate's hypothesis is that its loss reaches the margin somewhere it counts,
and its p-value is the largest over those places. The first true hypothesis in the order passes with probability at most
alpha, and none after it is tested unless it does, so that the chance of *any* false accept is at most alpha, whatever
the candidates share (fixed-sequence testing; Learn then Test, arXiv 2110.01052; Pareto Testing, arXiv 2210.07913).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.core.certificate import Certificate, Margin, Provable, SliceVerdict, SliceVerdictName
from equipoise.core.estimate import Estimate
from equipoise.stats.metrics import Metric, UndefinedMetric, metric_estimate
from equipoise.stats.paired import DropTest, paired_drop
from equipoise.stats.predictions import Predictions

SmallSlices = Literal["block", "report", "pool"]

WANTED_POWER = 0.9


@dataclass(frozen=True)
class Claim:
    """That a candidate loses less than a margin on certain rows.

    Attributes:
        name: `main`, `sex=Female`, or the name of an out-of-distribution set or of a corruption; unique within the
            evidence.
        kind: `metric` for the one claim on the rows of the brief's own distribution.
        margin: The loss that would be too much.
        rows: Indices into the evidence's rows.
        column: Of a slice, the column it is a value of; null for the part of the name before `=`.
        counts: Whether a candidate that does not prove it is refused; else it is tested to be looked at.
    """

    name: str
    kind: Literal["metric", "slice", "ood", "corruption"]
    margin: Margin
    rows: NDArray[np.intp]
    column: str | None = None
    counts: bool = True

    @property
    def pool(self) -> str:
        """The column that a slice belongs to."""
        return self.column if self.column is not None else self.name.partition("=")[0]


@dataclass(frozen=True)
class Evidence:
    """Rows that the baseline has answered, and what is claimed of a candidate on them.

    Attributes:
        metric: What is compared.
        baseline: The original's answers to the rows.
        target: True answers, [n] or [n, L]; null where the metric needs none.
        groups: Which rows belong together, [n]; null where rows are independent.
        claims: Exactly one of kind `metric`, and any number of slices and out-of-distribution sets.
        confidence: Of the certificate as a whole.
        small_slices: What becomes of slices too small to pass even with no loss at all: they `block` every candidate;
            they are left out and only `report`ed, and then nothing is guaranteed on them, since the certificate covers
            the other claims alone; or those of one column are joined into one claim (`pool`), which guards their
            average and none of them alone. Which slices these are depends on sizes, margins and the baseline, never on
            a candidate's answers.
    """

    metric: Metric
    baseline: Predictions
    target: NDArray[Any] | None
    groups: NDArray[np.integer[Any]] | None
    claims: tuple[Claim, ...]
    confidence: float = 0.95
    small_slices: SmallSlices = "block"

    def __post_init__(self) -> None:
        names = [claim.name for claim in self.claims]
        if len(set(names)) != len(names):
            raise ValueError(f"claims must have names of their own, got {names}")
        if sum(claim.kind == "metric" for claim in self.claims) != 1:
            raise ValueError("evidence needs exactly one claim of kind 'metric'")

    @property
    def main(self) -> Claim:
        """The claim on the brief's own distribution."""
        return next(claim for claim in self.claims if claim.kind == "metric")

    @property
    def alpha(self) -> float:
        """The level of each test, 1 - confidence."""
        return round(1 - self.confidence, 12)


@dataclass(frozen=True)
class Judgement:
    """What the rows say of one candidate.

    Attributes:
        p_value: Of the hypothesis that it loses the margin somewhere that counts: the largest over the claims.
        main: The test on the brief's own distribution.
        verdicts: On slices and out-of-distribution sets.
        power: Probability that it passes on another split of the same sizes, see `power_on`.
        blocked_by: Names of the claims that are not proved and count.
        passed: Whether all claims that count are proved.
        tests: Test of each claim that counts, by the claim's name, the main one included.
    """

    p_value: float
    main: DropTest
    verdicts: tuple[SliceVerdict, ...]
    power: float
    blocked_by: tuple[str, ...]
    passed: bool
    tests: Mapping[str, DropTest]


def judge(candidate: Predictions, evidence: Evidence, seed: int = 0) -> Judgement:
    """Test every claim about a candidate.

    A claim on a slice or an out-of-distribution set has one of three verdicts: `within` (its test passes at alpha);
    `worse` (it does not, and the test of no loss at all is rejected at alpha: there is evidence of harm); `too few`
    (neither: these rows cannot tell). All but `within` block, unless small slices are only reported.

    Args:
        candidate: Its answers to the evidence's rows.
        evidence: The rows and the claims.
        seed: Of the bootstrap, where there is one.

    Raises:
        ValueError: The metric may not be certified, answers are missing, or rows do not pair up.
    """
    tests: dict[str, DropTest] = {}
    verdicts: list[SliceVerdict] = []
    small: list[Claim] = []
    for claim in evidence.claims:
        test = _test(claim, candidate, evidence, seed)
        spared = claim.kind == "slice" and evidence.small_slices != "block" and _is_small(test)
        if spared:
            small.append(claim)
        elif claim.counts:
            tests[claim.name] = test
        if claim.kind != "metric":
            verdicts.append(_verdict(claim, test, evidence.alpha, counts=claim.counts and not spared))
    if evidence.small_slices == "pool":
        for pooled in _pools(small):
            tests[pooled.name] = _test(pooled, candidate, evidence, seed)
            verdicts.append(_verdict(pooled, tests[pooled.name], evidence.alpha, counts=True))
    p_value = max(test.p_value for test in tests.values())
    judgement = Judgement(
        p_value=p_value,
        main=tests[evidence.main.name],
        verdicts=tuple(verdicts),
        power=0.0,
        blocked_by=tuple(name for name, test in tests.items() if test.p_value > evidence.alpha),
        passed=p_value <= evidence.alpha,
        tests=tests,
    )
    return replace(judgement, power=power_on(judgement))


def power_on(judgement: Judgement, scale: float = 1.0) -> float:
    """Probability that the candidate passes on another split, estimated from this one.

    The product over the claims that count. Claims overlap and mostly rise and fall together, so that the product is on
    the low side; it is what orders candidates, and a candidate that fails ends the sequence for all that follow.

    Args:
        judgement: On the search split, say.
        scale: Rows of the other split for each row of this one: 1.5 from search to certify at 40 / 60.
    """
    return math.prod(test.power(round(test.n * scale)) for test in judgement.tests.values())


def order_by_evidence(judgements: Mapping[str, Judgement], scale: float = 1.0) -> tuple[str, ...]:
    """The order in which candidates will be tested: fixed on the search split, surest first.

    Those that are likely to pass (power at least 0.9) come before the others; within each, by p-value, then by power,
    then by name.

    Args:
        judgements: By candidate's name, on rows that the final test will not read.
        scale: Rows of the certify split for each row of the judgements' split.
    """
    return surest_first({name: (each.p_value, power_on(each, scale)) for name, each in judgements.items()})


def surest_first(figures: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """The same order, from each candidate's p-value and power.

    >>> surest_first({"a": (0.02, 0.8), "b": (0.03, 0.95), "c": (0.01, 0.95)})
    ('c', 'b', 'a')
    """

    def key(name: str) -> tuple[bool, float, float, str]:
        p_value, power = figures[name]
        return power < WANTED_POWER, p_value, -power, name

    return tuple(sorted(figures, key=key))


def fixed_sequence(order: Sequence[str], alpha: float) -> Generator[str, float, tuple[str, ...]]:
    """Test candidates one after the other at level alpha until one fails.

    It yields the name to open next and takes that candidate's p-value on the certify split; it asks for no candidate
    after the first failure, so that their answers to those rows need never exist.

    Args:
        order: Names, fixed before the certify split was opened.
        alpha: Level of each test and bound on the chance of any false accept.

    Returns:
        Names that passed, in order.

    >>> test = fixed_sequence(["a", "b", "c"], alpha=0.05)
    >>> next(test), test.send(0.01)
    ('a', 'b')
    >>> try:
    ...     test.send(0.2)
    ... except StopIteration as end:
    ...     end.value
    ('a',)
    """
    passed: list[str] = []
    for name in order:
        p_value = yield name
        # Written so that NaN fails.
        if not p_value <= alpha:
            break
        passed.append(name)
    return tuple(passed)


def run_sequence(order: Sequence[str], p_value_on_certify: Callable[[str], float], alpha: float) -> tuple[str, ...]:
    """Drive `fixed_sequence` with a function that opens the certify split for a name and returns its p-value.

    >>> run_sequence(["a", "b", "c"], {"a": 0.01, "b": 0.2}.__getitem__, alpha=0.05)
    ('a',)
    """
    sequence = fixed_sequence(order, alpha)
    try:
        name = next(sequence)
        while True:
            name = sequence.send(p_value_on_certify(name))
    except StopIteration as end:
        passed: tuple[str, ...] = end.value
        return passed


def provable(name: str, judgement: Judgement, evidence: Evidence, total_rows: int | None = None) -> Provable:
    """The tightest drop that the certify split proves, and how many rows the wished margin takes.

    Only for the candidate that came first in the fixed sequence: it was chosen before these rows were opened, so that
    the bound on its loss is one test and not the best of many.

    Args:
        name: Of that candidate.
        judgement: Of it, on the certify split.
        evidence: The certify split.
        total_rows: Rows of the whole data file, for the same figure in rows of it; null where it is not known.

    Returns:
        The bound on the main claim; rows for the margin are the most that any claim takes, scaled to the whole split.
    """
    main = evidence.main
    high = None if judgement.main.difference is None else judgement.main.difference.high
    rows: int | None = 0
    for test in judgement.tests.values():
        if rows is None or test.needed is None or test.n == 0:
            rows = None
            break
        # A slice grows with the split it is part of.
        rows = max(rows, math.ceil(test.needed * len(main.rows) / test.n))
    total = None
    if rows is not None and total_rows is not None and len(main.rows):
        total = math.ceil(rows * total_rows / len(main.rows))
    return Provable(drop=high, plan=name, n=judgement.main.n, rows_for_margin=rows, total_rows_for_margin=total)


def certificate(
    candidate: Predictions,
    judgement: Judgement,
    evidence: Evidence,
    *,
    candidates_tried: int,
    candidates_certified: int,
    reused: int = 0,
    seed: int = 0,
) -> Certificate:
    """Write down what was proved about a candidate, or what was not.

    Args:
        candidate: Its answers to the certify split.
        judgement: Of it, on the certify split.
        evidence: The certify split.
        candidates_tried: How many were tried against the search split.
        candidates_certified: How many the certify split was opened for.
        reused: How many earlier studies opened the same rows.
        seed: Of the bootstrap, where there is one.

    Raises:
        UndefinedMetric: The metric, or the loss, has no value on the main rows.
    """
    main = evidence.main
    if judgement.main.difference is None:
        raise UndefinedMetric(judgement.main.method)
    groups = None if evidence.groups is None else evidence.groups[main.rows]
    baseline, chosen = evidence.baseline.take(main.rows), candidate.take(main.rows)
    if evidence.metric.name == "agreement":
        target = baseline.labels
        before = Estimate(value=1.0, low=1.0, high=1.0, n=len(main.rows), method="by definition")
    else:
        target = None if evidence.target is None else evidence.target[main.rows]
        before = metric_estimate(evidence.metric, baseline, target, groups, evidence.confidence, seed)
    return Certificate(
        metric=evidence.metric.name,
        margin=main.margin,
        confidence=evidence.confidence,
        n=judgement.main.n,
        groups=None if groups is None else len(np.unique(groups)),
        baseline=before,
        chosen=metric_estimate(evidence.metric, chosen, target, groups, evidence.confidence, seed),
        difference=judgement.main.difference,
        method=judgement.main.method,
        candidates_tried=candidates_tried,
        candidates_certified=candidates_certified,
        slices=judgement.verdicts,
        reused=reused,
        passed=judgement.passed,
    )


def _test(claim: Claim, candidate: Predictions, evidence: Evidence, seed: int) -> DropTest:
    return paired_drop(
        evidence.metric,
        evidence.baseline.take(claim.rows),
        candidate.take(claim.rows),
        None if evidence.target is None else evidence.target[claim.rows],
        claim.margin,
        None if evidence.groups is None else evidence.groups[claim.rows],
        evidence.confidence,
        seed,
    )


def _is_small(test: DropTest) -> bool:
    """Whether the rows could not pass even with no loss at all."""
    return test.needed_without_loss is None or test.needed_without_loss > test.n


def _pools(small: Sequence[Claim]) -> list[Claim]:
    """One claim a column and margin, on all rows of its small slices."""
    by_column: dict[tuple[str, Margin], list[Claim]] = {}
    for claim in small:
        by_column.setdefault((claim.pool, claim.margin), []).append(claim)
    return [
        Claim(
            name=f"{column}=(pooled small)",
            kind="slice",
            margin=margin,
            rows=np.unique(np.concatenate([claim.rows for claim in claims])),
            column=column,
        )
        for (column, margin), claims in by_column.items()
    ]


def _verdict(claim: Claim, test: DropTest, alpha: float, *, counts: bool) -> SliceVerdict:
    verdict: SliceVerdictName
    if test.p_value <= alpha:
        verdict = "within"
    elif test.harm_p_value <= alpha:
        verdict = "worse"
    else:
        verdict = "too few"
    assert claim.kind != "metric"
    return SliceVerdict(
        name=claim.name,
        kind=claim.kind,
        margin=claim.margin,
        n=test.n,
        needed=test.needed if verdict == "too few" else None,
        difference=test.difference,
        verdict=verdict,
        blocks=counts and verdict != "within",
    )
