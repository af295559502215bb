"""The ResNets for CIFAR-10 of He et al. (arXiv 1512.03385), as akamaster/pytorch_resnet_cifar10 trained them.

`resnet20` and the others are what `equipoise optimize cifar_resnet.py:resnet20 --state-dict resnet20.th` calls. They
take images as they come, uint8 [n, 32, 32, 3], and normalise them inside, so that whoever serves them cannot forget to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions around which their input goes; where it must shrink, every other pixel (option A)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.added = (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Features [n, before, h, w] to [n, after, h / stride, w / stride]."""
        features = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added)) if self.added else x
        return functional.relu(features + shortcut)


class ResNet(nn.Module):
    """Three stages of blocks with 16, 32 and 64 channels; 6 * blocks + 2 layers."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks)
        self.layer2 = _stage(16, 32, blocks)
        self.layer3 = _stage(32, 64, blocks)
        self.linear = nn.Linear(64, 10)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Images uint8 [n, 32, 32, 3] to logits [n, 10]."""
        x = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return {"logits": self.linear(x.mean((2, 3)))}


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    first = Block(before, after, 1 if before == after else 2)
    return nn.Sequential(first, *(Block(after, after, 1) for _ in range(blocks - 1)))


def resnet20() -> ResNet:
    """20 layers, 0.27 million weights."""
    return ResNet(3)


def resnet56() -> ResNet:
    """56 layers, 0.85 million weights."""
    return ResNet(9)
