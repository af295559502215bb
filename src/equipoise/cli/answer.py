"""The answer of a study, on a terminal."""

from __future__ import annotations

from pathlib import Path

from equipoise.core.candidate import Candidate
from equipoise.core.result import Result


def show_answer(result: Result, folder: Path) -> None:
    """Print the answer, the figures behind it, and where the rest is."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"\n[bold]{result.sentence}[/bold]\n", highlight=False)
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "$ per million", "rows/s", "p99", "quality", "memory", "setting"):
        table.add_column(heading, justify="left" if heading in ("", "setting") else "right")
    rows = [("as deployed", result.baseline), ("original, tuned", result.baseline_tuned)]
    if result.chosen is not None:
        rows.append(("chosen", result.chosen))
    for label, candidate in rows:
        table.add_row(label, *_cells(candidate))
    console.print(table)
    certificate = result.certificate
    if certificate is not None and certificate.passed:
        console.print(
            f"\nCertified on {certificate.n:,} rows: loses at most {certificate.difference.high:.4f} "
            f"(allowed {certificate.margin}) with {certificate.confidence:.0%} confidence."
        )
    elif certificate is None and result.decision != "infeasible":
        console.print("\nNothing is certified: the metric is `none`, so only speed and cost were compared.")
    provable = result.provable
    if provable is not None and provable.drop is not None:
        console.print(f"The tightest drop that these data can prove: {provable.drop:.4f}, with {provable.plan}.")
    for warning in result.warnings:
        console.print(f"[yellow]note[/yellow] {warning}", highlight=False)
    console.print(f"\n{folder / 'report.html'}: the pictures, the proof, and why the others were rejected")
    if result.chosen is not None:
        console.print(f"{folder / 'bundle'}: what to serve; `equipoise verify` and `equipoise predict` take it")


def _cells(candidate: Candidate) -> tuple[str, ...]:
    usd = candidate.usd_per_million_provisioned
    usd = candidate.usd_per_million_packed if usd is None else usd
    p99 = candidate.latency_s.p99
    return (
        f"{usd:.4f}",
        f"{candidate.throughput_rps.value:,.0f}",
        "-" if p99 is None else f"{p99.value * 1e3:.1f} ms",
        "-" if candidate.quality is None else f"{candidate.quality.value:.4f}",
        f"{candidate.peak_memory_bytes.value / 2**20:,.0f} MiB",
        f"{candidate.recipe} @ {candidate.runtime} {candidate.precision}, "
        f"{candidate.threads} threads x {candidate.replicas}, batch {candidate.batch}",
    )
