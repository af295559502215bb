"""A small transformer encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from equipoise.students.layers import MaskedMean, eights
from equipoise.students.task import Task

HEAD_WIDTH = 32
HIDDEN = -1e4
"""Added to the attention to padding: far below any score, and still a number in 16 bits."""


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)

    def forward(self, states: Tensor, hidden: Tensor) -> Tensor:
        rows, length, width = states.shape
        query, key, value = (
            part.reshape(rows, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.project(states).chunk(3, -1)
        )
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + hidden
        joined: Tensor = self.join((softmax(scores, -1) @ value).transpose(1, 2).reshape(rows, length, width))
        return joined


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = _Attention(width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, states: Tensor, hidden: Tensor) -> Tensor:
        states = states + self.attend(self.before(states), hidden)
        changed: Tensor = states + self.think(self.between(states))
        return changed


class _Encoder(nn.Module):
    def __init__(self, task: Task, width: int, depth: int) -> None:
        super().__init__()
        width = max(HEAD_WIDTH, eights(width) // HEAD_WIDTH * HEAD_WIDTH)
        self.embed, self.place = nn.Embedding(task.vocabulary, width), nn.Embedding(task.side, width)
        for embedding in (self.embed, self.place):
            nn.init.normal_(embedding.weight, std=0.05)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(depth))
        self.mean = MaskedMean()
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, task.outputs))

    def forward(self, tokens: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens and their mask, [n, length] each, to answers [n, outputs]."""
        numbers, mask = tokens
        places = torch.arange(numbers.shape[1], device=numbers.device).clamp(max=self.place.num_embeddings - 1)
        states = self.embed(numbers) + self.place(places)
        hidden = (1 - mask)[:, None, None, :] * HIDDEN
        for layer in self.layers:
            states = layer(states, hidden)
        answers: Tensor = self.head(self.mean(states, mask))
        return answers


def transformer(task: Task, width: int, depth: int) -> nn.Module:
    """A transformer encoder, normalised before each part (arXiv 1706.03762, 2002.04745).

    Args:
        task: Text.
        width: Numbers a token's state has, rounded down to heads of 32.
        depth: Layers.
    """
    return _Encoder(task, width, depth)
