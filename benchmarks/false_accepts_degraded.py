"""How often a degraded mode is offered whose quality by itself does not exceed the floor.

A *fallback* is picked on the search rows (the fastest that these prove, else the surest) out of four models, all
exactly at the floor, and tested once on the certify rows. *Distrust* refers the rows of which a last stage is not sure,
by a confidence that was calibrated on the search rows; the answers that it does give are exactly at the floor on
average. The naive rule offers what reaches the floor on the certify rows as it stands.

    python benchmarks/false_accepts_degraded.py [studies [mode ...]]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from composed_world import Sample, World, draw, evidence_of, remembered_bounds, trusted
from false_accepts import ALPHA, CERTIFY, GROUP_SIZE, METRIC, SEARCH, normal_scores
from false_accepts_composed import SCENARIOS, Rival, alone, compose, in_order, mixed_world, proved, roomy_world
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri

from equipoise.compose.cascade import StageRows, confidences, promising, search_thresholds
from equipoise.compose.certify import Evidence
from equipoise.core.certificate import FloorCertificate
from equipoise.core.plan import AcceptRule
from equipoise.stats.floor import floor_test
from equipoise.stats.metrics import metric_named
from equipoise.stats.number_metrics import PROBABILITY_FLOOR
from equipoise.stats.predictions import Predictions

FALLBACKS = 4
FALLBACK_ACCURACY = 0.8
FIRST_FASTER = 1.25
"""How much faster than the plan a fallback must be."""
RARELY_HARD = 0.1
SMALL, LARGE = 0.1, 3.0
"""Mean loss of an easy and of a hard row, where rows have a loss: rare rows carry most of it."""
TRUSTED_FROM = 0.75


@dataclass(frozen=True)
class Trial:
    """What one study says of one degraded mode.

    Attributes:
        certificate: From the certify rows.
        quality: What is true of it.
        reaches: Whether the figure on the certify rows, as it stands, reaches the floor.
    """

    certificate: FloorCertificate
    quality: float
    reaches: bool


Play = Callable[[np.random.Generator, float], Trial]
"""One study, with a floor that is a given room worse than the true quality."""


def fallback(metric_name: str, grouped: bool, rng: np.random.Generator, room: float) -> Trial:
    """The pick among models of which, where there is room, the faster half is as far beyond the floor as it is wide."""
    metric = metric_named(metric_name)
    sign = 1.0 if metric.higher_is_better else -1.0
    quality = FALLBACK_ACCURACY if metric_name == "accuracy" else _mean_log_loss(1.0)
    floor = quality - sign * room
    qualities = np.where(np.arange(FALLBACKS) < FALLBACKS / 2, floor - sign * room, quality)
    answer = _answers_right if metric_name == "accuracy" else _answers_off
    pick, pick_p = 0, 2.0
    search, target = answer(qualities, SEARCH, grouped, rng)
    groups = np.arange(SEARCH) // GROUP_SIZE if grouped else None
    for place, answers in enumerate(search):  # the fastest first
        found = floor_test(metric, answers, target, floor, groups, 1 - ALPHA)
        if found.passed:
            pick = place
            break
        if found.p_value < pick_p:
            pick, pick_p = place, found.p_value
    certify, target = answer(qualities, CERTIFY, grouped, rng)
    groups = np.arange(CERTIFY) // GROUP_SIZE if grouped else None
    certificate = floor_test(metric, certify[pick], target, floor, groups, 1 - ALPHA)
    return Trial(certificate, float(qualities[pick]), sign * (certificate.quality.value - floor) >= 0)


def doubting_model(grouped: bool, rng: np.random.Generator, room: float) -> Trial:
    """A model by itself that refers what it does not trust."""
    world = roomy_world(0.05, None)
    search, certify = draw(world, SEARCH, grouped, rng), draw(world, CERTIFY, grouped, rng)
    return _distrust(world, Rival((3,), (None,)), search, evidence_of(search, world), certify, room)


def doubting_cascade(grouped: bool, rng: np.random.Generator, room: float) -> Trial:
    """A cascade, picked on the search rows, that refers what its last stage does not trust."""
    world = roomy_world(0.05, None)
    search, certify = draw(world, SEARCH, grouped, rng), draw(world, CERTIFY, grouped, rng)
    evidence = evidence_of(search, world)
    stages = [StageRows(search.answers[model], world.service(model)) for model in (1, 3)]
    cascade = promising(search_thresholds(stages, evidence), most=1)[0]
    return _distrust(world, Rival((1, 3), cascade.accepts), search, evidence, certify, room)


def fallback_of_choice(grouped: bool, rng: np.random.Generator, room: float) -> Trial:
    """The pick among what is clearly faster than the plan that was chosen, in part by luck, on these certify rows.

    Each model has a floor of its own, so that whichever is picked is exactly there.
    """
    world = mixed_world(replace(SCENARIOS[0], grouped=grouped), rng)
    search, certify = draw(world, SEARCH, grouped, rng), draw(world, CERTIFY, grouped, rng)
    chosen, _ = _chosen(world, search, certify)
    faster = [model for model in range(1, len(world.cost)) if FIRST_FASTER * world.cost[model] * 1e-3 < chosen.cost]
    floors = {model: world.true_quality((model,), (None,)) - room for model in faster or [1]}

    def test(sample: Sample, model: int) -> FloorCertificate:
        return floor_test(METRIC, sample.answers[model], sample.target, floors[model], sample.groups, 1 - ALPHA)

    found = {model: test(search, model) for model in floors}
    likely = [model for model in found if found[model].passed]
    own = [model for model in likely if model == chosen.stages[0]]
    if likely:
        pick = own[0] if own else min(likely, key=lambda model: world.cost[model])
    else:
        pick = min(found, key=lambda model: found[model].p_value)
    certificate = test(certify, pick)
    return Trial(certificate, floors[pick] + room, certificate.quality.value >= floors[pick])


def doubting_choice(shared: bool, rng: np.random.Generator, room: float) -> Trial:
    """What was chosen, in part by its luck on these very certify rows, refers what its last stage does not trust.

    Args:
        shared: Whether alpha is shared out among the plans that might have been chosen.
        rng: Of the study.
        room: From the floor to the true quality.
    """
    world = mixed_world(SCENARIOS[0], rng)
    search, certify = draw(world, SEARCH, False, rng), draw(world, CERTIFY, False, rng)
    chosen, plans = _chosen(world, search, certify)
    alpha = ALPHA / plans if shared else ALPHA
    return _distrust(world, chosen, search, evidence_of(search, world), certify, room, alpha)


def _chosen(world: World, search: Sample, certify: Sample) -> tuple[Rival, int]:
    """What a study chooses, the original where nothing is proved; and how many plans it might have chosen."""
    evidence = evidence_of(search, world)
    rivals = [*compose(world, search, evidence)[0], *alone(world, search, evidence)]
    original = Rival((0,), (None,), 1e-3 * world.cost[0])
    return proved(rivals, certify, evidence_of(certify, world)) or original, len(in_order(rivals)) + 1


def _distrust(
    world: World,
    plan: Rival,
    search: Sample,
    evidence: Evidence,
    certify: Sample,
    room: float,
    alpha: float = ALPHA,
) -> Trial:
    """Calibrate on the search rows that reach the last stage, and test the answers that are then given."""
    last = plan.stages[-1]
    reached = evidence.main.rows[plan.answered_by(search) == len(plan.stages) - 1]
    there = replace(evidence, claims=(replace(evidence.main, rows=reached),))
    measure, calibration, _ = confidences(StageRows(search.answers[last], world.service(last)), there, cheap=True)[-1]
    doubt = AcceptRule(measure=measure, calibration=calibration, at_least=TRUSTED_FROM)
    early = plan.answered_by(certify) < len(plan.stages) - 1
    given = np.flatnonzero(early | trusted(certify.answers[last], doubt))
    quality = world.true_quality(plan.stages, (*plan.accepts[:-1], doubt))
    certificate = floor_test(
        evidence.metric,
        plan.answers(certify).take(given),
        certify.target[given],
        quality - room,
        None if certify.groups is None else certify.groups[given],
        1 - alpha,
    )
    return Trial(certificate, quality, certificate.quality.value >= quality - room)


def _answers_right(
    qualities: NDArray[np.float64], n: int, grouped: bool, rng: np.random.Generator
) -> tuple[list[Predictions], NDArray[np.intp]]:
    """Answers that are right as often as they should be, and the target."""
    scores = _scores(len(qualities), n, grouped, rng)
    return [Predictions(labels=(own < ndtri(q)).astype(np.intp)) for own, q in zip(scores, qualities, strict=True)], (
        np.ones(n, dtype=np.intp)
    )


def _answers_off(
    qualities: NDArray[np.float64], n: int, grouped: bool, rng: np.random.Generator
) -> tuple[list[Predictions], NDArray[np.intp]]:
    """Answers whose log losses are exponential, small on most rows and large on few, and the target."""
    hard = normal_scores(n, np.arange(n) // GROUP_SIZE if grouped else None, rng) < ndtri(RARELY_HARD)
    scales = np.array([_scale_for(quality) for quality in qualities])
    losses = np.where(hard, LARGE, SMALL) * scales[:, None] * -log_ndtr(_scores(len(scales), n, grouped, rng))
    right = np.exp(-losses)
    return [Predictions(probabilities=np.stack([1 - own, own], axis=1)) for own in right], np.ones(n, dtype=np.intp)


def _scores(models: int, n: int, grouped: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Standard normal scores that models share half of, [models, n]."""
    shared = normal_scores(n, np.arange(n) // GROUP_SIZE if grouped else None, rng)
    return np.sqrt(0.5) * (shared + rng.standard_normal((models, n)))


def _mean_log_loss(scale: float) -> float:
    """True mean of the losses at a scale: they end where probabilities are held."""
    means = scale * np.array([SMALL, LARGE])
    return float(np.array([1 - RARELY_HARD, RARELY_HARD]) @ (means * -np.expm1(np.log(PROBABILITY_FLOOR) / means)))


def _scale_for(quality: float) -> float:
    """The scale at which losses have this mean."""
    return float(brentq(lambda scale: _mean_log_loss(scale) - quality, 1e-6, 100.0))


MODES: dict[str, Play] = {
    "fallback, accuracy": partial(fallback, "accuracy", False),
    f"fallback, groups of {GROUP_SIZE}": partial(fallback, "accuracy", True),
    "fallback, log loss": partial(fallback, "log_loss", False),
    "fallback of what was chosen": partial(fallback_of_choice, False),
    "distrust, a model": partial(doubting_model, False),
    f"distrust, groups of {GROUP_SIZE}": partial(doubting_model, True),
    "distrust, a cascade": partial(doubting_cascade, False),
    "distrust of what was chosen": partial(doubting_choice, False),
    "the same, alpha shared": partial(doubting_choice, True),
}


def false_accepts(studies: int, play: Play, seed: int = 0) -> tuple[int, int]:
    """In how many studies the proof, and the naive rule, offer a mode that is exactly at the floor."""
    trials = [play(np.random.default_rng([seed, number]), 0.0) for number in range(studies)]
    return sum(trial.certificate.passed for trial in trials), sum(trial.reaches for trial in trials)


def detectable_room(play: Play, draws: int = 60, seed: int = 2) -> float:
    """How much worse than the true quality the proved bound is, on average."""
    gaps = []
    for number in range(draws):
        trial = play(np.random.default_rng([seed, number]), 0.0)
        quality = trial.certificate.quality
        worse = quality.low if metric_named(trial.certificate.metric).higher_is_better else quality.high
        gaps.append(np.nan if worse is None else abs(trial.quality - worse))
    return float(np.mean(gaps))


def power(studies: int, play: Play, times: float = 2.0, seed: int = 1) -> int:
    """In how many studies a mode is offered that exceeds the floor by `times` the detectable room."""
    room = times * detectable_room(play)
    trials = (play(np.random.default_rng([seed, number]), room) for number in range(studies))
    return sum(trial.certificate.passed for trial in trials)


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    few = min(studies, 300)  # for power
    print(f"{studies} studies of degraded modes, search {SEARCH} rows, certify {CERTIFY}, alpha {ALPHA}")
    print(f"{'mode':<28}{'false accepts':>16}{'naive rule':>14}{'power at 2x':>14}{'seconds':>10}")
    for name, play in [each for each in MODES.items() if each[0] in (sys.argv[2:] or MODES)]:
        started = time.perf_counter()
        offered, naive = false_accepts(studies, play)
        found = power(few, play)
        seconds = time.perf_counter() - started
        print(
            f"{name:<28}{offered / studies:>16.3f}{naive / studies:>14.3f}{found / few:>14.3f}{seconds:>10.1f}",
            flush=True,
        )


if __name__ == "__main__":
    with remembered_bounds():
        main()
