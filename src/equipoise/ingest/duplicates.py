"""Finds rows that repeat other rows, exactly or nearly: a test row that the search has seen proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from equipoise.core.splits import Duplicates
from equipoise.ingest.near_arrays import MIN_NUMBERS, near_pairs
from equipoise.ingest.row_digests import Digests, row_digests, target_digests
from equipoise.preprocess.rows import Rows

SIGNIFICANT_DIGITS = 3
Index = NDArray[np.intp]


@dataclass(frozen=True)
class RowClusters:
    """Which rows belong together because they repeat each other.

    Attributes:
        of_row: Cluster of each row, [n]; rows that repeat each other share one.
        digests: Of the inputs of each row, [n], 16 bytes each.
        in_calibration: Whether a row also stands in the calibration data, exactly or nearly, [n].
        train_repeats: Whether a training row stands in the data, exactly or nearly, [training rows]; empty for none.
        counts: How many there are of each kind.
    """

    of_row: Index
    digests: Digests
    in_calibration: NDArray[np.bool_]
    train_repeats: NDArray[np.bool_]
    counts: Duplicates


def find_duplicates(rows: Rows, train: Rows | None = None, calibration: Rows | None = None) -> RowClusters:
    """Find the rows that repeat other rows, training rows or calibration rows.

    Exactly: all inputs have the same values. Nearly: rows of at least 64 numbers (images, embeddings) correlate by more
    than 0.99 after each number is brought to the same scale over the data; other rows are equal once numbers are
    rounded to three significant digits, and spaces around text and its case are ignored. Rows made from text are
    compared by it, and not by their tokens.

    Args:
        rows: The data.
        train: Rows the model was trained on.
        calibration: Rows for calibration, where they come apart.
    """
    rows = _as_told_apart(rows)
    train = None if train is None else _as_told_apart(train)
    calibration = None if calibration is None else _as_told_apart(calibration)
    parts = [part for part in (rows, calibration, train) if part is not None]
    starts = np.cumsum([0, *(part.n for part in parts)])
    digests = np.concatenate([row_digests(part) for part in parts])
    _, first, exact = np.unique(digests, return_index=True, return_inverse=True)
    exact = exact.reshape(-1).astype(np.intp)
    representatives = first.astype(np.intp)
    linked = _near_links(parts, starts, representatives)
    count = len(representatives)
    graph = coo_array((np.ones(len(linked), dtype=bool), (linked[:, 0], linked[:, 1])), shape=(count, count))
    _, near = connected_components(graph, directed=False)
    clusters = near[exact].astype(np.intp)
    own = clusters[: rows.n]
    others = {id(part): clusters[start : start + part.n] for part, start in zip(parts, starts, strict=False)}
    in_calibration = np.isin(own, others[id(calibration)]) if calibration is not None else np.zeros(rows.n, dtype=bool)
    distinct = len(np.unique(exact[: rows.n]))
    return RowClusters(
        of_row=np.unique(own, return_inverse=True)[1].reshape(-1).astype(np.intp),
        digests=digests[: rows.n],
        in_calibration=in_calibration,
        train_repeats=np.isin(others[id(train)], own) if train is not None else np.zeros(0, dtype=bool),
        counts=Duplicates(
            exact=rows.n - distinct,
            near=distinct - len(np.unique(own)),
            in_training=int(np.isin(own, others[id(train)]).sum()) if train is not None else None,
            conflicting_targets=_conflicting(rows, exact[: rows.n]),
        ),
    )


def _as_told_apart(rows: Rows) -> Rows:
    """Rows whose inputs are what they were made from, where that was text."""
    return rows if rows.texts is None else replace(rows, feeds={"text": rows.texts})


def _near_links(parts: list[Rows], starts: NDArray[np.int_], representatives: Index) -> Index:
    """Pairs of distinct rows (by their place among `representatives`) that are nearly equal, [pairs, 2]."""
    arrays = [array for part in parts for array in part.feeds.values()]
    numbers = sum(int(np.prod(array.shape[1:])) for array in parts[0].feeds.values())
    if numbers >= MIN_NUMBERS and all(array.dtype != object for array in arrays):
        return near_pairs(parts, representatives, starts, own=parts[0].n)
    codes = np.unique(np.concatenate([_rounded_digests(part) for part in parts])[representatives], return_inverse=True)
    order = np.argsort(codes[1].reshape(-1), kind="stable")
    same = np.diff(codes[1].reshape(-1)[order]) == 0
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _rounded_digests(rows: Rows) -> NDArray[np.bytes_]:
    rounded = {name: _rounded(array) for name, array in rows.feeds.items()}
    return row_digests(Rows(rounded, None, population=rows.population))


def _rounded(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype == object:
        folded = {value: None if value is None else value.strip().casefold() for value in set(array.ravel().tolist())}
        result = np.empty(array.shape, dtype=object)
        result.ravel()[:] = [folded[value] for value in array.ravel().tolist()]
        return result
    numbers = array.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(np.abs(numbers)))
        unit = 10.0 ** (exponent - (SIGNIFICANT_DIGITS - 1))
        return np.where(np.isfinite(unit) & (unit > 0), np.round(numbers / unit) * unit, numbers)


def _conflicting(rows: Rows, exact: Index) -> int:
    """Rows that equal another row and have another target than most of its equals."""
    if rows.target is None:
        return 0
    pairs = np.stack([exact, np.unique(target_digests(rows), return_inverse=True)[1].reshape(-1)], axis=1)
    distinct, times = np.unique(pairs, axis=0, return_counts=True)
    sizes = np.bincount(exact)
    most = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(most, distinct[:, 0], times)
    return int((sizes - most).sum())
