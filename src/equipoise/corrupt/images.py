"""Images as corruptions take them, from and to the arrays that models are fed, and parameters by strength and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""[n, height, width, channels], each value from 0 (black) to 1 (white)."""
Layout = Literal["NHWC", "NCHW", "NHW"]
CHANNELS = (1, 3)
LEAST_PIXELS, SMALL_PIXELS = 8, 64
BYTE = 255
CHUNK_BYTES = 32 * 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """How images are corrupted.

    Attributes:
        strength: 1 to 5.
        small: Whether they are of the size of CIFAR-10, at most 64 pixels a side, on which a blur of three pixels is
            what one of twenty is on a photograph.
        rng: Draws whatever is random.
    """

    strength: int
    small: bool
    rng: np.random.Generator


@dataclass(frozen=True)
class Parameters(Generic[T]):
    """A corruption's parameter at the five strengths.

    Attributes:
        large: Of ImageNet-C.
        small: Of CIFAR-10-C.
    """

    large: tuple[T, ...]
    small: tuple[T, ...]

    def of(self, setting: Setting) -> T:
        """The parameter for a setting."""
        return (self.small if setting.small else self.large)[setting.strength - 1]


Corrupt = Callable[[Images, Setting], Images]


@dataclass(frozen=True)
class ImageForm:
    """How an array holds images, one a row.

    Attributes:
        layout: Order of its axes; `NHW` for images without channels.
        gain: What its values are multiplied by to lie between 0 (black) and 1 (white): one figure, or one a channel.
        offset: What is then added.
    """

    layout: Layout
    gain: tuple[float, ...]
    offset: tuple[float, ...] = (0.0,)

    @classmethod
    def of(cls, array: NDArray[Any]) -> ImageForm | None:
        """Tell from an array's shape, type and values; null where it holds no images.

        Bytes go from 0 to 255; floating numbers from 0 to 1, or to 255 where some are larger. Others, such as those
        that were normalised, cannot be told.

        >>> ImageForm.of(np.zeros((2, 3, 32, 32), np.uint8)).layout, ImageForm.of(np.full((2, 32, 32), -1.0))
        ('NCHW', None)
        """
        layout = _layout(array.shape[1:])
        if layout is None or len(array) == 0:
            return None
        if array.dtype == np.uint8:
            return cls(layout, (1 / BYTE,))
        if array.dtype.kind != "f":
            return None
        least, most = float(array.min()), float(array.max())
        if not (least >= 0 and most <= BYTE):
            return None
        return cls(layout, (1.0,) if most <= 1 else (1 / BYTE,))

    def pixels(self, array: NDArray[Any]) -> Images:
        """The images as corruptions take them."""
        match self.layout:
            case "NHWC":
                images = array
            case "NCHW":
                images = array.transpose(0, 2, 3, 1)
            case "NHW":
                images = array[..., None]
        gain, offset = (np.asarray(figures, np.float32) for figures in (self.gain, self.offset))
        pixels: Images = np.ascontiguousarray(images, np.float32) * gain + offset
        return pixels

    def array(self, images: Images, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Images as the array held them, in 256 levels, as files and cameras have them."""
        gain, offset = (np.asarray(figures, np.float32) for figures in (self.gain, self.offset))
        values = (np.rint(np.clip(images, 0, 1) * BYTE) / BYTE - offset) / gain
        held: NDArray[Any] = (np.rint(values) if dtype.kind == "u" else values).astype(dtype)
        match self.layout:
            case "NHWC":
                pass
            case "NCHW":
                held = held.transpose(0, 3, 1, 2)
            case "NHW":
                held = held[..., 0]
        return held


def corrupt_images(
    array: NDArray[Any], form: ImageForm, corrupt: Corrupt, strengths: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[Any]:
    """Corrupt images, each at a strength of its own.

    Args:
        array: Images, [n, ...].
        form: How it holds them.
        corrupt: What is done to images of one strength.
        strengths: Of each image, 1 to 5: [n].
        rng: Draws whatever is random.

    Returns:
        Images of the same form and type.
    """
    found = np.empty_like(array)
    chunk = max(1, CHUNK_BYTES // (4 * max(1, array[:1].size)))
    for strength in np.unique(strengths).tolist():
        rows = np.flatnonzero(strengths == strength)
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            images = form.pixels(array[part])
            setting = Setting(strength, max(images.shape[1:3]) <= SMALL_PIXELS, rng)
            found[part] = form.array(corrupt(images, setting), array.dtype)
    return found


def _layout(shape: tuple[int, ...]) -> Layout | None:
    """Of a row's shape: two axes are an image without channels; of three, the first or last holds 1 or 3 channels."""
    match shape:
        case (height, width) if min(height, width) >= LEAST_PIXELS:
            return "NHW"
        case (height, width, channels) if channels in CHANNELS and min(height, width) >= LEAST_PIXELS:
            return "NHWC"
        case (channels, height, width) if channels in CHANNELS and min(height, width) >= LEAST_PIXELS:
            return "NCHW"
        case _:
            return None
