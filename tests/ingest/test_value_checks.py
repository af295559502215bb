from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from equipoise.errors import BriefError
from equipoise.ingest.brief import brief_from_options, brief_from_toml


def brief(files: Path, **options: Any) -> Any:
    return brief_from_options(model=str(files / "model.onnx"), data=str(files / "data.npz"), **options)


def test_prices_are_read_from_options_and_from_toml(files: Path) -> None:
    (files / "brief.toml").write_text(
        '[model]\npath = "model.onnx"\n[data]\npath = "data.npz"\n[workload]\nrate = 10\n[value]\n'
        "usd_per_error = { fraud = 5, ok = 0.1 }\nusd_per_second_of_latency = 0.01\nlatency_threshold_ms = 50\n"
        "usd_per_failed_request = 0.5\n"
    )
    spelled = brief(
        files, rate="10", usd_per_error="fraud=5,ok=0.1", usd_per_second_of_latency="0.01", latency_threshold_ms="50",
        usd_per_failed_request="0.5",
    )  # fmt: skip
    value = brief_from_toml(files / "brief.toml").value
    assert value == spelled.value
    assert value.given
    assert (value.usd_per_error, value.latency_threshold_s) == ({"fraud": 5.0, "ok": 0.1}, 0.05)


def test_without_prices_nothing_is_given(files: Path) -> None:
    assert not brief(files).value.given


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"usd_per_error": "-1"}, "0 or more"),
        ({"usd_per_error": "nan"}, "0 or more"),
        ({"usd_per_error": "fraud=-1"}, "0 or more"),
        ({"usd_per_error": "fraud=inf"}, "0 or more"),
        ({"usd_per_error": "fraud=1,fraud=2"}, "more than once"),
        ({"usd_per_error": "=1"}, "true classes and their prices"),
        ({"usd_per_error": {}}, "true classes and their prices"),
        ({"usd_per_error": "1", "metric": "mae"}, "never just wrong"),
        ({"usd_per_error": "1", "metric": "none"}, "nothing is judged"),
        ({"usd_per_error": "1", "metric": "agreement"}, "no true answers"),
        ({"usd_per_error": "1", "metric": "own:metric"}, "does not say which answers are wrong"),
        ({"usd_per_second_of_latency": "1"}, "no traffic"),
        ({"usd_per_failed_request": "1"}, "no traffic"),
        ({"usd_per_second_of_latency": "-1", "rate": "5"}, "0 or more"),
        ({"latency_threshold_ms": "50", "rate": "5"}, "no price of a second"),
    ],
)
def test_what_cannot_be_counted_is_refused(files: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BriefError, match=words):
        brief(files, **options)
