"""A small model that is cheap and errs more, and a large one for the same job: what an error costs decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.result import Result
from equipoise.errors import BriefError
from equipoise.flow.optimize import optimize_from

USD_PER_ERROR, USD_PER_SECOND, THRESHOLD_MS = 1.0, 0.001, 0.0


@pytest.fixture(scope="module")
def dear_errors(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The small model is served today; each error costs a dollar, each second of latency a tenth of a cent."""
    options: dict[str, Any] = {
        "data": str(inputs / "test.npz"),
        "alternative": [str(inputs / "large.onnx")],
        "max_drop": 0.05,
        "rate": 40,
        "price": 0.1,
        "budget": "20s",
        "usd_per_error": USD_PER_ERROR,
        "usd_per_second_of_latency": USD_PER_SECOND,
        "data_use": "none",
    }
    return optimize_from(inputs / "small.onnx", options, out=tmp_path_factory.mktemp("value") / "out")


def test_a_dearer_model_is_served_where_its_fewer_errors_are_worth_it(dear_errors: tuple[Result, Path]) -> None:
    result = dear_errors[0]
    assert result.decision == "replace"
    assert result.chosen is not None
    assert result.chosen.recipe.source == "large.onnx"
    assert "worth" in result.sentence
    gain = None if result.chosen.value is None else result.chosen.value.gain_usd
    assert gain is not None
    assert gain.low is not None
    # It errs on about 5 of 100 rows fewer.
    assert 0.02 * USD_PER_ERROR * 1e6 < gain.low < gain.value < 0.08 * USD_PER_ERROR * 1e6


def test_values_are_those_of_the_raw_samples_and_add_up(dear_errors: tuple[Result, Path]) -> None:
    result, folder = dear_errors
    assert result.value is not None
    names = sorted(path.stem for path in (folder / "study").rglob("load-*.npz"))
    excess = []
    for name in names:
        with np.load(next((folder / "study").rglob(f"{name}.npz"))) as samples:
            excess.append(float(np.maximum(samples["latency_s"] - THRESHOLD_MS / 1e3, 0).mean()))
    for plan in result.value.plans:
        value = plan.value
        parts = (value.serving_usd, value.errors_usd, value.latency_usd)
        assert value.net_usd.value == pytest.approx(-sum(part.value for part in parts if part is not None))
        assert value.latency_usd is not None
        assert any(value.latency_usd.value == pytest.approx(mean * USD_PER_SECOND * 1e6) for mean in excess)
        assert value.failures_usd is None
    assert [each.figure for each in result.value.sensitivities] == ["usd_per_error", "usd_per_second_of_latency"]


def test_the_report_draws_value_against_cost_and_each_price(dear_errors: tuple[Result, Path]) -> None:
    page = (dear_errors[1] / "report.html").read_text()
    for key in ("value", "value-usd-per-error", "value-usd-per-second-of-latency"):
        assert f'id="{key}"' in page


def test_a_class_that_the_model_does_not_know_is_refused_and_nothing_is_left(inputs: Path, tmp_path: Path) -> None:
    options = {"data": str(inputs / "test.npz"), "usd_per_error": "9=1.0,0=2", "budget": "10s"}
    with pytest.raises(BriefError, match="needed classes among 0, 1, 2, 3"):
        optimize_from(inputs / "small.onnx", options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
