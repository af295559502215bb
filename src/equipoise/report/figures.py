"""The report's pictures, one function each: a Plotly figure as plain data, its caption, and its figures as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from equipoise.core.certificate import Margin
from equipoise.core.result import Result
from equipoise.policy.cost import machines_needed, monthly_usd
from equipoise.report.details import ReportDetails, ScreenedPoint
from equipoise.report.marks import candidate_marks
from equipoise.report.naming import composition, said
from equipoise.report.points import cost_of, measured_points, served
from equipoise.report.strokes import (
    BLUE,
    GREY,
    VERMILION,
    Json,
    axis,
    axis_labels,
    box_plot,
    canvas,
    dollar_axis,
    frontier_line,
    log_axis,
    mark_across,
    mark_up,
    plain,
    stairs,
)
from equipoise.report.tradeoff import StairStep, cheapest_within, staircase
from equipoise.report.wording import SHARES, duration, loss, metric_name, money, quality, significant

MOST_STEPS = 400


@dataclass(frozen=True)
class Picture:
    """A picture, and what it says in words and figures.

    Attributes:
        key: Short name, unique on the page.
        title: Its heading.
        caption: What it shows, in a sentence or two.
        plot: Plotly's `data` and `layout`; null where there is nothing to draw, and the caption says why.
        columns: Headings of the table beside it.
        rows: Its rows, as text.
    """

    key: str
    title: str
    caption: str
    plot: Json | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def frontier(result: Result, details: ReportDetails) -> Picture:
    """Cost against quality of every candidate that was measured, with the margin."""
    title = "What each candidate costs, and how good it is"
    points = [point for point in measured_points(result, details) if point.quality is not None]
    if details.metric == "none" or not points:
        return Picture("frontier", title, "Quality was not judged, so there is nothing to weigh cost against.")
    baseline, chosen = result.baseline.name, result.chosen.name if result.chosen else None
    traces = candidate_marks(points, baseline, chosen, details.metric)
    best = sorted((p for p in points if p.name in {c.name for c in result.frontier}), key=lambda p: p.usd_per_million)
    if len(best) > 1:
        traces.insert(0, frontier_line(best))
    layout = canvas(
        log_axis("US dollars per million answers", (point.usd_per_million for point in points), money),
        axis(plain(metric_name(details.metric)), **({"tickformat": ".1%"} if details.metric in SHARES else {})),
    )
    outside = 0
    start = next((p.quality.value for p in points if p.name == baseline and p.quality), None)
    if start is not None and details.margin is not None:
        least = start - _absolute(details.margin, start) * (1 if details.higher_is_better else -1)
        mark_across(layout, least, "the least you accept")
        low, high = _range_around(points, least)
        layout["yaxis"]["range"] = [low, high]
        outside = sum(1 for point in points if point.quality and not low <= point.quality.value <= high)
    caption = (
        f"Each mark is one way to serve your model: the further left, the cheaper; the {_better(details)}, the better. "
        "Quality is measured on the rows that chose among candidates, or on those of the proof where it came to that."
    )
    if any(composition(point.name) for point in points):
        caption += " Shapes tell single models from those composed of several; filled marks were proved, open ones not."
    if outside:
        more = "One more lies" if outside == 1 else f"{outside:,} more lie"
        caption += f" {more} too far off for the picture; the table has every one."
    rows = tuple(
        (p.name, money(p.usd_per_million), quality(details.metric, p.quality.value if p.quality else None), p.settings)
        for p in sorted(points, key=lambda p: p.usd_per_million)
    )
    return Picture(
        "frontier",
        title,
        caption,
        {"data": traces, "layout": layout},
        ("Candidate", "USD per million", metric_name(details.metric), "Settings"),
        rows,
    )


def traffic(result: Result, details: ReportDetails) -> Picture:
    """The monthly bill against traffic, in whole machines, with the break-even."""
    title = "What it costs as traffic grows"
    every = served(result)
    lines = [line for line in every if cost_of(line[1], result) is not None]
    if not lines:
        return Picture("traffic", title, "No number of machines answers your traffic within the limit.")
    capacity = {c.name: details.sustained_rps.get(c.name) or c.throughput_rps.value for _, c, _, _ in lines}
    price = result.cost.price.usd_per_hour
    slowest = min(capacity.values())
    most = max((details.rate_rps or 0) * 2, slowest * 6, (result.cost.break_even_rps or 0) * 1.5)
    most = min(most, slowest * 5000)
    traces = [
        _bill(label, color, dash, _steps(price, capacity[candidate.name], most))
        for label, candidate, color, dash in lines
    ]
    layout = canvas(
        axis("requests a second", rangemode="tozero"), axis("US dollars a month", rangemode="tozero", tickprefix="$")
    )
    if details.rate_rps:
        mark_up(layout, details.rate_rps, "your traffic")
    break_even = result.cost.break_even_rps
    if break_even and break_even <= most:
        mark_up(layout, break_even, "break-even", dash="dot")
    caption = "Machines come whole: a bill rises in steps, each step one more machine. "
    too_slow = " and ".join(label for label, candidate, _, _ in every if cost_of(candidate, result) is None)
    if too_slow:
        caption += f"Not drawn, since no number of machines would keep the limit: {too_slow}."
    elif result.chosen is None:
        caption += "Only your model itself can be drawn, since nothing meets the limits."
    elif len(lines) == 2:
        caption += "The answer is to keep your model, so there is no other bill to compare with."
    elif break_even:
        caption += (
            f"Above {significant(break_even)} requests a second the chosen plan always needs fewer machines than your "
            "model with its best settings; below, both may fit on as many, and then cost the same."
        )
    else:
        caption += "The chosen plan needs as many machines as your model with its best settings, at any traffic."
    rates = sorted(
        {*(most * share for share in (0.05, 0.25, 0.5, 1.0)), *([details.rate_rps] if details.rate_rps else [])}
    )
    rows = tuple(
        (
            significant(rate),
            *(
                f"{money(monthly_usd(price, rate, capacity[c.name]))} ({machines_needed(rate, capacity[c.name]):,})"
                for _, c, _, _ in lines
            ),
        )
        for rate in rates
    )
    columns = ("Requests/s", *(f"{label}: USD a month (machines)" for label, _, _, _ in lines))
    return Picture(
        "traffic", "What it costs as traffic grows", caption, {"data": traces, "layout": layout}, columns, rows
    )


def latency_limit(result: Result, details: ReportDetails) -> Picture:
    """The cheapest cost for each p99 limit."""
    title = "What a faster answer costs"
    points = [p for p in measured_points(result, details) if p.p99_s is not None and p.certified is not False]
    proved = details.metric != "none"
    kept = [p for p in points if p.certified or p.name == result.baseline.name] if proved else points
    steps = staircase(kept, lambda point: point.p99_s)
    if not steps:
        return Picture("latency-limit", title, "No candidate was timed long enough to bound its slowest answers (p99).")
    limits = [step.limit * 1000 for step in steps]
    layout = canvas(
        log_axis("limit for 99 of 100 answers", [*limits, (details.p99_limit_s or limits[0]) * 1000], _milliseconds),
        dollar_axis("cheapest USD per million"),
    )
    traces = [stairs("cheapest that keeps the limit", steps, BLUE, 1000, duration)]
    caption = "For each limit on slow answers, the cheapest way that keeps it"
    caption += " among your model and the candidates whose quality was proved." if proved else "."
    if details.p99_limit_s is not None:
        mark_up(layout, details.p99_limit_s * 1000, "your limit", log=True)
        now = cheapest_within(steps, details.p99_limit_s)
        loosest = steps[-1]
        if now is not None and loosest.point.usd_per_million < now.usd_per_million:
            saved = money(now.usd_per_million - loosest.point.usd_per_million)
            caption += f" A limit of {duration(loosest.limit)} would save {saved} per million answers."
        elif now is not None:
            caption += " A looser limit than yours would save nothing."
    rows = tuple((duration(step.limit), money(step.point.usd_per_million), step.point.name) for step in steps)
    columns = ("p99 limit at least", "Cheapest USD per million", "Candidate")
    return Picture("latency-limit", title, caption, {"data": traces, "layout": layout}, columns, rows)


def allowed_drop(result: Result, details: ReportDetails) -> Picture:
    """The cheapest cost for each allowed drop in quality."""
    title = "What a little more loss would save"
    if details.metric == "none":
        return Picture("allowed-drop", title, "Quality was not judged.")
    limit = details.p99_limit_s
    points = [p for p in measured_points(result, details) if limit is None or (p.p99_s is None or p.p99_s <= limit)]
    zero = [p for p in points if p.name == result.baseline.name]
    steps = staircase(points, lambda p: 0.0 if p in zero else (None if p.drop_high is None else max(p.drop_high, 0.0)))
    if not steps:
        return Picture("allowed-drop", title, "No candidate's loss could be bounded.")
    name = plain(metric_name(details.metric))
    scale, unit = (100, "points") if details.metric in SHARES else (1, f"units of {name}")
    layout = canvas(
        axis(f"allowed drop of {name}, {unit}", rangemode="tozero"),
        dollar_axis("cheapest USD per million"),
    )
    traces = [stairs("cheapest within the drop", steps, VERMILION, scale, lambda drop: loss(details.metric, drop))]
    caption = (
        "For each loss of quality that you might allow, the cheapest candidate whose loss stays below it with the "
        "confidence you asked for, on the rows that chose among candidates: a forecast, not a proof."
    )
    start = result.baseline.quality.value if result.baseline.quality else None
    if details.margin is not None and start is not None:
        margin = _absolute(details.margin, start)
        mark_up(layout, margin * scale, "your margin")
        caption += f" {one_more(steps, margin, details.metric)}"
    rows = tuple(
        (loss(details.metric, step.limit), money(step.point.usd_per_million), step.point.name) for step in steps
    )
    columns = ("Allowed drop at least", "Cheapest USD per million", "Candidate")
    return Picture("allowed-drop", title, caption, {"data": traces, "layout": layout}, columns, rows)


def one_more(steps: Sequence[StairStep], margin: float, metric: str) -> str:
    """What one more point of loss would save; for a metric that is no share, what the next step would."""
    now = cheapest_within(steps, margin)
    if now is None:
        return ""
    if metric in SHARES:
        more = cheapest_within(steps, margin + 0.01)
        what = "One more point"
    else:
        later = next((step for step in steps if step.limit > margin * (1 + 1e-9)), None)
        more, what = (later.point, f"Allowing {loss(metric, later.limit)}") if later else (now, "Allowing more")
    if more is None or more.usd_per_million >= now.usd_per_million:
        return f"{what} would save nothing."
    saved = money(now.usd_per_million - more.usd_per_million)
    return f"{what} would save {saved} per million answers ({said(more.name)})."


def latencies(result: Result, details: ReportDetails) -> Picture:
    """How long answers took: the middle half as a box, 98 of 100 between the whiskers, the slowest as dots."""
    title = "How long answers take"
    wanted = {c.name: (label, color) for label, c, color, _ in served(result)}
    names = [name for name in details.latency_samples_s if len(details.latency_samples_s[name])]
    names.sort(key=lambda name: (name not in wanted, float(np.median(details.latency_samples_s[name]))))
    names = names[:8]
    if not names:
        return Picture("latencies", title, "No raw timings were kept.")
    traces: list[Json] = []
    rows: list[tuple[str, ...]] = []
    spread_ms: list[float] = []
    others = [name for name in names if name not in wanted]
    labels = {name: plain(label) for name, (label, _) in wanted.items()}
    labels |= dict(zip(others, axis_labels(others), strict=True))
    for name in reversed(names):
        label, color = wanted.get(name, (name, GREY))
        samples_s = np.asarray(details.latency_samples_s[name], dtype=np.float64)
        traces += box_plot(labels[name], color, samples_s * 1000)
        spread_ms += [float(samples_s.min()) * 1000, float(samples_s.max()) * 1000]
        cells = (duration(float(value)) for value in np.quantile(samples_s, [0.5, 0.75, 0.99, 1.0]))
        rows.append((label, *cells, f"{len(samples_s):,}"))
    layout = canvas(log_axis("time to answer", spread_ms, _milliseconds), {"automargin": True, "type": "category"})
    lines = max(label.count("<br>") + 1 for label in (labels[name] for name in names))
    layout |= {"showlegend": False, "height": 140 + max(62, 18 * lines + 8) * len(names)}
    if details.p99_limit_s is not None:
        mark_up(layout, details.p99_limit_s * 1000, "your limit", log=True)
    caption = (
        "From the raw timings: the box holds the middle half of the answers, the line in it is the median, 98 of 100 "
        "lie between the whiskers, and dots are the slowest. "
    )
    caption += (
        "Time counts from the moment a request was due to its answer, at your traffic."
        if details.rate_rps
        else "Time is that of computing one full batch."
    )
    columns = ("Candidate", "Median", "3 of 4 within", "99 of 100 within", "Slowest", "Timings")
    return Picture("latencies", title, caption, {"data": traces, "layout": layout}, columns, tuple(reversed(rows)))


def _bill(label: str, color: str, dash: str, steps: tuple[list[float], list[float]]) -> Json:
    text = [
        f"{label}: {money(usd)} a month above {significant(rps)} requests/s" for rps, usd in zip(*steps, strict=True)
    ]
    line = {"color": color, "width": 3, "dash": dash, "shape": "hv"}
    drawn = {"x": steps[0], "y": steps[1], "text": text, "hoverinfo": "text"}
    return {"type": "scatter", "mode": "lines", "name": label, "line": line, **drawn}


def _steps(usd_per_hour: float, capacity_rps: float, most_rps: float) -> tuple[list[float], list[float]]:
    count = math.ceil(most_rps / capacity_rps)
    machines = np.unique(np.linspace(0, count - 1, min(count, MOST_STEPS)).astype(int))
    rates = [float(number * capacity_rps) for number in machines]
    bill = [monthly_usd(usd_per_hour, (number + 0.5) * capacity_rps, capacity_rps) for number in machines]
    return [*rates, most_rps], [*bill, bill[-1]]


def _milliseconds(value: float) -> str:
    return duration(value / 1000)


def _range_around(points: Sequence[ScreenedPoint], least: float) -> list[float]:
    # A candidate that fell apart would press all others into one line: far ones are cut off, and stay in the table.
    values = np.array([p.quality.value for p in points if p.quality] + [least])
    reach = max(2.5 * abs(values.max() - least), 2 * float(np.median(np.abs(values - least))), 1e-6)
    low, high = max(values.min(), least - reach), min(values.max(), least + reach)
    space = max((high - low) * 0.12, 1e-6)
    return [float(low - space), float(high + space)]


def _absolute(margin: Margin, start: float) -> float:
    return margin.drop * abs(start) if margin.relative else margin.drop


def _better(details: ReportDetails) -> str:
    return "higher" if details.higher_is_better else "lower"
