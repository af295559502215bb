"""A network in the manner of MobileNetV3."""

from __future__ import annotations

from torch import nn

from equipoise.students.layers import InvertedResidual, conv, eights, initialise, stem_strides
from equipoise.students.task import Task

STAGES = ((3.0, 3, 1.0, 0), (3.0, 5, 1.5, 4), (6.0, 5, 3.0, 4))
"""Of each stage: expansion, kernel, channels as a multiple of the width, and how much squeeze-and-excite squeezes."""


def mobilenet(task: Task, width: int, depth: int) -> nn.Module:
    """Inverted residuals with squeeze-and-excite and hard swish (Howard et al. 2019, arXiv 1905.02244).

    Few multiplications, many memory accesses: it wins on large images more than on small ones.

    Args:
        task: Images.
        width: Channels of the first stage.
        depth: Inverted residuals a stage, the one that halves the image among them.
    """
    first, second = stem_strides(task.side)
    before = eights(width)
    parts: list[nn.Module] = [*conv(task.channels, before, 3, 2 * first), nn.Hardswish()]
    for position, (expansion, kernel, multiple, squeeze) in enumerate(STAGES):
        after = eights(width * multiple)
        for repeat in range(depth):
            stride = second if position == 0 and repeat == 0 else 2 if position > 0 and repeat == 0 else 1
            parts.append(
                InvertedResidual(
                    before, after, expansion=expansion, kernel=kernel, stride=stride, squeeze=squeeze, hard=True
                )
            )
            before = after
    last = eights(before * 4)
    parts += [*conv(before, last, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*parts, nn.Linear(last, task.outputs))
    initialise(network)
    return network
