"""Options of `equipoise serve` on what is counted, logged and traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from equipoise.cli.observing import OPTIONS, observability_settings
from equipoise.errors import InputError

NOTHING: dict[str, Any] = {
    "price": None, "observations": None, "observe_share": None, "observe_inputs": False, "observe_keep": None,
    "observe_keep_bytes": None, "otlp": None, "trace_share": None,
}  # fmt: skip
PAGES = Path(__file__).parents[2] / "docs" / "serving"


def test_without_options_nothing_is_kept_and_nothing_is_sent() -> None:
    settings = observability_settings(**NOTHING)
    assert (settings.usd_per_hour, settings.observations, settings.otlp) == (None, None, None)


def test_only_what_comes_with_a_trace_may_be_traced() -> None:
    assert observability_settings(**NOTHING | {"otlp": "http://x", "trace_share": 0.0}).trace_share == 0.0


def test_inputs_are_not_kept_unless_that_is_asked_for() -> None:
    settings = observability_settings(**NOTHING | {"observations": Path("log")})
    assert settings.observations is not None
    assert not settings.observations.inputs
    assert (settings.observations.share, settings.observations.keep_s) == (1.0, 30 * 86_400)
    assert settings.observations.keep_bytes == 10**10


@pytest.mark.parametrize(
    ("time", "size", "seconds", "number"),
    [("90s", "1000", 90.0, 1000), ("15m", "5KB", 900.0, 5000), ("12h", "500MB", 43_200.0, 5 * 10**8),
     ("30d", "2TB", 2_592_000.0, 2 * 10**12), ("forever", "forever", None, None)],
)  # fmt: skip
def test_times_and_sizes(time: str, size: str, seconds: float | None, number: int | None) -> None:
    given = {"observations": Path("log"), "observe_keep": time, "observe_keep_bytes": size}
    found = observability_settings(**NOTHING | given).observations
    assert found is not None
    assert (found.keep_s, found.keep_bytes) == (seconds, number)


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"price": 0.0}, "--price"),
        ({"price": float("nan")}, "--price"),
        ({"observe_share": 0.5}, "--observe-share"),
        ({"observe_inputs": True}, "--observe-inputs"),
        ({"observe_keep": "1d"}, "--observe-keep"),
        ({"observe_keep_bytes": "1GB"}, "--observe-keep-bytes"),
        ({"trace_share": 0.5}, "--trace-share"),
        ({"otlp": "http://x", "trace_share": -0.1}, "--trace-share"),
        *(({"observations": Path("x"), "observe_share": share}, "--observe-share") for share in (0.0, 1.5, -1.0)),
        *(
            ({"observations": Path("x"), "observe_keep": text}, "--observe-keep")
            for text in ("", "1", "0d", "1w", "-1d")
        ),
        *(
            ({"observations": Path("x"), "observe_keep_bytes": text}, "--observe-keep-bytes")
            for text in ("x", "0", "1gb")
        ),
    ],
)
def test_what_cannot_be_used_names_its_option(options: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError) as raised:
        observability_settings(**NOTHING | options)
    assert raised.value.where == option


def test_the_pages_tell_of_every_option() -> None:
    pages = "".join(page.read_text() for page in PAGES.glob("*.md"))
    names = []
    for option in OPTIONS:

        def command() -> None: ...

        option(command)
        names += [name for each in command.__click_params__ for name in each.opts]  # type: ignore[attr-defined]
    assert len(names) == len(OPTIONS)
    assert [name for name in names if f"`{name}" not in pages] == []
