"""Messages between the server and its worker processes: large arrays go beside a message, never through the pickler."""

from __future__ import annotations

import pickle
import struct
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

LARGE_BYTES = 1 << 16
"""Arrays from here on are written to the pipe from their own memory, and read into what becomes the array."""
COUNT, SIZE = struct.Struct("<I"), struct.Struct("<Q")

Pipe: TypeAlias = "Connection[Any, Any]"


def send(pipe: Pipe, message: object) -> None:
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
    pipe.send_bytes(b"".join([COUNT.pack(len(large)), *(SIZE.pack(each.nbytes) for each in large), body]))
    for each in large:
        pipe.send_bytes(each)


def receive(pipe: Pipe) -> Any:
    """Wait for a message.

    Raises:
        EOFError: Nobody will send one.
        OSError: The pipe broke.
    """
    data = memoryview(pipe.recv_bytes())
    (count,) = COUNT.unpack_from(data)
    start = COUNT.size + count * SIZE.size
    large: list[NDArray[np.uint8]] = []
    for (size,) in SIZE.iter_unpack(data[COUNT.size : start]):
        large.append(np.empty(size, np.uint8))
        pipe.recv_bytes_into(large[-1])
    return pickle.loads(data[start:], buffers=large)  # noqa: S301 - from a process of our own, over a pipe of our own
