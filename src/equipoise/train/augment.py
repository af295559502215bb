"""Small changes to images that leave the answer what it was."""

from __future__ import annotations

import torch
from torch import Tensor

AXES = {"hw": (1, 2), "hwc": (1, 2), "chw": (2, 3)}


def shifted(images: Tensor, layout: str, most: int, random: torch.Generator) -> Tensor:
    """A batch of images, all of them moved by the same few pixels; what moves in is what the edge repeats.

    Args:
        images: [n, ...] in the model's own layout and type.
        layout: Axes after the batch: `hwc`, `chw` or `hw`.
        most: Largest move along each axis, pixels.
        random: Decides how far.

    Example:
        >>> images = torch.arange(9).reshape(1, 3, 3)
        >>> shifted(images, "hw", 0, torch.Generator()).equal(images)
        True
    """
    for axis in AXES[layout]:
        move = int(torch.randint(-most, most + 1, (1,), generator=random))
        last = images.shape[axis] - 1
        index = (torch.arange(images.shape[axis]) + move).clamp(0, last)
        images = images.index_select(axis, index)
    return images
