from __future__ import annotations

import re
from dataclasses import replace

import pytest

from equipoise.core.anatomy import Anatomy
from equipoise.core.result import Result
from equipoise.measure.anatomy import operator_costs
from equipoise.report.before_after import time_by_kind
from equipoise.report.details import BeforeAfter, ReportDetails
from equipoise.report.study import report_page


@pytest.fixture
def both(anatomy: Anatomy) -> tuple[Anatomy, Anatomy]:
    """What was, and what is: the same layers, in batches of two instead of one, but for the kinds that are gone."""
    kept = tuple(layer for layer in anatomy.layers if layer.operator != "MatMul")
    after = anatomy.model_copy(
        update={
            "model": "after: small <i>",
            "settings": anatomy.settings.model_copy(update={"batch": 2}),
            "layers": kept,
            "operators": operator_costs(kept),
        }
    )
    return anatomy.model_copy(update={"model": "before: large"}), after


def test_bars_add_up_to_what_a_row_takes(both: tuple[Anatomy, Anatomy]) -> None:
    plot = time_by_kind(both).plot
    assert plot is not None
    bars = {trace["name"]: trace["x"] for trace in plot["data"]}
    assert bars["MatMul"][0] > bars["MatMul"][1] == 0.0
    assert "others" in bars
    for place, anatomy in enumerate(both):
        total_ms = sum(values[place] for values in bars.values())
        spent_s = sum(cost.time_s for cost in anatomy.operators)
        assert total_ms == pytest.approx(1000 * spent_s / anatomy.settings.batch)


def test_the_report_shows_both_layer_by_layer(
    replaced: Result, details: ReportDetails, both: tuple[Anatomy, Anatomy]
) -> None:
    page = report_page(replaced, replace(details, layers=BeforeAfter(both, ("after: other (it has no layers)",))))
    drawn = re.findall(r'id="data-((?:time-by-kind|treemap|roofline)[^"]*)"', page)
    assert drawn == ["time-by-kind", "treemap-0", "roofline-0", "treemap-1", "roofline-1"]
    assert "<h3>after: small &lt;i&gt;</h3>" in page
    assert "Not shown: after: other (it has no layers)." in page
    assert page.count("Mind the &lt;gap&gt;.") == 2


def test_nothing_of_it_where_nothing_was_looked_at(replaced: Result, details: ReportDetails) -> None:
    assert 'id="layers"' not in report_page(replaced, details)
    page = report_page(replaced, replace(details, layers=BeforeAfter((), ("the study was short",))))
    assert "Not shown: the study was short." in page
