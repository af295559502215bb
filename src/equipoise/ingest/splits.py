"""Divides rows into calibrate, search and certify, once, so that what chooses a candidate never sees what proves it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from equipoise.core.splits import Splits
from equipoise.errors import DataError
from equipoise.ingest.duplicates import find_duplicates
from equipoise.ingest.row_digests import DIGEST_BYTES, Digests, digest_of, target_digests
from equipoise.preprocess.rows import Rows

Index = NDArray[np.intp]
CALIBRATE, SEARCH, CERTIFY = 0, 1, 2
SHARES = (0.10, 0.35, 0.55)
SHARES_WITHOUT_CALIBRATE = (0.0, 0.40, 0.60)
MOST_CALIBRATE_ROWS = 2_000
MAIN = "main"
MOST_CLASSES = 1_000


@dataclass(frozen=True)
class SplitIndex:
    """Which rows are in which split; every row is in exactly one.

    Attributes:
        calibrate: Rows that calibrations may read, in the order of the data.
        search: Rows that choose candidates and thresholds.
        certify: Rows that only the final test reads.
        train: Training rows that repeat none of these, in their order: what may be trained on.
    """

    calibrate: Index
    search: Index
    certify: Index
    train: Index


def split_rows(
    rows: Rows,
    *,
    groups: NDArray[Any] | None = None,
    calibration: Rows | None = None,
    train: Rows | None = None,
    seed: int = 0,
    source: str = "the data",
) -> tuple[SplitIndex, Splits]:
    """Divide rows into calibrate, search and certify.

    10, 35 and 55 of 100 (at most 2,000 to calibrate); 40 to search and 60 to certify where calibration rows come apart.
    Out-of-distribution sets are divided on their own, 40 to 60. Rows of one group, and rows that repeat each other,
    stay together; rows that repeat a calibration row are put beside it. Classes are spread evenly. The division depends
    on the rows and the seed alone, not on the order of the rows: they are taken in the order of a keyed digest.

    Args:
        rows: All populations, with their targets.
        groups: Which rows belong together, [n].
        calibration: Rows for calibration, where they come apart.
        train: Rows the model was trained on, to count the rows that repeat them, and to find those that repeat none.
        seed: Another seed, another division.
        source: The data file, for errors.

    Raises:
        DataError: One cluster of rows that belong together is more than half of a population, or too few rows are left.
    """
    clusters = find_duplicates(rows, train, calibration)
    units = _joined(clusters.of_row, groups)
    keys = _unit_keys(clusters.digests, units, seed)
    fixed = np.zeros(len(keys), dtype=bool)
    fixed[units[clusters.in_calibration]] = True
    split_of_unit = np.where(fixed, CALIBRATE, -1)
    populations = sorted(set(rows.population.tolist()), key=lambda name: (name != MAIN, name))
    for population in populations:
        members = np.flatnonzero(rows.population == population)
        shares = _shares(population, len(members), calibration is not None)
        _refuse_giant(source, population, units[members], groups is not None)
        _assign(rows, members, units, keys, split_of_unit, shares)
    split = split_of_unit[units]
    index = SplitIndex(
        calibrate=np.flatnonzero(split == CALIBRATE),
        search=np.flatnonzero(split == SEARCH),
        certify=np.flatnonzero(split == CERTIFY),
        train=np.flatnonzero(~clusters.train_repeats),
    )
    _refuse_empty(source, rows, split, clusters.in_calibration)
    both = zip(clusters.digests.tolist(), target_digests(rows).tolist(), strict=True)
    digests = [inputs.ljust(DIGEST_BYTES, b"\0") + target for inputs, target in both]
    return index, Splits(
        calibrate=len(index.calibrate) if calibration is None else calibration.n,
        search=len(index.search),
        certify=len(index.certify),
        groups_in_certify=None if groups is None else len(set(groups[index.certify].tolist())),
        data_digest=digest_of(hashlib.sha256(digests[row]).digest() for row in index.certify),
        duplicates=clusters.counts,
    )


def _joined(clusters: Index, groups: NDArray[Any] | None) -> Index:
    """The finest units that break neither a cluster of duplicates nor a group."""
    if groups is None:
        return clusters
    codes = np.unique(groups.astype(str), return_inverse=True)[1].reshape(-1)
    edges = (clusters, codes + clusters.max() + 1)
    size = int(edges[1].max()) + 1
    _, component = connected_components(
        coo_array((np.ones(len(codes), bool), edges), shape=(size, size)), directed=False
    )
    return np.unique(component[clusters], return_inverse=True)[1].reshape(-1).astype(np.intp)


def _unit_keys(digests: Digests, units: Index, seed: int) -> list[bytes]:
    """What orders the units: a digest of the seed and the unit's least row."""
    order = np.lexsort((digests, units))
    first = order[np.flatnonzero(np.diff(units[order], prepend=-1))]
    salt = seed.to_bytes(8, "little")
    return [hashlib.blake2b(digest, digest_size=16, salt=salt).digest() for digest in digests[first].tolist()]


def _shares(population: str, n: int, calibration_given: bool) -> tuple[float, float, float]:
    if calibration_given or population != MAIN:
        return SHARES_WITHOUT_CALIBRATE
    calibrate = min(SHARES[CALIBRATE], MOST_CALIBRATE_ROWS / n)
    rest = (1 - calibrate) / (SHARES[SEARCH] + SHARES[CERTIFY])
    return calibrate, SHARES[SEARCH] * rest, SHARES[CERTIFY] * rest


def _assign(
    rows: Rows,
    members: Index,
    units: Index,
    keys: list[bytes],
    split_of_unit: Index,
    shares: tuple[float, float, float],
) -> None:
    """Give each unit of a population to the split that lags its share most, class by class in the order of keys."""
    sizes = np.bincount(units[members], minlength=len(keys))
    taken = np.zeros(3)
    fixed = split_of_unit >= 0
    np.add.at(taken, split_of_unit[fixed], sizes[fixed])
    strata = _strata(rows, members, units, len(keys))
    waiting = sorted(np.flatnonzero((sizes > 0) & ~fixed).tolist(), key=lambda unit: (strata[unit], keys[unit]))
    # What calibration rows pinned down lies outside the division: it is neither searched nor certified.
    taken[CALIBRATE] = 0 if shares[CALIBRATE] == 0 else taken[CALIBRATE]
    seen = float(taken.sum())
    wanted = np.array(shares)
    for unit in waiting:
        seen += sizes[unit]
        lag = np.where(wanted > 0, wanted * seen - taken, -np.inf)
        split = int(np.argmax(lag))
        split_of_unit[unit] = split
        taken[split] += sizes[unit]
    _top_up(waiting, sizes, split_of_unit, taken)


def _top_up(waiting: list[int], sizes: Index, split_of_unit: Index, taken: NDArray[np.float64]) -> None:
    """Move units until certify has half of the rows, where large units left it with less."""
    for unit in sorted(waiting, key=lambda unit: -int(sizes[unit])):
        if taken[CERTIFY] * 2 >= taken.sum():
            return
        if split_of_unit[unit] != CERTIFY:
            taken[split_of_unit[unit]] -= sizes[unit]
            taken[CERTIFY] += sizes[unit]
            split_of_unit[unit] = CERTIFY


def _strata(rows: Rows, members: Index, units: Index, count: int) -> list[int]:
    """The most frequent class of each unit, by its place in sorted order; 0 where the target is no class."""
    target = rows.target
    if target is None or target.ndim != 1 or target.dtype.kind == "f":
        return [0] * count
    values = target[members]
    classes, codes = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)
    if len(classes) > min(MOST_CLASSES, max(2, len(members) // 2)):
        return [0] * count
    pairs, times = np.unique(np.stack([units[members], codes.reshape(-1)], axis=1), axis=0, return_counts=True)
    strata = [0] * count
    most = [0] * count
    for (unit, code), number in zip(pairs.tolist(), times.tolist(), strict=True):
        if number > most[unit]:
            strata[unit], most[unit] = code, number
    return strata


def _refuse_giant(source: str, population: str, units: Index, grouped: bool) -> None:
    sizes = np.bincount(units)
    largest, n = int(sizes.max()), len(units)
    if n > 1 and largest * 2 > n:
        why = "repeat each other or share a group" if grouped else "repeat each other, exactly or nearly"
        raise DataError(
            source if population == MAIN else f"the set {population!r}",
            f"{largest:,} of {n:,} rows {why}",
            "such rows stay in one split, so that no honest division is left: needed rows that differ more",
        )


def _refuse_empty(source: str, rows: Rows, split: Index, in_calibration: NDArray[np.bool_]) -> None:
    for population in sorted(set(rows.population.tolist())):
        here = rows.population == population
        searched, certified = (int((split[here] == which).sum()) for which in (SEARCH, CERTIFY))
        if not (searched and certified):
            repeats = int(in_calibration[here].sum())
            also = f", {repeats:,} of them in the calibration data too" if repeats else ""
            raise DataError(
                source if population == MAIN else f"the set {population!r}",
                f"{here.sum():,} rows{also}; {searched:,} are left to search and {certified:,} to certify",
                "needed rows for both that are not in the calibration data",
            )
