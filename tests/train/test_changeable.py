"""Torch programs as modules whose layers can be changed."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from equipoise.train.changeable import graph_of  # noqa: E402
from equipoise.train.fit import _lay_out  # noqa: E402


class Viewing(nn.Module):
    """Asks for the order in memory that its convolutions gave before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2))
        self.head = nn.Linear(8 * 2 * 2, 3)

    def forward(self, image: Any) -> Any:
        return self.head(self.layers(image).view(image.shape[0], -1))


def test_a_view_does_not_depend_on_the_order_in_memory() -> None:
    torch.manual_seed(0)
    net, images = Viewing().eval(), torch.randn(4, 1, 8, 8)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    changeable = graph_of(program)
    _lay_out(changeable, torch.channels_last)
    (answers,) = changeable(images)
    torch.testing.assert_close(answers, net(images))
    answers.sum().backward()
