"""The mean of token embeddings, and a small network on it."""

from __future__ import annotations

from torch import Tensor, nn

from equipoise.students.layers import MaskedMean, eights
from equipoise.students.task import Task


class _Bag(nn.Module):
    def __init__(self, task: Task, width: int, depth: int) -> None:
        super().__init__()
        width = eights(width)
        self.embed = nn.Embedding(task.vocabulary, width)
        nn.init.normal_(self.embed.weight, std=0.1)
        self.mean = MaskedMean()
        hidden = [part for _ in range(depth - 1) for part in (nn.Linear(width, width), nn.ReLU())]
        self.head = nn.Sequential(nn.Dropout(0.2), *hidden, nn.Linear(width, task.outputs))

    def forward(self, tokens: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens and their mask, [n, length] each, to answers [n, outputs]."""
        numbers, mask = tokens
        answers: Tensor = self.head(self.mean(self.embed(numbers), mask))
        return answers


def bag_of_embeddings(task: Task, width: int, depth: int) -> nn.Module:
    """A bag of embeddings (Joulin et al. 2017, arXiv 1607.01759): it knows which words there are, not their order.

    Args:
        task: Text.
        width: Numbers an embedding has.
        depth: Linear layers on the mean.
    """
    return _Bag(task, width, depth)
