"""From the body of an inference request to its tensors: JSON, JSON with binary tensors behind it, or one raw tensor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from equipoise.endpoint.http import Limits, Room
from equipoise.endpoint.oip import InferRequest, raw_request
from equipoise.endpoint.templates import Templates
from equipoise.errors import BadRequest
from equipoise.serve.loading import LoadedPlan

JSON_LENGTH = b"inference-header-content-length"
MOST_DIGITS = 18
"""Of a number in a header."""


class Bodies:
    """Reads bodies, and remembers what those of a plan look like.

    Args:
        limits: What a request may be at most.
        room: Where large bodies stay until they are read.
    """

    def __init__(self, limits: Limits, room: Room) -> None:
        self._limits = limits
        self._room = room
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="equipoise-bodies")
        self._templates: dict[tuple[str, str], Templates] = {}

    def read(self, headers: Mapping[bytes, bytes], body: bytes, plan: LoadedPlan) -> InferRequest:
        """What a body asks of a plan.

        Raises:
            BadRequest: It cannot be read so.
        """
        length = _json_length(headers, len(body))
        if length == 0:
            return raw_request(memoryview(body), plan.spec, self._limits)
        return self._templates_for(plan).read(body, length)

    async def read_beside(self, headers: Mapping[bytes, bytes], body: bytes, plan: LoadedPlan) -> InferRequest:
        """Read a large body in a thread: some take seconds, in which the loop would answer nobody.

        Raises:
            BadRequest: It cannot be read so.
            HttpError: There is no room for it.
        """
        self._room.take(len(body))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, self.read, headers, body, plan)
        finally:
            self._room.give_back(len(body))

    def _templates_for(self, plan: LoadedPlan) -> Templates:
        known = self._templates.get((plan.name, plan.version))
        if known is None or known.spec is not plan.spec:
            known = self._templates[plan.name, plan.version] = Templates(plan.spec, self._limits)
        return known


def said_in(headers: Mapping[bytes, bytes], body: bytes) -> bytes:
    """The part of a body in which a request says what it wants, without binary tensors; all of it where in doubt."""
    told = headers.get(JSON_LENGTH, b"")
    return body[: int(told)] if told.isdigit() and len(told) <= MOST_DIGITS else body


def _json_length(headers: Mapping[bytes, bytes], body_bytes: int) -> int:
    """How many bytes of a body are JSON: all, unless a header says how many; 0 for none."""
    told = headers.get(JSON_LENGTH)
    if told is None:
        return body_bytes or 1  # an empty body is no JSON, and no tensor either
    if not told.isdigit() or len(told) > MOST_DIGITS or int(told) > body_bytes:
        found = told[:MOST_DIGITS].decode("latin-1")
        raise BadRequest(f"inference-header-content-length is {found}; the body has {body_bytes:,} bytes")
    return int(told)
