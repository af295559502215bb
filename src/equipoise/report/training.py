"""What training cost and brought: when it has paid for itself, and the learning curve of every student."""

from __future__ import annotations

from equipoise.core.result import Result
from equipoise.core.training import TrainingRecord
from equipoise.report.details import ReportDetails
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element
from equipoise.report.parts import payback_line
from equipoise.report.strokes import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Json, axis, canvas, plain
from equipoise.report.wording import NOTHING, SHARES, duration, metric_name, quality, significant

COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION, GREY)
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up")
DASHES = ("solid", "dash", "dot", "dashdot")


def payback_text(result: Result) -> Markup:
    """When training has paid for itself, as a paragraph."""
    if result.payback is None:
        return element("p", "No trained model was certified, so there is nothing that its training could earn back.")
    line = payback_line(result.payback)
    return element("p", f"{line[0].upper()}{line[1:]}.")


def learning_curves(details: ReportDetails) -> Picture:
    """Quality on the search rows as each student was trained."""
    title = "How the students learnt"
    traces: list[Json] = []
    for place, (name, record) in enumerate(details.trainings.items()):
        points = [(point.elapsed_s, point.quality) for point in record.points if point.quality is not None]
        if not points:
            continue
        style = {
            "line": {"color": COLORS[place % len(COLORS)], "dash": DASHES[place // len(COLORS) % len(DASHES)]},
            "marker": {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
        }
        hover = [f"{plain(name)}<br>{duration(at)}: {quality(details.metric, value)}" for at, value in points]
        traces.append(
            {"type": "scatter", "mode": "lines+markers", "name": plain(name), "text": hover, "hoverinfo": "text"}
            | {"x": [at for at, _ in points], "y": [value for _, value in points]}
            | style
        )
    rows = tuple((name, *_row(record, details.metric)) for name, record in details.trainings.items())
    columns = ("Student", "Trained", "Steps", "Done", "Loss at the end", f"Best {metric_name(details.metric)}")
    if not traces:
        return Picture("learning", title, "No student said how good it was while it was trained.", None, columns, rows)
    shares = {"tickformat": ".1%"} if details.metric in SHARES else {}
    layout = canvas(axis("seconds of training"), axis(plain(metric_name(details.metric)), **shares))
    layout["height"] += 22 * len(traces)
    caption = (
        f"{metric_name(details.metric).capitalize()} on the search rows, which are never trained on, as each student "
        "was trained: short trainings first, longer ones of the best."
    )
    return Picture("learning", title, caption, {"data": traces, "layout": layout}, columns, rows)


def _row(record: TrainingRecord, metric: str) -> tuple[str, ...]:
    last = record.points[-1] if record.points else None
    qualities = [point.quality for point in record.points if point.quality is not None]
    best = None if not qualities else min(qualities) if metric in ("mae", "rmse", "log_loss", "ece") else max(qualities)
    return (
        duration(record.elapsed_s),
        NOTHING if last is None else f"{last.step:,}" + ("" if last.steps is None else f" of {last.steps:,}"),
        "yes" if record.finished else "the time ended",
        significant(None if last is None else last.loss),
        NOTHING if best is None else quality(metric, best),
    )
