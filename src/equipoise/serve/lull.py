"""Requests in bunches: while models have every core, the event loop looks a few hundred times a second at what came.

Each time that it wakes for one request it takes a core from a batch that computes there, and the batch gets it back
with cold caches. Nothing is lost by looking later: no request could start before a batch ends, and that ends the wait.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock

from equipoise.serve.cores import CoreBudget

LULL_S = 0.004
"""The longest wait: what a refusal may come later, and a probe of health."""


class Lull:
    """Lets the loop wait after a request that cannot be started, for more to come or a batch to end.

    Args:
        cores: Waits only while none of them is free.
    """

    def __init__(self, cores: CoreBudget) -> None:
        self._cores = cores
        self._due = False
        self._ended = Lock()  # held as long as no batch has ended; waiting for it costs less than for an event
        self._ended.acquire()

    def arrived(self) -> None:
        """A request came, and was queued or refused: once all others that have come are looked at, wait."""
        if not self._due and self._cores.free <= 0:
            self._due = True
            asyncio.get_running_loop().call_soon(self._wait)

    def batch_ended(self) -> None:
        """Its end is on its way into the loop; called in the thread that computed it."""
        with suppress(RuntimeError):  # another has said so already
            self._ended.release()

    def taken_in(self) -> None:
        """The loop knows of the batch that ended."""
        self._ended.acquire(blocking=False)

    def _wait(self) -> None:
        self._due = False
        if self._cores.free <= 0:
            self._ended.acquire(timeout=LULL_S)
