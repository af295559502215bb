"""What the pictures and tables show of a candidate, and which candidates there are."""

from __future__ import annotations

from dataclasses import replace

from equipoise.core.candidate import Candidate
from equipoise.core.result import Result
from equipoise.report.details import ReportDetails, ScreenedPoint
from equipoise.report.naming import setting_of
from equipoise.report.strokes import BLUE, GREEN, ORANGE


def measured_points(result: Result, details: ReportDetails) -> list[ScreenedPoint]:
    """Every measured candidate once; the result's own fill in for those that the details leave out."""
    points = {point.name: point for point in details.screened}
    for candidate in (result.baseline, result.baseline_tuned, result.chosen, *result.frontier):
        usd = None if candidate is None else cost_of(candidate, result)
        if candidate is not None and candidate.stages and candidate.name in points:
            points[candidate.name] = replace(points[candidate.name], stages=candidate.stages)
        if candidate is not None and usd is not None and candidate.name not in points:
            points[candidate.name] = ScreenedPoint(
                name=candidate.name,
                settings=settings_text(candidate),
                usd_per_million=usd,
                quality=candidate.quality,
                p99_s=candidate.latency_s.p99.value if candidate.latency_s.p99 else None,
                stages=candidate.stages,
            )
    return list(points.values())


def cost_of(candidate: Candidate, result: Result) -> float | None:
    """A candidate's cost by the basis that decides, in US dollars per million answers.

    Null where there is traffic that no number of its machines would answer within the limit.
    """
    if result.cost.basis == "provisioned":
        return candidate.usd_per_million_provisioned
    return candidate.usd_per_million_packed


def settings_text(candidate: Candidate) -> str:
    """How a candidate runs, in a few words."""
    threads = f"{candidate.threads} thread{'s' if candidate.threads != 1 else ''}"
    replicas = f" × {candidate.replicas} replicas" if candidate.replicas > 1 else ""
    runtime, precision = setting_of(candidate)
    return f"{runtime}, {precision}, {threads}{replicas}, batch {candidate.batch}"


def served(result: Result) -> list[tuple[str, Candidate, str, str]]:
    """What could be served, to be drawn as lines: its label, candidate, colour and dash."""
    found = [
        ("your model as it is", result.baseline, ORANGE, "dash"),
        ("your model, best settings", result.baseline_tuned, BLUE, "dot"),
    ]
    if result.chosen is not None and result.chosen.name not in (result.baseline.name, result.baseline_tuned.name):
        found.append(("chosen", result.chosen, GREEN, "solid"))
    return found
