"""Corrupted rows on the page: a small picture a corruption, both models in it, and what blocked."""

from __future__ import annotations

import pytest

from equipoise.core.certificate import Margin, SliceVerdictName
from equipoise.core.estimate import Estimate
from equipoise.core.result import Result
from equipoise.core.robustness import CorruptionFigures, Robustness
from equipoise.report.details import ReportDetails
from equipoise.report.robustness import robustness_picture
from equipoise.report.study import report_page


def around(value: float, spread: float = 0.02, n: int = 600) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=n, method="Wilson interval")


def figures(name: str, strength: int | None, before: float, after: float, **verdict: object) -> CorruptionFigures:
    return CorruptionFigures(
        set_name=name, name=name.partition(":")[0], strength=strength, n=600, baseline=around(before),
        candidate=around(after), difference=around(before - after, 0.01), **verdict,
    )  # fmt: skip


def judged(verdict: SliceVerdictName, *, blocks: bool) -> dict[str, object]:
    return {"margin": Margin(drop=0.02), "verdict": verdict, "blocks": blocks}


def robustness(*, chosen: bool) -> Robustness:
    falling = [(strength, 0.8 - 0.1 * strength, 0.8 - 0.15 * strength) for strength in range(1, 6)]
    return Robustness(
        candidate="int8 <b> @ openvino int8",
        chosen=chosen,
        split="certify" if chosen else "search",
        figures=(
            figures("main", 0, 0.83, 0.82),
            figures("gaussian_noise", None, 0.5, 0.35, **judged("worse", blocks=not chosen)),
            *(figures("gaussian_noise", *each) for each in falling),
            figures("jpeg:2", 2, 0.8, 0.79, **judged("within", blocks=False)),
            figures("jpeg:4", 4, 0.7, 0.7, **judged("too few", blocks=not chosen)),
            figures("contrast:5", 5, 0.3, 0.3, **judged("within", blocks=False)),
            figures("pixelate:1", 1, 0.8, 0.8, **judged("within", blocks=False)),
        ),
    )


def test_a_panel_for_each_corruption_with_both_models(details: ReportDetails) -> None:
    import plotly.graph_objects as go

    picture = robustness_picture(robustness(chosen=True), details)
    assert picture.plot is not None
    go.Figure(picture.plot)
    traces = picture.plot["data"]
    assert len(traces) == 2 * 4
    panels = [note["text"] for note in picture.plot["layout"]["annotations"]]
    assert panels == ["contrast", "gaussian noise", "jpeg", "pixelate"]
    axes = {trace["xaxis"] for trace in traces}
    assert axes == {"x", "x2", "x3", "x4"}
    assert {f"{axis[0]}axis{axis[1:]}" for axis in axes} <= set(picture.plot["layout"])
    before, after = (trace for trace in traces if trace["xaxis"] == "x2")
    assert (before["name"], after["name"]) == ("your model", "chosen")
    assert [round(strength) for strength in before["x"]] == [0, 1, 2, 3, 4, 5]
    assert after["y"] == pytest.approx([0.82, 0.65, 0.5, 0.35, 0.2, 0.05])
    assert after["error_y"]["arrayminus"] == pytest.approx([0.02] * 6)
    assert len(picture.rows) == len(robustness(chosen=True).figures)
    assert all(len(row) == len(picture.columns) for row in picture.rows)


def test_panels_do_not_overlap(details: ReportDetails) -> None:
    plot = robustness_picture(robustness(chosen=True), details).plot
    assert plot is not None
    layout = plot["layout"]
    places = [(layout[f"xaxis{n}"]["domain"], layout[f"yaxis{n}"]["domain"]) for n in ("", 2, 3, 4)]
    for place, (across, up) in enumerate(places):
        assert 0 <= across[0] < across[1] <= 1.000001
        assert 0 <= up[0] < up[1] <= 1.000001
        for others, other_up in places[:place]:
            apart = across[0] >= others[1] or others[0] >= across[1] or up[0] >= other_up[1] or other_up[0] >= up[1]
            assert apart


def test_the_page_says_what_blocked(replaced: Result, kept: Result, details: ReportDetails) -> None:
    assert 'id="robustness"' not in report_page(replaced, details)
    page = report_page(kept.model_copy(update={"robustness": (robustness(chosen=False),)}), details)
    assert 'id="robustness-refused"' in page
    assert 'id="robustness"' not in page
    assert "blocks it" in page
    assert "which was refused" in page
    assert "those of the search" in page
    assert "int8 <b>" not in page
    page = report_page(replaced.model_copy(update={"robustness": (robustness(chosen=True),)}), details)
    assert "blocks it" not in page
    assert "only shown" in page
    both = (robustness(chosen=True), robustness(chosen=False))
    page = report_page(replaced.model_copy(update={"robustness": both}), details)
    assert page.index('id="robustness"') < page.index('id="robustness-refused"')
