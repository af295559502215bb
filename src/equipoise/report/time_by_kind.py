"""The picture of where the time goes, before and after."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.report.details import TimeByKind
from equipoise.report.figures import Picture
from equipoise.report.strokes import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Json, axis, canvas, plain, wrapped
from equipoise.report.wording import NOTHING, duration

COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION)
PATTERNS = ("", "/", "x", ".", "+", "-")
OTHERS = "others"


def time_by_kind(times: Sequence[TimeByKind]) -> Picture:
    """Seconds that a row takes, by kind of layer, a bar for each model."""
    title = "Where the time goes, before and after"
    kinds = _dearest(times, len(COLORS))
    seconds = {kind: [_seconds(time, kind, kinds) for time in times] for kind in (*kinds, OTHERS)}
    labels = [wrapped(f"{time.label} ({time.runtime})", 26) for time in times]
    traces: list[Json] = []
    for place, (kind, values) in enumerate(seconds.items()):
        color = GREY if kind == OTHERS else COLORS[place]
        marker = {"color": color, "pattern": {"shape": PATTERNS[place]}}
        hover = [f"{plain(kind)}: {duration(value)} a row" for value in values]
        bar: Json = {"type": "bar", "orientation": "h", "name": plain(kind), "marker": marker}
        traces.append(bar | {"x": [value * 1000 for value in values], "y": labels, "text": hover, "hoverinfo": "text"})
    layout = canvas(
        axis("milliseconds a row", rangemode="tozero"),
        {"automargin": True, "type": "category", "autorange": "reversed"},
    )
    layout |= {"barmode": "stack", "height": 170 + 70 * len(labels)}
    for trace in traces:
        trace["textposition"] = "none"
    caption = (
        "What a row takes in layers of each kind, as the runtimes execute and name them: of the original with its best "
        "settings, and of what was chosen. One replica alone, timed layer by layer after the search."
    )
    rows = tuple((kind, *(duration(value) if value else NOTHING for value in seconds[kind])) for kind in seconds)
    columns = ("Kind of layer", *(time.label for time in times))
    return Picture("time-by-kind", title, caption, {"data": traces, "layout": layout}, columns, rows)


def _dearest(times: Sequence[TimeByKind], most: int) -> tuple[str, ...]:
    """The kinds that take the largest share of any of the models, the largest first."""
    share: dict[str, float] = {}
    for time in times:
        total_s = sum(seconds for _, seconds in time.seconds_per_row) or 1.0
        for kind, seconds in time.seconds_per_row:
            share[kind] = max(share.get(kind, 0.0), seconds / total_s)
    return tuple(sorted(share, key=lambda kind: -share[kind])[:most])


def _seconds(time: TimeByKind, kind: str, kinds: Sequence[str]) -> float:
    if kind == OTHERS:
        return sum(seconds for each, seconds in time.seconds_per_row if each not in kinds)
    return sum(seconds for each, seconds in time.seconds_per_row if each == kind)
