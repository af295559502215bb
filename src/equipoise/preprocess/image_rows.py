"""Images of a folder or an archive as rows of a model's input, a piece at a time, decoded by several threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.preprocessing import ImagePreprocessing
from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.preprocess.binding import bind
from equipoise.preprocess.chunks import Chunk, rows_a_chunk
from equipoise.preprocess.image_files import ImageFiles, readable
from equipoise.preprocess.raw import Preprocessor

Array = NDArray[Any]
AT_ONCE = 32
"""Images that one thread decodes before another is asked."""


def image_rows(files: ImageFiles, preprocessor: Preprocessor, threads: int) -> Iterator[dict[str, Array]]:
    """Decode images.

    Args:
        files: Which.
        preprocessor: Makes tensors of them.
        threads: So many decode at the same time.

    Yields:
        Input name to array of shape [n, ...], in the order of `files.names`.

    Raises:
        DataError: An image cannot be read or used, or comes out in another shape than the first; the error names it.
    """
    contents, done = files.contents(), 0
    first: dict[str, tuple[int, ...]] | None = None
    with ThreadPoolExecutor(threads) as pool:
        while pieces := [piece for _ in range(2 * threads) if (piece := list(islice(contents, AT_ONCE)))]:
            names = []
            for piece in pieces:
                names.append([files.called(done + place) for place in range(len(piece))])
                done += len(piece)
            for feeds, (called, *_) in zip(pool.map(preprocessor, pieces, names), names, strict=True):
                shapes = {name: array.shape[1:] for name, array in feeds.items()}
                first = first or shapes
                if shapes != first:
                    raise _of_another_shape(called, shapes, first)
                yield feeds


def image_chunks(
    files: ImageFiles, preprocessor: Preprocessor, spec: ModelSpec, multiple_of: int, threads: int
) -> Iterator[Chunk]:
    """Decode images for a model, a piece at a time.

    Args:
        files: Which.
        preprocessor: Makes tensors of them.
        spec: What the model takes.
        multiple_of: Rows of a piece are a multiple of it (the last piece may be shorter).
        threads: So many decode at the same time.

    Yields:
        The rows, with the names of their files.

    Raises:
        DataError: An image cannot be read or used, or the preprocessing is for something else.
    """
    if not isinstance(preprocessor.settings, ImagePreprocessing):
        raise DataError(str(files.where), "images, and the bundle has no preprocessing for them", "give it texts")
    rows, done, total = rows_a_chunk(spec, multiple_of), 0, len(files.names)
    sources = {tensor.name: (tensor.name,) for tensor in spec.inputs}
    waiting: list[dict[str, Array]] = []
    for feeds in image_rows(files, preprocessor, threads):
        waiting.append(feeds)
        ready = sum(len(next(iter(piece.values()))) for piece in waiting)
        while ready >= rows or (ready and done + ready == total):
            count = min(rows, ready)
            whole = {name: np.concatenate([piece[name] for piece in waiting]) for name in feeds}
            bound = bind({name: array[:count] for name, array in whole.items()}, spec, sources, str(files.where), done)
            waiting, ready = [{name: array[count:] for name, array in whole.items()}], ready - count
            names = tuple(map(readable, files.names[done : done + count]))
            done += count
            yield Chunk(bound, count, done / total, names)


def _of_another_shape(name: str, found: dict[str, tuple[int, ...]], first: dict[str, tuple[int, ...]]) -> DataError:
    made, before = next(iter(found.values())), next(iter(first.values()))
    return DataError(
        name,
        f"an image that becomes {list(made)}, where the first becomes {list(before)}",
        "needed images of one size, or a size to resize them to (`size` in the preprocessing)",
    )
