"""Options of `equipoise serve` that say whom it answers, and how nobody else reads or changes what is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from equipoise.errors import InputError

if TYPE_CHECKING:
    from equipoise.endpoint.gate import KeyFile
    from equipoise.endpoint.tls import Tls

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
TLS = ("--tls-cert", "--tls-key", "--tls-client-ca")

OPTIONS = (
    click.option(
        "--keys", metavar="FILE", type=PATH, help="Answer those alone whose key it knows: see `equipoise keys`."
    ),
    click.option("--admin", is_flag=True, help="Let requests load and unload what is served."),
    click.option("--tls-cert", metavar="FILE", type=PATH, help="Speak TLS with this certificate, in PEM."),
    click.option("--tls-key", metavar="FILE", type=PATH, help="The certificate's private key, in PEM."),
    click.option("--tls-client-ca", metavar="FILE", type=PATH, help="Take clients alone whose certificate it signed."),
)


class Guards(NamedTuple):
    """Whom a server answers, and whether it speaks TLS: as `endpoint.process.ServerSettings` has them."""

    keys: KeyFile | None
    admin: bool
    tls: Tls | None


def guarding_options(command: Command) -> Command:
    """Give a command these options; it passes what they hold to `guards`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def guards(
    addresses: Sequence[str],
    *,
    keys: Path | None,
    admin: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
) -> Guards:
    """What these options ask for; what other machines could do without them is said on standard error.

    Args:
        addresses: Where it will listen.
        keys: File of keys.
        admin: Whether requests may change what is served.
        tls_cert: File of the certificate.
        tls_key: File of its key.
        tls_client_ca: File of the certificates of those who sign clients' certificates.

    Raises:
        InputError: A file cannot be used, or everybody could change what is served.
    """
    known, tls = _keys(keys), _tls(tls_cert, tls_key, tls_client_ca)
    away = [address for address in addresses if not _is_local(address)]
    if away and known is None and admin:
        needed = "give --keys too, so that not everybody who reaches it may change what is served"
        raise InputError("--admin", f"other machines reach {away[0]}", needed)
    if away and known is None:
        _warn(f"whoever reaches {away[0]} is answered: give --keys to ask them for a key")
    elif away and tls is None:
        remedy = "give --tls-cert and --tls-key, or let only a proxy that speaks TLS reach it"
        _warn(f"keys come unencrypted to {away[0]}: {remedy}")
    return Guards(known, admin, tls)


def _keys(path: Path | None) -> KeyFile | None:
    from equipoise.endpoint.gate import KeyFile
    from equipoise.endpoint.keys import open_to_others

    if path is None:
        return None
    known = KeyFile(path)
    if open_to_others(path):
        _warn(f"others on this machine may read or change {path}: chmod 600 {path}")
    return known


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    from equipoise.endpoint.tls import Tls

    if certificate is None or key is None:
        given = [name for name, path in zip(TLS, (certificate, key, client_ca), strict=True) if path is not None]
        if given:
            raise InputError(given[0], "it is given by itself", f"TLS needs both {TLS[0]} and {TLS[1]}")
        return None
    tls = Tls(certificate, key, client_ca)
    tls.context()
    return tls


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _is_local(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
