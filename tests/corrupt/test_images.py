"""Corruptions of images: what is done to them, at which strength, and what is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equipoise.core.corruption import FAMILY_OF, STRENGTHS, Corruption
from equipoise.corrupt.blur import disk, trail
from equipoise.corrupt.images import ImageForm
from equipoise.corrupt.noise import SPREADS
from equipoise.corrupt.rows import STRENGTH, Corruptible
from equipoise.preprocess.rows import Rows

NAMES = [name for name, family in FAMILY_OF.items() if family == "images"]
NEEDS_PILLOW = {"jpeg"}


def photographs(n: int = 40, side: int = 32) -> NDArray[np.uint8]:
    """Smooth coloured blobs with edges: [n, side, side, 3]."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[:side, :side] / side
    centre, hue = rng.random((n, 2, 1, 1)), rng.integers(30, 225, (n, 1, 1, 3))
    near = (down - centre[:, 0]) ** 2 + (across - centre[:, 1]) ** 2 < 0.1
    return np.where(near[..., None], hue, 255 - hue[:, :, :, ::-1]).astype(np.uint8)


def rows_of(image: Any) -> Rows:
    return Rows({"image": image}, np.arange(len(image)), {}, np.full(len(image), "main", dtype=object))


def put_to(name: str, image: Any, strength: int | None = None, seed: int = 0) -> Any:
    if name in NEEDS_PILLOW:
        pytest.importorskip("PIL", reason="JPEG needs Pillow, of the extra images")
    return (
        Corruptible(rows_of(image))
        .corrupted(rows_of(image), Corruption(name=name, strength=strength), seed)
        .feeds["image"]
    )


def distance(image: Any, other: Any) -> float:
    return float(np.abs(image.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [32, 96])
def test_each_is_stronger_than_the_one_before(name: str, side: int) -> None:
    image = photographs(12, side)
    moved = [distance(image, put_to(name, image, strength)) for strength in STRENGTHS]
    assert moved[0] > 0
    assert moved[4] > moved[0]
    # Motion has a direction of its own each time; where pixels and edges fall decides about the others.
    if name not in ("motion_blur", "pixelate", "jpeg"):
        assert moved == sorted(moved)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_what_is_drawn(name: str) -> None:
    image = photographs()
    assert np.array_equal(put_to(name, image, seed=3), put_to(name, image, seed=3))
    if name.endswith("noise") or name == "motion_blur":
        assert not np.array_equal(put_to(name, image, seed=3), put_to(name, image, seed=4))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("noise") and name != "motion_blur"])
def test_layout_and_type_change_nothing(name: str) -> None:
    image = photographs()
    wanted = put_to(name, image, 3)
    first = put_to(name, np.ascontiguousarray(image.transpose(0, 3, 1, 2)), 3)
    assert np.array_equal(first.transpose(0, 2, 3, 1), wanted)
    share = put_to(name, image.astype(np.float32) / 255, 3)
    assert share.dtype == np.float32
    assert np.abs(share * 255 - wanted).max() <= 1.01
    grey = put_to(name, image[..., 0], 3)
    assert grey.shape == image.shape[:3]


def test_all_five_strengths_take_turns() -> None:
    image = photographs(10)
    rows = Corruptible(rows_of(image)).corrupted(rows_of(image), Corruption(name="contrast"), 0)
    assert rows.extra[STRENGTH].tolist() == [1, 2, 3, 4, 5] * 2
    assert set(rows.population) == {"contrast"}
    assert rows.target is not None
    assert rows.target.tolist() == list(range(10))
    for strength in STRENGTHS:
        alone = put_to("contrast", image, strength)
        assert np.array_equal(rows.feeds["image"][strength - 1], alone[strength - 1])


def test_noise_has_the_spread_that_the_paper_gives() -> None:
    grey = np.full((50, 32, 32, 3), 128, np.uint8)
    for strength in STRENGTHS:
        spread = put_to("gaussian_noise", grey, strength).astype(float).std() / 255
        assert spread == pytest.approx(SPREADS.small[strength - 1], rel=0.02)
    white = put_to("impulse_noise", grey, 5)
    assert (white == 255).mean() == pytest.approx(0.035, abs=0.004)
    assert (white == 0).mean() == pytest.approx(0.035, abs=0.004)
    shot = put_to("shot_noise", grey, 5).astype(float) / 255
    assert shot.mean() == pytest.approx(128 / 255, abs=0.01)
    assert shot.var() == pytest.approx(128 / 255 / 50, rel=0.1)


def test_blur_leaves_plain_surfaces_alone() -> None:
    plain = np.full((4, 32, 32, 3), 90, np.uint8)
    for name in ("gaussian_blur", "defocus_blur", "motion_blur", "pixelate"):
        assert np.abs(put_to(name, plain, 5).astype(int) - 90).max() <= 1, name


def test_brightness_keeps_hue_and_saturation() -> None:
    pixel = np.full((1, 8, 8, 3), (100, 50, 0), np.uint8)
    lighter = put_to("brightness", pixel, 5)[0, 0, 0].astype(float)
    assert lighter[0] == pytest.approx(100 + 0.3 * 255, abs=1)
    assert lighter[1] == pytest.approx(lighter[0] / 2, abs=1)
    assert lighter[2] == 0
    black = put_to("brightness", np.zeros((1, 8, 8, 3), np.uint8), 5)
    assert black.min() == black.max() == round(0.3 * 255)


@pytest.mark.parametrize(("radius", "softening"), [(0.3, 0.4), (1.5, 0.1), (3.0, 0.1), (10.0, 0.5)])
def test_disks_are_round_and_even(radius: float, softening: float) -> None:
    kernel = disk(radius, softening)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    assert kernel.shape[0] % 2 == 1


@pytest.mark.parametrize("angle", [-45.0, 0.0, 20.0])
def test_trails_keep_the_light(angle: float) -> None:
    assert trail(20, 15.0, angle).sum() == pytest.approx(1)


def test_what_images_are_is_told_from_shape_type_and_range() -> None:
    image = photographs(4)
    assert ImageForm.of(image.astype(np.float32)) == ImageForm("NHWC", (1 / 255,))
    assert ImageForm.of(image / 255) == ImageForm("NHWC", (1.0,))
    assert ImageForm.of((image / 255 - 0.5) / 0.2) is None
    assert ImageForm.of(np.zeros((4, 16), np.float32)) is None
    assert ImageForm.of(np.zeros((4, 6, 32, 32), np.uint8)) is None
    assert Corruptible(rows_of(image)).families == ("images",)
