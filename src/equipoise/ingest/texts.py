"""Text in a data file: which columns hold it, and the table with token ids beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from equipoise.errors import DataError
from equipoise.ingest.table import Array, Table
from equipoise.preprocess.columns import listed
from equipoise.preprocess.lengths import joined, lengths_of
from equipoise.preprocess.text import TextPreprocessor, raw_texts
from equipoise.preprocess.text_files import TEXT

TARGETS = ("label", "y", "target")
USUAL = (TEXT, "sentence")
BLOCK_ROWS = 4096


def text_columns(table: Table, besides: Sequence[str] = ()) -> tuple[str, ...]:
    """The column that holds the text: the only one of text, else `text` or `sentence`.

    Args:
        table: The data file.
        besides: Columns that are something else: the target, slices, the group.

    Raises:
        DataError: There is none, or there are several.
    """
    found = [
        name
        for name, array in table.columns.items()
        if array.dtype == object and array.ndim == 1 and name not in besides and name.lower() not in TARGETS
    ]
    usual = [name for name in USUAL if name in found]
    if len(found) == 1 or usual:
        return (found[0] if len(found) == 1 else usual[0],)
    raise DataError(
        table.source,
        f"{len(found)} columns of text{f' ({listed(found)})' if found else ''} beside the target",
        f"name the one that the model reads with --text-column; it has {listed(table.columns)}",
    )


def with_tokens(table: Table, preprocessor: TextPreprocessor, columns: Sequence[str]) -> tuple[Table, int]:
    """A table with the model's inputs beside its text.

    Args:
        table: The data file.
        preprocessor: Turns its texts into the model's inputs.
        columns: One column of text, or two for pairs.

    Returns:
        The table, whose rows are filled up to its longest; and how many of them are as long as a row may be, so that
        they may have been cut.

    Raises:
        DataError: A column is missing or holds no text, or a text cannot be used; its row is named.
    """
    table = table.as_text(columns)
    for column in columns:
        if table.require(column, "the text (--text-column)").dtype != object:
            raise DataError(table.source, f"column {column!r} holds numbers", "needed text")
    raw = raw_texts(table.columns, columns)
    parts = []
    for start in range(0, table.n, BLOCK_ROWS):
        some = raw[start : start + BLOCK_ROWS]
        names = [f"{table.source}: row {number:,}" for number in range(start + 1, start + len(some) + 1)]
        parts.append(preprocessor(some, names))
    feeds = joined(parts, preprocessor.filling)
    texts = np.empty(table.n, dtype=object)
    texts[:] = [one if isinstance(one, str) else "\n".join(one) for one in raw]
    return replace(table, columns=table.columns | feeds, texts=texts), _cut(feeds, preprocessor)


def _cut(feeds: dict[str, Array], preprocessor: TextPreprocessor) -> int:
    settings = preprocessor.settings
    if not settings.truncation or settings.attention_mask is None:
        return 0
    return int((lengths_of(feeds, settings.attention_mask) >= preprocessor.most_tokens).sum())
