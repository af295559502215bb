"""Encoded images to tensors: against what Pillow and NumPy give, step by step and by hand."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from equipoise.core.preprocessing import ImagePreprocessing, ImageSize
from equipoise.errors import DataError
from equipoise.preprocess import images
from equipoise.preprocess.images import ImagePreprocessor, center_crop, decoded, image_sides, resized_to
from picturing import Array, encoded

BICUBIC, BILINEAR = 3, 2
MEAN, STD = (0.48, 0.45, 0.4), (0.27, 0.26, 0.28)
FLOATS = {"layout": "NCHW", "dtype": "float32", "input": "image", "do_rescale": True}
BYTES = {"layout": "NHWC", "dtype": "uint8", "input": "image", "do_rescale": False}


@pytest.fixture
def pixels() -> Array:
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


def tensor(content: bytes, **settings: object) -> Array:
    preprocessor = ImagePreprocessor(ImagePreprocessing.model_validate(settings))
    return preprocessor([content], ["one"])["image"][0]


@pytest.mark.parametrize("resample", range(6))
def test_resized_rescaled_and_normalised_as_by_hand(pixels: Array, resample: int) -> None:
    found = tensor(
        encoded(pixels), **FLOATS, do_resize=True, size={"height": 24, "width": 32}, resample=resample,
        do_normalize=True, image_mean=MEAN, image_std=STD,
    )  # fmt: skip
    resized = np.asarray(Image.fromarray(pixels).resize((32, 24), resample=resample))
    rescaled = (resized.astype(np.float64) * (1 / 255)).astype(np.float32)
    expected = (rescaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


def test_shortest_edge_then_the_middle(pixels: Array) -> None:
    found = tensor(
        encoded(pixels), **FLOATS, do_resize=True, size={"shortest_edge": 30}, resample=BICUBIC,
        do_center_crop=True, crop_size={"height": 24, "width": 25}, rescale_factor=0.5,
    )  # fmt: skip
    resized = np.asarray(Image.fromarray(pixels).resize((46, 30), resample=BICUBIC))
    np.testing.assert_array_equal(found, (resized[3:27, 10:35] * 0.5).astype(np.float32).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "made"), [((70, 45), (46, 30)), ((45, 70), (30, 46)), ((30, 30), (30, 30))])
def test_the_longer_side_is_rounded_down(size: tuple[int, int], made: tuple[int, int]) -> None:
    assert resized_to(size, ImageSize(shortest_edge=30)) == made


def test_a_crop_larger_than_the_image_has_zeros_around_it() -> None:
    found = center_crop(np.ones((2, 3, 1), np.uint8), 5, 2)
    assert found[..., 0].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [0, 0]]


def test_channel_orders(pixels: Array) -> None:
    content = encoded(pixels)
    np.testing.assert_array_equal(tensor(content, **BYTES), pixels)
    np.testing.assert_array_equal(tensor(content, **BYTES, channel_order="BGR"), pixels[:, :, ::-1])
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(tensor(content, **BYTES, channel_order="grey"), grey[:, :, None])


def test_every_kind_of_image_becomes_rgb(pixels: Array) -> None:
    image = Image.fromarray(pixels)
    for mode, kind in (("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")):
        stream = io.BytesIO()
        image.convert(mode).save(stream, kind)
        expected = np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB"))
        assert expected.shape == pixels.shape
        np.testing.assert_array_equal(tensor(stream.getvalue(), **BYTES), expected)


def test_transparency_is_dropped_and_the_colour_stays(pixels: Array) -> None:
    clear = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    np.testing.assert_array_equal(tensor(encoded(clear), **BYTES), pixels)


def test_images_are_turned_upright(pixels: Array) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: a quarter turn clockwise shows it so
    content = encoded(pixels, "JPEG", quality=95, exif=exif)
    assert image_sides(content, "one") == (45, 70)
    plain = np.asarray(Image.open(io.BytesIO(encoded(pixels, "JPEG", quality=95))))
    np.testing.assert_array_equal(np.asarray(decoded(content, "one")), np.rot90(plain, -1))


def damaged() -> dict[str, tuple[bytes, str]]:
    whole = encoded(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    jpeg = encoded(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8), "JPEG")
    gif = encoded(np.zeros((4, 4), np.uint8), "GIF")
    return {
        "empty": (b"", "empty file"),
        "text": (b"not an image at all", "neither a JPEG nor a PNG"),
        "another kind": (gif, "neither a JPEG nor a PNG"),
        "a cut JPEG": (jpeg[: len(jpeg) // 2], "damaged"),
        "a cut PNG": (whole[: len(whole) // 2], "damaged"),
        "wrong checksum": (whole[:60] + b"\0\0\0\0" + whole[64:], "damaged"),
        "sixteen bits": (encoded(np.zeros((4, 4), np.uint16)), "sixteen bits"),
    }


@pytest.mark.parametrize("what", damaged())
def test_a_damaged_image_is_named(what: str) -> None:
    content, found = damaged()[what]
    with pytest.raises(DataError, match=found) as caught:
        tensor(content, **BYTES)
    assert caught.value.where == "one"


def test_flipped_bytes_never_raise_anything_else() -> None:
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    refused = 0
    for content in (encoded(pixels), encoded(pixels, "JPEG")):
        for _ in range(150):
            changed = bytearray(content)
            for place in random.integers(0, len(content), 3):
                changed[place] = random.integers(0, 256)
            try:
                tensor(bytes(changed), **BYTES)
            except DataError:
                refused += 1
    assert refused > 50


def bomb(side: int) -> bytes:
    """A PNG of black pixels: a thousandth of what it becomes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (side + 1) * min(side, 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [5_000, 10_000, 50_000])
def test_an_image_that_would_fill_the_memory_is_not_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 24_000_000)
    with pytest.raises(DataError, match=r"too large|pixels"):
        tensor(bomb(side), **BYTES)


def test_images_of_other_sizes_need_a_size(pixels: Array) -> None:
    preprocessor = ImagePreprocessor(ImagePreprocessing.model_validate(BYTES))
    with pytest.raises(DataError, match=r"two: an image of 10 x 10 .* first has 45 x 70"):
        preprocessor([encoded(pixels), encoded(pixels[:10, :10])], ["one", "two"])


def test_settings_that_were_not_fitted_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="not fitted"):
        ImagePreprocessor(ImagePreprocessing())


def test_without_pillow_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r'run: pip install "equipoise\[images\]"'):
        ImagePreprocessor(ImagePreprocessing.model_validate(BYTES))
