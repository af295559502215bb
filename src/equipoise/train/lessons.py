"""Rows and a teacher's answers to them, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equipoise.compress.training import Training
from equipoise.errors import TechniqueError
from equipoise.train.losses import LEAST_PROBABILITY, AnswerKind

Array = NDArray[Any]
FEWEST_ROWS = 64


@dataclass(frozen=True)
class Lessons:
    """What is learnt from.

    Attributes:
        inputs: Input name to [n, ...], in the types that the model takes.
        answers: The teacher's: logits or log-probabilities [n, classes], or values [n, outputs].
        kind: What the teacher's answers are.
    """

    inputs: dict[str, Tensor]
    answers: Tensor
    kind: AnswerKind

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.answers)

    def some(self, most: int) -> Lessons:
        """So many rows, evenly spread: files are often sorted by class."""
        return self.take(torch.linspace(0, self.n - 1, min(most, self.n)).round().long())

    def take(self, index: Tensor) -> Lessons:
        """The rows at `index`, in that order."""
        return replace(
            self,
            inputs={name: tensor[index] for name, tensor in self.inputs.items()},
            answers=self.answers[index],
        )


def lessons_of(training: Training, output: str, inputs: tuple[str, ...]) -> Lessons:
    """Make tensors of training rows and the teacher's answers to them.

    Args:
        training: The rows and the answers.
        output: Name of the output that is taught.
        inputs: Names of the model's inputs.

    Raises:
        TechniqueError: There are too few rows, or the output is nothing that can be taught softly.
    """
    if training.rows.n < FEWEST_ROWS:
        raise TechniqueError(f"needs at least {FEWEST_ROWS} rows to train on, there are {training.rows.n}: see --train")
    taught, kind = taught_answers(training.teacher[output], output)
    return Lessons(tensors(training.rows.feeds, inputs), torch.from_numpy(taught), kind)


def tensors(feeds: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Arrays as tensors, by input name.

    Raises:
        TechniqueError: An input is no numbers.
    """
    for name in names:
        if feeds[name].dtype.kind not in "fiub":
            raise TechniqueError(f"training in torch needs numbers; input {name!r} holds {feeds[name].dtype}")
    return {name: torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in names}


def taught_answers(answers: Array, output: str) -> tuple[Array, AnswerKind]:
    """What a student is taught of a teacher's answers, float32 [n, outputs], and what it is.

    Probabilities become their logarithms; one probability a row, which other tools call a sigmoid's, is not taught.

    Raises:
        TechniqueError: The output holds labels, or more than one number an answer in more than one axis.

    Example:
        >>> taught_answers(np.array([[0.25, 0.75]]), "p")[1]
        'probabilities'
    """
    answers = np.asarray(answers)
    if answers.dtype.kind != "f":
        raise TechniqueError(f"output {output!r} holds {answers.dtype}: scores are taught, labels say too little")
    if answers.ndim > 2:
        raise TechniqueError(f"output {output!r} has the shape {answers.shape}: one row of numbers an answer is taught")
    table = answers.reshape(len(answers), -1).astype(np.float32)
    if not np.isfinite(table).all():
        raise TechniqueError(f"output {output!r} of the model under study is not finite for some training rows")
    if table.shape[1] == 1:
        return table, "value"
    if table.min() >= 0 and np.allclose(table.sum(axis=1), 1, atol=1e-3):
        return np.log(np.maximum(table, LEAST_PROBABILITY)), "probabilities"
    return table, "logits"
