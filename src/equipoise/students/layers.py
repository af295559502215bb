"""Layers that several families are built from."""

from __future__ import annotations

from torch import Tensor, nn

LARGE_SIDE, MIDDLE_SIDE = 96, 48


def eights(channels: float) -> int:
    """Channels rounded to a multiple of 8, at least 8: what vector units of 8, 16 and 64 lanes waste least of."""
    return max(8, int(channels + 4) // 8 * 8)


def conv(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias, and the batch normalisation that stands for one."""
    return [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


def stem_strides(side: int) -> tuple[int, int]:
    """Strides of the first two convolutions, so that what follows sees at most about 32 pixels a side."""
    if side >= LARGE_SIDE:
        return 2, 2
    return (2, 1) if side >= MIDDLE_SIDE else (1, 1)


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole image holds (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int, gate: nn.Module) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            gate,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Weigh the channels of a batch."""
        weights: Tensor = self.weigh(images)
        return images * weights


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel alone, weigh, narrow again (arXiv 1801.04381, 1905.02244)."""

    def __init__(
        self, before: int, after: int, *, expansion: float, kernel: int, stride: int, squeeze: int, hard: bool
    ) -> None:
        super().__init__()
        wide = eights(before * expansion)
        bend: type[nn.Module] = nn.Hardswish if hard else nn.SiLU
        parts = [] if wide == before else [*conv(before, wide, 1), bend()]
        parts += [*conv(wide, wide, kernel, stride, groups=wide), bend()]
        if squeeze:
            parts.append(SqueezeExcite(wide, eights(wide / squeeze), nn.Hardsigmoid() if hard else nn.Sigmoid()))
        parts += conv(wide, after, 1)
        self.body = nn.Sequential(*parts)
        self.adds = stride == 1 and before == after

    def forward(self, images: Tensor) -> Tensor:
        """Compute a batch."""
        changed: Tensor = self.body(images)
        return images + changed if self.adds else changed


class MaskedMean(nn.Module):
    """The mean over real tokens: [n, length, width] and its mask [n, length] to [n, width]."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Average a batch."""
        weights = mask.unsqueeze(-1)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def initialise(module: nn.Module) -> None:
    """Kaiming initialisation of convolutions (arXiv 1502.01852); everything else as torch has it."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
