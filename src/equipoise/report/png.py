"""Small pictures of rows that are images, as a page holds them: PNG inside a data URI, with nothing but zlib."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

PREFIX = "data:image/png;base64,"
MOST_PIXELS = 64
_COLOUR_TYPES = {1: 0, 3: 2}


def png_uri(image: NDArray[np.uint8]) -> str:
    """An image as a data URI; of one with more than 64 pixels a side, every second, third ... pixel.

    Args:
        image: [height, width, channels], one channel or three (red, green, blue).

    >>> png_uri(np.zeros((2, 2, 3), np.uint8))[:34]
    'data:image/png;base64,iVBORw0KGgoA'
    """
    step = max(1, -(-max(image.shape[:2]) // MOST_PIXELS))
    small = np.ascontiguousarray(image[::step, ::step])
    height, width, channels = small.shape
    lines = b"".join(b"\0" + line.tobytes() for line in small)  # each line by itself, unfiltered
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines, 9)), _chunk(b"IEND", b""))
    return PREFIX + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def is_png_uri(text: Any) -> bool:
    """Whether a text is such a picture, and nothing else that a page might be made to load."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
    return isinstance(text, str) and text.startswith(PREFIX) and not text[len(PREFIX) :].strip(alphabet)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
