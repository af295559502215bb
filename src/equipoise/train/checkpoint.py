"""What a training leaves behind for a longer one to go on from."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FILE = "weights.pt"


@dataclass
class Checkpoint:
    """Where a training stopped.

    Attributes:
        weights: Of the learner.
        optimizer: State of the optimizer.
        best: The weights that did best on the search rows; the last ones where nothing judged them.
        quality: Of the best ones on the search rows; null where nothing judged them.
        steps: Batches that were done.
    """

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    best: dict[str, Any]
    quality: float | None
    steps: int

    def save(self, folder: Path) -> None:
        """Write it in place of the one before, all of it or nothing."""
        partial = folder / f"{FILE}.partial"
        torch.save(vars(self), partial)
        os.replace(partial, folder / FILE)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder; null where there is none, or none that can be read."""
    try:
        found = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        return Checkpoint(**found)
    except (OSError, RuntimeError, EOFError, TypeError, ValueError, pickle.UnpicklingError):
        return None
