"""How often a study accepts a candidate that it should not: the fixed sequence of tests against the naive rule.

Each study has 50 candidates that err on the same hard rows (a shared difficulty a row), cheaper the more they harm:
some good, some exactly at the margin overall, some exactly at the margin of a slice, some bad. The proof is the
production code: Pareto set and order on the search split, tests on the certify split in that order, the cheapest that
passed. The naive rule takes the cheapest whose loss on the certify split, as it stands, is within the margins.

    python benchmarks/false_accepts.py [studies]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from equipoise.compose.certify import Claim, Evidence, judge, order_by_evidence, run_sequence
from equipoise.compose.pareto import pareto
from equipoise.core.certificate import Margin
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

CANDIDATES = 50
ACCURACY = 0.9
SLICE_SHARE = 0.35
SEARCH, CERTIFY = 1000, 1500
GROUP_SIZE = 10
ALPHA = 0.05
METRIC = metric_named("accuracy")


@dataclass(frozen=True)
class Truth:
    """What candidates are really like.

    Attributes:
        cost: Of each, [50].
        on_slice: True loss on the slice, [50].
        on_rest: True loss on the other rows, [50].
        margin: On all rows.
        slice_margin: On the slice.
        helped: Share of the baseline's errors that a candidate gets right.
    """

    cost: NDArray[np.float64]
    on_slice: NDArray[np.float64]
    on_rest: NDArray[np.float64]
    margin: float
    slice_margin: float
    helped: float

    @property
    def overall(self) -> NDArray[np.float64]:
        """True loss on all rows, [50]."""
        return SLICE_SHARE * self.on_slice + (1 - SLICE_SHARE) * self.on_rest

    @property
    def unacceptable(self) -> NDArray[np.bool_]:
        """Which candidates lose a margin or more, [50]."""
        # At the margin is already too much; rounding must not let a candidate off.
        return (self.overall >= self.margin - 1e-9) | (self.on_slice >= self.slice_margin - 1e-9)


@dataclass(frozen=True)
class Outcome:
    """What two rules chose in one study: null for the original."""

    proved: int | None
    naive: int | None
    opened: int


def mixed_truth(rng: np.random.Generator, margin: float = 0.02, slice_margin: float = 0.04) -> Truth:
    """12 good candidates, 16 at the margin, 10 at the slice's margin, 12 bad; harm makes them cheap."""
    good = margin * rng.uniform(-0.3, 0.4, 12)
    bad = margin * rng.uniform(1.05, 2.5, 12)
    harmless_rest = (0.8 * margin - SLICE_SHARE * slice_margin) / (1 - SLICE_SHARE)
    on_slice = np.concatenate([good, np.full(16, margin), np.full(10, slice_margin), bad])
    on_rest = np.concatenate([good, np.full(16, margin), np.full(10, harmless_rest), bad])
    overall = SLICE_SHARE * on_slice + (1 - SLICE_SHARE) * on_rest
    cost = 1 - 0.25 * overall / margin + rng.uniform(0, 0.3, CANDIDATES)
    return Truth(cost, on_slice, on_rest, margin, slice_margin, helped=0.1)


def lossless_truth(rng: np.random.Generator, margin: float, slice_margin: float) -> Truth:
    """10 candidates without any loss, 40 far past the margins."""
    loss = np.concatenate([np.zeros(10), np.full(40, 2 * max(margin, slice_margin))])
    return Truth(rng.uniform(0.2, 1.0, CANDIDATES), loss, loss, margin, slice_margin, helped=0.2)


@dataclass(frozen=True)
class Sample:
    """One split: who is right on which row, and where the slice and the groups are."""

    baseline: NDArray[np.int8]
    candidates: NDArray[np.int8]
    in_slice: NDArray[np.bool_]
    groups: NDArray[np.intp] | None


def normal_scores(n: int, groups: NDArray[np.intp] | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """A standard normal score a row, [n]; with groups half of its variance is the group's."""
    own = rng.standard_normal(n)
    if groups is None:
        return own
    return np.sqrt(0.5) * rng.standard_normal(groups[-1] + 1)[groups] + np.sqrt(0.5) * own


def draw(truth: Truth, n: int, grouped: bool, rng: np.random.Generator) -> Sample:
    """Answers of the baseline and all candidates to n rows.

    A candidate spoils a right answer, or mends a wrong one, where a standard normal score falls below a threshold; half
    of its variance is the row's difficulty, which all candidates share, and with groups half of that is the group's.
    The score's own distribution is the same whatever is shared, so that true losses are exact.
    """
    count = len(truth.cost)
    groups = np.arange(n) // GROUP_SIZE if grouped else None
    in_slice = rng.random(n) < SLICE_SHARE
    baseline = normal_scores(n, groups, rng) < ndtri(ACCURACY)
    scores = np.sqrt(0.5) * (normal_scores(n, groups, rng) + rng.standard_normal((count, n), dtype=np.float32))
    loss = np.stack([truth.on_rest, truth.on_slice])
    spoilt_share = (loss + (1 - ACCURACY) * truth.helped) / ACCURACY
    spoilt_below = ndtri(spoilt_share).T[:, in_slice.astype(np.intp)]
    changed = scores < np.where(baseline, spoilt_below, ndtri(truth.helped))
    return Sample(baseline.astype(np.int8), (baseline ^ changed).astype(np.int8), in_slice, groups)


def evidence_of(sample: Sample, truth: Truth) -> Evidence:
    n = len(sample.baseline)
    claims = (
        Claim("main", "metric", Margin(drop=truth.margin), np.arange(n)),
        Claim("part=a", "slice", Margin(drop=truth.slice_margin), np.flatnonzero(sample.in_slice)),
    )
    right = np.ones(n, dtype=np.int8)
    return Evidence(METRIC, Predictions(labels=sample.baseline), right, sample.groups, claims, 1 - ALPHA)


def study(truth: Truth, grouped: bool, rng: np.random.Generator) -> Outcome:
    """One study from search to choice, by the production code and by the naive rule."""
    search, certify = draw(truth, SEARCH, grouped, rng), draw(truth, CERTIFY, grouped, rng)
    losses = search.baseline.mean() - search.candidates.mean(axis=1)
    front = pareto(list(zip(truth.cost.tolist(), losses.tolist(), strict=True)))
    on_search, on_certify = evidence_of(search, truth), evidence_of(certify, truth)
    judgements = {str(index): judge(Predictions(labels=search.candidates[index]), on_search) for index in front}
    order = order_by_evidence(judgements, CERTIFY / SEARCH)
    opened = []

    def p_value(name: str) -> float:
        opened.append(name)
        return judge(Predictions(labels=certify.candidates[int(name)]), on_certify).p_value

    passed = [int(name) for name in run_sequence(order, p_value, on_certify.alpha)]

    seen = certify.baseline.mean() - certify.candidates.mean(axis=1)
    part = certify.in_slice
    seen_on_slice = certify.baseline[part].mean() - certify.candidates[:, part].mean(axis=1)
    tempting = np.flatnonzero((seen <= truth.margin) & (seen_on_slice <= truth.slice_margin))
    return Outcome(
        proved=min(passed, key=lambda index: truth.cost[index], default=None),
        naive=min(tempting.tolist(), key=lambda index: truth.cost[index], default=None),
        opened=len(opened),
    )


def false_accepts(studies: int, grouped: bool, seed: int = 0) -> tuple[int, int]:
    """In how many studies the proof, and the naive rule, chose a candidate that is not acceptable."""
    proved = naive = 0
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        truth = mixed_truth(rng)
        outcome = study(truth, grouped, rng)
        proved += outcome.proved is not None and bool(truth.unacceptable[outcome.proved])
        naive += outcome.naive is not None and bool(truth.unacceptable[outcome.naive])
    return proved, naive


def detectable_margins(grouped: bool, draws: int = 100, seed: int = 0) -> tuple[float, float]:
    """The smallest margins, on all certify rows and on their slice, that a candidate without loss proves on average."""
    rng = np.random.default_rng(seed)
    truth = lossless_truth(rng, 0.05, 0.05)
    few = replace(truth, cost=truth.cost[:1], on_slice=truth.on_slice[:1], on_rest=truth.on_rest[:1])
    bounds = []
    for _ in range(draws):
        evidence = evidence_of(sample := draw(few, CERTIFY, grouped, rng), few)
        tests = judge(Predictions(labels=sample.candidates[0]), evidence).tests
        bounds.append([tests[name].difference.high for name in ("main", "part=a")])
    main, on_slice = np.mean(bounds, axis=0)
    return float(main), float(on_slice)


def power(studies: int, grouped: bool, times: float = 2.0, seed: int = 1) -> int:
    """In how many studies a candidate without loss is chosen, at margins `times` the detectable ones."""
    margin, slice_margin = (times * detectable for detectable in detectable_margins(grouped))
    chosen = 0
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        truth = lossless_truth(rng, margin, slice_margin)
        outcome = study(truth, grouped, rng)
        chosen += outcome.proved is not None and not bool(truth.unacceptable[outcome.proved])
    return chosen


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{studies} studies of {CANDIDATES} candidates, search {SEARCH} rows, certify {CERTIFY}, alpha {ALPHA}")
    print(f"{'scenario':<22}{'false accepts':>16}{'naive rule':>14}{'power at 2x':>14}{'seconds':>10}")
    for name, grouped in (("independent rows", False), (f"groups of {GROUP_SIZE}", True)):
        started = time.perf_counter()
        proved, naive = false_accepts(studies, grouped)
        found = power(studies, grouped)
        seconds = time.perf_counter() - started
        rates = f"{proved / studies:>16.3f}{naive / studies:>14.3f}{found / studies:>14.3f}"
        print(f"{name:<22}{rates}{seconds:>10.1f}")


if __name__ == "__main__":
    main()
