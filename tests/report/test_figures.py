from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from equipoise.core.certificate import Margin
from equipoise.core.result import Result
from equipoise.report import figures
from equipoise.report.details import ReportDetails, ScreenedPoint
from equipoise.report.figures import Picture, one_more
from equipoise.report.tradeoff import cheapest_within, staircase

DRAW = (figures.frontier, figures.traffic, figures.latency_limit, figures.allowed_drop, figures.latencies)


def point(name: str, usd: float, p99_s: float | None = None, drop: float | None = None) -> ScreenedPoint:
    return ScreenedPoint(name=name, settings="", usd_per_million=usd, p99_s=p99_s, drop_high=drop)


def assert_plotly_takes(picture: Picture) -> None:
    import plotly.graph_objects as go

    if picture.plot is not None:
        go.Figure(picture.plot)
        assert picture.rows
    assert picture.caption
    assert all(len(row) == len(picture.columns) for row in picture.rows)


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("name", ["replaced", "kept", "infeasible", "speed_only", "composed", "together"])
def test_plotly_takes_every_picture(
    draw: object, name: str, details: ReportDetails, request: pytest.FixtureRequest
) -> None:
    assert callable(draw)
    result = request.getfixturevalue(name)
    full = replace(details, metric="none", margin=None) if name == "speed_only" else details
    bare = ReportDetails(model="m", data="d", metric=full.metric)
    one = replace(bare, screened=full.screened[:1], latency_samples_s={result.baseline.name: np.array([0.01])})
    for told in (full, bare, one):
        assert_plotly_takes(draw(result, told))


def test_the_frontier_marks_the_chosen_the_baseline_and_the_margin(replaced: Result, details: ReportDetails) -> None:
    picture = figures.frontier(replaced, details)
    assert picture.plot is not None
    traces = {trace["name"]: trace for trace in picture.plot["data"]}
    assert replaced.chosen is not None
    assert traces["chosen"]["x"] == [replaced.chosen.usd_per_million_provisioned]
    assert traces["your model as it is"]["y"] == [0.8302]
    assert picture.plot["layout"]["shapes"][0]["y0"] == pytest.approx(0.8202)
    low, high = picture.plot["layout"]["yaxis"]["range"]
    assert low < 0.8202 < 0.8302 < high
    assert len(picture.rows) == len(details.screened)


def test_the_margin_lies_on_the_worse_side(replaced: Result, details: ReportDetails) -> None:
    told = replace(details, metric="mae", margin=Margin(drop=0.1, relative=True), higher_is_better=False)
    picture = figures.frontier(replaced, told)
    assert picture.plot is not None
    assert picture.plot["layout"]["shapes"][0]["y0"] == pytest.approx(0.8302 * 1.1)


def test_bills_rise_by_whole_machines(replaced: Result, details: ReportDetails) -> None:
    picture = figures.traffic(replaced, details)
    assert picture.plot is not None
    line = next(trace for trace in picture.plot["data"] if trace["name"] == "your model as it is")
    machine = 0.0892 * 730.5
    for rate, bill in zip(line["x"][1:-1], line["y"][1:-1], strict=True):
        assert bill == pytest.approx(machine * (math.floor(rate / 118 + 1e-9) + 1))
    notes = [note["text"] for note in picture.plot["layout"]["annotations"]]
    assert notes == ["your traffic", "break-even"]
    row = next(row for row in picture.rows if row[0] == "260")
    assert row[1].endswith("(3)")
    assert row[2].endswith("(2)")
    assert row[3].endswith("(1)")


def test_a_huge_traffic_stays_a_small_picture(replaced: Result, details: ReportDetails) -> None:
    picture = figures.traffic(replaced, replace(details, rate_rps=5e6))
    assert picture.plot is not None
    assert max(len(trace["x"]) for trace in picture.plot["data"]) <= figures.MOST_STEPS + 1


def test_stairs_only_go_down() -> None:
    points = [
        point("a", 5, 0.1),
        point("b", 6, 0.2),
        point("c", 2, 0.2),
        point("d", 1, 0.5),
        point("e", 1),
        point("f", 9, 0.1),
    ]
    steps = staircase(points, lambda p: p.p99_s)
    assert [(step.limit, step.point.name) for step in steps] == [(0.1, "a"), (0.2, "c"), (0.5, "d")]
    assert cheapest_within(steps, 0.05) is None
    found = [cheapest_within(steps, limit) for limit in (0.1, 0.3, 9.0)]
    assert [point.name if point else None for point in found] == ["a", "c", "d"]


def test_one_more_point() -> None:
    steps = staircase(
        [point("a", 5, drop=0.0), point("b", 3, drop=0.008), point("c", 1, drop=0.019)], lambda p: p.drop_high
    )
    assert one_more(steps, 0.01, "accuracy") == "One more point would save $2.00 per million answers (c)."
    assert one_more(steps, 0.02, "accuracy") == "One more point would save nothing."
    assert one_more(steps, 0.01, "mae") == "Allowing 0.019 would save $2.00 per million answers (c)."


def test_boxes_show_quantiles_and_few_dots(replaced: Result, details: ReportDetails) -> None:
    samples = np.arange(1, 20_001) / 1000
    picture = figures.latencies(replaced, replace(details, latency_samples_s={replaced.baseline.name: samples}))
    assert picture.plot is not None
    box, dots = picture.plot["data"]
    assert box["median"] == [pytest.approx(10_000.5)]
    assert box["upperfence"] == [pytest.approx(np.quantile(samples, 0.99) * 1000)]
    assert len(dots["x"]) == 60
    assert dots["x"][-1] == pytest.approx(20_000)
    assert picture.rows == (("your model as it is", "10 s", "15 s", "19.8 s", "20 s", "20,000"),)
