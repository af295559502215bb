"""Options of `equipoise serve` that say what is counted, logged and traced of the requests it answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from equipoise.errors import InputError

if TYPE_CHECKING:
    from equipoise.endpoint.observability import ObservabilitySettings

Command = TypeVar("Command", bound=Callable[..., Any])
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
FOREVER = "forever"
INSTALL = 'pip install "equipoise[otel]"'

OPTIONS = (
    click.option(
        "--price", metavar="USD", type=float, help="US dollars an hour of this machine, instead of the plan's."
    ),
    click.option(
        "--observations",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Log one row a request into Parquet files of this folder.",
    ),
    click.option("--observe-share", metavar="SHARE", type=float, help="Log this share of the requests. [default: 1]"),
    click.option("--observe-inputs", is_flag=True, help="Log what requests ask about too. Nothing else ever does."),
    click.option("--observe-keep", metavar="TIME", help="12h, 30d or forever: after that files go. [default: 30d]"),
    click.option(
        "--observe-keep-bytes",
        metavar="SIZE",
        help="500MB, 10GB or forever: most of all files together. [default: 10GB]",
    ),
    click.option(
        "--otlp", metavar="URL", help="Send traces to this OTLP collector: http://localhost:4318, for instance."
    ),
    click.option("--trace-share", metavar="SHARE", type=float, help="Trace this share of the requests. [default: 1]"),
)


def observing_options(command: Command) -> Command:
    """Give a command these options; it passes what they hold to `observability_settings`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def observability_settings(
    *,
    price: float | None,
    observations: Path | None,
    observe_share: float | None,
    observe_inputs: bool,
    observe_keep: str | None,
    observe_keep_bytes: str | None,
    otlp: str | None,
    trace_share: float | None,
) -> ObservabilitySettings:
    """What these options ask for.

    Raises:
        InputError: One of them holds something else than it needs, or needs another that is not given.
    """
    from equipoise.endpoint.observability import ObservabilitySettings
    from equipoise.observe.observing import ObservationSettings

    if price is not None and not 0 < price < float("inf"):
        raise InputError("--price", f"found {price}", "needed US dollars an hour, above 0")
    _need("--observations", observations, **{
        "--observe-share": observe_share, "--observe-inputs": observe_inputs or None,
        "--observe-keep": observe_keep, "--observe-keep-bytes": observe_keep_bytes,
    })  # fmt: skip
    _need("--otlp", otlp, **{"--trace-share": trace_share})
    if otlp is not None:
        _require_otel()
    logged = None
    if observations is not None:
        logged = ObservationSettings(
            observations,
            share=_share("--observe-share", observe_share),
            inputs=observe_inputs,
            keep_s=_seconds("30d" if observe_keep is None else observe_keep),
            keep_bytes=_bytes("10GB" if observe_keep_bytes is None else observe_keep_bytes),
        )
    return ObservabilitySettings(price, logged, otlp, _share("--trace-share", trace_share, least=0.0))


def _require_otel() -> None:
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk.trace  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError("--otlp", f"{error.name} is not installed", f"run: {INSTALL}") from None


def _need(option: str, value: object, **given: object) -> None:
    for other, found in given.items():
        if found is not None and value is None:
            raise InputError(other, f"found it without {option}", f"give {option} too")


def _share(option: str, value: float | None, least: float = 1e-6) -> float:
    share = 1.0 if value is None else value
    if not least <= share <= 1:
        raise InputError(option, f"found {share}", f"needed a share from {least:g} to 1")
    return share


def _seconds(text: str) -> float | None:
    if text == FOREVER:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if found is None or not int(found[1]):
        raise InputError("--observe-keep", f"found {text!r}", "needed a time, as in 12h or 30d, or forever")
    return int(found[1]) * SECONDS[found[2]]


def _bytes(text: str) -> int | None:
    if text == FOREVER:
        return None
    found = re.fullmatch(r"(\d{1,15})(|KB|MB|GB|TB)", text)
    if found is None or not int(found[1]):
        raise InputError("--observe-keep-bytes", f"found {text!r}", "needed a size, as in 500MB or 10GB, or forever")
    return int(found[1]) * BYTES[found[2]]
