"""A convolutional network over words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equipoise.students.layers import eights
from equipoise.students.task import Task

WINDOWS = (3, 5)


class _TextCnn(nn.Module):
    def __init__(self, task: Task, width: int, depth: int) -> None:
        super().__init__()
        width = eights(width)
        self.embed = nn.Embedding(task.vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.windows = nn.ModuleList(
            nn.Sequential(
                *(
                    part
                    for _ in range(depth)
                    for part in (nn.Conv1d(width, width, window, padding=window // 2), nn.ReLU())
                )
            )
            for window in WINDOWS
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width * len(WINDOWS), task.outputs))

    def forward(self, tokens: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens and their mask, [n, length] each, to answers [n, outputs]."""
        numbers, mask = tokens
        states = (self.embed(numbers) * mask.unsqueeze(-1)).transpose(1, 2)
        # What convolutions give is at least 0, so that padding set to 0 is never the largest of a row.
        found = [(window(states) * mask.unsqueeze(1)).amax(2) for window in self.windows]
        answers: Tensor = self.head(torch.cat(found, 1))
        return answers


def text_cnn(task: Task, width: int, depth: int) -> nn.Module:
    """Convolutions over windows of 3 and 5 words, and the largest answer of each (Kim 2014, arXiv 1408.5882).

    Args:
        task: Text.
        width: Numbers an embedding has, and filters a window.
        depth: Convolutions of each window's branch.
    """
    return _TextCnn(task, width, depth)
