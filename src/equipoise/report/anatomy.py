"""Which layers cost what: tables for a terminal, and one HTML file with a treemap and a roofline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from equipoise.core.anatomy import Anatomy, LayerCost
from equipoise.core.roofline import Peak, Roofline
from equipoise.report.figures import Picture
from equipoise.report.markup import Markup, element, join, table
from equipoise.report.page import drawn, page, section, write_page
from equipoise.report.strokes import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Json, canvas, log_axis, plain
from equipoise.report.wording import NOTHING, duration, significant, size

COLORS = (BLUE, ORANGE, GREEN, SKY, VERMILION)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
DASHES = ("solid", "dash", "dot", "dashdot")
OTHERS = "others"
ROOF_POINTS = 60
ROOM = 1 + 1e-9
"""Plotly draws nothing where a rectangle is smaller than those in it, be it by a rounding error."""
LEAST_MARK, MOST_MARK = 6.0, 40.0
LAYER_COLUMNS = ("layer", "kind", "time", "share", "FLOPs", "weights", "bytes", "FLOPs/byte", "FLOP/s", "of its roof")
OPERATOR_COLUMNS = ("kind", "layers", "time", "share", "FLOPs", "weights", "bytes")


def write_anatomy_page(anatomy: Anatomy, path: Path) -> None:
    """Write what was found as one HTML file that loads nothing from anywhere.

    Args:
        anatomy: What was found.
        path: Where to write; it appears there when it is whole.
    """
    write_page(anatomy_page(anatomy), path)


def anatomy_page(anatomy: Anatomy) -> str:
    """The page as text."""
    pictures = [treemap(anatomy), roofline(anatomy)]
    layers = table("Layers", LAYER_COLUMNS, layer_rows(anatomy.layers))
    notes = [element("ul", *(element("li", note) for note in anatomy.notes))] if anatomy.notes else []
    sections = [
        section("key-figures", "Key figures", table("Key figures", ("", ""), key_rows(anatomy))),
        *(section(picture.key, picture.title, drawn(picture)) for picture in pictures),
        section("operators", "By kind", table("By kind", OPERATOR_COLUMNS, operator_rows(anatomy))),
        section("layers", "Every layer, in the order in which they run", layers),
        *([section("notes", "What else you should know", *notes)] if notes else []),
    ]
    footer = f"Made by Equipoise {version('equipoise')}."
    return page(f"{anatomy.model}: where its time goes", _answer(anatomy), sections, footer)


def key_rows(anatomy: Anatomy) -> list[tuple[str, str]]:
    """What ran where, and the sums."""
    settings, machine = anatomy.settings, anatomy.environment
    fed = "; ".join(f"{fed.name} {fed.dtype} {list(fed.shape)}" for fed in anatomy.inputs)
    covered = anatomy.layers_s / anatomy.whole_s.value
    rows = [
        ("ran in", f"{settings.runtime}, {settings.precision}, {settings.lanes}"),
        ("was fed", f"{fed} ({'random numbers' if anatomy.rows == 'random' else anatomy.rows})"),
        ("one batch takes", duration(anatomy.whole_s.value)),
        ("while its layers are timed", duration(anatomy.observed_s.value)),
        ("the layers add up to", f"{duration(anatomy.layers_s)} ({covered:.0%} of the whole)"),
        ("FLOPs of one batch", count(anatomy.flops)),
        ("time in layers of unknown FLOPs", f"{anatomy.unknown_share:.1%}"),
        ("weights", count(anatomy.parameters)),
        ("processor", f"{machine.cpu_model}, {machine.cores} cores"),
    ]
    return [*rows, *roof_rows(anatomy.roofline)]


def roof_rows(roofline: Roofline | None) -> list[tuple[str, str]]:
    """What the machine can do at most."""
    if roofline is None:
        return []
    peaks = [
        (f"at most in {peak.precision}", f"{count(peak.flops_per_s.value)}FLOP/s ({peak.runtime})")
        for peak in roofline.peaks
    ]
    return [*peaks, ("at most from and to memory", f"{size(roofline.bytes_per_s.value)}/s")]


def operator_rows(anatomy: Anatomy) -> list[tuple[str, ...]]:
    """What each kind of layer costs, the dearest first."""
    return [
        (
            cost.operator,
            f"{cost.layers:,}",
            duration(cost.time_s),
            f"{cost.share:.1%}",
            count(cost.flops) + (f" + {cost.unknown} unknown" if cost.unknown and cost.flops is not None else ""),
            count(cost.parameters),
            size(cost.bytes_moved),
        )
        for cost in anatomy.operators
    ]


def layer_rows(layers: Sequence[LayerCost]) -> list[tuple[str, ...]]:
    """What each layer costs."""
    return [
        (
            layer.name,
            layer.operator,
            duration(layer.time_s.value),
            f"{layer.share:.1%}",
            count(layer.flops),
            count(layer.parameters),
            size(layer.bytes_moved),
            significant(layer.flops_per_byte),
            NOTHING if layer.flops_per_s is None else f"{count(layer.flops_per_s)}FLOP/s",
            NOTHING if layer.roof_share is None else f"{layer.roof_share:.0%} ({layer.bound})",
        )
        for layer in layers
    ]


def dearest(anatomy: Anatomy, most: int) -> tuple[LayerCost, ...]:
    """The layers that take most time, the dearest first."""
    return tuple(sorted(anatomy.layers, key=lambda layer: -layer.time_s.value)[:most])


def treemap(anatomy: Anatomy) -> Picture:
    """A rectangle for each layer, as large as its share of the time, those of one kind together."""
    kinds = [cost.operator for cost in anatomy.operators]
    color = {kind: COLORS[place % len(COLORS)] for place, kind in enumerate(kinds)}
    ids, labels, parents, values, colors, hover = ["all"], [plain(anatomy.model)], [""], [0.0], [GREY], [""]
    for cost in anatomy.operators:
        ids.append(f"kind {cost.operator}")
        labels.append(plain(cost.operator))
        parents.append("all")
        values.append(cost.time_s * 1000 * ROOM)
        colors.append(color[cost.operator])
        hover.append(f"{cost.layers:,} layers, {duration(cost.time_s)}, {cost.share:.1%}")
    for place, layer in enumerate(anatomy.layers):
        ids.append(f"layer {place}")
        labels.append(plain(layer.name))
        parents.append(f"kind {layer.operator}")
        values.append(layer.time_s.value * 1000)
        colors.append(color[layer.operator])
        hover.append(f"{duration(layer.time_s.value)}, {layer.share:.1%}, {count(layer.flops)}FLOP")
    values[0] = ROOM * sum(value for value, parent in zip(values, parents, strict=True) if parent == "all")
    trace: Json = {
        "type": "treemap",
        "ids": ids,
        "labels": labels,
        "parents": parents,
        "values": values,
        "branchvalues": "total",
        "text": hover,
        "hovertemplate": "<b>%{label}</b><br>%{text}<extra></extra>",
        "textinfo": "label+percent root",
        "marker": {"colors": colors, "line": {"width": 1, "color": "#ffffff"}},
        "tiling": {"pad": 1},
    }
    layout = canvas({}, {}) | {"height": 520, "margin": {"l": 4, "r": 4, "t": 24, "b": 4}}
    caption = (
        "Each rectangle is a layer as the runtime executes it, as large as its share of the time; layers of one kind "
        "lie together. Click a kind to see its layers alone."
    )
    rows = tuple((row[0], row[1], row[2], row[3]) for row in layer_rows(dearest(anatomy, len(anatomy.layers))))
    return Picture(
        "treemap", "Where the time goes", caption, {"data": [trace], "layout": layout}, LAYER_COLUMNS[:4], rows
    )


def roofline(anatomy: Anatomy) -> Picture:
    """Operations a second of each layer against its arithmetic intensity, under the machine's roofs."""
    title = "How near the layers come to what this machine can do"
    roofs = anatomy.roofline
    points = [layer for layer in anatomy.layers if layer.flops_per_byte and layer.flops_per_s]
    if roofs is None or not points:
        return Picture(
            "roofline", title, "No layer's operations are known, so there is nothing to hold against a roof."
        )
    reach = [layer.flops_per_byte or 1.0 for layer in points]
    low, high = min(reach) / 2, 4 * max([*reach, *(_ridge(roofs, peak) for peak in roofs.peaks)])
    intensities = np.geomspace(low, high, ROOF_POINTS).tolist()
    traces = [_roof(roofs, peak, intensities, DASHES[place % 4]) for place, peak in enumerate(roofs.peaks)]
    kinds = [cost.operator for cost in anatomy.operators]
    shown = kinds[: len(COLORS) - 1] if len(kinds) > len(COLORS) else kinds
    for place, kind in enumerate([*shown, *([OTHERS] if len(shown) < len(kinds) else [])]):
        mine = [layer for layer in points if layer.operator == kind or (kind == OTHERS and layer.operator not in shown)]
        if mine:
            traces.append(_marks(kind, mine, COLORS[place], SYMBOLS[place]))
    speeds = [layer.flops_per_s or 1.0 for layer in points] + [peak.flops_per_s.value for peak in roofs.peaks]
    layout = canvas(log_axis("FLOPs for each byte moved", [low, high], significant), log_axis("FLOP/s", speeds, count))
    caption = (
        "Each mark is a layer, the larger the more time it takes; a line is the most that this machine can do in a "
        "precision: on the slope memory binds, on the flat part arithmetic. A mark far below its line wastes time in "
        "other ways. Small layers whose bytes stay in the caches may lie above the slope, which is that of main memory."
    )
    columns = ("layer", "FLOPs/byte", "FLOP/s", "of its roof")
    rows = tuple((row[0], *row[7:]) for row in layer_rows(points))
    return Picture("roofline", title, caption, {"data": traces, "layout": layout}, columns, rows)


def count(value: float | None) -> str:
    """A large number with a thousand's prefix.

    Example:
        >>> [count(value) for value in (8_206_518_248, 25_530_472, 1500, 12, 0, None)]
        ['8.21 G', '25.5 M', '1.5 k', '12 ', '0 ', '–']
    """
    if value is None:
        return NOTHING
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{significant(value / factor)} {prefix}"
    return f"{significant(value)} "


def _ridge(roofs: Roofline, peak: Peak) -> float:
    """The intensity from which on arithmetic binds, not memory."""
    return peak.flops_per_s.value / roofs.bytes_per_s.value


def _roof(roofs: Roofline, peak: Peak, intensities: Sequence[float], dash: str) -> Json:
    xs = sorted([*intensities, _ridge(roofs, peak)])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"most in {peak.precision}",
        "x": xs,
        "y": [min(peak.flops_per_s.value, x * roofs.bytes_per_s.value) for x in xs],
        "hoverinfo": "name",
        "line": {"color": GREY, "width": 2, "dash": dash},
    }


def _marks(kind: str, layers: Sequence[LayerCost], color: str, symbol: str) -> Json:
    hover = [
        f"<b>{plain(layer.name)}</b><br>{duration(layer.time_s.value)}, {layer.share:.1%}<br>"
        f"{significant(layer.flops_per_byte)} FLOPs/byte, {count(layer.flops_per_s)}FLOP/s"
        + ("" if layer.roof_share is None else f"<br>{layer.roof_share:.0%} of its roof ({layer.bound})")
        for layer in layers
    ]
    sizes = [LEAST_MARK + (MOST_MARK - LEAST_MARK) * layer.share**0.5 for layer in layers]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(kind),
        "x": [layer.flops_per_byte for layer in layers],
        "y": [layer.flops_per_s for layer in layers],
        "text": hover,
        "hoverinfo": "text",
        "marker": {"color": color, "symbol": symbol, "size": sizes, "opacity": 0.75},
    }


def _answer(anatomy: Anatomy) -> Markup:
    first = anatomy.operators[0]
    sentence = (
        f"{first.share:.0%} of the time goes to {first.layers:,} layers of the kind {first.operator}; one batch of "
        f"{anatomy.settings.batch:,} takes {duration(anatomy.whole_s.value)}."
    )
    return join(
        (
            element("p", element("span", anatomy.model, class_="file")),
            element("h1", sentence),
            element(
                "p",
                f"{anatomy.settings.runtime}, {anatomy.settings.precision}, {anatomy.settings.lanes}.",
                class_="meaning",
            ),
        )
    )
