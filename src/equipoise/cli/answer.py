"""The answer of a study, on a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from equipoise.core.candidate import Candidate
from equipoise.core.result import Result

if TYPE_CHECKING:
    from rich.console import Console


def show_answer(result: Result, folder: Path) -> None:
    """Print the answer, the figures behind it, and where the rest is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from equipoise.report.naming import said
    from equipoise.report.wording import allowed, loss

    console = Console(highlight=False)
    console.print(f"\n[bold]{escape(result.sentence)}[/bold]\n")
    table = Table(show_edge=False, pad_edge=False, box=None)
    for heading in ("", "$ per million", "answers/s", "p99", "quality", "memory"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    rows = [("as deployed", result.baseline), ("original, tuned", result.baseline_tuned)]
    if result.chosen is not None:
        rows.append(("chosen", result.chosen))
    for label, candidate in rows:
        table.add_row(label, *_figures(candidate, result))
    console.print(table)
    console.print()
    _show_parts(result, console)
    certificate, provable = result.certificate, result.provable
    if certificate is not None and certificate.passed and result.decision == "replace":
        high = certificate.difference.high or 0.0
        most = loss(certificate.metric, abs(high))
        claim = f"it loses at most {most}" if high >= 0 else f"it gains at least {most}"
        margin = allowed(certificate.metric, certificate.margin)
        console.print(
            f"Certified on {certificate.n:,} rows: {claim} (allowed to lose: {margin}) "
            f"with {certificate.confidence:.0%} confidence."
        )
    elif certificate is None and result.decision != "infeasible":
        console.print("Nothing is certified: the metric is `none`, so only speed and cost were compared.")
    if certificate is not None and provable is not None and provable.drop is not None and result.decision == "keep":
        console.print(escape(_provable_line(result)))
        for failure in result.rejected:
            if failure.stage == "certify":
                console.print(f"[yellow]not proved:[/yellow] {escape(said(failure.name))}: {escape(failure.reason)}")
    for warning in result.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
    console.print(f"\n{escape(str(folder / 'report.html'))}  the pictures, the proof, why the others were rejected")
    if (folder / "bundle").is_dir():
        console.print(
            f"{escape(str(folder / 'bundle'))}  what to serve; `equipoise verify` and `equipoise predict` take it"
        )


def _show_parts(result: Result, console: Console) -> None:
    """Print who answers what share, and what the plan has for pressure, doubt and repeats."""
    from rich.markup import escape
    from rich.table import Table

    from equipoise.report.naming import accepts_text, composition_of, short_names
    from equipoise.report.parts import cache_line, distrust_line, fallback_line, payback_line
    from equipoise.report.value import value_line
    from equipoise.report.wording import NOTHING, percent

    found = None if result.chosen is None else composition_of(result.chosen)
    if found is not None:
        table = Table(show_edge=False, pad_edge=False, box=None)
        for heading in ("who answers", "asked", "answers", "its answer stands when"):
            table.add_column(heading, justify="right" if heading in ("asked", "answers") else "left", overflow="fold")
        names = short_names([stage.name for stage in found.stages])
        for place, (name, stage) in enumerate(zip(names, found.stages, strict=True), 1):
            shares = (stage.share_reached, stage.share_answered)
            shown = (NOTHING if share is None else percent(share) for share in shares)
            table.add_row(escape(f"{place}. {name}"), *shown, escape(accepts_text(stage.accepts)))
        console.print(table)
        console.print()
    lines = [
        *([("value", value_line(result))] if result.value is not None else []),
        *([("under pressure", fallback_line(result.fallback))] if result.fallback is not None else []),
        *([("when not sure", distrust_line(result.distrust))] if result.distrust is not None else []),
        *([("memory", cache_line(result.cache))] if result.cache is not None else []),
        *([("training", payback_line(result.payback))] if result.payback is not None else []),
    ]
    for label, line in lines:
        console.print(f"[bold]{label}:[/bold] {escape(line)}")
    if lines:
        console.print()


def _provable_line(result: Result) -> str:
    from equipoise.report.naming import said
    from equipoise.report.wording import loss

    certificate, provable = result.certificate, result.provable
    if certificate is None or provable is None or provable.drop is None:
        return ""
    if provable.plan == result.baseline_tuned.name:
        return "No cheaper candidate came as far as the proof."
    plan = "" if provable.plan is None else f", for {said(provable.plan)}"
    text = f"These rows prove a drop of at most {loss(certificate.metric, provable.drop)}{plan}."
    if provable.rows_for_margin is None:
        return f"{text} No number of rows would prove the margin at the loss that was seen."
    total = "" if provable.total_rows_for_margin is None else f", {provable.total_rows_for_margin:,} in the whole file"
    return f"{text} The margin needs about {provable.rows_for_margin:,} certify rows{total}."


def _figures(candidate: Candidate, result: Result) -> tuple[str, ...]:
    from equipoise.report.wording import NOTHING, duration, money, significant, size

    usd = candidate.usd_per_million_packed
    if result.cost.basis == "provisioned":
        provisioned = candidate.usd_per_million_provisioned
        usd_text = NOTHING if provisioned is None else money(provisioned)
    else:
        usd_text = money(usd)
    p99 = candidate.latency_s.p99
    quality = candidate.quality
    return (
        usd_text,
        f"{candidate.throughput_rps.value:,.0f}",
        duration(None if p99 is None else p99.value),
        significant(None if quality is None else quality.value, 4),
        size(candidate.peak_memory_bytes.value),
    )
