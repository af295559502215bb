"""From a model's own inputs, as they come, to what a student's body computes on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from equipoise.errors import TechniqueError
from equipoise.students.task import Task


def intake_for(task: Task) -> nn.Module:
    """The first part of a student: takes the model's inputs by name, gives one tensor, or tokens and their mask."""
    kinds: dict[str, type[nn.Module]] = {"image": ImageIntake, "text": TokenIntake, "table": TableIntake}
    return kinds[task.kind](task)


class ImageIntake(nn.Module):
    """Images of any layout and number type to standardised [n, channels, height, width]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.name, self.layout = task.inputs[0], task.layout
        self.register_buffer("mean", torch.tensor(task.mean).reshape(1, -1, 1, 1))
        self.register_buffer("scale", (1 / torch.tensor(task.std)).reshape(1, -1, 1, 1))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Standardise a batch."""
        image = inputs[self.name].float()
        if self.layout == "hw":
            image = image.unsqueeze(1)
        elif self.layout == "hwc":
            image = image.permute(0, 3, 1, 2)
        return (image - self.mean) * self.scale


class TableIntake(nn.Module):
    """Columns of numbers to one standardised [n, columns]; what is missing becomes the column's mean."""

    mean: Tensor
    scale: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.names = task.inputs
        self.register_buffer("mean", torch.tensor(task.mean))
        self.register_buffer("scale", 1 / torch.tensor(task.std))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Standardise a batch."""
        table = torch.cat([inputs[name].float().flatten(1) if inputs[name].dim() > 1 else
                           inputs[name].float().unsqueeze(1) for name in self.names], 1)  # fmt: skip
        standard = (table - self.mean) * self.scale
        return torch.where(torch.isnan(standard), torch.zeros_like(standard), standard)


class TokenIntake(nn.Module):
    """Token numbers to numbers within the vocabulary, and a mask that is 1 at real tokens, both [n, length].

    Inputs beside the tokens and their mask (BERT's token types, say) say nothing that a student uses; they stay inputs.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        if task.kind != "text":
            raise TechniqueError(f"tokens are read from text, not from {task.kind} rows")
        self.mask, self.padding, self.unknown = task.mask, task.padding, task.vocabulary - 1
        self.tokens, *self.unused = (name for name in task.inputs if name != task.mask)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Clip a batch's tokens, and mark the real ones."""
        given = inputs[self.tokens].long()
        for name in self.unused:
            given = given + 0 * inputs[name].long()
        tokens = given.clamp(0, self.unknown)
        if self.mask is not None:
            return tokens, inputs[self.mask].float()
        if self.padding is None:
            return tokens, torch.ones_like(tokens).float()
        return tokens, (tokens != self.padding).float()
