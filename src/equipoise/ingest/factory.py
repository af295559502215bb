"""Models that are named as a function which makes them."""

from __future__ import annotations

import re
from pathlib import Path

FACTORY = re.compile(r"[\w./\-]+:[A-Za-z_]\w*")


def is_factory(model: str) -> bool:
    """Whether a model is named as `module:function` or `file.py:function`.

    Example:
        >>> is_factory("resnet:resnet20"), is_factory("models/resnet.py:resnet20"), is_factory("resnet20.onnx")
        (True, True, False)
    """
    return FACTORY.fullmatch(model) is not None and not Path(model).exists()


def factory_file(model: str) -> Path | None:
    """The file of the function's module, where it lies in the current folder or is named as a file."""
    place = model.rpartition(":")[0]
    path = Path(place) if place.endswith(".py") else Path(*place.split(".")).with_suffix(".py")
    return path if path.is_file() else None
