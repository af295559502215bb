"""What may go into a model that is served: nothing of the data, rows alone, or their true answers too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from equipoise.core.result import Result
from equipoise.flow.optimize import optimize_from

BUDGET = "14s"


@pytest.fixture(scope="module")
def frugal(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A study whose forms may hold nothing of the data."""
    options: dict[str, Any] = {
        "data": str(inputs / "test.npz"),
        "alternative": [str(inputs / "rough.onnx")],
        "max_drop": 0.05,
        "budget": BUDGET,
        "data_use": "none",
    }
    return optimize_from(inputs / "large.onnx", options, out=tmp_path_factory.mktemp("frugal") / "out")


def test_forms_that_read_rows_are_rejected_with_that_reason(frugal: tuple[Result, Path]) -> None:
    forbidden = [failure for failure in frugal[0].rejected if "data_use = none" in failure.reason]
    assert {step.technique for failure in forbidden for step in failure.recipe.steps} >= {"int8_nncf", "int8_static"}
    assert {failure.reason for failure in forbidden} == {
        "it reads unlabelled rows of the data, and data_use = none forbids that"
    }
    assert {failure.stage for failure in forbidden} == {"build"}


def test_nothing_that_was_tried_read_any(frugal: tuple[Result, Path]) -> None:
    result, folder = frugal
    assert result.chosen is not None
    assert {candidate.data_use for candidate in (result.baseline, result.chosen, *result.frontier)} == {"none"}
    assert not [candidate for candidate in result.frontier if candidate.stages]
    assert any("cascades, ensembles" in warning for warning in result.warnings)
    assert "- Data that went into it: none" in (folder / "bundle" / "README.md").read_text()


def test_what_reads_rows_says_so(study: Any) -> None:
    """By default all of them may, and each form says how much it read."""
    result = study("plain").result
    measured = (result.baseline, *result.frontier)
    for candidate in measured:
        techniques = {step.technique for step in candidate.recipe.steps}
        if techniques & {"int8_nncf", "int8_static", "onnx_form", "linear_form"}:
            assert candidate.data_use == "unlabelled"
        elif techniques & {"cascade", "ensemble"}:
            assert candidate.data_use == "labelled"
        else:
            assert candidate.data_use == "none"
    assert not [failure for failure in result.rejected if "data_use" in failure.reason]
