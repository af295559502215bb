"""`equipoise schema`: print the JSON Schema of the brief or of the result."""

from __future__ import annotations

import click


@click.command()
@click.argument("which", type=click.Choice(["brief", "result"]))
def schema(which: str) -> None:
    """Print the JSON Schema of a TOML brief (for editors) or of `result.json`."""
    import json

    from equipoise.ingest.schema import brief_schema, result_schema

    click.echo(json.dumps(brief_schema() if which == "brief" else result_schema(), indent=2))
