"""What `equipoise serve` says of its options before it loads anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from equipoise.cli.main import main
from equipoise.endpoint.keys import add_key

Run = Callable[..., list[str]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Serves a bundle that is not there, with some options; what was said until that was found out."""
    monkeypatch.chdir(tmp_path)
    add_key(Path("keys.json"), "a", "infer", None)

    def call(*options: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["equipoise", "serve", "no-bundle", "--http", "0", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()

    return call


@pytest.mark.parametrize("place", ["0", "127.0.0.1:0", "127.3.2.1:0", "localhost:0", "[::1]:0"])
def test_on_this_machine_nothing_needs_to_be_said(said: Run, place: str) -> None:
    for options in ((), ("--admin",), ("--keys", "keys.json"), ("--keys", "keys.json", "--admin")):
        (error,) = said("--http", place, *options)
        assert "warning" not in error


@pytest.mark.parametrize("options", [("--http", "0.0.0.0:0"), ("--http", "[::]:0"), ("--grpc", "0.0.0.0:0")])
def test_who_can_be_reached_from_elsewhere_is_told_what_that_means(said: Run, options: tuple[str, ...]) -> None:
    warning, _ = said(*options)
    assert "warning: whoever reaches" in warning
    assert "--keys" in warning
    warning, _ = said(*options, "--keys", "keys.json")
    assert "unencrypted" in warning
    (error,) = said(*options, "--admin")
    assert error.startswith("error: --admin: other machines reach")


def test_a_file_of_keys_that_others_may_read_is_told(said: Run) -> None:
    Path("keys.json").chmod(0o644)
    warning, _ = said("--keys", "keys.json")
    assert "chmod 600 keys.json" in warning
    Path("keys.json").chmod(0o600)
    assert len(said("--keys", "keys.json")) == 1


@pytest.mark.parametrize(
    ("content", "found"), [(None, "cannot be read"), ("{}", "keys"), ('{"keys": []}', "no key in it")]
)
def test_a_file_of_keys_that_cannot_be_used_ends_it_first(said: Run, content: str | None, found: str) -> None:
    if content is not None:
        Path("other.json").write_text(content)
    (line,) = said("--keys", "other.json")
    assert line.startswith("error: other.json: ")
    assert found in line
