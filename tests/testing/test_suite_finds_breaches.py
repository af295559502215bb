"""The suite itself: it lets through what keeps every promise, and finds each promise that is broken."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from equipoise.core.recipe import Step
from equipoise.testing import example
from equipoise.testing.example import Example
from equipoise.testing.laboratory import Laboratory
from equipoise.testing.technique import TECHNIQUE_CHECKS, check_technique, first_proposal, installed

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def careless() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        patch.syspath_prepend(str(HERE))
        yield importlib.import_module("careless_techniques")
        sys.modules.pop("careless_techniques")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return example.dense_network(tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="module")
def laboratory(careless: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    with Laboratory(tmp_path_factory.mktemp("laboratory")) as opened:
        yield opened


@pytest.mark.parametrize("name", ["Copy", "Trainer"])
def test_what_keeps_every_promise_passes(name: str, careless: Any, model: Example, tmp_path: Path) -> None:
    check_technique(getattr(careless, name)(), model, tmp_path)


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("Gambler", "repeats_itself_by_seed", "with the same seed, in another process: 'logits' differs"),
        ("Peeker", "reads_no_more_than_it_says", "data_use = unlabelled, and with other true answers"),
        ("Crasher", "refuses_what_it_cannot_use", "FileNotFoundError"),
        ("Dawdler", "keeps_its_time", "had 40 s and trained for"),
        ("Sprinter", "keeps_its_time", "says that it is not finished"),
    ],
)
def test_a_broken_promise_is_found(
    name: str, check: str, said: str, careless: Any, model: Example, laboratory: Laboratory
) -> None:
    technique = getattr(careless, name)()
    with pytest.raises(AssertionError, match=said):
        TECHNIQUE_CHECKS[check](technique, model, first_proposal(technique, model), laboratory)


def test_what_changes_its_source_is_found(careless: Any, tmp_path: Path, laboratory: Laboratory) -> None:
    own = example.dense_network(tmp_path)
    technique = careless.Scribbler()
    with pytest.raises(AssertionError, match="changed the model that it was given"):
        TECHNIQUE_CHECKS["leaves_its_source_as_it_was"](technique, own, Step(technique="scribbler"), laboratory)


def test_what_is_not_in_the_files_is_found(careless: Any, model: Example, tmp_path: Path) -> None:
    technique = careless.Forgetter()
    with Laboratory(tmp_path) as laboratory, pytest.raises(AssertionError, match="saved, opened in another process"):
        TECHNIQUE_CHECKS["answers_the_same_in_a_fresh_process"](
            technique, model, Step(technique="forgetter"), laboratory
        )


def test_a_technique_that_is_not_installed_is_named() -> None:
    with pytest.raises(AssertionError, match="no technique 'mine' is installed; there are "):
        installed("mine")
