"""The command line: finds the verb, and turns what a person got wrong into one clear line and exit status 2."""

from __future__ import annotations

import importlib
import sys

import click
from click.exceptions import NoArgsIsHelpError

from equipoise.errors import EquipoiseError, InputError

VERBS = (
    "optimize", "demo", "init", "predict", "simulate", "profile", "verify", "check", "serve", "keys", "prices",
    "schema",
)  # fmt: skip
INTERRUPTED = 130


class _Verbs(click.Group):
    """Loads the file of a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"equipoise.cli.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="equipoise")
def cli() -> None:
    """Find the cheapest way to serve a model that still does its job, prove it, and serve it."""


def main() -> None:
    """Run the command line."""
    try:
        cli(standalone_mode=False)
    except InputError as error:
        _end(f"error: {error}", 2)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        see = "" if context is None else f" (see {context.command_path} --help)"
        _end(f"error: {error.format_message()}{see}", error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _end("interrupted", INTERRUPTED)
    except EquipoiseError as error:
        _end(f"error: {error}", 1)


def _end(message: str, status: int) -> None:
    click.echo(" ".join(message.split()), err=True)  # one line, even where a library's own words are many
    sys.exit(status)


if __name__ == "__main__":
    main()
