"""Whose answers changed, and in which direction: by slice, by class, by pair of labels, and row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equipoise.core.estimate import Estimate
from equipoise.core.flips import AffectedRow, ErrorRates, FlipCounts, Flips, LabelFlip
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element, escape, join, table
from equipoise.report.png import is_png_uri
from equipoise.report.strokes import GREEN, GREY, VERMILION, Json, axis, canvas, plain, wrapped
from equipoise.report.wording import NOTHING, chance, interval, percent, significant

UNEVEN = 0.05
MOST_BARS = 24
KINDS = {"all": "", "slice": "slice", "class": "true class"}


def flips_picture(flips: Flips) -> Picture:
    """Shares of rows that turned wrong and right, by slice and class, with their intervals."""
    title = "Whose answers change"
    if flips.counts[0].right_to_wrong is None:
        return Picture("flips", title, f"{_all(flips)} Without true answers it is not known which of them were right.")
    shown = flips.counts[:MOST_BARS]
    labels = [wrapped(f"{each.place} ({each.n:,} rows)", 30) for each in shown]
    traces: list[Json] = []
    for name, color, symbol, shares in (
        ("right before, wrong now", VERMILION, "x", [each.right_to_wrong for each in shown]),
        ("wrong before, right now", GREEN, "circle", [each.wrong_to_right for each in shown]),
    ):
        traces.append(_marks(name, color, symbol, labels, shares))
    layout = canvas(
        axis("share of the rows", rangemode="tozero", tickformat=".1%"),
        {"automargin": True, "type": "category", "autorange": "reversed"},
    )
    layout |= {"height": 140 + 34 * len(shown), "scattermode": "group", "scattergap": 0.5}
    caption = (
        f"{_all(flips)} Where crosses stand further right than elsewhere, the cheaper plan harms some more than "
        "others, even if its overall figure is as good. "
        f"Bars are {significant(flips.confidence * 100)}% intervals, each by itself; the rows are those of the proof, "
        "which were opened anyway, and nothing was chosen by these figures."
    )
    if flips.clustered:
        caption += " Rows come in groups, and the intervals take them as independent: they are somewhat too narrow."
    if len(flips.counts) > len(shown):
        caption += f" The first {len(shown)} are drawn; the table has all {len(flips.counts)}."
    columns = ("Rows", "Kind", "How many", "Changed", "Turned wrong", "Turned right", "Loss", "Unlike the rest")
    rows = tuple(_row(each) for each in flips.counts)
    return Picture("flips", title, caption, {"data": traces, "layout": layout}, columns, rows)


def flips_tables(flips: Flips) -> Markup:
    """What stands out, pairs of labels, rates of false positives and negatives, and the rows that are hit hardest."""
    parts: list[object] = []
    uneven = [each for each in flips.counts if each.p_value is not None and each.p_value < UNEVEN]
    if flips.counts[0].right_to_wrong is not None and len(flips.counts) > 1:
        parts.append(element("p", _uneven(uneven), class_="uneven" if uneven else None))
    if flips.labels:
        parts.append(_folded("Labels that change into one another", _label_table(flips.labels)))
    if flips.rates:
        parts.append(_folded("False positives and false negatives", _rate_table(flips.rates)))
    if flips.rows:
        parts.append(_folded("The rows that are hit hardest", _affected(flips.rows)))
    return join(parts)


def _folded(title: str, content: Markup) -> Markup:
    return element("details", element("summary", title), content)


def _all(flips: Flips) -> str:
    everything = flips.counts[0]
    changed = f"The answer changes on {_share(everything.changed)} of {everything.n:,} rows"
    if everything.right_to_wrong is None or everything.wrong_to_right is None:
        return f"{changed}."
    return (
        f"{changed}: {percent(everything.right_to_wrong.value)} turn wrong, {percent(everything.wrong_to_right.value)} "
        "turn right."
    )


def _uneven(uneven: Sequence[FlipCounts]) -> str:
    if not uneven:
        return "No slice and no class turns wrong clearly more, or less, often than the other rows."
    named = ", ".join(f"{each.place} ({chance(each.p_value or 0.0)})" for each in uneven)
    return (
        f"Turned wrong clearly more, or less, often than the other rows: {named}; Fisher's exact test, corrected for "
        "the number of places. To have a slice block, give it a margin: --slice."
    )


def _marks(name: str, color: str, symbol: str, labels: list[str], shares: Sequence[Estimate | None]) -> Json:
    known = [(label, each) for label, each in zip(labels, shares, strict=True) if each is not None]
    return {
        "type": "scatter", "mode": "markers", "name": name, "orientation": "h", "offsetgroup": name,
        "x": [each.value for _, each in known], "y": [label for label, _ in known],
        "error_x": {
            "type": "data", "symmetric": False, "color": color, "width": 3,
            "array": [0.0 if each.high is None else each.high - each.value for _, each in known],
            "arrayminus": [0.0 if each.low is None else each.value - each.low for _, each in known],
        },
        "marker": {"color": color, "symbol": symbol, "size": 9, "line": {"color": GREY, "width": 0}},
        "text": [f"{label}: {plain(name)} {_share(each)}" for label, each in known], "hoverinfo": "text",
    }  # fmt: skip


def _row(each: FlipCounts) -> tuple[str, ...]:
    return (
        each.place,
        KINDS[each.kind],
        f"{each.n:,}",
        _share(each.changed),
        _share(each.right_to_wrong),
        _share(each.wrong_to_right),
        _points(each.loss),
        NOTHING if each.p_value is None else chance(each.p_value),
    )


def _label_table(labels: Sequence[LabelFlip]) -> Markup:
    rows = [
        (
            f"{each.before} → {each.after}",
            f"{each.count:,}",
            _share(each.share),
            NOTHING if each.turned_wrong is None else f"{each.turned_wrong:,}",
            NOTHING if each.turned_right is None else f"{each.turned_right:,}",
        )
        for each in labels
    ]
    columns = ("From and to", "Rows", "Of those with the first label", "Turned wrong", "Turned right")
    return table("Labels that change into one another", columns, rows)


def _rate_table(rates: Sequence[ErrorRates]) -> Markup:
    rows = [
        (
            each.place,
            each.positive,
            f"{each.n_negative:,}",
            NOTHING if each.baseline_false_positive is None else percent(each.baseline_false_positive),
            _points(each.false_positive),
            f"{each.n_positive:,}",
            NOTHING if each.baseline_false_negative is None else percent(each.baseline_false_negative),
            _points(each.false_negative),
        )
        for each in rates
    ]
    columns = (
        "Rows", "Class", "Of other classes", "False positives, your model", "More of them", "Of the class",
        "False negatives, your model", "More of them",
    )  # fmt: skip
    return table("False positives and false negatives, in points more than your model's", columns, rows)


def _affected(rows: Sequence[AffectedRow]) -> Markup:
    shown = any(each.content for each in rows)
    cells = [
        (
            each.file or f"{each.row:,}",
            NOTHING if each.truth is None else each.truth,
            each.before,
            each.after,
            NOTHING if each.fall is None else f"{significant(each.fall * 100)} points",
            *([_content(each.content or {})] if shown else []),
        )
        for each in rows
    ]
    columns = ("Row of the data", "True label", "Your model", "Chosen", "Its probability fell by")
    note = "Rows are counted from 0. " + ("" if shown else "What they hold is shown with --show-rows.")
    return join(
        (
            table("The rows that are hit hardest", (*columns, *(["What it holds"] if shown else [])), cells),
            element("p", note),
        )
    )


def _content(content: Mapping[str, str]) -> Markup:
    """What a row holds, pictures drawn."""
    parts: list[object] = []
    for name, text in content.items():
        parts.append("; " if parts else "")
        if is_png_uri(text):
            parts.append(Markup(f'<img src="{text}" alt="{escape(name)}" height="64">'))
        else:
            parts.append(f"{name}: {text}")
    return join(parts)


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    ends = interval(estimate, percent)
    return percent(estimate.value) + (f" ({ends})" if ends else "")


def _points(estimate: Estimate | None) -> str:
    """A difference of shares in points: above 0 is worse."""
    if estimate is None:
        return NOTHING
    ends = interval(estimate, lambda value: f"{value * 100:+.3g}")
    return f"{estimate.value * 100:+.3g} points" + (f" ({ends})" if ends else "")
