"""How often a study accepts a cascade that it should not, where its thresholds were chosen on the search rows.

Each study composes cascades of light and strong models that find the same rows hard. On easy rows some light models are
as good as the original, others lose exactly the margin there; some last stages lose exactly the margin (overall, or on
a slice), some more: cascades of two such models lose the margin at *every* threshold that passes the hard rows on. The
production code chooses thresholds together, with every measure of confidence, and tests what looks likely, together
with the models alone, in a fixed sequence. Two other rules see the same rows: the `naive` one takes the cheapest whose
loss on the certify rows, as it stands, is within the margins; the `unscreened` one puts every threshold that was judged
into the fixed sequence, so that the sequence alone must hold.

    python benchmarks/false_accepts_composed.py [studies [scenario ...]]
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from composed_world import Sample, World, answered_by, draw, evidence_of, remembered_bounds, trusted
from false_accepts import ALPHA, CERTIFY, GROUP_SIZE, SEARCH, SLICE_SHARE
from numpy.typing import NDArray

from equipoise.compose.cascade import StageRows, batch_for, promising, search_thresholds
from equipoise.compose.certify import Evidence, Judgement, judge, order_by_evidence, run_sequence
from equipoise.compose.pareto import pareto
from equipoise.core.plan import AcceptRule
from equipoise.stats.predictions import Predictions

MARGIN, SLICE_MARGIN = 0.02, 0.04
LIGHT_LOSS_WHERE_HARD = 0.25
MOST_OF_EACH = 2


@dataclass(frozen=True)
class Scenario:
    """What rows are like, and how much is composed.

    Attributes:
        name: In the table.
        grouped: Whether rows come in groups.
        sliced: Whether a slice counts.
        boundary: Whether every candidate is at a margin or past it.
        few: Whether two pairs are composed, for a quick look, instead of all and a triple.
    """

    name: str
    grouped: bool = False
    sliced: bool = False
    boundary: bool = False
    few: bool = False


SCENARIOS = (
    Scenario("independent rows"),
    Scenario("a slice", sliced=True),
    Scenario("a slice, no good one", sliced=True, boundary=True),
    Scenario(f"groups of {GROUP_SIZE}", grouped=True),
    Scenario("groups and a slice", grouped=True, sliced=True),
)


@dataclass(frozen=True)
class Rival:
    """What may be chosen: a cascade with its thresholds, or a model alone.

    Attributes:
        stages: Models.
        accepts: When each stage's answer stands.
        cost: Seconds a row.
        judgement: On the search rows; null where nothing was judged there.
    """

    stages: tuple[int, ...]
    accepts: tuple[AcceptRule | None, ...]
    cost: float = 0.0
    judgement: Judgement | None = None

    def answers(self, sample: Sample) -> Predictions:
        """To the rows of a split."""
        return Predictions.chosen([sample.answers[stage] for stage in self.stages], self.answered_by(sample))

    def answered_by(self, sample: Sample) -> NDArray[np.intp]:
        """Place of the stage that answers each row of a split."""
        return answered_by(
            [trusted(sample.answers[stage], rule) for stage, rule in zip(self.stages, self.accepts, strict=True)]
        )


@dataclass(frozen=True)
class Outcome:
    """What three rules chose in one study; null for the original."""

    proved: Rival | None
    unscreened: Rival | None
    naive: Rival | None


def mixed_world(scenario: Scenario, rng: np.random.Generator) -> World:
    """Two light models, two last stages besides the original, and three of a middling size that are at the margin."""
    at_margin = np.full(2, MARGIN)
    at_slice = np.array([(0.8 * MARGIN - SLICE_SHARE * SLICE_MARGIN) / (1 - SLICE_SHARE), SLICE_MARGIN])
    boundary = [at_margin, at_slice] if scenario.sliced else [at_margin]

    def touching() -> NDArray[np.float64]:
        return boundary[rng.integers(len(boundary))]

    good = np.full(2, MARGIN * rng.uniform(-0.3, 0.3))
    beyond = np.full(2, MARGIN * rng.uniform(1.05, 2.0))
    # A light model that is as good as another on easy rows loses as much there as that one does everywhere.
    shared = touching()
    if scenario.boundary:
        lights, lasts = [shared, shared], [shared, touching()]
    else:
        lights, lasts = [np.zeros(2), shared], [good, (shared, beyond)[rng.integers(2)]]
    easy = np.array([np.zeros(2), *lights, *lasts, *(touching() for _ in range(3))])
    hard = easy.copy()
    hard[1:3] += LIGHT_LOSS_WHERE_HARD
    cost = np.concatenate([[12.0, 1.0, 2.5], rng.uniform(8.0, 10.0, 2), rng.uniform(2.0, 9.0, 3)])
    slice_margin = SLICE_MARGIN if scenario.sliced else None
    return World(np.stack([easy, hard], axis=2), cost, (1, 2), (3, 4), MARGIN, slice_margin)


def roomy_world(margin: float, slice_margin: float | None) -> World:
    """Two light models that are as good as the original on easy rows, a last stage without loss, and a bad one."""
    easy = np.zeros((5, 2))
    easy[4] = 2 * max(margin, slice_margin or 0.0)
    hard = easy.copy()
    hard[1:3] += LIGHT_LOSS_WHERE_HARD
    cost = np.array([12.0, 1.0, 2.5, 9.0, 8.0])
    return World(np.stack([easy, hard], axis=2), cost, (1, 2), (3, 4), margin, slice_margin)


def compose(world: World, search: Sample, evidence: Evidence, few: bool = False) -> tuple[list[Rival], list[Rival]]:
    """Cascades of pairs of a first and a last stage, and of one triple: what looks likely, and all thresholds."""
    stages = [StageRows(answers, world.service(model)) for model, answers in enumerate(search.answers)]
    compositions: list[tuple[int, ...]] = list(zip(world.firsts, world.lasts, strict=True))
    if not few:
        compositions = [*itertools.product(world.firsts, world.lasts), (*world.firsts, world.lasts[0])]
    likely: list[Rival] = []
    every: list[Rival] = []
    for models in compositions:
        found = search_thresholds([stages[model] for model in models], evidence, scale=CERTIFY / SEARCH)
        for rivals, chosen in ((likely, promising(found, MOST_OF_EACH)), (every, found)):
            rivals += [Rival(models, each.accepts, 1 / each.rows_per_s, each.judgement) for each in chosen]
    return likely, every


def alone(world: World, search: Sample, evidence: Evidence) -> list[Rival]:
    """Every model by itself but the original."""
    rivals = []
    for model in range(1, len(world.loss)):
        rows, seconds = batch_for([world.service(model)], [1.0], np.inf)
        rivals.append(Rival((model,), (None,), seconds / rows, judge(search.answers[model], evidence)))
    return rivals


def in_order(rivals: Sequence[Rival]) -> list[Rival]:
    """Those that none beats in both cost and doubt, surest on the search rows first."""
    judged = [rival.judgement for rival in rivals if rival.judgement is not None]
    front = pareto([(rival.cost, judgement.p_value) for rival, judgement in zip(rivals, judged, strict=True)])
    order = order_by_evidence({str(index): judged[index] for index in front}, CERTIFY / SEARCH)
    return [rivals[int(name)] for name in order]


def proved(rivals: Sequence[Rival], certify: Sample, evidence: Evidence) -> Rival | None:
    """The cheapest that passes in the fixed sequence."""
    by_name = {str(place): rival for place, rival in enumerate(in_order(rivals))}
    passed = run_sequence(
        list(by_name), lambda name: judge(by_name[name].answers(certify), evidence).p_value, evidence.alpha
    )
    return min((by_name[name] for name in passed), key=lambda rival: rival.cost, default=None)


def tempting(rivals: Sequence[Rival], certify: Sample, world: World) -> Rival | None:
    """The cheapest whose loss on the certify rows, as it stands, is within the margins."""
    rows = np.arange(len(certify.target))
    for rival in sorted(rivals, key=lambda each: each.cost):
        right = certify.right[np.asarray(rival.stages)[rival.answered_by(certify)], rows]
        loss = certify.right[0].astype(np.float64) - right
        within_slice = world.slice_margin is None or loss[certify.in_slice].mean() <= world.slice_margin
        if loss.mean() <= world.margin and within_slice:
            return rival
    return None


def study(world: World, scenario: Scenario, rng: np.random.Generator) -> Outcome:
    """One study from search to choice, by the production code, and by the other two rules."""
    search, certify = (draw(world, rows, scenario.grouped, rng) for rows in (SEARCH, CERTIFY))
    on_search, on_certify = evidence_of(search, world), evidence_of(certify, world)
    likely, every = compose(world, search, on_search, scenario.few)
    models = alone(world, search, on_search)
    return Outcome(
        proved=proved([*likely, *models], certify, on_certify),
        unscreened=proved([*every, *models], certify, on_certify),
        naive=tempting([*every, *models], certify, world),
    )


def false_accepts(studies: int, scenario: Scenario, seed: int = 0) -> dict[str, int]:
    """In how many studies each rule chose what is not acceptable; `composed`: how often the proof chose a cascade."""
    counts = dict.fromkeys(("proved", "unscreened", "naive", "composed"), 0)
    for number in range(studies):
        rng = np.random.default_rng([seed, number])
        world = mixed_world(scenario, rng)
        outcome = study(world, scenario, rng)
        for rule in ("proved", "unscreened", "naive"):
            rival: Rival | None = getattr(outcome, rule)
            counts[rule] += rival is not None and world.is_unacceptable(rival.stages, rival.accepts)
        counts["composed"] += outcome.proved is not None and len(outcome.proved.stages) > 1
    return counts


def detectable_margins(scenario: Scenario, draws: int = 100, seed: int = 0) -> tuple[float, float]:
    """The smallest margins, overall and on the slice, that a good cascade proves on the certify rows on average.

    It passes on the least sure 40% of the rows to a last stage without loss.
    """
    rng = np.random.default_rng(seed)
    world = roomy_world(0.05, 0.05)
    bounds = []
    for _ in range(draws):
        sample = draw(world, CERTIFY, scenario.grouped, rng)
        evidence = evidence_of(sample, world)
        confidence = np.asarray(sample.answers[1].probabilities).max(axis=1)
        at_least = float(np.quantile(confidence, 0.4))
        cascade = Rival((1, 3), (AcceptRule(measure="max_probability", at_least=at_least), None))
        tests = judge(cascade.answers(sample), evidence).tests
        bounds.append([test.difference.high for test in tests.values() if test.difference is not None])
    main, on_slice = np.mean(bounds, axis=0)
    return float(main), float(on_slice)


def power(studies: int, scenario: Scenario, times: float = 2.0, seed: int = 1) -> int:
    """In how many studies an acceptable cascade is chosen, at margins `times` the detectable ones."""
    margin, slice_margin = (times * detectable for detectable in detectable_margins(scenario))
    world = roomy_world(margin, slice_margin if scenario.sliced else None)
    chosen = 0
    for number in range(studies):
        rival = study(world, scenario, np.random.default_rng([seed, number])).proved
        chosen += rival is not None and len(rival.stages) > 1 and not world.is_unacceptable(rival.stages, rival.accepts)
    return chosen


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    few = min(studies, 300)  # for power
    print(f"{studies} studies of cascades, search {SEARCH} rows, certify {CERTIFY}, alpha {ALPHA}; power at 2x")
    columns = ("proved", "unscreened", "naive", "composed", "power", "seconds")
    print(f"{'scenario':<24}" + "".join(f"{column:>12}" for column in columns))
    for scenario in [each for each in SCENARIOS if each.name in (sys.argv[2:] or [each.name])]:
        started = time.perf_counter()
        rates = [count / studies for count in false_accepts(studies, scenario).values()]
        rates.append(np.nan if scenario.boundary else power(few, scenario) / few)
        seconds = time.perf_counter() - started
        print(f"{scenario.name:<24}" + "".join(f"{rate:>12.3f}" for rate in rates) + f"{seconds:>12.0f}", flush=True)


if __name__ == "__main__":
    with remembered_bounds():
        main()
