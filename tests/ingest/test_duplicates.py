from __future__ import annotations

import numpy as np
import pytest

from equipoise.ingest import near_arrays
from equipoise.ingest.duplicates import RowClusters, find_duplicates
from equipoise.preprocess.rows import Rows

N, SIDE = 80, 12


def _images(n: int = N, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = random.standard_normal((n, 4, 4, 1)).repeat(3, axis=1).repeat(3, axis=2)
    return np.clip(128 + 50 * smooth + random.normal(0, 5, (n, SIDE, SIDE, 1)), 0, 255).astype(np.uint8)


def _rows(target: np.ndarray | None = None, **feeds: np.ndarray) -> Rows:
    n = len(next(iter(feeds.values())))
    return Rows(feeds, target, population=np.full(n, "main", dtype=object))


def _together(clusters: RowClusters, *rows: int) -> bool:
    return len(set(clusters.of_row[list(rows)].tolist())) == 1


def _noisy(images: np.ndarray, noise: float) -> np.ndarray:
    changed = images + np.random.default_rng(9).normal(0, noise, images.shape)
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("hashed", [False, True])
def test_images(hashed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if hashed:
        monkeypatch.setattr(near_arrays, "MOST_EXHAUSTIVE_PAIRS", 0)
    images = _images()
    images[1] = images[0]
    images[3:6] = _noisy(images[2:3], 2)  # the same photograph, saved again
    images[7] = np.roll(images[6], 4, axis=1)
    found = find_duplicates(_rows(image=images))
    assert _together(found, 0, 1)
    assert _together(found, 2, 3, 4, 5)
    assert not _together(found, 6, 7)
    assert (found.counts.exact, found.counts.near) == (3, 1)  # the three noisy ones are the same noise
    assert len(set(found.of_row.tolist())) == N - 4


def test_the_scale_of_one_number_does_not_make_rows_alike() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 100))
    x[:, 7] = random.uniform(2e5, 9e5, 200)
    assert find_duplicates(_rows(x=x)).counts.near == 0
    x[1] = x[0] + 1e-6
    assert find_duplicates(_rows(x=x)).counts.near == 1


def test_training_and_calibration_rows() -> None:
    images, train, calibration = _images(), _images(seed=1), _images(seed=2)
    train[5] = images[3]
    train[6] = _noisy(images[4], 1)
    train[8] = train[7]  # of no concern
    calibration[1] = _noisy(images[10], 1)
    found = find_duplicates(_rows(image=images), _rows(image=train), _rows(image=calibration))
    assert found.counts.in_training == 2
    assert np.flatnonzero(found.in_calibration).tolist() == [10]
    assert (found.counts.exact, found.counts.near) == (0, 0)
    assert find_duplicates(_rows(image=images)).counts.in_training is None


def test_tables() -> None:
    job = np.array([["cook"], ["cook"], [" Cook "], ["smith"], [None], [None]], dtype=object)
    income = np.array([[12_345.0], [12_345.0], [12_349.0], [12_345.0], [np.nan], [np.nan]])
    found = find_duplicates(_rows(np.array([0, 1, 0, 0, 1, 1]), job=job, income=income))
    assert _together(found, 0, 1, 2)
    assert _together(found, 4, 5)
    assert not _together(found, 0, 3)
    assert found.counts.model_dump() == {"exact": 2, "near": 1, "in_training": None, "conflicting_targets": 1}


def test_rounding_keeps_three_significant_digits() -> None:
    x = np.array([[0.001234], [0.001233], [0.001244], [-0.001234], [0.0], [-0.0], [1e-320], [1e300]])
    found = find_duplicates(_rows(x=x))
    assert _together(found, 0, 1)
    assert not _together(found, 0, 2)
    assert not _together(found, 0, 3)
    assert (found.counts.exact, found.counts.near) == (1, 1)


def test_conflicting_targets_count_the_minority() -> None:
    x = np.zeros((5, 1))
    found = find_duplicates(_rows(np.array(["a", "a", "a", "b", "c"], dtype=object), x=x))
    assert (found.counts.exact, found.counts.conflicting_targets) == (4, 2)


def test_rows_without_any_difference_of_their_own() -> None:
    flat = np.full((10, 8, 8), 7, np.uint8) * np.arange(10, dtype=np.uint8)[:, None, None]
    assert find_duplicates(_rows(image=flat)).counts.near == 0  # constant images have no pattern to compare


def test_real_images(shared_data: object) -> None:
    from pathlib import Path

    with np.load(Path(str(shared_data)) / "cifar10" / "test.npz") as file:
        images = file["image"][:1500]
    images[100:110] = _noisy(images[:10], 2)
    found = find_duplicates(_rows(image=images))
    assert all(_together(found, row, row + 100) for row in range(10))
    assert found.counts.near == 10


def test_training_rows_that_stand_in_the_data_are_marked() -> None:
    def table(*names: str) -> Rows:
        array = np.array([[name] for name in names], dtype=object)
        return Rows({"name": array}, None, population=np.full(len(names), "main", dtype=object))

    found = find_duplicates(table("ann", "bob", "cid"), train=table("dan", " Bob", "ann", "eve"))
    assert found.train_repeats.tolist() == [False, True, True, False]
    assert find_duplicates(table("ann", "bob")).train_repeats.tolist() == []
