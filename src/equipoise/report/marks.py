"""Candidates as marks of the picture of cost and quality: what each is by its shape, what was proved by its fill."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.report.details import ScreenedPoint
from equipoise.report.naming import Kind, composition
from equipoise.report.strokes import GREEN, GREY, ORANGE, SKY, Json, dots

SHAPES: dict[Kind, tuple[str, int]] = {
    "single model": ("circle", 9),
    "cascade": ("triangle-up", 12),
    "ensemble": ("pentagon", 12),
}


def candidate_marks(points: Sequence[ScreenedPoint], baseline: str, chosen: str | None, metric: str) -> list[Json]:
    """Marks for all candidates, those that matter most drawn last.

    Where none is composed, proved candidates are diamonds; where some are, shapes tell what a candidate is, and a
    filled one was proved.

    Args:
        points: Candidates.
        baseline: Name of the original as it is deployed.
        chosen: Name of what was chosen; null where nothing was.
        metric: Name of the metric.
    """
    rest = [point for point in points if point.name not in (baseline, chosen)]
    if any(composition(point.name) for point in points):
        traces = [
            trace for kind in SHAPES if (trace := _of_kind(kind, [p for p in rest if kind_of_point(p) == kind], metric))
        ]
    else:
        groups = (
            ("other candidates", [point for point in rest if not point.certified], GREY, "circle-open", 9),
            ("proved candidates", [point for point in rest if point.certified], SKY, "diamond", 11),
        )
        traces = [
            dots(name, group, metric, color, symbol, size) for name, group, color, symbol, size in groups if group
        ]
    named = [point for point in points if point.name == chosen != baseline]
    kind = "" if not named or kind_of_point(named[0]) == "single model" else f" ({kind_of_point(named[0])})"
    for name, group, color, symbol, size in (
        ("your model as it is", [point for point in points if point.name == baseline], ORANGE, "square", 15),
        (f"chosen{kind}", named, GREEN, "star", 20),
    ):
        if group:
            traces.append(dots(name, group, metric, color, symbol, size))
    return traces


def kind_of_point(point: ScreenedPoint) -> Kind:
    """What a candidate is."""
    found = composition(point.name)
    return "single model" if found is None else found.kind


def _of_kind(kind: Kind, points: Sequence[ScreenedPoint], metric: str) -> Json | None:
    if not points:
        return None
    shape, size = SHAPES[kind]
    ordered = sorted(points, key=lambda point: bool(point.certified))
    symbols = [shape if point.certified else f"{shape}-open" for point in ordered]
    return dots(kind, ordered, metric, [SKY if point.certified else GREY for point in ordered], symbols, size)
