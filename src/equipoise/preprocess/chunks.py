"""Reads a file of rows a piece at a time, as what a model is fed: the whole file is never in memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.preprocess.binding import Sources, bind, input_sources
from equipoise.preprocess.columns import (
    DAMAGED_ZIP,
    arrow_column,
    csv_frames,
    csv_names,
    file_kind,
    frame_column,
    holds_lists,
    npz_array,
    npz_names,
    objects_refused,
    parquet_names,
    require_equal_lengths,
    single_value_refused,
)
from equipoise.preprocess.text_files import TEXT_SUFFIXES, spelled, text_columns

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]
Find = Callable[[Shapes], Sources]
CHUNK_BYTES = 32 << 20
TARGETS = ("label", "y", "target")


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows.

    Attributes:
        feeds: Input name to array of shape [n, ...], in the model's dtypes.
        rows: How many.
        fraction: Share of the file that was read when these rows were, 0 to 1.
        names: What each row is called, where rows are files of their own; else empty.
    """

    feeds: dict[str, Array]
    rows: int
    fraction: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Piece:
    """Some consecutive rows of a file, as they stand there."""

    columns: dict[str, Array]
    sources: Sources
    fraction: float


def read_chunks(
    path: Path,
    spec: ModelSpec,
    multiple_of: int = 1,
    columns: Sequence[str] = (),
    header: Sequence[str] | None = None,
    *,
    labelled: bool = True,
) -> Iterator[Chunk]:
    """Read `.npz`, `.csv` or `.parquet` rows for a model; columns that it does not take are ignored.

    The rules are those of a study: a row is fed as a study feeds it, or refused with the same message.

    Args:
        path: The file; its suffix says what it is.
        spec: What the model takes.
        multiple_of: Rows of a piece are a multiple of it (the last piece may be shorter).
        columns: Columns that made up the model's single input in the study, in order; empty to tell from the file.
        header: Column names of a CSV file that has no header.
        labelled: Whether lines of text begin with a label.

    Yields:
        The rows, in their order.

    Raises:
        DataError: The file is not there, is of another kind, has no rows, lacks an input, or holds a value that the
            model does not take.
    """
    where = str(path)
    rows = rows_a_chunk(spec, multiple_of)

    def find(shapes: Shapes) -> Sources:
        plain = [name for name in shapes if name.lower() not in TARGETS]
        return input_sources(shapes, spec, where, (plain, list(shapes)), columns=columns)

    def floats_nowhere(name: str) -> bool:  # noqa: ARG001 - an array has one type from its first row to its last
        return False

    def json_has_one_type_of_number(name: str) -> bool:  # noqa: ARG001
        return True

    holds_floats: Callable[[str], bool] = floats_nowhere
    match file_kind(path):
        case ".csv":
            pieces = _csv(path, spec, rows, header, find)
            holds_floats = cache(lambda name: _csv_holds_floats(path, header, name))
        case ".parquet":
            pieces = _parquet(path, rows, find)
            holds_floats = cache(lambda name: _parquet_has_missing(path, name))
        case kind if kind in TEXT_SUFFIXES:
            pieces = _text(path, spec, rows, find, labelled=labelled)
            holds_floats = json_has_one_type_of_number
        case _:
            pieces = _npz(path, rows, find)
    first = 0
    for piece in pieces:
        n = len(next(iter(piece.columns.values())))
        if n:
            yield Chunk(bind(piece.columns, spec, piece.sources, where, first, holds_floats), n, piece.fraction)
            first += n
    if first == 0:
        raise DataError(where, "no rows", "give a file with at least one row")


def rows_a_chunk(spec: ModelSpec, multiple_of: int) -> int:
    """Rows of a piece: a multiple of a number, and about so many as `CHUNK_BYTES` hold."""
    row_bytes = sum(8 * math.prod(size or 1 for size in tensor.shape[1:]) for tensor in spec.inputs)
    wished = min(65_536, max(1, CHUNK_BYTES // row_bytes))
    return max(1, wished // multiple_of) * multiple_of


def _csv(path: Path, spec: ModelSpec, rows: int, header: Sequence[str] | None, find: Find) -> Iterator[_Piece]:
    sources = find(dict.fromkeys(csv_names(path, header), ()))
    text = [name for tensor in spec.inputs if tensor.dtype == "string" for name in sources[tensor.name]]
    wanted = _names(sources)
    for frame, fraction in csv_frames(path, header, text, rows):
        yield _Piece({name: frame_column(frame[name]) for name in wanted}, sources, fraction)


def _text(path: Path, spec: ModelSpec, rows: int, find: Find, *, labelled: bool) -> Iterator[_Piece]:
    taken = {tensor.name for tensor in spec.inputs if tensor.dtype == "string"}
    for columns, fraction in text_columns(path, rows, labelled=labelled):
        sources = find(dict.fromkeys(columns, ()))
        text = {name for input_name in taken for name in sources[input_name]}
        read = {name: spelled(columns[name]) if name in text else columns[name] for name in _names(sources)}
        yield _Piece(read, sources, fraction)


def _csv_holds_floats(path: Path, header: Sequence[str] | None, name: str) -> bool:
    frames = csv_frames(path, header, rows=65_536, only=[name])
    return any(frame[name].dtype.kind == "f" for frame, _ in frames)


def _parquet(path: Path, rows: int, find: Find) -> Iterator[_Piece]:
    import pyarrow
    import pyarrow.parquet

    where = str(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            total, done = max(file.metadata.num_rows, 1), 0
            names = parquet_names(file.schema_arrow, where)
            sources = find({name: _row_shape(file, name, where) for name in names})
            wanted = _names(sources)
            for batch in file.iter_batches(batch_size=rows, columns=wanted):
                done += batch.num_rows
                read = {name: arrow_column(where, name, batch.column(name)) for name in wanted}
                yield _Piece(read, sources, done / total)
    except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise DataError(where, f"not a complete Parquet file ({error})", "write it again") from None


def _row_shape(file: Any, name: str, where: str) -> tuple[int, ...]:
    """Shape of a row of a column, as its first row has it."""
    if not holds_lists(file.schema_arrow.field(name).type):
        return ()
    first = next(file.iter_batches(batch_size=1, columns=[name]), None)
    return () if first is None else arrow_column(where, name, first.column(0)).shape[1:]


def _parquet_has_missing(path: Path, name: str) -> bool:
    """Whether a column of integers has missing ones, which make it one of floating numbers."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        return any(batch.column(0).null_count for batch in file.iter_batches(columns=[name]))


def _npz(path: Path, rows: int, find: Find) -> Iterator[_Piece]:
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            names = npz_names(archive, where)
            opened = {
                name: _StreamedArray(stack.enter_context(archive.open(f"{name}.npy")), name, where) for name in names
            }
            sources = find({name: array.shape[1:] for name, array in opened.items()})
            arrays = {name: opened[name] for name in _names(sources)}
            require_equal_lengths(where, {name: array.shape[0] for name, array in arrays.items()})
            n = next(iter(arrays.values())).shape[0]
            for start in range(0, n, rows):
                count = min(rows, n - start)
                read = {name: array.take(count) for name, array in arrays.items()}
                yield _Piece(read, sources, (start + count) / n)
    except DAMAGED_ZIP as error:
        raise DataError(where, f"not a complete .npz file ({error})", "write it again with numpy.savez") from None


def _names(sources: Sources) -> list[str]:
    return [name for names in sources.values() for name in names]


class _StreamedArray:
    """An array inside an archive, read from its beginning to its end."""

    def __init__(self, file: IO[bytes], name: str, where: str) -> None:
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(file))
        if read_header is None:
            raise DataError(f"{where}, array {name!r}", "an array format that is not known", "save it with numpy.savez")
        shape, self._column_major, self._dtype = read_header(file)
        self.shape: tuple[int, ...] = shape
        if self._dtype.hasobject:
            raise objects_refused(where, name)
        if not shape:
            raise single_value_refused(where, [name])
        self._file = file
        self._name = name
        self._where = where
        self._whole: Array | None = None
        self._next = 0

    def take(self, count: int) -> Array:
        """The next `count` rows."""
        start, self._next = self._next, self._next + count
        if self._column_major and len(self.shape) > 1:  # its rows do not lie together: only this kind is held whole
            if self._whole is None:
                self._whole = self._read(self.shape[0]).reshape(self.shape[::-1]).transpose()
            array = self._whole[start : self._next]
        else:
            array = self._read(count)
        return npz_array(self._where, self._name, array)

    def _read(self, count: int) -> Array:
        values = count * math.prod(self.shape[1:])
        content = self._file.read(values * self._dtype.itemsize)
        return np.frombuffer(content, dtype=self._dtype, count=values).reshape(count, *self.shape[1:])
