"""The one place where raw images and texts become tensors: in a study, a prediction and a server alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from equipoise.core.preprocessing import ImagePreprocessing, PlacedPreprocessing

Array = NDArray[Any]
Raw = bytes | str | tuple[str, str]
"""An encoded image; or a text, or a pair of texts."""


class Preprocessor(Protocol):
    """Turns raw rows into what a model is fed. It may be called from several threads at once."""

    @property
    def settings(self) -> Any:
        """What it does, complete: nothing is left to be told from the model."""

    @property
    def filling(self) -> dict[str, int]:
        """Inputs whose rows may have different lengths, each with what shorter ones are filled up with."""

    def __call__(self, raw: Sequence[Raw], names: Sequence[str]) -> dict[str, Array]:
        """Turn raw rows into tensors.

        Args:
            raw: Encoded images, or texts; at least one.
            names: What each is called in an error: a file, or `row 3`.

        Returns:
            Input name to array of shape [n, ...], in the model's types.

        Raises:
            DataError: One of them cannot be used; the error names it.
        """


def open_preprocessor(placed: PlacedPreprocessing) -> Preprocessor:
    """Load what settings need.

    Args:
        placed: Complete settings (see `preprocess.fitting.fitted`), and where their files lie.

    Raises:
        DataError: A library that it needs is not installed, or a file cannot be read.
    """
    if isinstance(placed.settings, ImagePreprocessing):
        from equipoise.preprocess.images import ImagePreprocessor

        return ImagePreprocessor(placed.settings)
    from equipoise.preprocess.text import TextPreprocessor

    return TextPreprocessor(placed.settings, Path(placed.folder or "."))
