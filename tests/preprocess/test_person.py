from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from equipoise.errors import BriefError
from equipoise.preprocess.answers import OutputMeaning, decode, encode_target
from equipoise.preprocess.person import person_scores

MODULE = """
import numpy

def closeness(outputs, targets):
    return -abs(outputs["y"] - targets)

def short(outputs, targets):
    return [1.0]

def words(outputs, targets):
    return ["good"] * len(targets)

def endless(outputs, targets):
    return numpy.full(len(targets), numpy.inf)

def broken(outputs, targets):
    return outputs["gone"]

constant = 3
"""
OUTPUTS = {"y": np.array([1.0, 2.0]), "z": np.zeros((2, 3, 4))}
TARGET = np.array([1.0, 4.0])


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the current folder."""
    (tmp_path / "own_metric.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import no_such_module_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_metric", raising=False)


def test_it_is_found_in_the_current_folder_and_leaves_no_trace() -> None:
    before = list(sys.path)
    assert person_scores("own_metric:closeness", OUTPUTS, TARGET).tolist() == [0, -2]
    assert sys.path == before


def test_decoding_with_it() -> None:
    meaning = OutputMeaning("y", "value", None, multilabel=False, function="own_metric:closeness")
    target = encode_target(TARGET, meaning)
    scores = decode(OUTPUTS, meaning, target, rows=2).scores
    assert scores is not None
    assert scores.tolist() == [0, -2]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_metric:f", "'no_such_metric' cannot be imported"),
        ("own_broken:f", "no_such_module_at_all"),
        ("own_metric:gone", "has no function 'gone'"),
        ("own_metric:constant", "has no function 'constant'"),
        ("own_metric:short", r"returned the shape \[1\]; needed \[2\]"),
        ("own_metric:words", "returned list; needed 2 numbers"),
        ("own_metric:endless", "2 figures that are not finite"),
        ("own_metric:broken", "it raised KeyError: 'gone'"),
    ],
)
def test_what_is_wrong_with_it_is_said(name: str, says: str) -> None:
    with pytest.raises(BriefError, match=says) as caught:
        person_scores(name, OUTPUTS, TARGET)
    assert caught.value.where == f"--metric {name}"
