"""What the model under study takes and gives, from its artifact."""

from __future__ import annotations

from pathlib import Path

from equipoise.compress.tools import open_natively
from equipoise.core.tensor import ModelSpec


def original_spec(source: Path) -> ModelSpec:
    """Names, types and shapes of an artifact's inputs and outputs, in its own order.

    Raises:
        ModelError: It cannot be opened.
    """
    spec: ModelSpec = open_natively(source).spec
    return spec
