"""Parts of a Plotly figure, as plain data.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision can tell apart; no picture relies
on colour alone, markers and dashes differ too. Colours of text and grid are set where the page is shown, light or dark.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.report.details import ScreenedPoint
from equipoise.report.naming import composition, config_name, first_apart, of_hundred, short_names
from equipoise.report.tradeoff import StairStep
from equipoise.report.wording import duration, metric_name, money, quality

BLUE, ORANGE, GREEN, VERMILION, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#8a8f98"
MOST_OUTLIERS = 60
HOVER_CHARACTERS = 52

Json = dict[str, Any]


def canvas(xaxis: Json, yaxis: Json) -> Json:
    """The layout of a picture, with nothing marked on it yet."""
    return {
        "xaxis": xaxis,
        "yaxis": yaxis,
        "height": 420,
        "margin": {"l": 64, "r": 16, "t": 32, "b": 56},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "shapes": [],
        "annotations": [],
    }


def axis(title: str, **more: Any) -> Json:
    """An axis that makes room for its labels."""
    return {"title": {"text": title, "standoff": 10}, "automargin": True, **more}


def dollar_axis(title: str, **more: Any) -> Json:
    """An axis of US dollars from 0 on, small amounts written out."""
    return axis(title, rangemode="tozero", tickprefix="$", exponentformat="none", **more)


def log_axis(title: str, values: Iterable[float], text: Callable[[float], str]) -> Json:
    """A logarithmic axis, for what spans several powers of ten.

    Args:
        title: What it shows, with its unit.
        values: What will be drawn, > 0: ticks are at 1, 2 and 5 times powers of ten around them.
        text: A tick as people read it.
    """
    drawn = [value for value in values if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(drawn))), math.ceil(math.log10(max(drawn)))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return axis(title, type="log", tickvals=ticks, ticktext=[text(tick) for tick in ticks])


def mark_up(layout: Json, x: float, text: str, dash: str = "dash", *, log: bool = False) -> None:
    """A vertical line across the picture with a word beside it; `log` where the axis is logarithmic."""
    line = {"color": GREY, "width": 2, "dash": dash}
    layout["shapes"].append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line})
    at = math.log10(x) if log and x > 0 else x
    below = 0.98 - 0.1 * sum(1 for note in layout["annotations"] if note.get("yref") == "paper")
    layout["annotations"].append(
        {"x": at, "y": below, "yref": "paper", "yanchor": "top", "xanchor": "auto", "text": text, "showarrow": False}
    )


def mark_across(layout: Json, y: float, text: str) -> None:
    """A horizontal line across the picture with a word under it."""
    line = {"color": GREY, "width": 2, "dash": "dash"}
    layout["shapes"].append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line})
    layout["annotations"].append(
        {"xref": "paper", "x": 0.99, "y": y, "yanchor": "top", "xanchor": "right", "text": text, "showarrow": False}
    )


def dots(
    name: str,
    points: Sequence[ScreenedPoint],
    metric: str,
    color: str | list[str],
    symbol: str | list[str],
    size: int,
) -> Json:
    """Candidates as marks: cost across, quality up; a colour and a symbol for all, or one for each."""
    hover = [
        f"{hover_name(p)}<br>{money(p.usd_per_million)} per million<br>"
        f"{plain(metric_name(metric))} {quality(metric, p.quality.value if p.quality else None)}<br>"
        f"99 of 100 answers within {duration(p.p99_s)}<br>{plain(p.settings)}"
        for p in points
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [p.usd_per_million for p in points],
        "y": [p.quality.value if p.quality else None for p in points],
        "text": hover,
        "hoverinfo": "text",
        "marker": {"color": color, "symbol": symbol, "size": size, "line": {"color": color, "width": 2}},
    }


def frontier_line(points: Sequence[ScreenedPoint]) -> Json:
    """A thin line through the candidates that no other beats in both cost and quality."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "best trade-offs",
        "x": [point.usd_per_million for point in points],
        "y": [point.quality.value if point.quality else None for point in points],
        "hoverinfo": "skip",
        "line": {"color": SKY, "width": 2, "dash": "dot"},
    }


def stairs(name: str, steps: Sequence[StairStep], color: str, scale: float, unit: Callable[[float], str]) -> Json:
    """The cheapest cost for each limit; `scale` turns limits into the axis's unit, `unit` into text."""
    limits = [step.limit * scale for step in steps]
    costs = [step.point.usd_per_million for step in steps]
    hover = [f"{unit(step.limit)}: {money(step.point.usd_per_million)}<br>{hover_name(step.point)}" for step in steps]
    reach = limits[-1] * 1.6 if limits[-1] > 0 else scale * 0.02
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [*limits, reach],
        "y": [*costs, costs[-1]],
        "text": [*hover, hover[-1]],
        "hoverinfo": "text",
        "line": {"color": color, "width": 3, "shape": "hv"},
        "marker": {"color": color, "size": [9] * len(limits) + [0], "symbol": "circle"},
    }


def box_plot(label: str, color: str, milliseconds: NDArray[np.float64]) -> list[Json]:
    """Timings as a box (the middle half), whiskers (98 of 100), and dots (the slowest, thinned where they are many)."""
    low, q1, median, q3, high = (float(value) for value in np.quantile(milliseconds, [0.01, 0.25, 0.5, 0.75, 0.99]))
    slowest = np.sort(milliseconds[milliseconds > high])
    middle = {
        "type": "box",
        "orientation": "h",
        "name": label,
        "y": [label],
        "lowerfence": [low],
        "q1": [q1],
        "median": [median],
        "q3": [q3],
        "upperfence": [high],
        "line": {"color": color, "width": 2},
        "fillcolor": color + "44",
        "hoverinfo": "x",
    }
    kept = (
        slowest
        if len(slowest) <= MOST_OUTLIERS
        else slowest[np.linspace(0, len(slowest) - 1, MOST_OUTLIERS).astype(int)]
    )
    tail = {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [float(value) for value in kept],
        "y": [label] * len(kept),
        "marker": {"color": color, "size": 6, "opacity": 0.7},
        "hoverinfo": "x",
    }
    return [middle, tail] if len(kept) else [middle]


def plain(text: str) -> str:
    """Text that Plotly shows as it stands: it takes some HTML in labels, links among them."""
    return html.escape(text, quote=False)


def wrapped(text: str, characters: int, number: int | None = None) -> str:
    """Text as lines that fit beside or inside a picture.

    Args:
        text: As long as it is.
        characters: Most in a line.
        number: Put before it, so that labels that read alike stay apart.

    Example:
        >>> wrapped("resnet20.onnx + int8_nncf (openvino int8)", 26, 1)
        '1. resnet20.onnx +<br>int8_nncf (openvino int8)'
    """
    whole = text if number is None else f"{number}. {text}"
    return "<br>".join(plain(line) for line in textwrap.wrap(whole, characters, break_on_hyphens=False)) or plain(whole)


def hover_name(point: ScreenedPoint) -> str:
    """A candidate's name for who points at it: in full, or stage by stage with what each answers."""
    found = composition(point.name, point.stages)
    if found is None:
        return f"<b>{wrapped(point.name, HOVER_CHARACTERS)}</b>"
    lines = [f"<b>{found.kind}</b>"]
    names = short_names([stage.name for stage in found.stages])
    for place, (name, stage) in enumerate(zip(names, found.stages, strict=True), 1):
        accepts = f", where {stage.accepts}" if stage.accepts else ""
        share = "" if stage.share_answered is None else f": answers {of_hundred(stage.share_answered)}"
        lines.append(wrapped(f"{name}{accepts}{share}", HOVER_CHARACTERS, place))
    return "<br>".join(lines)


def axis_labels(names: Sequence[str], characters: int = 26) -> tuple[str, ...]:
    """Candidates as labels of an axis: short, wrapped, and told apart by their thresholds and settings at need."""
    ways: tuple[list[str], ...] = ([], [], [])
    for name, short in zip(names, short_names(names), strict=True):
        found = composition(name)
        accepts = "".join(f", {stage.accepts}" for stage in found.stages if stage.accepts) if found else ""
        setting = name.removeprefix(config_name(name))
        for way, text in zip(ways, (short, short + accepts, short + accepts + setting), strict=True):
            way.append(text)
    return tuple(wrapped(text, characters) for text in first_apart(ways, names))
