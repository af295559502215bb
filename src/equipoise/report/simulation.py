"""What a simulation found: tables for a terminal, and one HTML file with pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from equipoise.core.estimate import Estimate
from equipoise.core.simulation import SimulatedFleet, SimulationResult
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element, join, table
from equipoise.report.page import drawn, page, section, write_page
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
)
from equipoise.report.wording import NOTHING, duration, money, significant

LATE_SHARE = 0.01
COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION)
PATTERNS = ("", "/", "x", ".", "+", "-")


def write_simulation_page(result: SimulationResult, path: Path) -> None:
    """Write what was found as one HTML file that loads nothing from anywhere.

    Args:
        result: What was found.
        path: Where to write; it appears there when it is whole.
    """
    write_page(simulation_page(result), path)


def simulation_page(result: SimulationResult) -> str:
    """The page as text."""
    pictures = [latencies(result), load(result), batches(result), answerers(result)]
    columns = ("", *(_machines(fleet) for fleet in result.fleets))
    sections = [
        section("key-figures", "Key figures", table("Key figures", columns, fleet_rows(result))),
        *(section(picture.key, picture.title, drawn(picture)) for picture in pictures),
        section("notes", "What else you should know", element("ul", *(element("li", note) for note in result.notes))),
    ]
    footer = f"Made by Equipoise {version('equipoise')}, seed {result.seed}."
    return page(f"{result.plan}: simulation", _answer(result), sections, footer)


def fleet_rows(result: SimulationResult) -> list[tuple[str, ...]]:
    """Key figures, a column for each number of machines."""

    def line(label: str, figure: Callable[[SimulatedFleet], str]) -> tuple[str, ...]:
        return (label, *(figure(fleet) for fleet in result.fleets))

    limit = "" if result.limit_s is None else f" (limit {duration(result.limit_s)})"
    rows = [
        line("requests", lambda fleet: f"{fleet.requests:,}"),
        line("answers within the limit a second", lambda fleet: significant(fleet.goodput_rps)),
        line("half of the answers within", lambda fleet: _value(fleet.p50_s)),
        line("95 of 100 within", lambda fleet: _value(fleet.p95_s)),
        line(f"99 of 100 within{limit}", lambda fleet: _value(fleet.p99_s)),
        line("machines busy", lambda fleet: _percent(fleet.utilisation)),
    ]
    if result.limit_s is not None:
        rows.insert(5, line("not answered within the limit", lambda fleet: _percent(fleet.late_share)))
    names = [stage.name for stage in result.fleets[0].stages]
    if len(names) > 1:
        rows += [line(f"answered by {name}", partial(_percent_answered, name)) for name in names]
    if any(fleet.hit_share for fleet in result.fleets):
        rows.append(line("answered from the cache", lambda fleet: _percent(fleet.hit_share)))
    rows.append(line("refused", lambda fleet: _percent(fleet.shed_share)))
    rows.append(line("USD per million answers", lambda fleet: money(fleet.usd_per_million)))
    return rows


def load_columns(result: SimulationResult) -> tuple[str, ...]:
    """Headings of `load_rows`."""
    late = () if result.limit_s is None else ("late or refused",)
    return ("load", "requests/s", "99 of 100 within", *late, "refused", "degraded")


def load_rows(result: SimulationResult) -> list[tuple[str, ...]]:
    """One machine under more and more traffic."""
    return [
        (
            f"{at.capacity_share:.0%}",
            significant(at.rate_rps),
            _value(at.p99_s),
            *(() if result.limit_s is None else (_percent(at.late_share),)),
            _percent(at.shed_share),
            _percent(at.degraded_share),
        )
        for at in result.loads
    ]


def latencies(result: SimulationResult) -> Picture:
    """Which share of the answers came within which time."""
    title = "How long answers take"
    fleets = [fleet for fleet in result.fleets if fleet.answered]
    if not fleets:
        return Picture("latencies", title, "Nothing was answered.")
    traces: list[Json] = []
    for place, fleet in enumerate(fleets):
        points = [(q, seconds * 1000) for q, seconds in fleet.latency_quantiles_s]
        hover = [f"{q:.4g} of the answers within {duration(ms / 1000)}" for q, ms in points]
        line = {"color": COLORS[place], "width": 3, "dash": ("solid", "dash")[place]}
        drawn_points = {"x": [ms for _, ms in points], "y": [q for q, _ in points], "text": hover, "hoverinfo": "text"}
        traces.append({"type": "scatter", "mode": "lines", "name": _machines(fleet), "line": line, **drawn_points})
    every_ms = [seconds * 1000 for fleet in fleets for _, seconds in fleet.latency_quantiles_s]
    limit_ms = [] if result.limit_s is None else [result.limit_s * 1000]
    layout = canvas(
        log_axis("time to answer", [*every_ms, *limit_ms], _milliseconds),
        axis("share of answers", tickformat=".0%", tickvals=[0, 0.2, 0.4, 0.6, 0.8, 0.99], range=[0, 1.02]),
    )
    if result.limit_s is not None:
        mark_up(layout, result.limit_s * 1000, "limit", log=True)
    caption = (
        "Each point of a line says which share of the answers came within that time, counted from the moment a request "
        "was due. Refused requests have no answer and are not part of it."
    )
    columns = ("Machines", "Half within", "95 of 100 within", "99 of 100 within")
    rows = tuple((_machines(f), _value(f.p50_s), _value(f.p95_s), _value(f.p99_s)) for f in fleets)
    return Picture("latencies", title, caption, {"data": traces, "layout": layout}, columns, rows)


def load(result: SimulationResult) -> Picture:
    """The p99 of one machine against its load, with the limit."""
    title = "What one machine bears"
    points = [at for at in result.loads if at.p99_s is not None]
    if not points:
        return Picture("load", title, "Too few requests were answered to bound the slowest.")
    values_ms = [at.p99_s.value * 1000 for at in points if at.p99_s is not None]
    hover = [
        f"{significant(at.rate_rps)} requests/s: {_value(at.p99_s)}, {_percent(at.shed_share)} refused, "
        f"{_percent(at.degraded_share)} degraded"
        for at in points
    ]
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "99 of 100 answers within",
        "x": [at.rate_rps for at in points],
        "y": values_ms,
        "text": hover,
        "hoverinfo": "text",
        "line": {"color": BLUE, "width": 3},
        "marker": {"size": 9, "color": BLUE},
    }
    reach_ms = max(values_ms) if result.limit_s is None else max(*values_ms, result.limit_s * 1000)
    layout = canvas(
        axis("requests a second on one machine", range=[0, result.capacity_rps * 1.15]),
        axis("99 of 100 answers within, ms", range=[0, reach_ms * 1.1]),
    )
    if result.limit_s is not None:
        mark_across(layout, result.limit_s * 1000, "limit")
    mark_up(layout, result.capacity_rps, "kept full", dash="dot")
    caption = (
        "Made-up traffic on one machine, from a quarter of what it could answer if it were always full, up to all of "
        "it. Refusing and degrading keep the answers that are given in time; the table has how many that takes."
    )
    shown = {"data": [line], "layout": layout}
    return Picture("load", title, caption, shown, load_columns(result), tuple(load_rows(result)))


def batches(result: SimulationResult) -> Picture:
    """How many rows went into a batch, by stage."""
    title = "How full the batches are"
    fleet = result.fleets[-1]
    traces: list[Json] = []
    for place, stage in enumerate(fleet.stages):
        total = sum(rows * count for rows, count in stage.batches)
        if not total:
            continue
        marker = {"color": COLORS[place % len(COLORS)], "pattern": {"shape": PATTERNS[place % len(PATTERNS)]}}
        shares = [rows * count / total for rows, count in stage.batches]
        sizes = [rows for rows, _ in stage.batches]
        traces.append({"type": "bar", "name": stage.name, "x": sizes, "y": shares, "marker": marker})
    if not traces:
        return Picture("batches", title, "No batch was computed.")
    layout = canvas(axis("rows of a batch"), axis("share of the stage's rows", tickformat=".0%", rangemode="tozero"))
    caption = f"With {_machines(fleet)}: the share of a stage's rows that were computed in batches of each size."
    rows = tuple(
        (stage.name, f"{sum(count for _, count in stage.batches):,}", significant(stage.mean_rows))
        for stage in fleet.stages
    )
    columns = ("Stage", "Batches", "Mean rows")
    return Picture("batches", title, caption, {"data": traces, "layout": layout}, columns, rows)


def answerers(result: SimulationResult) -> Picture:
    """Who answered: each stage, the cache, the fallback, nobody."""
    title = "Who answers"
    names = [stage.name for stage in result.fleets[0].stages]
    shares = {name: [_share(fleet, name) for fleet in result.fleets] for name in names}
    shares["cache"] = [fleet.hit_share for fleet in result.fleets]
    shares["refused"] = [fleet.shed_share for fleet in result.fleets]
    shown = {name: values for name, values in shares.items() if name in names or any(values)}
    labels = [_machines(fleet) for fleet in result.fleets]
    traces: list[Json] = []
    for place, (name, values) in enumerate(shown.items()):
        color = GREY if name == "refused" else COLORS[place % len(COLORS)]
        marker = {"color": color, "pattern": {"shape": PATTERNS[place % len(PATTERNS)]}}
        traces.append({"type": "bar", "orientation": "h", "name": name, "x": values, "y": labels, "marker": marker})
    layout = canvas(axis("share of requests", tickformat=".0%", range=[0, 1]), {"automargin": True, "type": "category"})
    layout |= {"barmode": "stack", "height": 170 + 70 * len(labels)}
    caption = "The share of all requests that ended at each stage of the plan, in the cache, or unanswered."
    rows = tuple((name, *(_percent(value) for value in values)) for name, values in shown.items())
    return Picture("answerers", title, caption, {"data": traces, "layout": layout}, ("Who", *labels), rows)


def _answer(result: SimulationResult) -> Markup:
    fleet = result.fleets[-1]
    kept = fleet.late_share is None or fleet.late_share <= LATE_SHARE
    p99 = "too few answers to say" if fleet.p99_s is None else f"99 of 100 answers within {duration(fleet.p99_s.value)}"
    limit = "" if result.limit_s is None else f" (limit {duration(result.limit_s)})"
    refused = "" if not fleet.shed_share else f", {_percent(fleet.shed_share)} of the requests refused"
    sentence = f"{_machines(fleet).capitalize()}: {p99}{limit}, {_percent(fleet.utilisation)} busy{refused}."
    badge = ("It keeps the limit", "replace") if kept else ("It misses the limit", "infeasible")
    if result.limit_s is None:
        badge = ("No limit given", "keep")
    head = element("p", element("span", badge[0], class_=f"badge {badge[1]}"), " ", element("span", result.plan))
    return join(
        (
            head,
            element("p", element("span", money(fleet.usd_per_million), class_="only"), class_="money"),
            element("p", "per million answers, whole machines paid", class_="unit"),
            element("h1", sentence),
            element("p", f"Simulated: {result.traffic}.", class_="meaning"),
        )
    )


def _machines(fleet: SimulatedFleet) -> str:
    return "1 machine" if fleet.machines == 1 else f"{fleet.machines:,} machines"


def _share(fleet: SimulatedFleet, name: str) -> float:
    return sum(stage.answered_share for stage in fleet.stages if stage.name == name)


def _percent_answered(name: str, fleet: SimulatedFleet) -> str:
    return _percent(_share(fleet, name))


def _value(estimate: Estimate | None) -> str:
    return duration(None if estimate is None else estimate.value)


def _percent(share: float | None) -> str:
    if share is None:
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1%"
    return f"{share:.1%}" if share < 0.9995 else "100%"


def _milliseconds(value: float) -> str:
    return duration(value / 1000)
