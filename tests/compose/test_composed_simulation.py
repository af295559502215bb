"""The guarantee, tried on composed plans: thresholds chosen on the search rows, and degraded modes at their floor."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = ("false_accepts", "composed_world", "false_accepts_composed", "false_accepts_degraded")
ALPHA = 0.05
POWER = 0.8
NAIVE_AT_THE_FLOOR = 0.25
"""A figure exactly at its floor reaches it in about half of all studies."""


@pytest.fixture(scope="module", autouse=True)
def simulations() -> Iterator[dict[str, ModuleType]]:
    loaded: dict[str, ModuleType] = {}
    for name in FILES:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded[name] = module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # they import each other by name
        spec.loader.exec_module(module)
    with loaded["composed_world"].remembered_bounds():
        yield loaded
    for name in FILES:
        del sys.modules[name]


def most_false_accepts(studies: int) -> int:
    """Alpha, and two and a third standard deviations of a binomial: 66 of 1,000."""
    return math.floor(studies * ALPHA + 2.33 * math.sqrt(studies * ALPHA * (1 - ALPHA)))


def check_cascades(simulations: dict[str, ModuleType], place: int, studies: int, few: bool) -> None:
    simulation = simulations["false_accepts_composed"]
    scenario = replace(simulation.SCENARIOS[place], few=few)
    counts = simulation.false_accepts(studies, scenario)
    allowed = most_false_accepts(studies)
    said = f"of {studies} studies ({scenario.name}): {counts}"
    assert counts["proved"] <= allowed, said
    assert counts["unscreened"] <= allowed, said
    assert counts["naive"] > 4 * allowed, said
    # A procedure that accepts nothing would pass the first lines: the margin must be met now and then.
    assert counts["proved"] >= 1, said
    assert scenario.boundary or counts["composed"] >= 0.25 * studies, said


def check_mode(simulations: dict[str, ModuleType], mode: str, studies: int) -> None:
    simulation = simulations["false_accepts_degraded"]
    offered, naive = simulation.false_accepts(studies, simulation.MODES[mode])
    said = f"of {studies} studies ({mode}): proof {offered}, naive {naive}"
    assert offered <= most_false_accepts(studies), said
    assert naive > NAIVE_AT_THE_FLOOR * studies, said


def test_the_count_that_is_allowed() -> None:
    assert most_false_accepts(1000) == 66


@pytest.mark.parametrize("place", [1, 4], ids=["a slice", "groups and a slice"])
def test_chosen_thresholds_stay_within_alpha_where_the_naive_rule_breaks_it(simulations, place) -> None:
    check_cascades(simulations, place, 300, few=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", range(5), ids=["independent rows", "a slice", "no good one", "groups", "groups and a slice"]
)
def test_chosen_thresholds_stay_within_alpha_in_1000_studies(simulations, place) -> None:
    check_cascades(simulations, place, 1000, few=False)


def test_a_good_cascade_is_found_where_there_is_room(simulations) -> None:
    simulation = simulations["false_accepts_composed"]
    assert simulation.power(40, simulation.SCENARIOS[0]) >= POWER * 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "floor"),
    # Two claims on grouped rows at twice their margins: even a model without loss fails one of them now and then.
    [(0, POWER), (1, POWER), (3, POWER), (4, 0.7)],
    ids=["independent rows", "a slice", "groups", "groups and a slice"],
)
def test_a_good_cascade_is_found_in_300_studies(simulations, place, floor) -> None:
    simulation = simulations["false_accepts_composed"]
    assert simulation.power(300, simulation.SCENARIOS[place]) >= floor * 300


FAST_MODES = [
    ("fallback, accuracy", 1000),
    ("fallback, groups of 10", 1000),
    ("distrust, groups of 10", 300),
]
SLOW_MODES = ["fallback, log loss", "distrust, a model", "distrust, groups of 10", "distrust, a cascade"]

# At the full alpha, distrust of a plan that the same rows chose would be offered too often: see docs/decisions/0007.
OF_THE_CHOSEN = ["fallback of what was chosen", "the same, alpha shared"]


@pytest.mark.parametrize(("mode", "studies"), FAST_MODES)
def test_modes_at_their_floor_stay_within_alpha_where_the_naive_rule_offers_half(simulations, mode, studies) -> None:
    check_mode(simulations, mode, studies)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*SLOW_MODES, *OF_THE_CHOSEN])
def test_modes_at_their_floor_stay_within_alpha_in_1000_studies(simulations, mode) -> None:
    check_mode(simulations, mode, 1000)


@pytest.mark.parametrize("mode", ["fallback, accuracy", "fallback, groups of 10"])
def test_modes_with_room_are_offered(simulations, mode) -> None:
    simulation = simulations["false_accepts_degraded"]
    assert simulation.power(100, simulation.MODES[mode]) >= POWER * 100


@pytest.mark.slow
@pytest.mark.parametrize("mode", [*SLOW_MODES, *OF_THE_CHOSEN])
def test_modes_with_room_are_offered_in_300_studies(simulations, mode) -> None:
    simulation = simulations["false_accepts_degraded"]
    assert simulation.power(300, simulation.MODES[mode]) >= POWER * 300
