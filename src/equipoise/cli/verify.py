"""`equipoise verify`: is a bundle still what was certified?"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(bundle: Path, as_json: bool) -> None:
    """Check every byte of BUNDLE, and compute its golden answers again on this machine.

    Exits with 0 when it is intact, 1 when something changed, 2 when it is not a bundle.
    """
    from equipoise.execute.verify import verify_bundle

    found = verify_bundle(bundle)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        for line in found.changed_files:
            click.echo(f"changed file    {line}")
        for line in found.changed_answers:
            click.echo(f"changed answer  {line}")
        for line in found.notes:
            click.echo(f"note            {line}")
        click.echo(
            f"{bundle}: " + ("intact, and it answers as it was certified" if found.ok else "CHANGED, do not serve it")
        )
    if not found.ok:
        sys.exit(1)
