"""Equipoise finds the cheapest way to serve a model that still does its job, proves it, and serves it.

Example:
    >>> import equipoise
    >>> equipoise.optimize  # doctest: +ELLIPSIS
    <function optimize at ...>
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equipoise.core.brief import Brief
    from equipoise.core.result import Result
    from equipoise.errors import EquipoiseError, InputError
    from equipoise.flow.api import check, optimize, predict, profile, simulate, verify

__all__ = [
    "Brief", "EquipoiseError", "InputError", "Result", "check", "optimize", "predict", "profile", "simulate", "verify",
]  # fmt: skip

_HOMES = {
    "Brief": "equipoise.core.brief",
    "EquipoiseError": "equipoise.errors",
    "InputError": "equipoise.errors",
    "Result": "equipoise.core.result",
    "check": "equipoise.flow.api",
    "optimize": "equipoise.flow.api",
    "predict": "equipoise.flow.api",
    "profile": "equipoise.flow.api",
    "simulate": "equipoise.flow.api",
    "verify": "equipoise.flow.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import equipoise` loads no library."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
