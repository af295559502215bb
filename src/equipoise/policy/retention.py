"""Which of a log's files have had their time. No clock, no input or output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that is no longer written to.

    Attributes:
        name: Its name; names sort by age, the oldest first.
        written_s: When it was finished, seconds since 1970.
        bytes: Its size.
    """

    name: str
    written_s: float
    bytes: int


def expired(files: Sequence[LogFile], now_s: float, keep_s: float | None, keep_bytes: int | None) -> list[str]:
    """Names of the files that are to be deleted, the oldest first.

    Args:
        files: All of them, in any order.
        now_s: The time, seconds since 1970.
        keep_s: How long a file is kept after it was finished; null for ever.
        keep_bytes: Most bytes of all files together; the oldest go first; null for no bound.

    Example:
        >>> files = [LogFile("a", 0.0, 40), LogFile("b", 50.0, 40), LogFile("c", 60.0, 40)]
        >>> expired(files, 100.0, keep_s=80.0, keep_bytes=None), expired(files, 100.0, keep_s=None, keep_bytes=50)
        (['a'], ['a', 'b'])
    """
    gone = []
    held_bytes = sum(file.bytes for file in files)
    for file in sorted(files, key=lambda file: file.name):
        too_old = keep_s is not None and now_s - file.written_s > keep_s
        too_much = keep_bytes is not None and held_bytes > keep_bytes
        if too_old or too_much:
            gone.append(file.name)
            held_bytes -= file.bytes
    return gone
