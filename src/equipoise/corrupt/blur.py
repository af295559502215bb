"""Blur: Gaussian (a soft lens), defocus (a wrong distance) and motion (a moving camera).

Parameters of ImageNet-C and, for small images, CIFAR-10-C (Hendrycks and Dietterich, arXiv 1903.12261). The kernels
are theirs; the edges of images are continued as there: the last pixel repeated for Gaussian and motion blur, mirrored
for defocus.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from equipoise.corrupt.images import Images, Parameters, Setting

SIGMAS = Parameters(large=(1.0, 2.0, 3.0, 4.0, 6.0), small=(0.4, 0.6, 0.7, 0.8, 1.0))
"""Standard deviation, pixels."""
DISKS = Parameters(
    large=((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    small=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
)
"""Radius of the disk, and standard deviation by which its own edge is softened, pixels."""
MOTIONS = Parameters(
    large=((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    small=((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
)
"""Length of the trail and standard deviation along it, pixels."""
MOST_ANGLE_DEGREES, ANGLES = 45.0, 19
WIDE_DISK = 8
LEAST_WEIGHT = 1 / 255
"""Of a trail's brightest point: fainter ones change no level."""


def gaussian_blur(images: Images, setting: Setting) -> Images:
    """Average over a normal neighbourhood."""
    from scipy.ndimage import gaussian_filter

    sigma = SIGMAS.of(setting)
    blurred: Images = gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest", truncate=4)
    return blurred


def defocus_blur(images: Images, setting: Setting) -> Images:
    """Average over a disk."""
    radius, softening = DISKS.of(setting)
    return _convolved(images, disk(radius, softening), "reflect")


def motion_blur(images: Images, setting: Setting) -> Images:
    """Average along a line, each image's at an angle of its own within 45 degrees of the horizontal."""
    length, sigma = MOTIONS.of(setting)
    angles = np.linspace(-MOST_ANGLE_DEGREES, MOST_ANGLE_DEGREES, ANGLES)
    angle_of = setting.rng.integers(0, ANGLES, len(images))
    found = np.empty_like(images)
    for number in np.unique(angle_of):
        rows = np.flatnonzero(angle_of == number)
        found[rows] = _convolved(images[rows], trail(length, sigma, float(angles[number])), "edge")
    return found


def disk(radius: float, softening: float) -> NDArray[np.float64]:
    """A disk whose edge is softened, of sum 1, [k, k] with k odd.

    >>> disk(1.0, 0.1).round(2).tolist()
    [[0.0, 0.2, 0.0], [0.2, 0.2, 0.2], [0.0, 0.2, 0.0]]
    """
    from scipy.ndimage import gaussian_filter

    reach = max(1, math.ceil(radius)) + 2
    across = np.arange(-reach, reach + 1)
    inside = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float64)
    half = 1 if radius <= WIDE_DISK else 2
    soft = gaussian_filter(inside / inside.sum(), softening, mode="constant", radius=half)
    weighty = np.flatnonzero(soft.max(axis=0) > 1e-6)
    kernel: NDArray[np.float64] = soft[weighty[0] : weighty[-1] + 1, weighty[0] : weighty[-1] + 1].copy()
    kernel /= kernel.sum()
    return kernel


def trail(length: int, sigma: float, angle_degrees: float) -> NDArray[np.float64]:
    """What a point becomes when the camera moves: half a normal curve along a line, of sum 1, [k, k] with k odd.

    >>> trail(1, 1.0, 0.0).round(2).tolist()[2]
    [0.0, 0.0, 0.57, 0.35, 0.08]
    """
    steps = np.arange(2 * length + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle = math.radians(angle_degrees)
    right = np.rint(steps * math.cos(angle)).astype(int)
    down = np.rint(steps * math.sin(angle)).astype(int)
    near = weights >= LEAST_WEIGHT
    reach = int(max(np.abs(right[near]).max(), np.abs(down[near]).max()))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    np.add.at(kernel, (reach + down[near], reach + right[near]), weights[near])
    found: NDArray[np.float64] = kernel / kernel.sum()
    return found


def _convolved(images: Images, kernel: NDArray[np.float64], edge: str) -> Images:
    """Each channel convolved with a kernel [k, k], images of the same size."""
    reach, size = kernel.shape[0] // 2, images.shape[1:3]
    widths = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    # A mirror is no wider than the image: what lies beyond continues by the last pixel.
    inner = min(reach, images.shape[1] - 1, images.shape[2] - 1)
    if edge == "reflect" and inner < reach:
        images = np.pad(images, ((0, 0), (inner, inner), (inner, inner), (0, 0)), mode="reflect")
        rest = reach - inner
        widths, edge = ((0, 0), (rest, rest), (rest, rest), (0, 0)), "edge"
    padded = np.pad(images, widths, mode=edge)  # type: ignore[call-overload]
    shape = [next_fast_len(side, real=True) for side in padded.shape[1:3]]
    spectrum = rfft2(padded, shape, axes=(1, 2)) * rfft2(kernel.astype(np.float32), shape)[None, :, :, None]
    first, (height, width) = 2 * reach, size
    whole = irfft2(spectrum, shape, axes=(1, 2))
    return np.asarray(whole[:, first : first + height, first : first + width], np.float32)
