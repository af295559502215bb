"""A network in the manner of EfficientNet."""

from __future__ import annotations

from torch import nn

from equipoise.students.layers import InvertedResidual, conv, eights, initialise, stem_strides
from equipoise.students.task import Task

STAGES = ((1.0, 3, 1.0), (6.0, 3, 1.5), (6.0, 5, 2.5), (6.0, 3, 5.0))
"""Of each stage: expansion, kernel, and channels as a multiple of the width."""
HALVING = (1, 2)
"""Stages that begin with a halving of the image."""


def efficientnet(task: Task, width: int, depth: int) -> nn.Module:
    """Inverted residuals with squeeze-and-excite and SiLU in four stages (Tan and Le 2019, arXiv 1905.11946).

    Args:
        task: Images.
        width: Channels of the first stage.
        depth: Blocks of each stage but the first, which has one.
    """
    first, second = stem_strides(task.side)
    before = eights(width)
    parts: list[nn.Module] = [*conv(task.channels, before, 3, 2 * first), nn.SiLU()]
    for position, (expansion, kernel, multiple) in enumerate(STAGES):
        after = eights(width * multiple)
        for repeat in range(1 if position == 0 else depth):
            stride = second if position == 0 else 2 if position in HALVING and repeat == 0 else 1
            parts.append(
                InvertedResidual(
                    before, after, expansion=expansion, kernel=kernel, stride=stride, squeeze=4, hard=False
                )
            )
            before = after
    last = eights(before * 2)
    parts += [*conv(before, last, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*parts, nn.Linear(last, task.outputs))
    initialise(network)
    return network
