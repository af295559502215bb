"""Parts of a Plotly figure, as plain data.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision can tell apart; no picture relies
on colour alone, markers and dashes differ too. Colours of text and grid are set where the page is shown, light or dark.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.report.details import ScreenedPoint
from equipoise.report.tradeoff import StairStep
from equipoise.report.wording import duration, metric_name, money, quality

BLUE, ORANGE, GREEN, VERMILION, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#8a8f98"
MOST_OUTLIERS = 60

Json = dict[str, Any]


def layout(xaxis: Json, yaxis: Json) -> Json:
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
    return {"title": {"text": title, "standoff": 10}, "automargin": True, **more}


def log_axis(title: str, **more: Any) -> Json:
    return axis(title, type="log", tickformat="~r", exponentformat="none", **more)


def mark_up(layout: Json, x: float, text: str, dash: str = "dash", *, log: bool = False) -> None:
    line = {"color": GREY, "width": 2, "dash": dash}
    layout["shapes"].append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line})
    at = math.log10(x) if log and x > 0 else x
    below = 0.98 - 0.1 * sum(1 for note in layout["annotations"] if note.get("yref") == "paper")
    layout["annotations"].append(
        {"x": at, "y": below, "yref": "paper", "yanchor": "top", "xanchor": "left", "text": text, "showarrow": False}
    )


def mark_across(layout: Json, y: float, text: str) -> None:
    line = {"color": GREY, "width": 2, "dash": "dash"}
    layout["shapes"].append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line})
    layout["annotations"].append(
        {"xref": "paper", "x": 0.01, "y": y, "yanchor": "top", "xanchor": "left", "text": text, "showarrow": False}
    )


def dots(name: str, points: Sequence[ScreenedPoint], metric: str, color: str, symbol: str, size: int) -> Json:
    hover = [
        f"<b>{plain(p.name)}</b><br>{money(p.usd_per_million)} per million<br>"
        f"{metric_name(metric)} {quality(metric, p.quality.value if p.quality else None)}<br>"
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


def stairs(name: str, steps: Sequence[StairStep], color: str, scale: float, unit: Any) -> Json:
    limits = [step.limit * scale for step in steps]
    costs = [step.point.usd_per_million for step in steps]
    hover = [f"{unit(step.limit)}: {money(step.point.usd_per_million)}<br>{plain(step.point.name)}" for step in steps]
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


def box(label: str, color: str, five: tuple[float, float, float, float, float], slowest: Any) -> list[Json]:
    low, q1, median, q3, high = five
    box = {
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
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [float(value) for value in kept],
        "y": [label] * len(kept),
        "marker": {"color": color, "size": 6, "opacity": 0.7},
        "hoverinfo": "x",
    }
    return [box, dots] if len(kept) else [box]


def plain(text: str) -> str:
    """Text that Plotly shows as it stands: it takes some HTML in labels, links among them."""
    return html.escape(text, quote=False)
