"""Answers a file of rows into another file, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equipoise.errors import DataError
from equipoise.execute.answers import answers
from equipoise.execute.plan import OpenPlan, open_plan
from equipoise.execute.writers import WRITERS
from equipoise.host.environment import cores
from equipoise.preprocess.chunks import Chunk, read_chunks
from equipoise.preprocess.image_files import image_files, is_images
from equipoise.preprocess.image_rows import image_chunks
from equipoise.preprocess.raw import open_preprocessor
from equipoise.preprocess.text import TextPreprocessor
from equipoise.preprocess.text_chunks import text_chunks
from equipoise.store.bundle import Bundle

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Predicted:
    """What was written.

    Attributes:
        out: The file.
        rows: Rows that were answered.
        columns: Columns (or arrays) of the file.
    """

    out: Path
    rows: int
    columns: tuple[str, ...]


def predict_file(
    bundle: Bundle,
    data: Path,
    out: Path,
    progress: Progress = lambda rows, fraction: None,  # noqa: ARG005
    header: Sequence[str] | None = None,
) -> Predicted:
    """Answer every row of a file with what a bundle serves, never holding the whole file in memory.

    Rows keep their order. A table gets the columns `label` and `confidence`, or `value`, and for images `file` before
    them; an `.npz` gets every output of the model besides. The file appears when it is whole: whatever goes wrong, no
    half of it is left.

    Args:
        bundle: What answers.
        data: An `.npz`, `.csv` or `.parquet` file, or one of text, whose columns that the model does not take are
            ignored; or, where the bundle has preprocessing for images, an image, a folder or an archive of them.
        out: The same kinds, by its suffix; a file that is there is replaced.
        progress: Told the rows answered so far, and the share of the file that they are, 0 to 1.
        header: Column names of a CSV file that has no header.

    Raises:
        DataError: The data cannot be read, or `out` is of another kind or in a folder that is not there.
        BundleError: The plan cannot be executed here.
        ModelError: An artifact cannot be opened.
    """
    writer_of = WRITERS.get(out.suffix.lower())
    if writer_of is None:
        raise DataError(
            str(out), f"a file of the kind {out.suffix or 'without suffix'!r}", f"give {', '.join(WRITERS)}"
        )
    if not out.parent.is_dir():
        raise DataError(str(out), f"no folder {out.parent}", "make it, or give a path in one that is there")
    if out.exists() and data.exists() and out.samefile(data):
        raise DataError(str(out), "the file that is being read", "give another path for the answers")
    plan = open_plan(bundle)
    rows = 0
    with writer_of(out) as writer:
        for chunk in _chunks(bundle, plan, data, header):
            outputs = plan.answer(chunk.feeds)
            columns = answers(outputs, bundle.plan, bundle.labels)
            if chunk.names:
                columns = {"file": np.array(chunk.names, dtype=object)} | columns
            writer.write(columns, outputs)
            rows += chunk.rows
            progress(rows, chunk.fraction)
    return Predicted(out, rows, tuple(writer.names))


def _chunks(bundle: Bundle, plan: OpenPlan, data: Path, header: Sequence[str] | None) -> Iterator[Chunk]:
    preprocessor = None if bundle.preprocessing is None else open_preprocessor(bundle.preprocessing)
    if isinstance(preprocessor, TextPreprocessor):
        return text_chunks(data, preprocessor, plan.spec, plan.rows_at_once, header, bundle.labels or ())
    if not is_images(data):
        return read_chunks(data, plan.spec, plan.rows_at_once, bundle.data.columns, header)
    if preprocessor is None:
        raise DataError(str(data), "images, and the bundle has no preprocessing for them", "give rows as tensors")
    return image_chunks(image_files(data), preprocessor, plan.spec, plan.rows_at_once, cores())
