"""Libraries that others load only because they are there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any


class _Without:
    """One of Python's finders of modules, which does not find one library; all else is its own."""

    def __init__(self, finder: Any, name: str) -> None:
        self._finder = finder
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, fullname: str, *others: Any) -> ModuleSpec | None:
        """Find a module."""
        if fullname.partition(".")[0] == self._name:
            return None
        found: ModuleSpec | None = self._finder.find_spec(fullname, *others)
        return found


@contextmanager
def spared(name: str) -> Iterator[None]:
    """Let what is imported in the block find that a library is not installed, unless it is loaded already.

    Where torch is installed, NNCF and skops load it, though they do without it where it is not: seconds of every child
    process that never asks a torch model. Afterwards it can be imported as ever.

    Args:
        name: Of its top package.
    """
    if name in sys.modules:
        yield
        return
    finders = list(sys.meta_path)
    sys.meta_path[:] = [_Without(finder, name) for finder in finders]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
