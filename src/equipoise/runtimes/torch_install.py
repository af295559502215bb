"""Whether torch is there, and what to do where it is not."""

from __future__ import annotations

import importlib.util

from equipoise.errors import ModelError

INSTALL = 'pip install "equipoise[torch]"'


def require_torch(where: str) -> None:
    """Make sure that torch can be imported.

    Args:
        where: What needs it.

    Raises:
        ModelError: It is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError(where, "torch is not installed", f"needed it to open this model: {INSTALL}")
