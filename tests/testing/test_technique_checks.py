"""Every technique that is installed, through every check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from equipoise.compress.base import Technique
from equipoise.compress.facts import model_facts
from equipoise.core.recipe import Recipe, Step
from equipoise.host.environment import environment
from equipoise.registry import techniques
from equipoise.testing import example
from equipoise.testing.example import Example
from equipoise.testing.laboratory import Laboratory
from equipoise.testing.technique import TECHNIQUE_CHECKS

FAST = (
    "distil_linear", "distil_mlp", "distil_trees", "fp16", "free_batch", "graph_cleanup", "int8_dynamic",
    "int8_nncf", "int8_static", "linear_form", "onnx_form", "smaller_forest",
)  # fmt: skip
"""Those that take no torch, which alone takes seconds to load in each process."""
NAMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in sorted(techniques())]

Trial = tuple[Technique, Example, Step]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """Technique to the first example that it proposes something for, and its first proposal."""
    folder: Path = tmp_path_factory.mktemp("examples")
    makers = (example.forest, example.network, example.dense_network, example.network_of_one_row)
    examples = [make(folder) for make in makers]
    facts = [model_facts(each.artifact, environment()) for each in examples]
    found: dict[str, Trial] = {}
    for name, technique in techniques().items():
        for each, fact in zip(examples, facts, strict=True):
            steps = technique.propose(fact, Recipe()) if name not in found else []
            if steps:
                found[name] = (technique, each, steps[0])
    return found


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with Laboratory(tmp_path_factory.mktemp("laboratory")) as opened:
        yield opened


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_every_check(name: str, trials: dict[str, Trial], laboratory: Laboratory) -> None:
    if name not in trials:
        pytest.skip(f"no example of the suite is for {name}")
    for check in TECHNIQUE_CHECKS.values():
        check(*trials[name], laboratory)


def test_no_technique_of_ours_is_left_out(trials: dict[str, Trial]) -> None:
    assert set(FAST) <= trials.keys()
