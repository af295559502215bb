"""The report's tables: key figures, the certificate's slices, and every candidate with what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equipoise.core.candidate import Candidate, CandidateStage
from equipoise.core.certificate import Certificate
from equipoise.core.estimate import Estimate
from equipoise.core.result import Result
from equipoise.report.composition import candidate_name
from equipoise.report.details import ReportDetails
from equipoise.report.markup import Markup, element, join, table
from equipoise.report.naming import composition_of, config_name, made_by, with_short_names
from equipoise.report.points import cost_of, settings_text
from equipoise.report.wording import (
    NOTHING,
    allowed,
    duration,
    interval,
    loss,
    metric_name,
    money,
    quality,
    significant,
    size,
)

STAGES = {
    "build": "could not be made",
    "convert": "answered unlike its source",
    "screen": "given up early",
    "time": "could not be timed",
    "load": "failed under traffic",
    "choose": "not chosen",
    "certify": "not proved",
}
KINDS = {"slice": "slice", "ood": "other data", "corruption": "corrupted rows"}
VERDICTS = {"within": "✓ within", "worse": "✗ worse", "too few": "? too few rows"}


def key_figures(result: Result, details: ReportDetails) -> Markup:
    """The baseline, the same with its best settings, and what was chosen, side by side."""
    shown = [result.baseline, result.baseline_tuned, *([result.chosen] if result.chosen else [])]
    columns = ("", "Your model as it is", "Your model, best settings", *(["Chosen"] if result.chosen else []))
    proof = result.certificate

    def judged(candidate: Candidate) -> Estimate | None:
        if proof is not None and candidate == result.chosen:
            return proof.chosen
        return proof.baseline if proof is not None else candidate.quality

    def line(label: str, figure: Callable[[Candidate], object]) -> tuple[object, ...]:
        return (label, *(figure(candidate) for candidate in shown))

    def good(value: float) -> str:
        return quality(details.metric, value)

    rows = [line("USD per million answers, machine kept full", lambda c: money(c.usd_per_million_packed))]
    if result.cost.basis == "provisioned":
        rows.append(line("USD per million answers, at your traffic", lambda c: money(c.usd_per_million_provisioned)))
    if any(c.usd_per_million_correct is not None for c in shown):
        rows.append(line("USD per million correct answers", lambda c: money(c.usd_per_million_correct)))
    if result.value is not None:
        rows.append(line("Net value of a million requests", _net_value))
    if details.metric != "none":
        rows.append(line(metric_name(details.metric).capitalize(), lambda c: _with_interval(judged(c), good)))
    rows += [
        line("Half of the answers within (p50)", lambda c: _with_interval(c.latency_s.p50, duration)),
        line("99 of 100 answers within (p99)", lambda c: _with_interval(c.latency_s.p99, duration)),
        line("Answers a second, machine kept full", lambda c: _with_interval(c.throughput_rps, significant)),
        line("Memory at most", lambda c: size(c.peak_memory_bytes.value)),
        line("Size on disk", lambda c: size(c.artifact_bytes)),
        line("Start to first answer", lambda c: duration(c.cold_start_s.value)),
        line("Made by", _made_by),
        line("Runs on", settings_text),
    ]
    return table(
        "Key figures, with the interval each is known to",
        columns,
        rows,
        class_="figures chosen" if result.chosen else "figures",
    )


def slices(certificate: Certificate) -> Markup:
    """The verdict on every slice and out-of-distribution set."""

    def rows_text(n: int, needed: int | None) -> str:
        return f"{n:,}" if needed is None else f"{n:,} (needs {needed:,})"

    rows = [
        (
            s.name,
            KINDS[s.kind],
            allowed(certificate.metric, s.margin),
            _with_interval(s.difference, lambda value: loss(certificate.metric, value)),
            rows_text(s.n, s.needed),
            element("span", VERDICTS[s.verdict], class_=f"verdict {s.verdict.replace(' ', '-')}"),
            "blocks the candidate" if s.blocks else "",
        )
        for s in certificate.slices
    ]
    columns = ("Rows", "Kind", "Loss allowed", "Loss seen", "How many", "Verdict", "")
    return table("Verdicts on slices and on other data", columns, rows)


@dataclass(frozen=True)
class CandidateRow:
    """A candidate as the last table shows it."""

    name: str
    status: str
    usd_per_million: float | None
    quality: float | None
    p99_s: float | None
    runs: str
    reason: object
    stages: tuple[CandidateStage, ...] = ()


def candidates(result: Result, details: ReportDetails) -> Markup:
    """Every candidate with its figures and what became of it; the page's script sorts and filters it."""
    rows = candidate_rows(result, details)
    columns = (
        "Candidate",
        "What became of it",
        "USD per million",
        metric_name(details.metric),
        "p99",
        "Why, and how it ran",
    )
    head = element(
        "thead",
        element(
            "tr",
            *(element("th", element("button", name, type="button"), scope="col", aria_sort="none") for name in columns),
        ),
    )
    body = element("tbody", *(_candidate_row(row, details.metric) for row in rows))
    whole = element(
        "table", element("caption", f"All {len(rows):,} candidates"), head, body, id="candidates", class_="candidates"
    )
    statuses = sorted({row.status for row in rows})
    controls = element(
        "form",
        element("label", "Find ", Markup('<input type="search" id="find" autocomplete="off">')),
        element(
            "label",
            "Show ",
            element(
                "select",
                element("option", "all", value=""),
                *(element("option", s, value=s) for s in statuses),
                id="status",
            ),
        ),
        element("output", f"{len(rows):,} candidates", id="count"),
        class_="controls",
    )
    return join(
        (controls, element("div", whole, class_="scroll", role="region", tabindex="0", aria_label="All candidates"))
    )


def candidate_rows(result: Result, details: ReportDetails) -> list[CandidateRow]:
    """Every candidate once: the chosen one, the baselines, the frontier, the rejected, and what else was measured."""
    rows: dict[str, CandidateRow] = {}
    special = (
        (result.chosen, "chosen" if result.decision == "replace" else "keep this"),
        (result.baseline, "your model as it is"),
        (result.baseline_tuned, "your model, best settings"),
        *((candidate, "on the frontier") for candidate in result.frontier),
    )
    for candidate, status in special:
        if candidate is None or candidate.name in rows:
            continue
        p99 = candidate.latency_s.p99
        rows[candidate.name] = CandidateRow(
            name=candidate.name,
            status=status,
            usd_per_million=cost_of(candidate, result),
            quality=candidate.quality.value if candidate.quality else None,
            p99_s=p99.value if p99 else None,
            runs=settings_text(candidate),
            reason="",
            stages=candidate.stages,
        )
    names = {*rows, *(failure.name for failure in result.rejected), *(point.name for point in details.screened)}
    names |= {config_name(name) for name in names}
    measured = {point.name: point for point in details.screened}
    for failure in result.rejected:
        point = measured.pop(failure.name, None)
        held = rows.get(failure.name)
        if held is not None and held.status != "on the frontier":
            continue
        log = element("details", element("summary", "log"), element("pre", failure.log)) if failure.log else ""
        rows[failure.name] = CandidateRow(
            name=failure.name,
            status=STAGES[failure.stage],
            usd_per_million=held.usd_per_million if held else (point.usd_per_million if point else None),
            quality=held.quality if held else (point.quality.value if point and point.quality else None),
            p99_s=held.p99_s if held else (point.p99_s if point else None),
            runs=held.runs if held else (point.settings if point else f"made by {made_by(failure.recipe)}"),
            reason=join((with_short_names(failure.reason, names), log)),
            stages=held.stages if held else (),
        )
    for point in measured.values():
        if point.name not in rows:
            value = point.quality.value if point.quality else None
            rows[point.name] = CandidateRow(
                point.name, "measured", point.usd_per_million, value, point.p99_s, point.settings, "", point.stages
            )
    return list(rows.values())


def _candidate_row(row: CandidateRow, metric: str) -> Markup:
    def figure(value: float | None, text: str) -> Markup:
        return element("td", text, data_value="" if value is None else f"{value:.9g}", class_="number")

    why = (
        join((element("span", row.reason), " ", element("small", row.runs)))
        if row.reason
        else element("small", row.runs)
    )
    return element(
        "tr",
        element("th", candidate_name(row.name, row.stages), scope="row"),
        element("td", row.status),
        figure(row.usd_per_million, money(row.usd_per_million)),
        figure(row.quality, quality(metric, row.quality)),
        figure(row.p99_s, duration(row.p99_s)),
        element("td", why),
        data_status=row.status,
    )


def _net_value(candidate: Candidate) -> object:
    return _with_interval(None if candidate.value is None else candidate.value.net_usd, money)


def _made_by(candidate: Candidate) -> object:
    if composition_of(candidate) is None:
        return str(candidate.recipe)
    return candidate_name(config_name(candidate.name), candidate.stages)


def _with_interval(estimate: Estimate | None, unit: Callable[[float], str]) -> object:
    if estimate is None:
        return NOTHING
    ends = interval(estimate, unit)
    return join((unit(estimate.value), " ", element("small", ends))) if ends else unit(estimate.value)
