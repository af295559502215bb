"""The live display of a study: what is tried, the best so far in money, the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from equipoise.flow.progress import Progress, Watcher, nobody_watches

if TYPE_CHECKING:
    from rich.panel import Panel


@contextmanager
def watching(quiet: bool) -> Iterator[Watcher]:
    """A watcher for a `with` block: a live panel on a terminal, a line a step elsewhere, both on standard error.

    Args:
        quiet: Show nothing.
    """
    if quiet:
        yield nobody_watches
    elif not sys.stderr.isatty():
        yield _print_line
    else:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
            yield lambda progress: live.update(_panel(progress))


def _print_line(progress: Progress) -> None:
    best = ""
    if progress.usd_per_million is not None:
        best = f"  (best so far ${progress.usd_per_million:.4g} per million: {progress.best})"
    click.echo(f"[{progress.elapsed_s:5.0f}/{progress.budget_s:.0f} s] {progress.doing}{best}", err=True)


def _panel(progress: Progress) -> Panel:
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("now", progress.doing)
    if progress.usd_per_million is not None:
        saved = ""
        if progress.baseline_usd_per_million:
            saved = (
                f", {progress.baseline_usd_per_million / progress.usd_per_million:.1f} times cheaper than the original"
            )
        state = "certified" if progress.proved else "not certified yet"
        grid.add_row("best so far", f"${progress.usd_per_million:.4g} per million{saved} ({state})")
        grid.add_row("", progress.best)
    grid.add_row("looked at", f"{progress.tried} candidates")
    left = max(0.0, progress.budget_s - progress.elapsed_s)
    grid.add_row("time", f"{progress.elapsed_s:.0f} s of {progress.budget_s:.0f} s, {left:.0f} s left")
    grid.add_row(
        "", ProgressBar(total=progress.budget_s, completed=min(progress.elapsed_s, progress.budget_s), width=50)
    )
    return Panel(grid, title="equipoise", title_align="left", border_style="cyan")
