"""Images of a folder or an archive as rows of a model's input, a piece at a time, decoded by several threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from equipoise.errors import DataError
from equipoise.preprocess.image_files import ImageFiles
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


def _of_another_shape(name: str, found: dict[str, tuple[int, ...]], first: dict[str, tuple[int, ...]]) -> DataError:
    made, before = next(iter(found.values())), next(iter(first.values()))
    return DataError(
        name,
        f"an image that becomes {list(made)}, where the first becomes {list(before)}",
        "needed images of one size, or a size to resize them to (`size` in the preprocessing)",
    )
