"""What storing and sending does to images: JPEG compression and pixelation.

Parameters of ImageNet-C and, for small images, CIFAR-10-C (Hendrycks and Dietterich, arXiv 1903.12261).
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.corrupt.images import Images, Parameters, Setting
from equipoise.errors import BriefError

INSTALL = 'pip install "equipoise[images]"'
QUALITIES = Parameters(large=(25, 18, 15, 10, 7), small=(80, 65, 58, 50, 40))
"""JPEG's quality, 1 to 100."""
SCALES = Parameters(large=(0.6, 0.5, 0.4, 0.3, 0.25), small=(0.95, 0.9, 0.85, 0.75, 0.65))
"""Side of the shrunken image, as a share of its own."""


def jpeg(images: Images, setting: Setting) -> Images:
    """Encode each image as JPEG and decode it.

    Raises:
        BriefError: Pillow is not installed.
    """
    pillow = pillow_image()
    found = np.empty_like(images)
    for row, image in enumerate(np.rint(images * 255).astype(np.uint8)):
        stream = io.BytesIO()
        pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(
            stream, "JPEG", quality=QUALITIES.of(setting)
        )
        with pillow.open(stream) as decoded:
            found[row] = np.asarray(decoded, np.float32).reshape(image.shape) / 255
    return found


def pixelate(images: Images, setting: Setting) -> Images:
    """Shrink each image by averaging boxes of pixels, and enlarge it by repeating pixels."""
    scale = SCALES.of(setting)
    down, across = (_shrunk_and_enlarged(side, max(1, math.floor(side * scale))) for side in images.shape[1:3])
    coarse: Images = np.einsum("ij,njkc,lk->nilc", down, images, across, optimize=True)
    return coarse


def pillow_image() -> Any:
    """Pillow's module for images.

    Raises:
        BriefError: It is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise BriefError(
            "--corrupt jpeg", "Pillow is not installed, which encodes JPEG", f"needed: {INSTALL}"
        ) from None
    return Image


def _shrunk_and_enlarged(side: int, kept: int) -> NDArray[np.float32]:
    """The weights of each pixel of a line after it was shrunk to `kept` pixels and enlarged again, [side, side].

    >>> _shrunk_and_enlarged(4, 2).tolist()[0]
    [0.5, 0.5, 0.0, 0.0]
    """
    scale = side / kept
    shrunk = np.zeros((kept, side), np.float32)
    for pixel in range(kept):
        first = math.floor(pixel * scale + 0.5)
        end = min(side, max(first + 1, math.floor((pixel + 1) * scale + 0.5)))
        shrunk[pixel, first:end] = 1 / (end - first)
    source = np.minimum(((np.arange(side) + 0.5) / scale).astype(int), kept - 1)
    weights: NDArray[np.float32] = shrunk[source]
    return weights
