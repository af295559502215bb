"""Finds nearly equal rows of many numbers, such as the same photograph saved twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from equipoise.preprocess.rows import Rows

MIN_NUMBERS = 64
NEAR = 0.99
SIFTED = 0.97  # in the projection; at 0.99 its error is 0.003, so that hardly a pair is lost
PROJECTED = 64
MOST_EXHAUSTIVE_PAIRS = 20_000**2
BLOCK_ROWS = 512
VERIFY_BYTES = 64 * 2**20
MOST_PER_ROW = 64  # neighbours that are verified of one row: a cluster needs one link each, not all
NO_PATTERN = 1e-4
HASH_TABLES = 12
HASH_BITS = 20
HASH_WINDOW = 8  # rows of one bucket that each is compared with
SCALE_SAMPLE, SCALE_BYTES = 5_000, 256 * 2**20
Index = NDArray[np.intp]
Matrix = NDArray[np.float32]


def near_pairs(parts: list[Rows], chosen: Index, starts: NDArray[np.int_], own: int) -> Index:
    """Pairs of rows that correlate by more than 0.99.

    Each number is first brought to zero mean and unit spread over the data, so that one number of a large scale does
    not make all rows alike, and each row to zero mean and unit length. A random projection to 64 numbers (Johnson and
    Lindenstrauss 1984) sifts pairs; those that pass are verified exactly. Beyond 20,000 times 20,000 rows, pairs are
    sought among rows that share the signs of 20 projections in one of 12 tables (Charikar 2002).

    Args:
        parts: Rows with the same inputs, all numbers.
        chosen: Distinct rows to look at, by their place in `parts` put end to end.
        starts: Where each part begins.
        own: Rows before this place are the data; pairs of two rows behind it are not sought.

    Returns:
        Pairs of places in `chosen`, [pairs, 2].
    """
    vectors = _Vectors(parts, chosen, starts)
    projected = vectors.projected()
    left = np.flatnonzero(chosen < own)
    exhaustive = len(left) * len(chosen) <= MOST_EXHAUSTIVE_PAIRS
    candidates = _all_pairs(projected, left) if exhaustive else _hashed_pairs(projected, chosen < own)
    found = [vectors.verified(pairs) for pairs in candidates if len(pairs)]
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.intp)


class _Vectors:
    """Rows as centred, scaled vectors, made when they are asked for: all of them at once may not fit."""

    def __init__(self, parts: list[Rows], chosen: Index, starts: NDArray[np.int_]) -> None:
        self._parts = parts
        self._chosen = chosen
        self._starts = starts
        width = sum(int(np.prod(array.shape[1:])) for array in parts[0].feeds.values())
        most = min(SCALE_SAMPLE, max(PROJECTED, SCALE_BYTES // (4 * width)))
        raw = self._raw(chosen[:most])  # chosen is in the order of digests: any row may be among them
        spread = raw.std(axis=0)
        usual = float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
        self._mean = raw.mean(axis=0)
        self._spread = np.maximum(spread, 0.1 * usual)

    def projected(self) -> Matrix:
        """All rows, projected to few numbers of unit length, float32 [n, 64]."""
        random = np.random.default_rng(0)
        directions = random.standard_normal((len(self._mean), PROJECTED)).astype(np.float32)
        step = max(1, VERIFY_BYTES // (4 * len(self._mean)))
        places = np.arange(len(self._chosen))
        parts = [self._unit(places[start : start + step]) @ directions for start in range(0, len(places), step)]
        return _unit_length(np.concatenate(parts))

    def verified(self, pairs: Index) -> Index:
        """Those pairs that correlate by more than 0.99 in all their numbers."""
        step = max(1, VERIFY_BYTES // (8 * len(self._mean)))
        kept = []
        for start in range(0, len(pairs), step):
            some = pairs[start : start + step]
            correlation = np.einsum("ij,ij->i", self._unit(some[:, 0]), self._unit(some[:, 1]))
            kept.append(some[correlation > NEAR])
        return np.concatenate(kept)

    def _unit(self, places: Index) -> Matrix:
        scaled = (self._raw(self._chosen[places]) - self._mean) / self._spread
        return _unit_length(scaled - scaled.mean(axis=1, keepdims=True))

    def _raw(self, rows: Index) -> Matrix:
        part_of = np.searchsorted(self._starts, rows, side="right") - 1
        width = sum(int(np.prod(array.shape[1:])) for array in self._parts[0].feeds.values())
        raw = np.empty((len(rows), width), dtype=np.float32)
        for number, part in enumerate(self._parts):
            here = np.flatnonzero(part_of == number)
            if not len(here):
                continue
            at = rows[here] - self._starts[number]
            columns = [array[at].reshape(len(at), -1) for array in part.feeds.values()]
            raw[here] = np.nan_to_num(np.concatenate(columns, axis=1).astype(np.float32), copy=False)
        return raw


def _unit_length(rows: Matrix) -> Matrix:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    enough = length > NO_PATTERN * np.sqrt(rows.shape[1])  # a constant image leaves rounding errors to compare
    unit: Matrix = np.divide(rows, length, out=np.zeros_like(rows), where=enough)
    return unit


def _all_pairs(projected: Matrix, left: Index) -> Iterator[Index]:
    for start in range(0, len(left), BLOCK_ROWS):
        block = left[start : start + BLOCK_ROWS]
        similar = projected[block] @ projected.T
        similar[np.arange(len(block)), block] = -1
        yield _above(similar, block)


def _above(similar: Matrix, block: Index) -> Index:
    """Pairs above the sieve: of a row with many, the closest."""
    mask = similar > SIFTED
    for row in np.flatnonzero(mask.sum(axis=1) > MOST_PER_ROW):
        closest = np.argpartition(-similar[row], MOST_PER_ROW)[:MOST_PER_ROW]
        mask[row] = False
        mask[row, closest] = True
    at, other = np.nonzero(mask)
    return np.stack([block[at], other.astype(np.intp)], axis=1)


def _hashed_pairs(projected: Matrix, is_own: NDArray[np.bool_]) -> Iterator[Index]:
    random = np.random.default_rng(1)
    for _ in range(HASH_TABLES):
        planes = random.standard_normal((projected.shape[1], HASH_BITS)).astype(np.float32)
        codes = ((projected @ planes) > 0) @ (1 << np.arange(HASH_BITS))
        order = np.lexsort((projected @ planes[:, 0], codes))  # within a bucket, near rows come near each other
        for step in range(1, min(HASH_WINDOW, len(order) - 1) + 1):
            first, second = order[:-step], order[step:]
            worth = (codes[first] == codes[second]) & (is_own[first] | is_own[second])
            yield _sifted(projected, np.stack([first[worth], second[worth]], axis=1))


def _sifted(projected: Matrix, pairs: Index) -> Index:
    step = VERIFY_BYTES // (8 * PROJECTED)
    kept = [
        some[np.einsum("ij,ij->i", projected[some[:, 0]], projected[some[:, 1]]) > SIFTED]
        for some in (pairs[start : start + step] for start in range(0, len(pairs), step))
    ]
    return np.concatenate(kept) if kept else pairs
