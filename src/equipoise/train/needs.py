"""What training in torch needs to be installed."""

from __future__ import annotations

from importlib.util import find_spec

from equipoise.errors import TechniqueError

INSTALL = 'pip install "equipoise[torch]"'


def has_torch() -> bool:
    """Whether torch can be imported."""
    return find_spec("torch") is not None


def require_torch(technique: str, *others: str) -> None:
    """Make sure that torch, and what else a technique needs, can be imported.

    Args:
        technique: What needs it.
        others: Names of further modules.

    Raises:
        TechniqueError: Something is not installed.
    """
    missing = [module for module in ("torch", *others) if find_spec(module) is None]
    if missing:
        raise TechniqueError(f"{technique} trains in torch, and {missing[0]} is not installed: {INSTALL}")
