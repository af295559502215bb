"""Noise, as sensors make it: Gaussian (low light), shot (few photons) and impulse (dead pixels, bit errors).

Parameters of ImageNet-C and, for small images, CIFAR-10-C (Hendrycks and Dietterich, arXiv 1903.12261).
"""

from __future__ import annotations

import numpy as np

from equipoise.corrupt.images import Images, Parameters, Setting

SPREADS = Parameters(large=(0.08, 0.12, 0.18, 0.26, 0.38), small=(0.04, 0.06, 0.08, 0.09, 0.10))
PHOTONS = Parameters(large=(60, 25, 12, 5, 3), small=(500, 250, 100, 75, 50))
SPOILT = Parameters(large=(0.03, 0.06, 0.09, 0.17, 0.27), small=(0.01, 0.02, 0.03, 0.05, 0.07))


def gaussian_noise(images: Images, setting: Setting) -> Images:
    """Add normal noise to each value; its standard deviation is a share of the full range."""
    noise = setting.rng.standard_normal(images.shape, dtype=np.float32)
    return images + np.float32(SPREADS.of(setting)) * noise


def shot_noise(images: Images, setting: Setting) -> Images:
    """Replace each value by a Poisson count around it; `PHOTONS` is the count of a white pixel."""
    photons = PHOTONS.of(setting)
    return (setting.rng.poisson(images * photons) / photons).astype(np.float32)


def impulse_noise(images: Images, setting: Setting) -> Images:
    """Set a share of the values to black or white, each as often."""
    draw = setting.rng.random(images.shape, dtype=np.float32)
    share = SPOILT.of(setting)
    return np.where(draw < share / 2, np.float32(0), np.where(draw < share, np.float32(1), images))
