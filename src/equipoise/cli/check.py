"""`equipoise check`: a gate that lets a bundle through while its certificate holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=FILE)
@click.option("--data", required=True, type=FILE, help="New rows with true answers, of any kind that a study takes.")
@click.option("--baseline", type=FILE, help="The model that BUNDLE was made from, to compare with on the same rows.")
@click.option("--state-dict", type=FILE, help="Weights of a --baseline that is module:function.")
@click.option("--trust", is_flag=True, help="Open a --baseline that can run code (.joblib, .pkl): only your own.")
@click.option("--target", help="Column or array of the true answers; otherwise label, then y.")
@click.option("--columns", help="Column names of CSV files without a header, separated by commas.")
@click.option("--group", help="Column whose equal values belong together; needed if BUNDLE was certified by group.")
@click.option("--ood", multiple=True, metavar="NAME=PATH", help="New rows of one of its out-of-distribution sets.")
@click.option("--positive-class", help="The class that counts as positive, for the metric f1_binary.")
@click.option(
    "--small-slices",
    type=click.Choice(["block", "report", "pool"]),
    help="What a slice with too few rows does; otherwise what it did in the study.",
)
@click.option("--seed", default=0, show_default=True, help="Of bootstraps.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--junit", type=FILE, help="Write the findings as JUnit XML to this file.")
def check(bundle: Path, as_json: bool, junit: Path | None, **wanted: Any) -> None:
    """Test every claim of BUNDLE's certificate again on new rows, and look for changed files and answers.

    With --baseline the original answers the same rows, and the certificate's own claims are tested: the loss overall,
    on each slice and on each out-of-distribution set, with its margins and its confidence. Without it, the bundle's
    figure must be past the one that the original had then, less the margin: a weaker claim. What is not proved again
    fails; a bundle that loses more than it may passes with a probability of at most one minus its confidence.

    Exits with 0 when everything that was tested holds, 1 when something does not, 2 for wrong input.
    """
    from equipoise.errors import BriefError
    from equipoise.flow.check import CheckWish, check_bundle
    from equipoise.ingest.spellings import names
    from equipoise.report import check as report

    if junit is not None and not junit.parent.is_dir():
        raise BriefError("--junit", f"found no folder {junit.parent}", "needed a file in a folder that is there")
    columns = wanted.pop("columns")
    wish = CheckWish(
        **wanted | {"ood": _sets(wanted["ood"])}, columns=None if columns is None else names(columns, "--columns")
    )
    found = check_bundle(bundle, wish)
    if junit is not None:
        junit.write_text(report.junit(found), encoding="utf-8")
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        for line in report.check_lines(found):
            click.echo(line)
    if not found.ok:
        sys.exit(1)


def _sets(given: tuple[str, ...]) -> dict[str, Path]:
    from equipoise.errors import BriefError

    found = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not (name and equals and path):
            raise BriefError("--ood", f"found {each!r}", "needed NAME=PATH")
        found[name] = Path(path)
    return found
