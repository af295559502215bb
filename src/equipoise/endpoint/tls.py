"""TLS from certificate files, checked before anything else is done, and read again once they were renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from equipoise.errors import InputError

LOOK_AGAIN_S = 5.0
"""How long after it was replaced a certificate may still be shown."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tls:
    """Files for TLS, in PEM.

    Attributes:
        certificate: The server's certificate, and those between it and its root, in this order.
        key: Its private key, not encrypted.
        client_ca: Certificates of those who sign clients' certificates: a client without one that they signed is
            refused; null to ask clients for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What a server needs to speak TLS 1.2 or 1.3.

        Raises:
            InputError: A file is missing, is no PEM, or key and certificate do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for option, path in (
            ("--tls-cert", self.certificate),
            ("--tls-key", self.key),
            ("--tls-client-ca", self.client_ca),
        ):
            if path is not None:
                _require_readable(option, path)
        self.load_into(context)
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError:
                needed = "needed certificates in PEM"
                raise InputError("--tls-client-ca", f"{self.client_ca} holds no certificate", needed) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def load_into(self, context: ssl.SSLContext, copies: tuple[Path, Path] | None = None) -> None:
        """Load certificate and key, or copies of them, into a context, whose next connections are shown them.

        Raises:
            InputError: They are no PEM, or do not belong together: then the context cannot be used.
        """
        try:
            context.load_cert_chain(*(copies or (self.certificate, self.key)), password=self._refuse_encrypted)
        except ssl.SSLError as error:
            raise self._unusable(error) from None
        except OSError as error:
            found = f"{self.certificate} or {self.key} cannot be read ({error.strerror})"
            raise InputError("--tls-cert, --tls-key", found, "needed files in PEM") from None

    def _refuse_encrypted(self) -> str:
        # Without this OpenSSL would ask for a password on the terminal, and wait.
        raise InputError("--tls-key", f"{self.key} is encrypted", "needed a private key without a password, in PEM")

    def _unusable(self, error: ssl.SSLError) -> InputError:
        if error.reason == "KEY_VALUES_MISMATCH":
            found = f"{self.key} is not the key of {self.certificate}"
            return InputError("--tls-key", found, "needed the private key that the certificate was made for")
        found = f"{self.certificate} and {self.key} cannot be used ({error.reason or error})"
        return InputError("--tls-cert, --tls-key", found, "needed a certificate and its private key, both in PEM")


class Renewal:
    """Notices that a certificate and its key were replaced.

    Files that cannot be used are logged, change nothing, and are looked at again until they can.

    Args:
        tls: The files, which were read.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._shown = self._refused = self._now()
        self._looked_s = time.monotonic()

    def pair(self) -> tuple[bytes, bytes] | None:
        """Certificate and key where they were replaced since this was last asked; looks every few seconds."""
        if time.monotonic() - self._looked_s < LOOK_AGAIN_S:
            return None
        self._looked_s = time.monotonic()
        state = self._now()
        if state == self._shown:
            return None
        try:
            pair = (self._tls.certificate.read_bytes(), self._tls.key.read_bytes())
            load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, self._tls)
        except (InputError, OSError) as error:
            if state != self._refused:
                log.error("the certificate that was read before is still shown: %s", error)
            self._refused = state
            return None
        self._shown = state
        log.info("the certificate in %s was read again", self._tls.certificate)
        return pair

    def _now(self) -> tuple[tuple[int, int] | None, ...]:
        """When each file was written, and its size; null for one that is not there."""
        return tuple(map(_written, (self._tls.certificate, self._tls.key)))


def load_pair(context: ssl.SSLContext, pair: tuple[bytes, bytes], tls: Tls) -> None:
    """Load a certificate and its key, in PEM, into a context, whose next connections are shown them.

    Args:
        context: Which.
        pair: Both; from files of its own, so that nobody can replace one of them meanwhile.
        tls: Where they are from, for errors.

    Raises:
        InputError: They cannot be used, or do not belong together: then the context cannot be used either.
    """
    with tempfile.TemporaryDirectory(prefix="equipoise-tls-") as folder:  # nobody else may look into it
        files = (Path(folder) / "certificate", Path(folder) / "key")
        for path, content in zip(files, pair, strict=True):
            path.write_bytes(content)
        tls.load_into(context, files)


async def keep_renewed(tls: Tls, context: ssl.SSLContext) -> None:
    """Load certificate and key into a context again whenever they were replaced, until this is cancelled."""
    renewal = Renewal(tls)
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        pair = renewal.pair()
        if pair is not None:
            load_pair(context, pair, tls)


def _written(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _require_readable(option: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(option, f"{path} cannot be read ({error.strerror})", "needed a file in PEM") from None
