"""Callbacks that do not keep alive what they call."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec
from weakref import WeakMethod

Arguments = ParamSpec("Arguments")


def weakly(method: Callable[Arguments, object]) -> Callable[Arguments, None]:
    """A method to call as long as somebody else has its object; after that, nothing happens.

    A plan's parts call their plan. If they also kept it, its models would stay in memory after a swap until Python next
    looks for circles, which may be long after.
    """
    found = WeakMethod(method)

    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        alive = found()
        if alive is not None:
            alive(*arguments, **options)

    return call
