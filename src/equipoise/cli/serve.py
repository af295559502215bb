"""`equipoise serve`: answer requests with bundles, over HTTP and gRPC."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from equipoise.cli.guarding import guarding_options, guards
from equipoise.cli.observing import observability_settings, observing_options
from equipoise.errors import InputError

if TYPE_CHECKING:
    from equipoise.endpoint.logs import LogForm
    from equipoise.serve.loading import LoadedPlan

INSTALL = 'pip install "equipoise[serve]"'
INSTALL_GRPC = 'pip install "equipoise[grpc]"'
LOCAL = "127.0.0.1"


@click.command()
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True)
@click.option(
    "--http", metavar="PORT", default="8080", show_default=True, help="PORT of this machine, or ADDRESS:PORT."
)
@click.option("--grpc", metavar="PORT", help="PORT of this machine, or ADDRESS:PORT, for gRPC too.")
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that compute each model, so that one that crashes takes no other down; 0: threads of the server.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds between saying `not ready` and taking no more connections, when it is told to stop.",
)
@click.option(
    "--log",
    type=click.Choice(["json", "text", "none"]),
    help="Lines on standard error, one a request. [default: text on a terminal, else json]",
)
@guarding_options
@observing_options
def serve(
    bundles: tuple[str, ...],
    http: str,
    grpc: str | None,
    workers: int,
    drain_s: float,
    log: LogForm | None,
    keys: Path | None,
    admin: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    **observing: Any,
) -> None:
    """Answer requests with each BUNDLE's plan: a folder, or NAME=FOLDER to call it NAME.

    Without a NAME it is called like its folder, or the one above where that is `bundle`. Several bundles of a name are
    its versions 1, 2 ... in this order, and the last one answers requests that name none. Every bundle is verified
    first: one that was changed, or answers differently on this machine, is not served.

    Other machines reach it only where --http or --grpc names an address, 0.0.0.0:8080 for instance; then give it --keys
    and TLS, or let only what has its own reach it.

    SIGTERM or Ctrl-C: it says `not ready`, answers for --drain-s more, ends what it has begun, and exits with 0. A
    second one ends it at once.
    """
    address, port = _place("--http", http)
    calls = None if grpc is None else _place("--grpc", grpc)
    try:
        import httptools  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
        import uvloop  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError("equipoise serve", f"{error.name} is not installed", f"run: {INSTALL}") from None
    from equipoise.endpoint.process import ServerSettings, bound_socket, run

    addresses = [address, *([] if calls is None else calls[:1])]
    found = guards(addresses, keys=keys, admin=admin, tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca)
    settings = ServerSettings(
        drain_s=drain_s,
        workers=workers,
        grpc=calls,
        keys=found.keys,
        admin=found.admin,
        tls=found.tls,
        log=log or ("text" if sys.stderr.isatty() else "json"),
        observability=observability_settings(**observing),
    )
    with bound_socket(address, port) as listening:
        if calls is not None:
            _require_grpc()
            bound_socket(*calls, "--grpc").close()  # before models are loaded, which takes its time
        plans = _load(bundles, workers)
        for plan in plans:
            click.echo(f"serving {plan.name}, version {plan.version}: {plan.bundle.plan.name}")
            for note in plan.notes:
                click.echo(f"note: {note}")
        run(plans, listening, settings, lambda url: click.echo(f"ready at {url}"))


def _load(bundles: tuple[str, ...], workers: int) -> list[LoadedPlan]:
    from equipoise.serve.loading import default_name, load_plan

    plans: list[LoadedPlan] = []
    for given in bundles:
        name, equals, folder = given.partition("=")
        place = Path(folder if equals else given)
        called = name if equals and name else default_name(place)
        version = str(1 + sum(plan.name == called for plan in plans))
        plans.append(load_plan(place, called, version, workers))
    return plans


def _require_grpc() -> None:
    try:
        import tritonclient.grpc  # noqa: F401
    except (ModuleNotFoundError, RuntimeError) as error:  # the latter is how it says that what it needs is missing
        missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        name = getattr(missing, "name", None) or "gRPC"
        raise InputError("equipoise serve --grpc", f"{name} is not installed", f"run: {INSTALL_GRPC}") from None


def _place(option: str, text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65_535:
        raise InputError(option, f"found {text!r}", "needed a port from 0 to 65535, or ADDRESS:PORT")
    return address.strip("[]") or LOCAL, int(port)
