"""What the plans are worth to the business: value against cost, part by part, and what each price does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from equipoise.core.estimate import Estimate
from equipoise.core.result import Result
from equipoise.core.value import BusinessValue, PlanValue, Sensitivity, ValueFigure
from equipoise.policy.value import sweep
from equipoise.report.figures import Picture
from equipoise.report.naming import said, short_names
from equipoise.report.strokes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    Json,
    axis,
    canvas,
    log_axis,
    mark_across,
    mark_up,
    plain,
    wrapped,
)
from equipoise.report.wording import NOTHING, interval, money

FIGURES: dict[ValueFigure, str] = {
    "usd_per_error": "an error",
    "usd_per_second_of_latency": "a second of latency beyond the threshold",
    "usd_per_failed_request": "a failed request",
}
PARTS: dict[ValueFigure, str] = {
    "usd_per_error": "errors_usd",
    "usd_per_second_of_latency": "latency_usd",
    "usd_per_failed_request": "failures_usd",
}
"""Figure to the part of a value that grows with it."""


class Mark(NamedTuple):
    """How plans of one kind are drawn."""

    status: str
    color: str
    symbol: str
    size: int


CHOSEN = Mark("chosen", GREEN, "star", 19)
TUNED = Mark("your model, best settings", BLUE, "square", 14)
PROVED = Mark("proved", SKY, "diamond", 11)
NOT_PROVED = Mark("not proved", GREY, "circle-open", 10)
MISSES = Mark("misses a limit", GREY, "x", 9)
MARKS = (MISSES, NOT_PROVED, PROVED, TUNED, CHOSEN)
"""In the order in which they are drawn."""
DASHES = ("solid", "dash", "dot", "dashdot")
COLOURS = (GREEN, BLUE, ORANGE, VERMILION, SKY, GREY)
BEYOND = 2.0
"""How far past the last break-even, or the given price, a picture reaches."""
HOVER_CHARACTERS = 52


def value_line(result: Result) -> str:
    """The chosen plan's gain and what it is made of, in a line; empty where nothing has a price."""
    chosen, worth = result.chosen, result.value
    if worth is None or chosen is None or chosen.value is None:
        return ""
    parts = {"serving": chosen.value.serving_usd, "errors": chosen.value.errors_usd}
    parts |= {"waiting": chosen.value.latency_usd, "failures": chosen.value.failures_usd}
    lost = ", ".join(f"{name} {money(part.value)}" for name, part in parts.items() if part is not None)
    return f"{gain_text(chosen.value.gain_usd)}; a million requests cost {money(-chosen.value.net_usd.value)}: {lost}"


def gain_text(gain: Estimate | None) -> str:
    """How much more a plan is worth than the original at its best settings, with the interval.

    Example:
        >>> gain_text(Estimate(value=3.1, low=1.2, high=5.0, n=9, method=""))
        'worth $3.10 more per million requests than your model with its best settings ($1.20 to $5.00)'
    """
    if gain is None:
        return "your model with its best settings serves no such traffic to compare with"
    ends = "" if gain.low == gain.high else interval(gain, money)
    if gain.value == 0 and not gain.low and not gain.high:
        return "worth as much per million requests as your model with its best settings"
    more = f"{money(abs(gain.value))} {'more' if gain.value >= 0 else 'less'}"
    return f"worth {more} per million requests than your model with its best settings{f' ({ends})' if ends else ''}"


def value_pictures(result: Result) -> list[Picture]:
    """Value against cost, and one picture a price of how the choice changes with it; none where nothing has a price."""
    worth = result.value
    if worth is None:
        return []
    return [_value_against_cost(result, worth), *(_by_price(result, worth, each) for each in worth.sensitivities)]


def _value_against_cost(result: Result, worth: BusinessValue) -> Picture:
    tuned, chosen = result.baseline_tuned.name, result.chosen.name if result.chosen else None
    groups: dict[Mark, list[PlanValue]] = {}
    for plan in worth.plans:
        mark = CHOSEN if plan.name == chosen else TUNED if plan.name == tuned else _mark(plan)
        groups.setdefault(mark, []).append(plan)
    traces = [_dots(groups[mark], *mark) for mark in MARKS if mark in groups]
    layout = canvas(
        log_axis("US dollars per million answers, to serve", (p.value.serving_usd.value for p in worth.plans), money),
        axis("net value per million requests", tickprefix="$", exponentformat="none"),
    )
    own = next((plan.value.net_usd.value for plan in worth.plans if plan.name == tuned), None)
    if own is not None:
        mark_across(layout, own, "your model, best settings")
    caption = (
        "Net value is minus what a million requests cost in all: serving, and the errors, waiting and failures that "
        "have a price. The higher, the better; the further left, the cheaper to serve."
    )
    if chosen is not None and worth.cheapest != chosen:
        caption += f" By cost alone {said(worth.cheapest)} would have been chosen."
    rows = tuple(_row(plan, chosen) for plan in worth.plans)
    columns = ("Candidate", "Serving", "Errors", "Waiting", "Failures", "Net value", "Beyond your model's", "")
    return Picture("value", "What each plan is worth", caption, {"data": traces, "layout": layout}, columns, rows)


def _mark(plan: PlanValue) -> Mark:
    if not plan.within_limits or plan.proved is False:
        return MISSES
    return PROVED if plan.proved else NOT_PROVED


def _dots(plans: Sequence[PlanValue], status: str, color: str, symbol: str, size: int) -> Json:
    """Plans of one kind as marks, each with the interval of its net value."""
    nets = [plan.value.net_usd for plan in plans]
    hover = []
    for plan, short in zip(plans, short_names([plan.name for plan in plans]), strict=True):
        ends, serving = interval(plan.value.net_usd, money), money(plan.value.serving_usd.value)
        hover.append(
            f"<b>{wrapped(short, HOVER_CHARACTERS)}</b><br>{status}<br>{serving} to serve<br>"
            f"net value {money(plan.value.net_usd.value)}{f' ({ends})' if ends else ''}"
        )
    trace: Json = {
        "type": "scatter",
        "mode": "markers",
        "name": status,
        "x": [plan.value.serving_usd.value for plan in plans],
        "y": [net.value for net in nets],
        "text": hover,
        "hoverinfo": "text",
        "marker": {"color": color, "symbol": symbol, "size": size, "line": {"color": color, "width": 2}},
    }
    above = [0.0 if net.high is None else net.high - net.value for net in nets]
    below = [0.0 if net.low is None else net.value - net.low for net in nets]
    trace["error_y"] = {"type": "data", "array": above, "arrayminus": below, "color": color, "thickness": 1}
    return trace


def _row(plan: PlanValue, chosen: str | None) -> tuple[str, ...]:
    value = plan.value
    parts = (value.serving_usd, value.errors_usd, value.latency_usd, value.failures_usd, value.net_usd, value.gain_usd)
    status = (CHOSEN if plan.name == chosen else _mark(plan)).status
    return (plan.name, *(_money(part) for part in parts), status)


def _money(part: Estimate | None) -> str:
    if part is None:
        return NOTHING
    ends = interval(part, money)
    return f"{money(part.value)} ({ends})" if ends and part.low != part.high else money(part.value)


def _by_price(result: Result, worth: BusinessValue, sensitivity: Sensitivity) -> Picture:
    """How what each plan costs in all grows with one price, and which is worth the most where."""
    figure, given = sensitivity.figure, sensitivity.given
    scaled = _by_class(worth, sensitivity)
    lines = _lines(worth, sensitivity)
    flips = [step.figure for step in sensitivity.best[1:]]
    reach = BEYOND * max([given, *flips])
    if reach > 50 * given:  # a break-even far off would press all else into a corner
        reach = BEYOND * max([given, *(flip for flip in flips if flip <= 25 * given)])
    unit = "times the prices that you gave" if scaled else f"US dollars for {FIGURES[figure]}"
    layout = canvas(
        axis(unit, rangemode="tozero", exponentformat="none"),
        axis("US dollars per million requests", tickprefix="$", exponentformat="none"),
    )
    mark_up(layout, given, "your price" if not scaled else "your prices")
    for flip in flips:
        if flip <= reach:
            mark_up(layout, flip, "break-even", dash="dot")
    names = _worth_drawing(worth, sensitivity, lines, result)
    drawn = sweep({name: lines[name] for name in names}, [0.0, reach])
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain(short),
            "x": [0.0, reach],
            "y": drawn[name],
            "line": {"color": COLOURS[place % len(COLOURS)], "width": 3, "dash": DASHES[place % len(DASHES)]},
        }
        for place, (name, short) in enumerate(zip(names, short_names(names), strict=True))
    ]
    price = _times if scaled else money
    ends = [*flips, None]
    rows = tuple(
        (price(step.figure), "any more" if end is None else price(end), step.name)
        for step, end in zip(sensitivity.best, ends, strict=True)
    )
    return Picture(
        f"value-{figure.replace('_', '-')}",
        f"If {FIGURES[figure]} cost more, or less",
        _flips_text(sensitivity, scaled),
        {"data": traces, "layout": layout},
        ("From", "Up to", "Worth the most"),
        rows,
    )


def _flips_text(sensitivity: Sensitivity, scaled: bool) -> str:
    what, price = FIGURES[sensitivity.figure], _times if scaled else money
    first, *later = sensitivity.best
    text = (
        "Each line is what a plan costs in all as this price grows and the others stay; the lowest is worth the most. "
    )
    if not later:
        text += f"Whatever {what} costs, {said(first.name)} is worth the most."
    else:
        text += f"Below {price(later[0].figure)} for {what} {said(first.name)} is worth the most"
        text += "".join(f"; from {price(step.figure)} on {said(step.name)}" for step in later) + "."
    return text + " These are figures as measured: the choice asks besides that a gain is sure and the quality proved."


def _by_class(worth: BusinessValue, sensitivity: Sensitivity) -> bool:
    return worth.priced_by_class and sensitivity.figure == "usd_per_error"


def _lines(worth: BusinessValue, sensitivity: Sensitivity) -> dict[str, tuple[float, float]]:
    """Each plan within the limits: what it costs where the price is 0, and more for each unit of it."""
    lines = {}
    for plan in worth.plans:
        part: Estimate | None = getattr(plan.value, PARTS[sensitivity.figure])
        if part is not None and plan.within_limits and plan.proved is not False:
            lines[plan.name] = (-plan.value.net_usd.value - part.value, part.value / sensitivity.given)
    return lines


def _worth_drawing(
    worth: BusinessValue, sensitivity: Sensitivity, lines: Mapping[str, tuple[float, float]], result: Result
) -> list[str]:
    """Those that are the best somewhere, the original and what was chosen."""
    wanted = [step.name for step in sensitivity.best]
    wanted += [result.chosen.name] if result.chosen else []
    wanted += [result.baseline_tuned.name, worth.cheapest]
    return [name for place, name in enumerate(wanted) if name in lines and name not in wanted[:place]][: len(COLOURS)]


def _times(value: float) -> str:
    return f"{value:.3g}×"
