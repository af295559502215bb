"""What a model answered, row by row, in the form that metrics read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Predictions:
    """Decoded answers of one model to n rows; a field is null where the model, or the task, has no such answer.

    Attributes:
        labels: Class index of each row, [n]; for multi-label [n, L], 1 where the label is given and 0 where not.
        probabilities: Of each class, [n, C]; for multi-label of each label, [n, L].
        values: Predicted numbers, [n], in the target's units.
        scores: A person's own figure of each row, [n], higher better.
    """

    labels: NDArray[np.integer[Any]] | None = None
    probabilities: NDArray[np.floating[Any]] | None = None
    values: NDArray[np.floating[Any]] | None = None
    scores: NDArray[np.floating[Any]] | None = None

    @property
    def n(self) -> int:
        """Number of rows.

        Raises:
            ValueError: There is no answer of any kind.
        """
        for answers in (self.labels, self.probabilities, self.values, self.scores):
            if answers is not None:
                return len(answers)
        raise ValueError("predictions hold no labels, probabilities, values or scores")

    @classmethod
    def chosen(cls, answers: Sequence[Predictions], which: NDArray[np.integer[Any]]) -> Predictions:
        """Each row's answer from one of several.

        Args:
            answers: Answers to the same n rows.
            which: Index into `answers` for each row, [n].

        Returns:
            The answers of the kinds that all have.
        """

        def pick(field: str) -> Any:
            parts = [getattr(each, field) for each in answers]
            if any(part is None or part.shape != parts[0].shape for part in parts):
                return None
            return np.stack(parts)[which, np.arange(len(which))]

        return cls(*(pick(field) for field in ("labels", "probabilities", "values", "scores")))

    def take(self, index: NDArray[np.intp] | slice) -> Predictions:
        """The answers to the rows at `index`, in that order."""
        return Predictions(
            labels=None if self.labels is None else self.labels[index],
            probabilities=None if self.probabilities is None else self.probabilities[index],
            values=None if self.values is None else self.values[index],
            scores=None if self.scores is None else self.scores[index],
        )
