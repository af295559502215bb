"""Where the time goes, before and after: a bar for each model, and a treemap and a roofline of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from equipoise.core.anatomy import Anatomy
from equipoise.report.anatomy import roofline, treemap
from equipoise.report.details import BeforeAfter
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element
from equipoise.report.page import drawn
from equipoise.report.strokes import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Json, axis, canvas, plain, wrapped
from equipoise.report.wording import NOTHING, duration

COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION)
PATTERNS = ("", "/", "x", ".", "+", "-")
OTHERS = "others"


def before_after(layers: BeforeAfter) -> list[Markup]:
    """What stands under the heading: all of it, or why it is not there."""
    content: list[Markup] = []
    if layers.anatomies:
        content.append(drawn(time_by_kind(layers.anatomies)))
    for place, anatomy in enumerate(layers.anatomies):
        content += [element("h3", anatomy.model), element("p", _what_ran(anatomy))]
        content += [
            drawn(replace(picture, key=f"{picture.key}-{place}", title=f"{picture.title}: {anatomy.model}"))
            for picture in (treemap(anatomy), roofline(anatomy))
        ]
        if anatomy.notes:
            content.append(element("ul", *(element("li", note) for note in anatomy.notes)))
    content += [element("p", f"Not shown: {reason}.") for reason in layers.missing]
    return content


def time_by_kind(anatomies: Sequence[Anatomy]) -> Picture:
    """Seconds that a row takes, by kind of layer, a bar for each model."""
    title = "Seconds of a row, by kind of layer"
    spent = [_seconds_per_row(anatomy) for anatomy in anatomies]
    kinds = _dearest(spent, len(COLORS))
    seconds = {kind: [each.get(kind, 0.0) for each in spent] for kind in kinds}
    seconds[OTHERS] = [sum(value for kind, value in each.items() if kind not in kinds) for each in spent]
    labels = [wrapped(anatomy.model, 26) for anatomy in anatomies]
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
        "What a row that a model is asked takes in layers of each kind, as the runtimes execute and name them: of the "
        "original with its best settings, and of what was chosen. One replica alone, timed after the search."
    )
    rows = tuple((kind, *(duration(value) if value else NOTHING for value in seconds[kind])) for kind in seconds)
    columns = ("Kind of layer", *(anatomy.model for anatomy in anatomies))
    return Picture("time-by-kind", title, caption, {"data": traces, "layout": layout}, columns, rows)


def _what_ran(anatomy: Anatomy) -> str:
    first = anatomy.operators[0]
    return (
        f"One batch of {anatomy.settings.batch:,} takes {duration(anatomy.whole_s.value)} with "
        f"{anatomy.settings.threads:,} thread{'s' * (anatomy.settings.threads != 1)}; {first.share:.0%} of the time of "
        f"its layers goes to {first.layers:,} of the kind {first.operator}."
    )


def _seconds_per_row(anatomy: Anatomy) -> dict[str, float]:
    return {cost.operator: cost.time_s / anatomy.settings.batch for cost in anatomy.operators}


def _dearest(spent: Sequence[dict[str, float]], most: int) -> tuple[str, ...]:
    """The kinds that take the largest share of any of the models, the largest first."""
    share: dict[str, float] = {}
    for each in spent:
        total_s = sum(each.values()) or 1.0
        for kind, seconds in each.items():
            share[kind] = max(share.get(kind, 0.0), seconds / total_s)
    return tuple(sorted(share, key=lambda kind: -share[kind])[:most])
