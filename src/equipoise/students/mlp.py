"""A multilayer perceptron."""

from __future__ import annotations

from torch import nn

from equipoise.students.layers import eights
from equipoise.students.task import Task


def mlp(task: Task, width: int, depth: int) -> nn.Module:
    """Linear layers one after the other; images are flattened.

    Args:
        task: A table of numbers, or small images.
        width: Units of each hidden layer.
        depth: Hidden layers.
    """
    before = task.numbers
    parts: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        parts += [nn.Linear(before, eights(width)), nn.ReLU()]
        before = eights(width)
    return nn.Sequential(*parts, nn.Linear(before, task.outputs))
