from __future__ import annotations

from dataclasses import replace

import pytest

from equipoise.core.result import Result
from equipoise.report.details import ReportDetails, TimeByKind
from equipoise.report.page import report_page
from equipoise.report.time_by_kind import time_by_kind

BEFORE = TimeByKind(
    "your model, best settings",
    "onnxruntime",
    (("Conv", 8e-3), ("Gemm", 1e-3), *((f"Small{n}", 1e-5) for n in range(9))),
)
AFTER = TimeByKind("chosen", "openvino", (("Convolution <b>", 2e-3), ("FullyConnected", 5e-4)))


def test_bars_add_up_to_what_a_row_takes() -> None:
    plot = time_by_kind((BEFORE, AFTER)).plot
    assert plot is not None
    bars = {trace["name"]: trace["x"] for trace in plot["data"]}
    assert bars["Conv"] == [8.0, 0.0]
    assert bars["Convolution &lt;b&gt;"] == [0.0, 2.0]
    assert "others" in bars
    for place, time in enumerate((BEFORE, AFTER)):
        total_ms = sum(values[place] for values in bars.values())
        assert total_ms == pytest.approx(1000 * sum(seconds for _, seconds in time.seconds_per_row))


def test_the_report_has_it_where_it_was_measured(replaced: Result, details: ReportDetails) -> None:
    assert 'id="time-by-kind"' not in report_page(replaced, details)
    page = report_page(replaced, replace(details, times=(BEFORE, AFTER)))
    assert 'id="time-by-kind"' in page
    assert "Convolution <b>" not in page
