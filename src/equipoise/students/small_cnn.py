"""A plain convolutional network: nothing but convolutions one after the other."""

from __future__ import annotations

from torch import nn

from equipoise.students.layers import conv, eights, initialise, stem_strides
from equipoise.students.task import Task


def small_cnn(task: Task, width: int, depth: int) -> nn.Module:
    """A plain convolutional network (in the manner of VGG, arXiv 1409.1556, with strides in place of pooling).

    Few wide layers without branches or additions are what runtimes fuse best and what a CPU runs fastest for its
    arithmetic.

    Args:
        task: Images.
        width: Channels of the first stage; they double at each of two halvings of the image.
        depth: Convolutions a stage, the one that halves the image among them.
    """
    first, second = stem_strides(task.side)
    parts: list[nn.Module] = [*conv(task.channels, eights(width), 3, 2 * first), nn.ReLU(inplace=True)]
    before = eights(width)
    for stage in range(3):
        after = eights(width * 2**stage)
        for position in range(depth):
            stride = second if stage == 0 and position == 0 else 2 if stage > 0 and position == 0 else 1
            parts += [*conv(before, after, 3, stride), nn.ReLU(inplace=True)]
            before = after
    network = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, task.outputs))
    initialise(network)
    return network
