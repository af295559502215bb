"""The gate: who may ask what, how often, and how soon a change of the keys counts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from equipoise.endpoint.gate import Gate, KeyFile, bearer
from equipoise.endpoint.keys import add_key, remove_key
from equipoise.errors import Forbidden, InputError, RateLimited, Unauthorized


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def key(path: Path, name: str, role: str = "infer", rate: str | None = None) -> bytes:
    return add_key(path, name, role, rate).encode()  # type: ignore[arg-type]


def test_without_keys_everybody_may_ask_and_nobody_may_change_anything_unless_told() -> None:
    for admin in (False, True):
        gate = Gate(admin=admin)
        assert gate.check(None, "infer", 0.0).name is None
        assert gate.check(b"anything", "infer", 0.0).name is None
    assert gate.check(None, "admin", 0.0).name is None
    with pytest.raises(Forbidden, match="--admin"):
        Gate().check(None, "admin", 0.0)


def test_a_key_opens_what_its_role_may(path: Path) -> None:
    infer, admin = key(path, "a"), key(path, "b", "admin")
    gate, closed = Gate(KeyFile(path), admin=True), Gate(KeyFile(path))
    assert [gate.check(each, "infer", 0.0).name for each in (infer, admin)] == ["a", "b"]
    assert gate.check(admin, "admin", 0.0).name == "b"
    with pytest.raises(Forbidden, match="the key of a may ask for answers") as refused:
        gate.check(infer, "admin", 0.0)
    assert refused.value.caller == "a"
    for each in (infer, admin):
        with pytest.raises(Forbidden, match="without --admin"):
            closed.check(each, "admin", 0.0)


@pytest.mark.parametrize("brought", [None, b"", b"eqp_", b"\xff", b"x" * 100_000])
def test_who_has_no_key_that_is_known_gets_nowhere(path: Path, brought: bytes | None) -> None:
    made = key(path, "a", "admin")
    gate = Gate(KeyFile(path), admin=True)
    for wrong in (brought, made[:-1], made + b" ", made.upper()):
        for role in ("infer", "admin"):
            with pytest.raises(Unauthorized):
                gate.check(wrong, role, 0.0)  # type: ignore[arg-type]


def test_each_key_has_its_own_rate(path: Path) -> None:
    slow, free = key(path, "slow", rate="2/m"), key(path, "free")
    gate = Gate(KeyFile(path))
    for _ in range(2):
        gate.check(slow, "infer", 100.0)
    with pytest.raises(RateLimited, match="the key of slow is used more often than 2/m") as refused:
        gate.check(slow, "infer", 100.0)
    assert (refused.value.caller, refused.value.retry_after_s) == ("slow", 30.0)
    with pytest.raises(RateLimited):  # and what its role would not open costs as much
        gate.check(slow, "admin", 129.0)
    for _ in range(100):
        gate.check(free, "infer", 100.0)
    assert gate.check(slow, "infer", 130.0).name == "slow"


def test_keys_come_and_go_while_it_runs(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = key(path, "old", rate="1/h")
    gate = Gate(KeyFile(path))
    gate.check(old, "infer", 10.0)
    new = key(path, "new")
    with pytest.raises(Unauthorized):  # it looks once a second
        gate.check(new, "infer", 10.5)
    with caplog.at_level(logging.INFO):
        assert gate.check(new, "infer", 11.0).name == "new"
    assert [record.getMessage() for record in caplog.records] == ["read 2 keys again"]
    with pytest.raises(RateLimited):  # a key that stays keeps what it has used up
        gate.check(old, "infer", 12.0)
    remove_key(path, "old")
    with pytest.raises(Unauthorized):
        gate.check(old, "infer", 13.0)
    remove_key(path, "new")
    with pytest.raises(Unauthorized):
        gate.check(new, "infer", 14.0)


def test_a_file_that_breaks_changes_nothing_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = key(path, "a")
    good = path.read_text()
    gate = Gate(KeyFile(path))
    path.write_text(json.dumps({"keys": "eqp_oops"}))
    for now_s in (10.0, 20.0):
        assert gate.check(made, "infer", now_s).name == "a"
    path.unlink()
    for now_s in (30.0, 40.0):
        assert gate.check(made, "infer", now_s).name == "a"
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 2
    assert "eqp_oops" not in caplog.text
    path.write_text(good)
    remove_key(path, "a")
    with pytest.raises(Unauthorized):
        gate.check(made, "infer", 50.0)


def test_a_file_without_keys_cannot_be_meant(path: Path) -> None:
    path.write_text('{"keys": []}')
    with pytest.raises(InputError, match="no key in it"):
        KeyFile(path)


def test_the_key_of_a_header() -> None:
    assert bearer(b"bEARER  eqp_x ") == b"eqp_x"
    assert bearer(b"Bearer ") == b""
    for other in (None, b"", b"Bearer", b"eqp_x", b"Basic eqp_x", b"Bearereqp_x"):
        assert bearer(other) is None
