"""Token sequences, answered without most of their filling: rows of about the same length run together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.policy.lengths import length_groups
from equipoise.preprocess.lengths import lengths_of, rounded_up, sequence_inputs, trimmed
from equipoise.runtimes.base import Session

Array = NDArray[Any]


class SequenceSession:
    """A session that divides a batch of token sequences into runs by length, and cuts the filling off each.

    What measures, judges, predicts and serves opens models through `execute.stages`, and so all of them fill alike.

    Args:
        session: The model's own.
        names: Its inputs that are sequences.
    """

    def __init__(self, session: Session, names: tuple[str, ...]) -> None:
        self._session = session
        self._names = names

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""
        return self._session.spec

    def prepare(self, feeds: Mapping[str, Array]) -> list[tuple[NDArray[np.intp], Any]]:
        """The runs of a batch: which rows, and what the library takes for them."""
        lengths = rounded_up(lengths_of(feeds))
        everything = np.arange(len(lengths), dtype=np.intp)
        groups = [everything] if self.spec.fixed_batch is not None else length_groups(lengths)
        if len(groups) == 1:
            return [(everything, self._session.prepare(trimmed(feeds, self._names)))]
        runs = ((group, {name: array[group] for name, array in feeds.items()}) for group in groups)
        return [(group, self._session.prepare(trimmed(some, self._names))) for group, some in runs]

    def run(self, prepared: list[tuple[NDArray[np.intp], Any]]) -> dict[str, Array]:
        """Answer one batch."""
        if len(prepared) == 1:
            return self._session.run(prepared[0][1])
        parts = [self._session.run(ready) for _, ready in prepared]
        back = np.argsort(np.concatenate([group for group, _ in prepared]), kind="stable")
        return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


def by_sequence(session: Session) -> Session:
    """The session itself, or one that cuts filling off where the model takes token sequences."""
    names = sequence_inputs(session.spec)
    return SequenceSession(session, names) if names else session
