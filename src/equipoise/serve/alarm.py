"""A timer that is only ever brought forward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic


class Alarm:
    """Rings once, at the earliest of the times that it was told since it last rang.

    Args:
        ring: Called then, with the time.
    """

    __slots__ = ("_at_s", "_ring", "_timer")

    def __init__(self, ring: Callable[[float], object]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at_s = 0.0

    def set(self, at_s: float | None) -> None:
        """Ring at that time on the loop's clock, or before; null for no time."""
        if at_s is None or (self._timer is not None and self._at_s <= at_s):
            return
        self.cancel()
        self._at_s = at_s
        self._timer = asyncio.get_running_loop().call_at(at_s, self._rings)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        # A timer may fire a clock tick early, and the wait would then be asked for again and again.
        self._ring(max(self._at_s, monotonic()))
