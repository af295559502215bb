"""Bodies that are smaller on their way: gzip and deflate, within limits and off the event loop where they are large."""

from __future__ import annotations

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

Encoding = Literal["gzip", "deflate"]
NAMES: dict[str, Encoding] = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
ZLIB_BITS, RAW_BITS, GZIP_BITS = 15, -15, 31
LEVEL = 1
"""The fastest: of numbers, the slower ones save a few hundredths more and take several times as long."""
MIN_BYTES = 1400
"""An answer that fits into one packet is not sent sooner for being smaller."""
AT_ONCE_BYTES = 32 << 10
"""Work of up to this many bytes is done in the event loop: some tenths of a millisecond, less than a thread costs."""

# Few threads: what is inflated at the same time is held in memory at the same time.
_threads = ThreadPoolExecutor(2, thread_name_prefix="equipoise-compression")


class Damaged(Exception):  # noqa: N818 - reads as what happened
    """Bytes that are not what their encoding says."""


class TooLarge(Exception):  # noqa: N818
    """Bytes that inflate to more than is taken."""


async def inflated(data: bytes, encoding: Encoding, most_bytes: int) -> bytes:
    """Bytes as they were before they were compressed.

    No more than `most_bytes` are ever made of them, whatever they claim to hold.

    Args:
        data: Compressed bytes.
        encoding: How.
        most_bytes: Most bytes that they may become.

    Raises:
        Damaged: They are not whole, or not of that encoding.
        TooLarge: They become more.
    """
    inflation = _Inflation(data, encoding, most_bytes)
    if inflation.step(AT_ONCE_BYTES):
        return inflation.whole()
    return await asyncio.get_running_loop().run_in_executor(_threads, inflation.finish)


async def deflated(data: bytes, encoding: Encoding) -> bytes:
    """Bytes, compressed."""
    if len(data) <= AT_ONCE_BYTES:
        return _deflate(data, encoding)
    return await asyncio.get_running_loop().run_in_executor(_threads, _deflate, data, encoding)


def accepted(header: bytes | None) -> Encoding | None:
    """The encoding to answer in, by an `Accept-Encoding` header; null for none.

    The client's weights are kept to, and gzip is taken among equals.

    Example:
        >>> accepted(b"deflate, gzip;q=0.5"), accepted(b"br, *"), accepted(b"gzip;q=0"), accepted(None)
        ('deflate', 'gzip', None, None)
    """
    if not header:
        return None
    weights: dict[str, float] = {}
    for part in header.decode("latin-1").lower().split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip()] = _weight(parameter)
    others = weights.get("*", 0.0)
    choices: tuple[Encoding, ...] = ("gzip", "deflate")
    best = max(choices, key=lambda name: weights.get(name, others))
    return best if weights.get(best, others) > 0 else None


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _deflate(data: bytes, encoding: Encoding) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_BITS if encoding == "gzip" else ZLIB_BITS)
    return packer.compress(data) + packer.flush()


class _Inflation:
    """Inflates step by step, so that no step makes more bytes than it may."""

    def __init__(self, data: bytes, encoding: Encoding, most_bytes: int) -> None:
        bits = GZIP_BITS if encoding == "gzip" else ZLIB_BITS if _says_zlib(data) else RAW_BITS
        self._unpacker = zlib.decompressobj(bits)
        self._left = data
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def step(self, most_bytes: int) -> bool:
        """Make up to so many bytes; whether all are made."""
        try:
            part = self._unpacker.decompress(self._left, most_bytes)
        except zlib.error as error:
            raise Damaged(str(error)) from None
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._most_bytes:
            raise TooLarge
        if self._unpacker.unused_data:
            # A second gzip member among them: millions of empty ones would fit into a body.
            raise Damaged(f"{len(self._unpacker.unused_data):,} bytes stand behind its end")
        self._left = self._unpacker.unconsumed_tail
        if not self._unpacker.eof and not self._left and len(part) < most_bytes:
            raise Damaged("it ends too soon")
        return self._unpacker.eof

    def finish(self) -> bytes:
        """Make all that is left."""
        while not self.step(min(self._most_bytes + 1 - self._size, 1 << 20)):
            pass
        return self.whole()

    def whole(self) -> bytes:
        """All that was made."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


def _says_zlib(data: bytes) -> bool:
    """Whether bytes start like zlib's: HTTP's deflate is that, and some clients send it without this head."""
    return len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
