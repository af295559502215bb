"""Encoded images to tensors, as Hugging Face's image processors on Pillow do it."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.preprocessing import ImagePreprocessing, ImageSize
from equipoise.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]
FORMATS = ("JPEG", "PNG")
MOST_PIXELS = 100_000_000
"""Of one image, before it is resized: decoded, 300 MB."""
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
INSTALL = 'run: pip install "equipoise[images]"'
DAMAGED_IMAGE = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, KeyError, IndexError, TypeError,
    OverflowError, MemoryError,
)  # fmt: skip
"""What Pillow raises on damaged files."""


class ImagePreprocessor:
    """Decodes JPEG and PNG files and makes one input of them.

    Whatever a file holds, it is first turned upright (EXIF orientation) and then made RGB, or grey where the model
    takes that: palettes are looked up, CMYK is converted, transparency is dropped (the colours under it stay). Of an
    animation the first frame counts. Sixteen-bit images are refused.

    Args:
        settings: Complete settings.

    Raises:
        DataError: Pillow is not installed.
    """

    def __init__(self, settings: ImagePreprocessing) -> None:
        require_pillow()
        if settings.input is None or settings.layout is None or settings.dtype is None or settings.do_rescale is None:
            raise ValueError("settings that were not fitted to a model")
        self.settings = settings
        self._input = settings.input
        self._steps = _steps(settings)

    @property
    def filling(self) -> dict[str, int]:
        """Nothing is filled up: all images have one size."""
        return {}

    def __call__(self, raw: Sequence[Any], names: Sequence[str]) -> dict[str, Array]:
        """Decode images to one array, [n, ...] in the model's layout and type.

        Raises:
            DataError: One is damaged, of another format or too large, or has another size than the first and is not
                resized.
        """
        first = self._one(raw[0], names[0])
        found = np.empty((len(raw), *first.shape), dtype=first.dtype)
        found[0] = first
        for place in range(1, len(raw)):
            row = self._one(raw[place], names[place])
            if row.shape != first.shape:
                raise _of_another_size(names[place], _sides(row, self.settings), _sides(first, self.settings))
            found[place] = row
        return {self._input: found}

    def _one(self, content: bytes, name: str) -> Array:
        value: Any = decoded(content, name, grey=self.settings.channel_order == "grey")
        for step in self._steps:
            value = step(value)
        return np.asarray(value)


def require_pillow() -> None:
    """Refuse to go on without the library that decodes images.

    Raises:
        DataError: It is not installed.
    """
    try:
        import PIL.Image
        import PIL.ImageOps

        PIL.Image.preinit()  # its readers of formats, before several threads want them at once
    except ImportError:
        raise DataError("images", "Pillow, which decodes them, is not installed", INSTALL) from None


def image_sides(content: bytes, name: str) -> tuple[int, int]:
    """Height and width as a file's first bytes say them, before it is turned upright; nothing is decoded.

    Raises:
        DataError: It is neither a JPEG nor a PNG file.
    """
    with _opened(content, name) as image:
        return image.height, image.width


def decoded(content: bytes, name: str, grey: bool = False) -> Image:
    """An upright image in RGB, or in grey.

    Args:
        content: A JPEG or PNG file.
        name: Its name, for errors.
        grey: Whether one channel of luminance is wanted.

    Raises:
        DataError: It is damaged, neither of the two, too large, or of sixteen bits.
    """
    from PIL import ImageOps

    mode = "L" if grey else "RGB"
    with _opened(content, name) as image:
        pixels = image.width * image.height
        if pixels > MOST_PIXELS:
            found = f"an image of {image.width:,} x {image.height:,} = {pixels:,} pixels"
            raise DataError(name, found, f"at most {MOST_PIXELS:,} are taken: make it smaller")
        if image.mode in DEEP_MODES:
            raise DataError(name, f"an image of sixteen bits or more ({image.mode})", "save it with 8 bits a channel")
        try:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image if image.mode == mode else image.convert(mode)
        except DAMAGED_IMAGE as error:
            raise _damaged(name, error) from error


def _opened(content: bytes, name: str) -> Image:
    import PIL.Image

    if not content:
        raise DataError(name, "an empty file (0 bytes)", "needed a JPEG or PNG image")
    try:
        return PIL.Image.open(io.BytesIO(content), formats=FORMATS)
    except PIL.UnidentifiedImageError:
        raise DataError(
            name, f"neither a JPEG nor a PNG image (it begins with {content[:8]!r})", "save it as one of them"
        ) from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise DataError(
            name, f"an image that is too large ({error})", f"at most {MOST_PIXELS:,} pixels are taken"
        ) from None
    except DAMAGED_IMAGE as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: BaseException) -> DataError:
    return DataError(name, f"a damaged image ({error})", "save it again, or leave it out")


def _of_another_size(name: str, found: tuple[int, int], first: tuple[int, int]) -> DataError:
    return DataError(
        name,
        f"an image of {found[0]} x {found[1]} (height x width) where the first has {first[0]} x {first[1]}",
        "needed images of one size, or a size to resize them to (`size` in the preprocessing)",
    )


def _sides(row: Array, settings: ImagePreprocessing) -> tuple[int, int]:
    height, width = row.shape[1:] if settings.layout == "NCHW" else row.shape[:2]
    return height, width


def _steps(settings: ImagePreprocessing) -> list[Callable[[Any], Any]]:
    """What is done to an image, in order; each step takes what the one before gave, the first a Pillow image."""
    steps: list[Callable[[Any], Any]] = []
    if settings.do_resize and settings.size is not None:
        size, resample = settings.size, settings.resample
        steps.append(lambda image: image.resize(resized_to(image.size, size), resample=resample, reducing_gap=None))
    steps.append(lambda image: np.atleast_3d(np.asarray(image)))
    if settings.do_center_crop and settings.crop_size is not None:
        height, width = settings.crop_size.height or 0, settings.crop_size.width or 0
        steps.append(lambda pixels: center_crop(pixels, height, width))
    if settings.do_rescale:
        # In float64 first, as Hugging Face does: its last bit is part of the answer.
        steps.append(lambda pixels: (pixels.astype(np.float64) * settings.rescale_factor).astype(np.float32))
    if settings.do_normalize:
        mean = np.array(settings.image_mean, dtype=np.float32)
        std = np.array(settings.image_std, dtype=np.float32)
        steps.append(lambda pixels: (pixels.astype(np.float32, copy=False) - mean) / std)
    if settings.channel_order == "BGR":
        steps.append(lambda pixels: pixels[:, :, ::-1])
    if settings.layout == "NCHW":
        steps.append(lambda pixels: pixels.transpose(2, 0, 1))
    dtype = np.dtype(settings.dtype)
    steps.append(lambda pixels: np.ascontiguousarray(pixels, dtype=dtype))
    return steps


def resized_to(size: tuple[int, int], wanted: ImageSize) -> tuple[int, int]:
    """Width and height that an image of this width and height is resized to.

    Example:
        >>> resized_to((640, 480), ImageSize(shortest_edge=224))
        (298, 224)
    """
    if wanted.height is not None and wanted.width is not None:
        return wanted.width, wanted.height
    edge, (width, height) = wanted.shortest_edge or 1, size
    if width <= height:
        return edge, max(1, int(edge * height / width))
    return max(1, int(edge * width / height)), edge


def center_crop(pixels: Array, height: int, width: int) -> Array:
    """The middle of an image, [height, width, channels]; where that is larger than the image, 0 around it.

    Rounds as `transformers.image_transforms.center_crop` does, which differs from torchvision by a pixel at odd sizes.
    """
    had_height, had_width = pixels.shape[:2]
    top, left = (had_height - height) // 2, (had_width - width) // 2
    if top >= 0 and left >= 0:
        return pixels[top : top + height, left : left + width]
    canvas = np.zeros((max(height, had_height), max(width, had_width), pixels.shape[2]), dtype=pixels.dtype)
    down = math.ceil((canvas.shape[0] - had_height) / 2)
    right = math.ceil((canvas.shape[1] - had_width) / 2)
    canvas[down : down + had_height, right : right + had_width] = pixels
    top, left = max(0, top + down), max(0, left + right)
    return canvas[top : top + height, left : left + width]
