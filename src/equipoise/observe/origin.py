"""Where a request comes from: what a transport knows of it, for whoever keeps count, while the engine need not."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class Origin(NamedTuple):
    """What a transport knows of a request.

    Attributes:
        request_id: Its name in headers and logs.
        key: Name of the key that it came with; null without keys.
        traceparent: Its place in a trace that began elsewhere, as W3C's header says it; null for none.
    """

    request_id: bytes
    key: str | None = None
    traceparent: bytes | None = None


TRACEPARENT = b"traceparent"
ORIGIN: ContextVar[Origin | None] = ContextVar("equipoise_origin", default=None)
"""Of the request whose task this is. Observers see it: a future's callbacks run in the context of who asked."""
