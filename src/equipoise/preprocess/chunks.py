"""Reads a file of rows a piece at a time, as what a model is fed: the whole file is never in memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.preprocess.binding import Column, bind, wanted_columns

Array = NDArray[Any]
SUFFIXES = (".npz", ".csv", ".parquet")
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows.

    Attributes:
        feeds: Input name to array of shape [n, ...], in the model's dtypes.
        rows: How many.
        fraction: Share of the file that was read when these rows were, 0 to 1.
    """

    feeds: dict[str, Array]
    rows: int
    fraction: float


def read_chunks(
    path: Path,
    spec: ModelSpec,
    multiple_of: int = 1,
    columns: Sequence[str] = (),
    header: Sequence[str] | None = None,
) -> Iterator[Chunk]:
    """Read `.npz`, `.csv` or `.parquet` rows for a model; columns that it does not take are ignored.

    The rules are those of a study: in a CSV only an empty cell is missing, and text is taken as it stands.

    Args:
        path: The file; its suffix says what it is.
        spec: What the model takes.
        multiple_of: Rows of a piece are a multiple of it (the last piece may be shorter).
        columns: Table columns that make up a single array [n, k], in order; empty to tell from the table.
        header: Column names of a CSV file that has no header.

    Yields:
        The rows, in their order.

    Raises:
        DataError: The file is not there, is of another kind, has no rows, lacks an input, or holds a value that the
            model does not take.
    """
    if not path.is_file():
        raise DataError(str(path), "no such file", f"give a {', '.join(SUFFIXES)} file")
    rows = _rows_a_chunk(spec, multiple_of)
    match path.suffix.lower():
        case ".npz":
            pieces = _npz(path, spec, rows)
        case ".csv":
            pieces = _csv(path, spec, rows, columns, header)
        case ".parquet":
            pieces = _parquet(path, spec, rows, columns)
        case other:
            raise DataError(
                str(path), f"a file of the kind {other or 'without suffix'!r}", f"give {', '.join(SUFFIXES)}"
            )
    first = 0
    for table, fraction in pieces:
        n = len(next(iter(table.values())))
        if n:
            yield Chunk(bind(table, spec, str(path), first, columns), n, fraction)
            first += n
    if first == 0:
        raise DataError(str(path), "no rows", "give a file with at least one row")


def _rows_a_chunk(spec: ModelSpec, multiple_of: int) -> int:
    row_bytes = sum(8 * math.prod(size or 1 for size in tensor.shape[1:]) for tensor in spec.inputs)
    wished = min(65_536, max(1, CHUNK_BYTES // row_bytes))
    return max(1, wished // multiple_of) * multiple_of


def _csv(
    path: Path, spec: ModelSpec, rows: int, columns: Sequence[str], header: Sequence[str] | None
) -> Iterator[tuple[dict[str, Column], float]]:
    import pandas as pd

    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            names = list(header) if header else [str(name) for name in pd.read_csv(path, nrows=0).columns]
            wanted = wanted_columns(names, spec, str(path), columns)
            reader = pd.read_csv(
                file,
                names=names,
                header=None if header else 0,
                usecols=list(wanted),
                dtype={name: str for name in wanted if wanted[name] == "string"},
                keep_default_na=False,
                na_values=[""],
                chunksize=rows,
                low_memory=False,
            )
            for frame in reader:
                yield {name: _column(frame[name]) for name in wanted}, min(1.0, file.tell() / max(size, 1))
        except UnicodeDecodeError as error:
            raise DataError(str(path), f"text that is not UTF-8 ({error.reason})", "save it as UTF-8") from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise DataError(
                str(path), f"not a readable CSV file ({error})", "a header line, then one row a line"
            ) from error


def _column(series: Any) -> Column:
    if series.dtype.kind in "iufb":
        return np.asarray(series)
    values = np.empty(len(series), dtype=object)
    values[:] = [None if value is None or value != value else value for value in series.tolist()]
    return values


def _parquet(
    path: Path, spec: ModelSpec, rows: int, columns: Sequence[str]
) -> Iterator[tuple[dict[str, Column], float]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            wanted = wanted_columns(file.schema_arrow.names, spec, str(path), columns)
            total, done = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(batch_size=rows, columns=list(wanted)):
                done += batch.num_rows
                yield {name: _arrow_column(batch.column(name)) for name in wanted}, done / total
    except pa.ArrowException as error:
        raise DataError(str(path), f"not a readable Parquet file ({error})", "a whole Parquet file") from error


def _arrow_column(column: Any) -> Column:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def _npz(path: Path, spec: ModelSpec, rows: int) -> Iterator[tuple[dict[str, Array], float]]:
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            wanted = wanted_columns(held, spec, str(path), whole_arrays=True)
            arrays = {
                name: _StreamedArray(stack.enter_context(archive.open(f"{name}.npy")), name, path) for name in wanted
            }
            n = _common_length(arrays, path)
            for start in range(0, n, rows):
                count = min(rows, n - start)
                yield {name: array.take(count) for name, array in arrays.items()}, (start + count) / n
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DataError(str(path), f"not a readable NumPy archive ({error})", "a whole .npz file") from error


def _common_length(arrays: Mapping[str, _StreamedArray], path: Path) -> int:
    lengths = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(str(path), f"inputs of different numbers of rows: {counts}", "one row each in every input")
    return next(iter(lengths.values()))


class _StreamedArray:
    """An array inside an archive, read from its beginning to its end."""

    def __init__(self, file: IO[bytes], name: str, path: Path) -> None:
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(file))
        if read_header is None:
            raise DataError(f"{path}, array {name!r}", "an array format that is not known", "save it with numpy.savez")
        shape, column_major, self.dtype = read_header(file)
        self.shape: tuple[int, ...] = shape
        where = f"{path}, array {name!r}"
        if self.dtype.hasobject:
            raise DataError(where, "Python objects, which are not opened", "save text as NumPy text (dtype U)")
        if not shape:
            raise DataError(where, "a single value", "one row each along its first axis")
        self._file = file
        self._whole = self._read(shape[0]) if column_major and len(shape) > 1 else None
        if self._whole is not None:  # its rows do not lie together: only this kind is held whole
            self._whole = self._whole.reshape(shape[::-1]).transpose()
        self._next = 0

    def take(self, count: int) -> Array:
        """The next `count` rows."""
        start, self._next = self._next, self._next + count
        array = self._read(count) if self._whole is None else self._whole[start : self._next]
        return array.astype(object) if array.dtype.kind == "U" else array

    def _read(self, count: int) -> Array:
        values = count * math.prod(self.shape[1:])
        content = self._file.read(values * self.dtype.itemsize)
        return np.frombuffer(content, dtype=self.dtype, count=values).reshape(count, *self.shape[1:])
