"""Requests in bunches: while models have every core, the event loop looks a few hundred times a second at what came.

Each time that it wakes for one request it takes a core from a batch that computes there, and the batch gets it back
with cold caches. Little is lost by looking later: no request could start before a batch ends, and that ends the wait.
Where a plan remembers answers some requests need no core, and nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from threading import Lock

from equipoise.serve.cores import CoreBudget

LULL_S = 0.004
"""The longest wait of a server's loop: what a refusal may come later, and a probe of health."""
SETTLING_TURNS = 3
"""Turns of the loop after a batch ended in which its answers find their way out."""


class Lull:
    """Lets the loop wait after a request that cannot be started, for more to come or a batch to end.

    Args:
        cores: Waits only while none of them is free.
        longest_s: The longest wait; 0 for none.

    Attributes:
        hurried: Plans that answer some requests without a core.
    """

    def __init__(self, cores: CoreBudget, longest_s: float) -> None:
        self.hurried = 0
        self._cores = cores
        self._longest_s = longest_s
        self._due = False
        self._settling = 0
        self._unheard: deque[None] = deque()  # one for each batch whose end is on its way into the loop
        self._ended = Lock()  # held as long as none is; waiting for it costs less than for an event
        self._ended.acquire()

    def arrived(self) -> None:
        """A request came, and was queued or refused: once all others that have come are looked at, wait."""
        if self._longest_s and not self.hurried and not self._due and self._cores.free <= 0 and not self._unheard:
            self._due = True
            asyncio.get_running_loop().call_soon(self._wait)

    def batch_ended(self) -> None:
        """The loop is about to be told of it; called in the thread that computed it."""
        self._unheard.append(None)
        with suppress(RuntimeError):  # another has said so already
            self._ended.release()

    def taken_in(self) -> None:
        """The loop knows of a batch that ended."""
        self._settling = SETTLING_TURNS
        self._unheard.popleft()
        if not self._unheard:
            self._ended.acquire(blocking=False)

    def _wait(self) -> None:
        if self._settling:
            self._settling -= 1
            asyncio.get_running_loop().call_soon(self._wait)
            return
        self._due = False
        if self._cores.free <= 0 and not self._unheard:
            self._ended.acquire(timeout=self._longest_s)
