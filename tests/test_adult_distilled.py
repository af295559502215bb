"""The census forest distilled, slices of men and women held to a point: within it, or rejected by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.core.result import Result

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STUDENTS = ("distil_trees", "distil_linear", "distil_mlp")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_students_of_the_forest_keep_a_point_for_men_and_women_or_are_named(shared_data: Path, tmp_path: Path) -> None:
    if not (shared_data / "adult" / "adult.names").is_file():
        pytest.skip(f"no census data in {shared_data / 'adult'}")
    made = [str(EXAMPLES / "adult.py"), "--data", str(shared_data / "adult"), "--out", str(tmp_path)]
    subprocess.run([sys.executable, *made], check=True, capture_output=True)
    told = subprocess.run(
        [sys.executable, str(EXAMPLES / "adult_distilled.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    result = Result.model_validate_json((tmp_path / "forest-distilled" / "result.json").read_bytes())
    for student in STUDENTS:
        assert f"on the frontier: {student}" in told or f"rejected: {student}" in told
    rejected = {failure.name: failure.reason for failure in result.rejected if failure.name.startswith(STUDENTS)}
    assert all(rejected.values())
    assert result.certificate is not None
    assert {verdict.name for verdict in result.certificate.slices} == {"sex=Female", "sex=Male"}
    if result.decision == "replace":
        assert result.certificate.passed
        assert {verdict.verdict for verdict in result.certificate.slices} == {"within"}
    if result.chosen is not None and result.chosen.recipe.train_s:
        assert result.payback is not None
        assert result.payback.in_time
