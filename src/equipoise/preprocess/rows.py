"""Rows in memory: what a model is fed, and what is known about each row besides."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Rows of data, in columns.

    Attributes:
        feeds: Input name to array of shape [n, ...], in the dtype that the model takes; text as `object` arrays of str
            (None where missing).
        target: True answers, [n] or [n, labels]; null where there are none.
        extra: Columns that are not inputs, or are also wanted beside them (slices, groups): name to [n].
        population: `main`, or the name of the out-of-distribution set that the row comes from: [n] of str.
        texts: What `feeds` were made from, [n] of str, by which rows are told apart; null where it was no text.
    """

    feeds: dict[str, Array]
    target: Array | None
    extra: dict[str, Array] = field(default_factory=dict)
    population: Array = field(default_factory=lambda: np.empty(0, dtype=object))
    texts: Array | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(next(iter(self.feeds.values())))

    def take(self, index: NDArray[np.intp] | slice) -> Rows:
        """The rows at `index`, in that order."""
        return replace(
            self,
            feeds={name: array[index] for name, array in self.feeds.items()},
            target=None if self.target is None else self.target[index],
            extra={name: array[index] for name, array in self.extra.items()},
            population=self.population[index],
            texts=None if self.texts is None else self.texts[index],
        )
