from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equipoise.errors import DataError
from equipoise.ingest.splits import SplitIndex, split_rows
from equipoise.preprocess.rows import Rows

RANDOM = np.random.default_rng(0)


def _rows(n: int, target: Any = None, population: str = "main", seed: int = 0) -> Rows:
    x = np.random.default_rng(seed).standard_normal((n, 3))
    return Rows({"x": x}, target, population=np.full(n, population, dtype=object))


def _joined(*parts: Rows) -> Rows:
    targets = [part.target for part in parts if part.target is not None]
    return Rows(
        {"x": np.concatenate([part.feeds["x"] for part in parts])},
        np.concatenate(targets) if targets else None,
        population=np.concatenate([part.population for part in parts]),
    )


def _split_of(index: SplitIndex, n: int) -> np.ndarray:
    split = np.full(n, -1)
    for number, rows in enumerate((index.calibrate, index.search, index.certify)):
        assert (split[rows] == -1).all()
        split[rows] = number
    assert (split >= 0).all()
    return split


@pytest.mark.parametrize(
    ("n", "sizes"), [(1000, (100, 350, 550)), (100, (10, 35, 55)), (50_000, (2000, 18_667, 29_333))]
)
def test_shares(n: int, sizes: tuple[int, int, int]) -> None:
    index, splits = split_rows(_rows(n))
    _split_of(index, n)
    assert (splits.calibrate, splits.search, splits.certify) == pytest.approx(sizes, abs=2)
    assert splits.certify * 2 >= n


def test_shares_where_calibration_comes_apart() -> None:
    index, splits = split_rows(_rows(1000), calibration=_rows(70, seed=1))
    assert len(index.calibrate) == 0
    assert (splits.calibrate, splits.search, splits.certify) == pytest.approx((70, 400, 600), abs=2)


def test_classes_are_spread_evenly() -> None:
    target = np.array([0] * 900 + [1] * 60 + [2] * 40)
    index, _ = split_rows(_rows(1000, target))
    for rows, share in ((index.calibrate, 0.1), (index.search, 0.35), (index.certify, 0.55)):
        counts = np.bincount(target[rows], minlength=3)
        assert counts == pytest.approx(share * np.array([900, 60, 40]), abs=1.5)


def test_many_classes_of_few_rows() -> None:
    _, splits = split_rows(_rows(400, np.repeat(np.arange(200), 2).astype(str).astype(object)))
    assert (splits.search, splits.certify) == pytest.approx((140, 220), abs=2)


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_rows_does_not_matter_and_seed_does(seed: int) -> None:
    rows = _rows(500, RANDOM.integers(0, 3, 500))
    groups = np.array([f"g{number}" for number in RANDOM.integers(0, 120, 500)], dtype=object)
    index, splits = split_rows(rows, groups=groups, seed=seed)
    order = RANDOM.permutation(500)
    shuffled_index, shuffled = split_rows(rows.take(order), groups=groups[order], seed=seed)
    assert shuffled == splits
    assert (_split_of(shuffled_index, 500) == _split_of(index, 500)[order]).all()
    _, other = split_rows(rows, groups=groups, seed=seed + 10)
    assert other.data_digest != splits.data_digest


def test_the_digest_is_of_the_rows_whatever_their_type() -> None:
    x = RANDOM.integers(0, 100, (60, 3))
    population = np.full(60, "main", dtype=object)
    y = np.arange(60) % 2
    digests = {
        split_rows(Rows({"x": x.astype(dtype)}, y.astype(kind), population=population))[1].data_digest
        for dtype in ("int64", "float32", "uint8")
        for kind in ("int64", "uint8")
    }
    assert len(digests) == 1
    changed = split_rows(Rows({"x": x}, 1 - y, population=population))[1].data_digest
    assert changed not in digests


def test_groups_stay_together() -> None:
    groups = np.array([f"p{number}" for number in RANDOM.integers(0, 100, 600)], dtype=object)
    index, splits = split_rows(_rows(600, np.arange(600) % 2), groups=groups)
    split = _split_of(index, 600)
    for group in set(groups.tolist()):
        assert len(set(split[groups == group].tolist())) == 1
    assert splits.groups_in_certify == len(set(groups[index.certify].tolist()))
    assert splits.certify * 2 >= 600


def test_duplicates_and_groups_join() -> None:
    rows = _rows(300)
    x = rows.feeds["x"]
    x[1::2] = x[::2]  # every row has a twin, in the next group
    groups = np.array([f"g{(number + 1) // 2}" for number in range(300)], dtype=object)
    groups[200:] = [f"h{number // 2}" for number in range(100)]
    with pytest.raises(DataError, match="of 300 rows repeat each other or share a group"):
        split_rows(rows, groups=groups)
    index, splits = split_rows(rows)
    split = _split_of(index, 300)
    assert (split[::2] == split[1::2]).all()
    assert splits.duplicates.exact == 150


def test_large_units_leave_certify_half() -> None:
    groups = np.array([f"g{number}" for number in [0] * 45 + [1] * 30 + [2] * 25], dtype=object)
    for seed in range(20):
        _, splits = split_rows(_rows(100), groups=groups, seed=seed)
        assert splits.certify >= 50


def test_each_population_is_split_on_its_own() -> None:
    rows = _joined(_rows(400), _rows(100, population="winter", seed=1), _rows(60, population="night", seed=2))
    index, _ = split_rows(rows)
    split = _split_of(index, 560)
    for population, sizes in (("main", (40, 140, 220)), ("winter", (0, 40, 60)), ("night", (0, 24, 36))):
        assert np.bincount(split[rows.population == population], minlength=3) == pytest.approx(sizes, abs=1)


def test_a_row_in_two_populations_is_in_one_split() -> None:
    main, winter = _rows(200), _rows(100, population="winter", seed=1)
    winter.feeds["x"][:50] = main.feeds["x"][:50]
    split = _split_of(split_rows(_joined(main, winter))[0], 300)
    assert (split[:50] == split[200:250]).all()


def test_rows_that_repeat_calibration_rows_prove_nothing() -> None:
    rows, calibration = _rows(200), _rows(100, seed=1)
    calibration.feeds["x"][:40] = rows.feeds["x"][100:140]
    index, _ = split_rows(rows, calibration=calibration)
    assert index.calibrate.tolist() == list(range(100, 140))
    assert len(index.certify) == 96


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match=r"d\.npz: 1 rows; 0 are left to search and 1 to certify"):
        split_rows(_rows(1), source="d.npz")
