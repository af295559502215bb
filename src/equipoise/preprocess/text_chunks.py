"""Reads a file with a column of text a piece at a time, as the token ids that a model is fed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.preprocess.chunks import Chunk, read_chunks
from equipoise.preprocess.text import TextPreprocessor, raw_texts
from equipoise.preprocess.text_files import LINE_SUFFIXES, is_labelled


def text_chunks(
    path: Path,
    preprocessor: TextPreprocessor,
    spec: ModelSpec,
    multiple_of: int = 1,
    header: Sequence[str] | None = None,
    classes: Collection[str] = (),
) -> Iterator[Chunk]:
    """Read texts as a study reads them; lines of text alone, without a label before it, are read too.

    Args:
        path: A data file with the columns that `preprocessor.settings` name; one that has the model's inputs instead is
            read as they stand there.
        preprocessor: Makes token ids.
        spec: What the model takes.
        multiple_of: Rows of a piece are a multiple of it (the last piece may be shorter).
        header: Column names of a CSV file that has no header.
        classes: What a label may be, besides a whole number.

    Yields:
        The rows, in their order; those of a piece are filled up to its longest.

    Raises:
        DataError: The file cannot be read, lacks a column, or a text cannot be used; its row is named.
    """
    columns = preprocessor.settings.columns
    if columns is None:  # a study of token ids: its texts have no name
        yield from read_chunks(path, spec, multiple_of, (), header)
        return
    text = ModelSpec(
        inputs=tuple(TensorSpec(name=name, dtype="string", shape=(None,)) for name in columns), outputs=spec.outputs
    )
    first = 1
    labelled = path.suffix.lower() not in LINE_SUFFIXES or not path.is_file() or is_labelled(path, classes)
    for chunk in read_chunks(path, text, multiple_of, (), header, labelled=labelled):
        raw = raw_texts(chunk.feeds, columns)
        names = [f"{path}: row {number:,}" for number in range(first, first + chunk.rows)]
        yield Chunk(preprocessor(raw, names), chunk.rows, chunk.fraction)
        first += chunk.rows
