"""How raw rows become a model's inputs: as the person says, or as the model's own files do."""

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
    placed = model_preprocessing(brief.model.path, brief.preprocess, brief.data.text_columns)
    return brief.model_copy(update={"preprocess": placed})


def model_preprocessing(
    model: str, placed: PlacedPreprocessing | None, text_columns: tuple[str, ...] | None
) -> PlacedPreprocessing | None:
    """What is given, else what the files of a Hugging Face model say; null where neither says anything.

    Args:
        model: Its path or name.
        placed: What is given; null for nothing.
        text_columns: Columns of the data that hold its text; null where they are not named.

    Raises:
        ModelError: The model's files do not say how texts or images become its inputs, or it cannot be fetched.
        BriefError: Columns of text are named, and nothing says how text becomes the model's inputs.
    """
    if placed is None and is_huggingface(model):
        placed = own_preprocessing(model)
    return placed if text_columns is None else _with_columns(placed, text_columns)


def _with_columns(placed: PlacedPreprocessing | None, columns: tuple[str, ...]) -> PlacedPreprocessing:
    if placed is None or not isinstance(placed.settings, TextPreprocessing):
        raise BriefError(
            "--text-column",
            f"found {', '.join(columns)}, and nothing that makes token ids of text",
            "needed the model's tokenizer: --preprocess tokenizer.json (or vocab.txt, or its folder)",
        )
    settings = placed.settings.model_copy(update={"columns": columns})
    return placed.model_copy(update={"settings": settings})
