"""`equipoise keys`: a key on standard output and nowhere else, and one clear line for what cannot be."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from equipoise.cli.main import main
from equipoise.endpoint.keys import read_keys

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `equipoise keys` in an empty folder; its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["equipoise", "keys", *arguments])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_a_key_is_shown_once(run: Run) -> None:
    status, key, said = run("add", "shop", "--rate", "100/s")
    assert status == 0
    assert key.startswith("eqp_")
    assert key == key.strip() + "\n"
    assert "keys.json knows shop (infer)" in said
    assert key.strip() not in said
    (entry,) = read_keys(Path("keys.json"))
    assert (entry.name, entry.role, entry.rate) == ("shop", "infer", "100/s")
    assert entry.sha256 == hashlib.sha256(key.strip().encode()).hexdigest()


def test_keys_are_listed_and_removed(run: Run) -> None:
    for arguments in (("shop", "--rate", "30/m"), ("operator", "--role", "admin")):
        assert run("add", *arguments, "--file", "mine.json")[0] == 0
    assert run("list", "--file", "mine.json")[1] == "shop\tinfer\t30/m\noperator\tadmin\tno limit\n"
    assert run("remove", "shop", "--file", "mine.json")[:2] == (0, "mine.json no longer knows shop\n")
    assert run("list", "--file", "mine.json")[1] == "operator\tadmin\tno limit\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "a b"), ("add", "a", "--rate", "100"), ("add", "a", "--role", "root"), ("add",), ("remove", "a"),
        ("list",), ("add", "a", "--file", "nowhere/keys.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    status, _, said = run(*arguments)
    assert (status, len(said.splitlines())) == (2, 1)
    assert list(Path().iterdir()) == []
