"""A digest of each row that depends on its values alone, not on its place, file or element type."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.preprocess.rows import Rows

DIGEST_BYTES = 16
CHUNK_BYTES = 64 * 2**20
Digests = NDArray[np.bytes_]


def row_digests(rows: Rows) -> Digests:
    """Digest of the inputs of each row, [n], 16 bytes each.

    Numbers count by their value, so that 1 (int64) and 1.0 (float32) are the same; text by its characters.
    """
    columns = [array.reshape(rows.n, -1) for array in rows.feeds.values()]
    return _digests(columns, rows.n)


def target_digests(rows: Rows) -> Digests:
    """Digest of the target of each row, [n]; all the same where there is no target."""
    columns = [] if rows.target is None else [rows.target.reshape(rows.n, -1)]
    return _digests(columns, rows.n)


def digest_of(digests: Iterable[bytes]) -> str:
    """SHA-256 over digests in sorted order, as 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for digest in sorted(digests):
        whole.update(digest.ljust(DIGEST_BYTES, b"\0"))
    return whole.hexdigest()


def _digests(columns: list[NDArray[Any]], n: int) -> Digests:
    width = max(1, sum(column.shape[1] for column in columns) * 8)
    step = max(1, CHUNK_BYTES // width)
    found = np.empty(n, dtype=f"S{DIGEST_BYTES}")
    for start in range(0, n, step):
        parts = [_canonical(column[start : start + step]) for column in columns]
        content = np.concatenate(parts, axis=1) if parts else np.empty((min(step, n - start), 0), dtype=np.uint8)
        content = np.ascontiguousarray(content)
        found[start : start + step] = [hashlib.blake2b(row.data, digest_size=DIGEST_BYTES).digest() for row in content]
    return found


def _canonical(column: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes that are equal where values are equal, [n, 8 * width]."""
    if column.dtype == object:
        values = column.ravel().tolist()
        digests = {value: _text_digest(value) for value in set(values)}
        return np.frombuffer(b"".join([digests[value] for value in values]), np.uint8).reshape(len(column), -1)
    numbers = column.astype(np.float64) + 0.0  # -0.0 becomes 0.0
    numbers[np.isnan(numbers)] = np.nan  # one NaN, whatever its bits were
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(len(numbers), -1)


def _text_digest(value: str | None) -> bytes:
    content = b"" if value is None else b"\1" + value.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=8).digest()
