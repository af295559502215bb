"""Who may ask what, and how often: every transport asks here before it does anything for a caller."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from equipoise.endpoint.http import Role
from equipoise.endpoint.keys import KeyEntry, find_key, parsed_rate, read_keys
from equipoise.endpoint.logs import Access
from equipoise.errors import Forbidden, InputError, RateLimited, Unauthorized
from equipoise.policy.rate import Bucket, Rate, take

LOOK_AGAIN_S = 1.0
"""How long a key that was removed may still be used."""
BEARER = b"bearer "

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        name: Of its key; null where no keys are needed.
    """

    name: str | None = None


ANYBODY = Caller()


class KeyFile:
    """The keys of a file as it is now: a key that is added or removed counts within about a second.

    Args:
        path: The file.

    Raises:
        InputError: It cannot be read, or has no key in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)
        self.entries: Sequence[KeyEntry] = read_keys(path)
        if not self.entries:
            raise InputError(str(path), "there is no key in it", "add one with `equipoise keys add NAME --file FILE`")
        self._looked_s = 0.0

    def refresh(self, now_s: float) -> None:
        """Read the file again where it changed; one that cannot be read changes nothing, and is logged."""
        if 0 <= now_s - self._looked_s < LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self.entries = read_keys(self._path)
        except InputError as error:
            log.error("the keys that were read before still hold: %s", error)
        else:
            log.info("read %d keys again", len(self.entries))


class Gate:
    """Checks keys, roles and rates; it is asked from one thread.

    Args:
        keys: The keys that are taken; null where everybody may ask.
        admin: Whether what is served may be changed by requests at all.
    """

    def __init__(self, keys: KeyFile | None = None, *, admin: bool = False) -> None:
        self._keys = keys
        self._admin = admin
        self._buckets: dict[str, Bucket] = {}
        self._rates: dict[str, Rate] = {}

    def check(self, key: bytes | None, role: Role, now_s: float) -> Caller:
        """Let a request pass, or say why not. Health is answered without asking here.

        Args:
            key: What it brought (see `bearer`); null for nothing.
            role: What its caller must be allowed to do; who may change what is served may also ask for answers.
            now_s: The time, seconds, on a clock that only goes forward.

        Raises:
            Unauthorized: It needs a key that is known.
            RateLimited: Its key was used too often.
            Forbidden: Its key does not have that role, or nobody has it here.
        """
        if self._keys is None:
            caller = ANYBODY
            may = self._admin or role == "infer"
        else:
            self._keys.refresh(now_s)
            if key is None:
                raise Unauthorized("this needs a key: send the header `Authorization: Bearer KEY`")
            entry = find_key(self._keys.entries, key)
            if entry is None:
                raise Unauthorized("this key is not known here")
            self._take(entry, now_s)
            caller = Caller(entry.name)
            may = role == "infer" or (self._admin and entry.role == "admin")
        if may:
            return caller
        found = "what is served cannot be changed here: the server was started without --admin"
        if self._admin:
            found = f"the key of {caller.name} may ask for answers; this needs one with the role admin"
        raise Forbidden(found, caller.name)

    def let_in(self, headers: Mapping[bytes, bytes], role: Role, access: Access) -> None:
        """`check` for a transport, now.

        Args:
            headers: Lower-case name to value; the key stands in `authorization`, or in `x-api-key`.
            role: What the caller must be allowed to do.
            access: Learns the name of the caller's key.

        Raises:
            Unauthorized: It needs a key that is known.
            RateLimited: Its key was used too often.
            Forbidden: Its key does not have that role, or nobody has it here.
        """
        key = bearer(headers.get(b"authorization")) or headers.get(b"x-api-key")
        try:
            access.key = self.check(key, role, time.monotonic()).name
        except (Forbidden, RateLimited) as error:
            access.key = error.caller
            raise
        if role == "admin" and access.key is None and b"origin" in headers:
            # A page from anywhere, in a browser on this machine, can send requests here, though not with a key.
            raise Forbidden("a web page may change nothing here as long as there are no keys", None)

    def _take(self, entry: KeyEntry, now_s: float) -> None:
        if entry.rate is None:
            return
        rate = self._rates.get(entry.rate)
        if rate is None:
            rate = self._rates[entry.rate] = parsed_rate(entry.rate)
        self._buckets[entry.sha256], wait_s = take(self._buckets.get(entry.sha256), rate, now_s)
        if wait_s:
            raise RateLimited(f"the key of {entry.name} is used more often than {entry.rate}", wait_s, entry.name)


def bearer(authorization: bytes | None) -> bytes | None:
    """The key in the value of an `Authorization` header; null where there is none.

    Example:
        >>> bearer(b"Bearer eqp_x"), bearer(b"Basic eDp5"), bearer(None)
        (b'eqp_x', None, None)
    """
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        return None
    return authorization[len(BEARER) :].strip()


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
