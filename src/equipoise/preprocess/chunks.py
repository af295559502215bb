"""Reads a file of rows a piece at a time, as what a model is fed: the whole file is never in memory."""

from __future__ import annotations

import csv
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.preprocess.binding import TARGETS, Column, bind, fits, wanted_columns

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
            pieces = _npz(path, spec, rows, columns)
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

    size = max(path.stat().st_size, 1)
    try:
        names = _header(path, header)
        wanted = wanted_columns(names, spec, str(path), columns)
        with path.open("rb") as file:
            reader = pd.read_csv(
                file,
                names=names,
                header=None if header else 0,
                index_col=False,
                dtype={name: str for name, dtype in wanted.items() if dtype == "string"},
                keep_default_na=False,
                na_values=[""],
                chunksize=rows,
                low_memory=False,
                encoding="utf-8-sig",
            )
            while True:
                with warnings.catch_warnings():  # pandas warns of cells beyond the header, and drops them
                    warnings.simplefilter("error", pd.errors.ParserWarning)
                    frame = next(reader, None)
                if frame is None:
                    return
                yield {name: _column(frame[name]) for name in wanted}, min(1.0, file.tell() / size)
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"text that is not UTF-8 ({error.reason})", "save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, csv.Error) as error:
        found = f"not a readable CSV file ({str(error).strip()})"
        raise DataError(str(path), found, "a header line, then as many cells in every row") from error


def _header(path: Path, header: Sequence[str] | None) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next((row for row in csv.reader(file) if row), [])
    names = list(header) if header else first
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(str(path), f"columns named {', '.join(repeated)} more than once", "needed different names")
    if header and len(first) not in (0, len(names)):
        found = f"{len(first)} columns in its first row"
        raise DataError(str(path), found, f"needed {len(names)}, as many as were named")
    return names


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
                yield {name: _arrow_column(batch.column(name), name, path) for name in wanted}, done / total
    except pa.ArrowException as error:
        raise DataError(str(path), f"not a readable Parquet file ({error})", "a whole Parquet file") from error


def _arrow_column(column: Any, name: str, path: Path) -> Column:
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if types.is_floating(kind) or (types.is_integer(kind) and not column.null_count):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if types.is_boolean(kind) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        try:
            return np.asarray(column.to_pylist())
        except ValueError:
            found = f"column {name!r} holds lists of unequal lengths"
            raise DataError(str(path), found, "needed as many numbers in every row") from None
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def _npz(path: Path, spec: ModelSpec, rows: int, columns: Sequence[str]) -> Iterator[tuple[dict[str, Array], float]]:
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:

            def opened(name: str) -> _StreamedArray:
                return _StreamedArray(stack.enter_context(archive.open(f"{name}.npy")), name, path)

            held = [name.removesuffix(".npy") for name in archive.namelist()]
            sole = _sole_fitting(held, spec, columns, opened)
            wanted = {spec.inputs[0].name: sole} if sole else {n: n for n in _npz_names(held, spec, path, columns)}
            arrays = {name: opened(source) for name, source in wanted.items()}
            n = _common_length(arrays, path)
            for start in range(0, n, rows):
                count = min(rows, n - start)
                yield {name: array.take(count) for name, array in arrays.items()}, (start + count) / n
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(str(path), f"not a readable NumPy archive ({error})", "a whole .npz file") from error


def _npz_names(held: Sequence[str], spec: ModelSpec, path: Path, columns: Sequence[str]) -> list[str]:
    return list(wanted_columns(held, spec, str(path), columns, whole_arrays=True))


def _sole_fitting(
    held: Sequence[str], spec: ModelSpec, columns: Sequence[str], opened: Callable[[str], _StreamedArray]
) -> str | None:
    """The one array that fits a model's single input, where none has the input's name: a study takes it too."""
    if len(spec.inputs) != 1 or spec.inputs[0].name in held or (columns and set(columns) <= set(held)):
        return None
    wanted = spec.inputs[0].shape[1:]
    fitting = [name for name in held if name.lower() not in TARGETS and fits(opened(name).shape[1:], wanted)]
    return fitting[0] if len(fitting) == 1 else None


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
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
        return array.astype(object) if array.dtype.kind == "U" else array

    def _read(self, count: int) -> Array:
        values = count * math.prod(self.shape[1:])
        content = self._file.read(values * self.dtype.itemsize)
        return np.frombuffer(content, dtype=self.dtype, count=values).reshape(count, *self.shape[1:])
