"""Keys by which callers are known, and the file that holds them: only their hashes, so that it gives no key away."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE, S_IRWXG, S_IRWXO

from pydantic import Field, ValidationError

from equipoise.core.noun import Noun
from equipoise.endpoint.http import Role
from equipoise.errors import InputError
from equipoise.policy.rate import Rate

PREFIX = "eqp_"
"""Begins each key, so that scanners for leaked secrets, and people, know what it is."""
KEY_BYTES = 32
MOST_KEY_BYTES = 200
PERIODS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
RATE = re.compile(r"([1-9][0-9]{0,8})/([smh])")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class KeyEntry(Noun):
    """What is known of a key.

    Attributes:
        name: What logs and metrics call its owner.
        role: What its owner may do.
        sha256: Of the key, 64 hexadecimal digits. A key is 256 random bits, which nobody can guess one by one, so that
            a slow hash, which passwords need, would add nothing but time to every request.
        rate: How often it may be used, as `parsed_rate` reads it; null for no such limit.
    """

    name: str = Field(pattern=NAME)
    role: Role = "infer"
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    rate: str | None = Field(default=None, pattern=f"^{RATE.pattern}$")


class _KeyList(Noun):
    keys: tuple[KeyEntry, ...]


def parsed_rate(text: str) -> Rate:
    """A rate as people write it.

    Args:
        text: A whole number of requests, and `/s`, `/m` or `/h`. As many may come at once.

    Raises:
        InputError: It is something else.

    Example:
        >>> parsed_rate("30/m")
        Rate(requests=30, period_s=60.0)
    """
    found = RATE.fullmatch(text)
    if found is None:
        raise InputError("--rate", f"found {text!r}", "needed a rate like 100/s, 30/m or 1000/h")
    return Rate(int(found[1]), PERIODS_S[found[2]])


def find_key(entries: Sequence[KeyEntry], key: bytes) -> KeyEntry | None:
    """The entry of a key; every one is compared, in a time that says nothing of how much is alike."""
    if len(key) > MOST_KEY_BYTES:
        return None
    digest = hashlib.sha256(key).hexdigest()
    found = None
    for entry in entries:
        if hmac.compare_digest(entry.sha256, digest):
            found = entry
    return found


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """The keys of a file.

    Raises:
        InputError: It cannot be read, is no such file, or has a name or a key twice.
    """
    needed = "make one with `equipoise keys add NAME --file FILE`"
    try:
        entries = _KeyList.model_validate(json.loads(path.read_text(encoding="utf-8"))).keys
    except OSError as error:
        raise InputError(str(path), f"it cannot be read ({error.strerror})", needed) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise InputError(str(path), f"{where}: {first['msg']}", needed) from None
    except (ValueError, RecursionError):
        raise InputError(str(path), "it is not JSON", needed) from None
    for attribute in ("name", "sha256"):
        values = [getattr(entry, attribute) for entry in entries]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InputError(str(path), f"the {attribute} {twice} is in it twice", "each key has its own")
    return entries


def add_key(path: Path, name: str, role: Role, rate: str | None) -> str:
    """Make a key and remember its hash.

    Args:
        path: The file; made where there is none, readable by its owner alone.
        name: What logs and metrics will call its owner.
        role: What its owner may do.
        rate: How often it may be used; null for no limit.

    Returns:
        The key, which is nowhere else.

    Raises:
        InputError: The name is taken, or it, the rate or the file cannot be used.
    """
    if rate is not None:
        parsed_rate(rate)
    if re.fullmatch(NAME, name) is None:
        raise InputError("NAME", f"found {name!r}", "needed letters, digits and . _ @ -, at most 64")
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    entry = KeyEntry(name=name, role=role, sha256=hashlib.sha256(key.encode()).hexdigest(), rate=rate)
    with _alone(path):
        entries = read_keys(path) if path.exists() else ()
        if any(other.name == name for other in entries):
            raise InputError(
                str(path), f"it has a key of {name} already", "remove that one first, or give another name"
            )
        _write(path, (*entries, entry))
    return key


def remove_key(path: Path, name: str) -> None:
    """Forget a key: servers that use the file refuse it within about a second.

    Raises:
        InputError: There is none of that name, or the file cannot be used.
    """
    with _alone(path):
        entries = read_keys(path)
        kept = tuple(entry for entry in entries if entry.name != name)
        if len(kept) == len(entries):
            there = ", ".join(entry.name for entry in entries) or "none"
            raise InputError(str(path), f"it has no key of {name!r}", f"there is {there}")
        _write(path, kept)


def open_to_others(path: Path) -> bool:
    """Whether other users of the machine may read or write a file."""
    return bool(path.stat().st_mode & (S_IRWXG | S_IRWXO))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold others off who would add or remove a key at the same time, whose change would be lost."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(str(path), f"its folder cannot be opened ({error.strerror})", "give another place") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, entries: tuple[KeyEntry, ...]) -> None:
    """Replace the file in one step, so that a server never reads half of it; who could read it still can."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(_KeyList(keys=entries).model_dump_json(indent=1) + "\n")
        if path.exists():
            was = path.stat()
            os.chown(fresh, was.st_uid, was.st_gid)
            fresh.chmod(S_IMODE(was.st_mode))
        fresh.replace(path)
    except OSError as error:
        raise InputError(str(path), f"it cannot be written ({error.strerror})", "give another place") from None
