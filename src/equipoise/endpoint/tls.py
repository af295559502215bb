"""TLS from certificate files, checked before anything else is done."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from equipoise.errors import InputError


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
        try:
            context.load_cert_chain(self.certificate, self.key, password=self._refuse_encrypted)
        except ssl.SSLError as error:
            raise self._unusable(error) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError:
                needed = "needed certificates in PEM"
                raise InputError("--tls-client-ca", f"{self.client_ca} holds no certificate", needed) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _refuse_encrypted(self) -> str:
        # Without this OpenSSL would ask for a password on the terminal, and wait.
        raise InputError("--tls-key", f"{self.key} is encrypted", "needed a private key without a password, in PEM")

    def _unusable(self, error: ssl.SSLError) -> InputError:
        if error.reason == "KEY_VALUES_MISMATCH":
            found = f"{self.key} is not the key of {self.certificate}"
            return InputError("--tls-key", found, "needed the private key that the certificate was made for")
        found = f"{self.certificate} and {self.key} cannot be used ({error.reason or error})"
        return InputError("--tls-cert, --tls-key", found, "needed a certificate and its private key, both in PEM")


def _require_readable(option: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(option, f"{path} cannot be read ({error.strerror})", "needed a file in PEM") from None
