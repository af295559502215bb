"""Keys: made once, known by their hash, and a file that never loses one."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from equipoise.endpoint.keys import KeyEntry, add_key, find_key, open_to_others, parsed_rate, read_keys, remove_key
from equipoise.errors import InputError
from equipoise.policy.rate import Rate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_known_by_its_hash_alone(path: Path) -> None:
    keys = {
        name: add_key(path, name, role, rate) for name, role, rate in (("a", "infer", "30/m"), ("b", "admin", None))
    }
    written = path.read_text()
    entries = read_keys(path)
    assert entries == (
        KeyEntry(name="a", role="infer", sha256=hashlib.sha256(keys["a"].encode()).hexdigest(), rate="30/m"),
        KeyEntry(name="b", role="admin", sha256=hashlib.sha256(keys["b"].encode()).hexdigest()),
    )
    for name, key in keys.items():
        assert len(key) > 43  # 256 bits in base 64
        assert key not in written
        found = find_key(entries, key.encode())
        assert found is not None
        assert found.name == name
    for wrong in (b"", b"eqp_", keys["a"][:-1].encode(), keys["a"].encode() + b"x", b"\xff\x00", b"x" * 100_000):
        assert find_key(entries, wrong) is None
    assert find_key(entries, entries[0].sha256.encode()) is None


def test_the_file_is_its_owners_alone_unless_somebody_opened_it(path: Path) -> None:
    add_key(path, "a", "infer", None)
    assert (S_IMODE(path.stat().st_mode), open_to_others(path)) == (0o600, False)
    path.chmod(0o640)
    add_key(path, "b", "infer", None)
    assert (S_IMODE(path.stat().st_mode), open_to_others(path)) == (0o640, True)
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_a_key_is_removed_by_its_name(path: Path) -> None:
    for name in ("a", "b", "c"):
        add_key(path, name, "infer", None)
    remove_key(path, "b")
    assert [entry.name for entry in read_keys(path)] == ["a", "c"]
    with pytest.raises(InputError, match="no key of 'b'; there is a, c"):
        remove_key(path, "b")
    with pytest.raises(InputError, match="a key of a already"):
        add_key(path, "a", "admin", None)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "-a", "ä", "a" * 65, "../a", "\x00"])
def test_names_can_stand_anywhere(path: Path, name: str) -> None:
    with pytest.raises(InputError, match="NAME"):
        add_key(path, name, "infer", None)
    assert not path.exists()


def test_keys_that_are_added_at_the_same_time_are_all_there(path: Path) -> None:
    names = [f"key{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add_key(path, name, "infer", None), names))
    assert sorted(entry.name for entry in read_keys(path)) == sorted(names)


ENTRY = {"name": "a", "role": "infer", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        ([], "the whole file"),
        ({}, "keys: Field required"),
        ({"keys": [ENTRY | {"role": "root"}]}, "keys.0.role"),
        ({"keys": [ENTRY | {"sha256": "0" * 63}]}, "keys.0.sha256"),
        ({"keys": [ENTRY | {"name": "a\nb"}]}, "keys.0.name"),
        ({"keys": [ENTRY | {"rate": "0/s"}]}, "keys.0.rate"),
        ({"keys": [ENTRY | {"key": "eqp_secret"}]}, "keys.0.key"),
        ({"keys": [ENTRY, ENTRY | {"sha256": "1" * 64}]}, "the name a is in it twice"),
        ({"keys": [ENTRY, ENTRY | {"name": "b"}]}, "is in it twice"),
    ],
)
def test_a_file_of_something_else_is_one_clear_line(path: Path, content: Any, said: str) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="latin-1")
    with pytest.raises(InputError) as refused:
        read_keys(path)
    assert said in str(refused.value)
    assert "eqp_secret" not in str(refused.value)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_keys(path)
    with pytest.raises(InputError, match="folder cannot be opened"):
        add_key(path / "x" / "y", "a", "infer", None)


@pytest.mark.parametrize("text", ["", "100", "0/s", "-1/s", "1.5/s", "1/d", "1/s ", "1e9/s", "٣/s", "9" * 20 + "/s"])
def test_rates_are_read_as_people_write_them(text: str) -> None:
    assert (parsed_rate("100/s"), parsed_rate("1/h")) == (Rate(100, 1.0), Rate(1, 3600.0))
    with pytest.raises(InputError, match="needed a rate like"):
        parsed_rate(text)
