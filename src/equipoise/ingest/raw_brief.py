"""Completes a brief with what its model's own files say of raw rows."""

from __future__ import annotations

from equipoise.core.brief import Brief
from equipoise.core.preprocessing import PlacedPreprocessing, TextPreprocessing
from equipoise.errors import BriefError
from equipoise.ingest.huggingface_folder import is_huggingface, own_preprocessing


def with_own_preprocessing(brief: Brief) -> Brief:
    """The brief with the preprocessing of a Hugging Face model where none is given, and with the columns of its text.

    Raises:
        ModelError: The model's files do not say how texts or images become its inputs, or it cannot be fetched.
        BriefError: Columns of text are named, and nothing says how text becomes the model's inputs.
    """
    placed = brief.preprocess
    if placed is None and is_huggingface(brief.model.path):
        placed = own_preprocessing(brief.model.path)
    if brief.data.text_columns is not None:
        placed = _with_columns(placed, brief.data.text_columns)
    return brief.model_copy(update={"preprocess": placed})


def _with_columns(placed: PlacedPreprocessing | None, columns: tuple[str, ...]) -> PlacedPreprocessing:
    if placed is None or not isinstance(placed.settings, TextPreprocessing):
        raise BriefError(
            "--text-column",
            f"found {', '.join(columns)}, and nothing that makes token ids of text",
            "needed the model's tokenizer: --preprocess tokenizer.json (or vocab.txt, or its folder)",
        )
    settings = placed.settings.model_copy(update={"columns": columns})
    return placed.model_copy(update={"settings": settings})
