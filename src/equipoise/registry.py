"""Looks plug-ins up by their entry points; the built-in ones come through the same door as a stranger's."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from equipoise.errors import EquipoiseError

RUNTIMES = "equipoise.runtimes"
TECHNIQUES = "equipoise.techniques"


@cache
def runtimes() -> dict[str, Any]:
    """Every installed runtime (`equipoise.runtimes.base.Runtime`), by name.

    Raises:
        EquipoiseError: A plug-in could not be loaded, or two have the same name.
    """
    return _load(RUNTIMES)


@cache
def techniques() -> dict[str, Any]:
    """Every installed technique (`equipoise.compress.base.Technique`), by name.

    Raises:
        EquipoiseError: A plug-in could not be loaded, or two have the same name.
    """
    return _load(TECHNIQUES)


def _load(group: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        if entry.name in found:
            raise EquipoiseError(f"two plug-ins of {group} are named {entry.name!r}; uninstall one of their packages")
        found[entry.name] = _instance(entry)
    return found


def _instance(entry: EntryPoint) -> Any:
    try:
        return entry.load()()
    except Exception as error:  # a stranger's code: name it, whatever it raised
        package = entry.dist.name if entry.dist else "an unknown package"
        raise EquipoiseError(
            f"plug-in {entry.name!r} ({entry.value}, from {package}) cannot be loaded: {error!r}; "
            f"repair or uninstall {package}"
        ) from error
