"""What a technique that trains reports of its training."""

from __future__ import annotations

from typing import Literal

from equipoise.core.noun import Noun

TRAIN_S = "train_s"
"""Parameter of a step that trains: the seconds it may train in all, earlier and shorter trainings that it goes on from
included."""
TrainDevice = Literal["auto", "cpu", "cuda"]


class TrainingPoint(Noun):
    """Where a training stood.

    Attributes:
        step: Epochs, boosting rounds or the like that were done, from 1.
        steps: How many there will be; null where that is not known.
        elapsed_s: Seconds trained so far, shorter trainings that it went on from included.
        loss: Of the training rows, mean over the step; null for none.
        quality: The metric on the search rows, in its own units; null where it was not looked at.
    """

    step: int
    steps: int | None = None
    elapsed_s: float
    loss: float | None = None
    quality: float | None = None


class TrainingRecord(Noun):
    """How a variant was trained.

    Attributes:
        train_s: Seconds it may train.
        elapsed_s: Seconds it trained.
        finished: Whether more time would change nothing: it converged, or did all it had to do.
        points: Its learning curve.
    """

    train_s: float
    elapsed_s: float = 0.0
    finished: bool = False
    points: tuple[TrainingPoint, ...] = ()
