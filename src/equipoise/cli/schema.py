"""`equipoise schema`: print the JSON Schema of the brief, the result, or a profile."""

from __future__ import annotations

import click


@click.command()
@click.argument("which", type=click.Choice(["brief", "result", "anatomy"]))
def schema(which: str) -> None:
    """Print the JSON Schema of a TOML brief (for editors), of `result.json`, or of a profile's `anatomy.json`."""
    import json

    from equipoise.ingest.schema import SCHEMAS

    click.echo(json.dumps(SCHEMAS[which](), indent=2))
