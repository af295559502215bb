"""Before a student learns its teacher's answers, it may learn to see what the teacher sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from equipoise.compress.training import Training, TrainingRun
from equipoise.errors import TechniqueError
from equipoise.students.student import Student
from equipoise.train.features import features_of
from equipoise.train.fit import Fit, FitSettings
from equipoise.train.lessons import Lessons

HINTED_ROWS = 8192
"""Rows whose features the teacher is asked for: it is slow, and these only prepare."""


class _Guesser(nn.Module):
    """A student that guesses its teacher's features by a linear layer on its own."""

    def __init__(self, student: Student, width: int) -> None:
        super().__init__()
        last = [layer for layer in student.body.modules() if isinstance(layer, nn.Linear)]
        if not last:
            raise TechniqueError("hints are given before the last linear layer, and this student has none")
        self.student = student
        self.guess = nn.Linear(last[-1].in_features, width)
        self._seen: list[Tensor] = []
        self._hook = last[-1].register_forward_pre_hook(lambda _, given: self._seen.append(given[0]))

    def teachable(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The guess, [n, width]."""
        self._seen.clear()
        self.student.teachable(inputs)
        guessed: Tensor = self.guess(self._seen.pop())
        return guessed

    def close(self) -> None:
        """Leave the student as it was but for its weights."""
        self._hook.remove()


def hint(
    student: Student,
    source: Path,
    lessons: Lessons,
    training: Training,
    run: TrainingRun,
    share: float,
    settings: FitSettings,
    seed: int,
) -> None:
    """Teach a student, all but its last layer, what its teacher computes before its own (FitNets, arXiv 1412.6550).

    Args:
        student: Is trained in place.
        source: The teacher's artifact folder.
        lessons: Rows to learn from; 8,192 of them are used.
        training: What the search gave.
        run: Keeps the time.
        share: Of the time and the passes, above 0 and below 1.
        settings: How it is taught.
        seed: For everything random.

    Raises:
        TechniqueError: The share is none, or the teacher has no features to hint at.
    """
    if not 0 < share < 1:
        raise TechniqueError(f"hints is {share:g}: needs the share of the time that they take, above 0 and below 1")
    some = lessons.some(HINTED_ROWS)
    features = torch.from_numpy(features_of(source, some.inputs))
    features = (features - features.mean(0)) / features.std().clamp(min=1e-6)
    guesser = _Guesser(student, features.shape[1])
    Fit(guesser, replace(some, answers=features, kind="value"), settings, training, (), seed).run(run, None, share)
    guesser.close()
