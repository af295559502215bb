"""Light: contrast and brightness.

Parameters of ImageNet-C and, for small images, CIFAR-10-C (Hendrycks and Dietterich, arXiv 1903.12261).
"""

from __future__ import annotations

import numpy as np

from equipoise.corrupt.images import Images, Parameters, Setting

KEPT = Parameters(large=(0.4, 0.3, 0.2, 0.1, 0.05), small=(0.75, 0.5, 0.4, 0.3, 0.15))
"""Share of each value's distance from the image's mean that is left."""
LIGHTER = Parameters(large=(0.1, 0.2, 0.3, 0.4, 0.5), small=(0.05, 0.1, 0.15, 0.2, 0.3))
"""What is added to the value of each pixel, as HSV has it: that of its brightest channel."""


def contrast(images: Images, setting: Setting) -> Images:
    """Draw each channel of an image towards its mean."""
    mean: Images = images.mean(axis=(1, 2), keepdims=True)
    paler: Images = (images - mean) * np.float32(KEPT.of(setting)) + mean
    return paler


def brightness(images: Images, setting: Setting) -> Images:
    """Raise each pixel's value in HSV, its hue and saturation kept: all channels grow by the same factor."""
    value: Images = images.max(axis=3, keepdims=True)
    raised: Images = np.minimum(value + np.float32(LIGHTER.of(setting)), np.float32(1))
    black = value == 0
    lighter: Images = np.where(black, raised, images * (raised / np.where(black, np.float32(1), value)))
    return lighter
