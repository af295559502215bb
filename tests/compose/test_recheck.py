"""The gate, tried: how often it lets a bundle through that loses more than it may, and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from equipoise.compose.certify import Claim, Evidence
from equipoise.compose.recheck import implied_floor, recheck, recheck_alone, small_slices_of
from equipoise.core.certificate import Certificate, Margin, SliceVerdict
from equipoise.core.check import CheckedClaim
from equipoise.core.estimate import Estimate
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

CHECKS = 600
ALPHA = 0.05
# 30 expected at the boundary at most, plus two and a third standard deviations of a binomial of 600 at 0.05.
MOST_FALSE_PASSES = 42
MARGIN = Margin(drop=0.03)
ROWS, RIGHT = 1200, 0.8


def _figure(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, n=1, method="")


def _certificate(margin: Margin = MARGIN, metric: str = "accuracy", **changes: Any) -> Certificate:
    values: dict[str, Any] = {
        "metric": metric,
        "margin": margin,
        "confidence": 1 - ALPHA,
        "n": ROWS,
        "baseline": _figure(RIGHT),
        "chosen": _figure(RIGHT),
        "difference": _figure(0.0),
        "method": "",
        "candidates_tried": 1,
        "candidates_certified": 1,
        "slices": (),
        "reused": 0,
        "passed": True,
    }
    return Certificate(**values | changes)


def _labels(right: Any) -> Predictions:
    """Answers to rows whose true class is 1."""
    return Predictions(labels=right.astype(np.int64))


def _loses(rng: np.random.Generator, right: Any, share: float, both_ways: float = 0.02) -> Any:
    """Answers that lose so much on average, by turning right ones wrong, and as many more in both ways."""
    turned = rng.random(len(right))
    wrong = right & (turned < (share + both_ways) / RIGHT)
    healed = ~right & (turned < both_ways / (1 - RIGHT))
    return (right & ~wrong) | healed


def _paired(rng: np.random.Generator, losses: Any, claims: tuple[Claim, ...], groups: Any = None) -> bool:
    right = rng.random(ROWS) < RIGHT
    evidence = Evidence(
        metric_named("accuracy"), _labels(right), np.ones(ROWS, np.int64), groups, claims, confidence=1 - ALPHA
    )
    answers = _labels(_loses(rng, right, losses))
    return _passes(recheck(evidence, answers, _certificate()))


def _passes(checked: tuple[CheckedClaim, ...]) -> bool:
    return all(claim.outcome == "holds" for claim in checked)


MAIN = Claim("main", "metric", MARGIN, np.arange(ROWS))
HALF = Claim("sex=F", "slice", Margin(drop=0.05), np.arange(ROWS // 2))


def _by_row(rng: np.random.Generator, loss: float) -> bool:
    return _paired(rng, loss, (MAIN,))


def _in_a_slice(rng: np.random.Generator, loss: float) -> bool:
    """The loss is on one half, at its own margin; the other gains, so that the whole is well within."""
    share = np.where(np.arange(ROWS) < ROWS // 2, loss * HALF.margin.drop / MARGIN.drop, -0.01)
    return _paired(rng, share, (MAIN, HALF))


def _by_group(rng: np.random.Generator, loss: float) -> bool:
    """Rows of a group share their fate: the loss falls on some groups alone."""
    groups = np.repeat(np.arange(120), ROWS // 120)
    hit = (rng.random(120) < 0.2)[groups]
    return _paired(rng, np.where(hit, loss / 0.2, 0.0), (MAIN,), groups)


def _alone(rng: np.random.Generator, loss: float) -> bool:
    right = rng.random(ROWS) < RIGHT - loss
    checked = recheck_alone(
        metric_named("accuracy"), (MAIN,), _labels(right), np.ones(ROWS, np.int64), None, _certificate()
    )
    return _passes(checked)


WORLDS: dict[str, Callable[[np.random.Generator, float], bool]] = {
    "rows": _by_row,
    "a slice": _in_a_slice,
    "groups": _by_group,
    "without the original": _alone,
}


@pytest.mark.parametrize("world", WORLDS)
def test_a_bundle_that_loses_the_margin_passes_at_most_alpha_of_the_time(world: str) -> None:
    rng = np.random.default_rng(7)
    passed = sum(WORLDS[world](rng, MARGIN.drop) for _ in range(CHECKS))
    assert passed <= MOST_FALSE_PASSES, f"{passed} of {CHECKS} checks let it through"
    # A gate that never opens would pass the line above.
    assert passed >= 3, f"{passed} of {CHECKS}"


@pytest.mark.parametrize("world", WORLDS)
def test_a_bundle_without_loss_passes(world: str) -> None:
    rng = np.random.default_rng(8)
    checks = 150
    passed = sum(WORLDS[world](rng, 0.0) for _ in range(checks))
    assert passed >= 0.8 * checks, f"{passed} of {checks}"


def test_the_naive_rule_lets_half_of_them_through() -> None:
    rng = np.random.default_rng(7)
    passed = 0
    for _ in range(CHECKS):
        right = rng.random(ROWS) < RIGHT
        passed += right.mean() - _loses(rng, right, MARGIN.drop).mean() < MARGIN.drop
    assert passed > 0.3 * CHECKS


def test_what_fails_says_why() -> None:
    right = np.arange(ROWS) % 5 > 0
    evidence = Evidence(metric_named("accuracy"), _labels(right), np.ones(ROWS, np.int64), None, (MAIN, HALF))
    (main, half) = recheck(evidence, _labels(right & (np.arange(ROWS) % 10 > 1)), _certificate())
    assert (main.outcome, main.verdict, main.needed) == ("fails", "worse", None)
    assert (half.name, half.kind, half.outcome) == ("sex=F", "slice", "fails")
    few = Claim("main", "metric", MARGIN, np.arange(60))
    evidence = Evidence(metric_named("accuracy"), _labels(right), np.ones(ROWS, np.int64), None, (few,))
    (main,) = recheck(evidence, _labels(right), _certificate())
    assert (main.outcome, main.verdict) == ("fails", "too few")
    assert main.needed is not None
    assert main.needed > 60


def test_what_needs_the_original_is_not_tested_without_it() -> None:
    right = np.ones(ROWS, dtype=bool)
    checked = recheck_alone(
        metric_named("accuracy"), (MAIN, HALF), _labels(right), np.ones(ROWS, np.int64), None, _certificate()
    )
    assert [claim.outcome for claim in checked] == ["holds", "not tested"]
    assert checked[0].floor == pytest.approx(0.77)
    assert "--baseline" in checked[1].details[0]


@pytest.mark.parametrize(
    ("metric", "margin", "floor"),
    [
        ("accuracy", Margin(drop=0.01), 0.79),
        ("accuracy", Margin(drop=0.1, relative=True), 0.72),
        ("log_loss", Margin(drop=0.1), 0.9),
        ("log_loss", Margin(drop=0.1, relative=True), 0.88),
    ],
)
def test_the_floor_is_the_originals_figure_less_the_margin(metric: str, margin: Margin, floor: float) -> None:
    assert implied_floor(metric_named(metric), _certificate(margin, metric)) == pytest.approx(floor)


def test_a_figure_past_its_floor_in_the_wrong_direction_is_evidence_of_harm() -> None:
    answers, certified = Predictions(values=np.linspace(3, 4, ROWS)), _certificate(Margin(drop=0.1), "mae")
    (main,) = recheck_alone(metric_named("mae"), (MAIN,), answers, np.zeros(ROWS), None, certified)
    assert (main.outcome, main.verdict) == ("fails", "worse")


def test_small_slices_are_treated_as_they_were() -> None:
    def verdict(name: str, verdict: Any, blocks: bool) -> SliceVerdict:
        return SliceVerdict(
            name=name, kind="slice", margin=MARGIN, n=9, needed=None, difference=None, verdict=verdict, blocks=blocks
        )

    within, spared = verdict("a=1", "within", False), verdict("a=2", "too few", False)
    pooled = verdict("a=(pooled small)", "within", False)
    assert small_slices_of(_certificate(slices=(within,))) == "block"
    assert small_slices_of(_certificate(slices=(within, spared))) == "report"
    assert small_slices_of(_certificate(slices=(within, spared, pooled))) == "pool"
