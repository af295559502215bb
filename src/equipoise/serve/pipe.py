"""Messages between the server and its worker processes; large arrays lie in memory that both share."""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import tempfile
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
LARGE_BYTES = 1 << 14
"""Arrays from here on lie in shared memory; smaller ones are part of the message."""
ALIGNMENT = 64
COUNT, PLACE = struct.Struct("<I"), struct.Struct("<QQ")


class Channel:
    """One end of a pipe through which one process asks and another answers, in turns.

    An array that is copied into shared memory costs a tenth of the time that it costs through a socket. The memory has
    no name, so that nothing of it is left behind however the processes end, and no limit of a container's `/dev/shm`
    applies; it is as large as the largest message was.

    Args:
        pipe: Its end of the pipe.
        mine: Where it puts large arrays.
        theirs: Where it finds those of the other end.
    """

    def __init__(self, pipe: Connection[Any, Any], mine: _Room, theirs: _Room) -> None:
        self._pipe, self._mine, self._theirs = pipe, mine, theirs

    @classmethod
    def inherited(cls, descriptors: Sequence[int]) -> Channel:
        """An end whose descriptors this process was started with."""
        pipe, mine, theirs = descriptors
        return cls(Connection(pipe), _Room(mine), _Room(theirs))

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """What another process needs to be given to have this end."""
        return self._pipe.fileno(), self._mine.descriptor, self._theirs.descriptor

    def send(self, message: object) -> None:
        """Send a message.

        Raises:
            OSError: Nobody reads any more.
        """
        large: list[memoryview] = []

        def inside(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            if raw.nbytes >= LARGE_BYTES:
                large.append(raw)
            return raw.nbytes < LARGE_BYTES

        body = pickle.dumps(message, protocol=5, buffer_callback=inside)
        places = self._mine.put(large) if large else []
        self._pipe.send_bytes(b"".join([COUNT.pack(len(places)), *(PLACE.pack(*place) for place in places), body]))

    def receive(self, *, keep: bool) -> Any:
        """Wait for a message.

        Args:
            keep: Whether its arrays are used after the next one was sent or received: then they are copied.

        Raises:
            EOFError: Nobody will send one.
            OSError: The pipe broke.
        """
        data = memoryview(self._pipe.recv_bytes())
        (count,) = COUNT.unpack_from(data)
        start = COUNT.size + count * PLACE.size
        large = [self._theirs.at(*place) for place in PLACE.iter_unpack(data[COUNT.size : start])]
        # From a process of our own, over a pipe of our own.
        return pickle.loads(data[start:], buffers=[each.copy() for each in large] if keep else large)  # noqa: S301

    def close(self) -> None:
        """End the conversation."""
        self._pipe.close()


def channel() -> tuple[Channel, Channel]:
    """Both ends of a new one."""
    here, there = Pipe()
    questions, answers = _Room(_nameless()), _Room(_nameless())
    return Channel(here, questions, answers), Channel(there, answers, questions)


class _Room:
    """Shared memory that one end writes to and the other reads."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory: Bytes = np.empty(0, np.uint8)

    def __del__(self) -> None:
        os.close(self.descriptor)

    def put(self, arrays: Sequence[memoryview]) -> list[tuple[int, int]]:
        """Write arrays over what was there: start and bytes of each."""
        ends = np.cumsum([-(-each.nbytes // ALIGNMENT) * ALIGNMENT for each in arrays]).tolist()
        if ends[-1] > len(self._memory):
            os.ftruncate(self.descriptor, ends[-1])
            self._map(ends[-1])
        places = [(start, each.nbytes) for start, each in zip([0, *ends], arrays, strict=False)]
        for (start, size), each in zip(places, arrays, strict=True):
            self._memory[start : start + size] = np.frombuffer(each, np.uint8)
        return places

    def at(self, start: int, size: int) -> Bytes:
        """What lies there."""
        if start + size > len(self._memory):
            self._map(os.fstat(self.descriptor).st_size)
        return self._memory[start : start + size]

    def _map(self, size: int) -> None:
        # What was mapped before stays as long as an array lies in it.
        self._memory = np.frombuffer(mmap.mmap(self.descriptor, size), np.uint8)


def _nameless() -> int:
    """Descriptor of memory that no path leads to."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("equipoise")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
