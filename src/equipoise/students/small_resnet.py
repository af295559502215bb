"""A small residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equipoise.students.layers import conv, eights, initialise, stem_strides
from equipoise.students.task import Task


class _Block(nn.Module):
    """Two convolutions whose result is added to what they were given."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv(before, after, 3, stride), nn.ReLU(inplace=True), *conv(after, after, 3))
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(before, after, 1, stride))

    def forward(self, images: Tensor) -> Tensor:
        """Compute a batch."""
        return torch.relu(self.body(images) + self.shortcut(images))


def small_resnet(task: Task, width: int, depth: int) -> nn.Module:
    """A residual network of three stages (He et al. 2016, arXiv 1512.03385, section 4.2).

    Args:
        task: Images.
        width: Channels of the first stage; they double at each of two halvings of the image.
        depth: Blocks of two convolutions a stage.
    """
    first, second = stem_strides(task.side)
    before = eights(width)
    parts: list[nn.Module] = [*conv(task.channels, before, 3, first), nn.ReLU(inplace=True)]
    for stage in range(3):
        after = eights(width * 2**stage)
        for position in range(depth):
            stride = second if stage == 0 and position == 0 else 2 if stage > 0 and position == 0 else 1
            parts.append(_Block(before, after, stride))
            before = after
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, task.outputs))
    initialise(network)
    return network
