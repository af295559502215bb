"""How the original and a cheaper plan stand corrupted rows: a small picture for each corruption, and every figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from equipoise.core.estimate import Estimate
from equipoise.core.robustness import CorruptionFigures, Robustness
from equipoise.report.details import ReportDetails
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element, join, table
from equipoise.report.naming import said
from equipoise.report.strokes import GREEN, ORANGE, VERMILION, Json, axis, canvas, plain
from equipoise.report.tables import VERDICTS
from equipoise.report.wording import NOTHING, SHARES, allowed, interval, loss, metric_name, quality

ACROSS = 3
ROW_HEIGHT, FRAME_HEIGHT = 210, 90
GAP = 0.08
CLEAN = "as they are"
BEFORE, AFTER, REFUSED = (ORANGE, "square", "dash"), (GREEN, "circle", "solid"), (VERMILION, "triangle-up", "solid")
APART = 0.08
"""Strengths by which the two models' marks stand apart, so that one does not hide the other."""


def robustness_picture(found: Robustness, details: ReportDetails) -> Picture:
    """Quality against strength, a small picture for each corruption, both models in it with their intervals."""
    title = "What corrupted rows do to it" if found.chosen else "What corrupted rows do to a plan that was refused"
    key = "robustness" if found.chosen else "robustness-refused"
    clean, panels = _panels(found.figures)
    outcome = "chosen" if found.chosen else "refused"
    rows = -(-len(panels) // ACROSS)
    layout = canvas({}, {}) | {"height": FRAME_HEIGHT + ROW_HEIGHT * rows}
    layout["margin"] |= {"t": 64}
    layout["legend"] |= {"yref": "container", "y": 1, "yanchor": "top"}
    traces: list[Json] = []
    for place, (name, figures) in enumerate(panels.items()):
        _place(layout, place, rows, name, details)
        points = (clean, *figures)
        before = [(each.strength or 0, each.baseline) for each in points]
        after = [(each.strength or 0, each.candidate) for each in points]
        traces.append(_line("your model", BEFORE, before, details.metric, place))
        traces.append(_line(outcome, AFTER if found.chosen else REFUSED, after, details.metric, place))
    caption = (
        "Rows that were put to standard corruptions, from strength 0 (as they are) to 5, answered by your model and by "
        f"{said(found.candidate)}, which was {outcome}. Lines that fall together lose what any form of your model "
        "would; where one falls away from the other, what made it cheaper made it fragile. "
        f"Bars are intervals; the rows are those of the {'proof' if found.split == 'certify' else 'search'}."
    )
    columns = ("Rows", "Strength", "How many", "Your model", outcome.capitalize(), "Loss")
    return Picture(key, title, caption, {"data": traces, "layout": layout}, columns, _rows(found, details.metric))


def robustness(found: Robustness, details: ReportDetails) -> Markup:
    """The verdict on each corruption."""
    rows = [
        (
            each.set_name,
            NOTHING if each.margin is None else allowed(details.metric, each.margin),
            _with_ends(each.baseline, details.metric),
            _with_ends(each.candidate, details.metric),
            _loss(each.difference, details.metric),
            f"{each.n:,}",
            element("span", VERDICTS[each.verdict], class_=f"verdict {each.verdict.replace(' ', '-')}"),
            "blocks it" if each.blocks else "" if each.verdict == "within" else "only shown",
        )
        for each in found.figures
        if each.verdict is not None
    ]
    columns = (
        "Corruption", "Loss allowed", "Your model", "Chosen" if found.chosen else "Refused", "Loss", "How many rows",
        "Verdict", "",
    )  # fmt: skip
    return join(
        (
            table(f"Corrupted rows: {metric_name(details.metric)} of both models", columns, rows),
            element("p", "Losses are from your model to the other on the same rows, with one-sided bounds each."),
        )
    )


def _panels(figures: Sequence[CorruptionFigures]) -> tuple[CorruptionFigures, dict[str, list[CorruptionFigures]]]:
    """The figures of rows as they are, and of each corruption by strength."""
    clean, *rest = figures
    by_strength = sorted((each for each in rest if each.strength), key=lambda each: (each.name, each.strength or 0))
    return clean, {name: list(group) for name, group in groupby(by_strength, key=lambda each: each.name)}


def _place(layout: Json, place: int, rows: int, name: str, details: ReportDetails) -> None:
    """Give a panel its axes."""
    row, column = divmod(place, ACROSS)
    number = "" if place == 0 else str(place + 1)
    width, height = (1 - GAP * (ACROSS - 1)) / ACROSS, (1 - 2 * GAP * (rows - 1)) / rows
    left, top = column * (width + GAP), 1 - row * (height + 2 * GAP)
    format_ = {"tickformat": ".0%"} if details.metric in SHARES else {}
    layout[f"xaxis{number}"] = axis("", domain=[left, left + width], anchor=f"y{number}", dtick=1, range=[-0.3, 5.3])
    layout[f"yaxis{number}"] = axis("", domain=[max(0.0, top - height), top], anchor=f"x{number}", **format_)
    if place:
        layout[f"yaxis{number}"]["matches"] = "y"
    layout["annotations"].append(
        {
            "text": plain(name.replace("_", " ")), "showarrow": False, "xref": "paper", "yref": "paper",
            "x": left + width / 2, "y": top, "xanchor": "center", "yanchor": "bottom",
        }
    )  # fmt: skip


def _line(
    label: str, look: tuple[str, str, str], points: Sequence[tuple[int, Estimate | None]], metric: str, place: int
) -> Json:
    color, symbol, dash = look
    aside = -APART if look == BEFORE else APART
    known = [(strength, each) for strength, each in points if each is not None]
    number = "" if place == 0 else str(place + 1)
    up = [0.0 if each.high is None else max(0.0, each.high - each.value) for _, each in known]
    down = [0.0 if each.low is None else max(0.0, each.value - each.low) for _, each in known]
    text = [f"{label}, strength {strength}: {quality(metric, each.value)}" for strength, each in known]
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "legendgroup": label, "showlegend": place == 0,
        "x": [strength + aside for strength, _ in known], "y": [each.value for _, each in known],
        "error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": color, "width": 3},
        "text": text, "hoverinfo": "text", "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"color": color, "symbol": symbol, "size": 8}, "xaxis": f"x{number}", "yaxis": f"y{number}",
    }  # fmt: skip


def _rows(found: Robustness, metric: str) -> tuple[tuple[str, ...], ...]:
    strengths = {None: "all", 0: "0"}
    return tuple(
        (
            CLEAN if each.strength == 0 else each.name.replace("_", " "),
            strengths.get(each.strength, str(each.strength)),
            f"{each.n:,}",
            _with_ends(each.baseline, metric),
            _with_ends(each.candidate, metric),
            _loss(each.difference, metric),
        )
        for each in found.figures
    )


def _with_ends(estimate: Estimate | None, metric: str) -> str:
    if estimate is None:
        return NOTHING
    ends = interval(estimate, lambda value: quality(metric, value))
    return quality(metric, estimate.value) + (f" ({ends})" if ends else "")


def _loss(estimate: Estimate | None, metric: str) -> str:
    if estimate is None:
        return NOTHING
    ends = interval(estimate, lambda value: loss(metric, value))
    return loss(metric, estimate.value) + (f" ({ends})" if ends else "")
