"""Reads `.npz`, `.csv` and `.parquet` files into named arrays, changing nothing on the way."""

from __future__ import annotations

import csv
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError

Array = NDArray[Any]
# What zipfile and numpy raise on damaged files: an unknown compression, a password, an array of petabytes ...
DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, TypeError, RuntimeError, MemoryError,
    OverflowError,
)  # fmt: skip
PANDAS_INDEX = "__index_level_"  # the unnamed row index that pandas adds
NPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Table:
    """Named arrays of the same length.

    Attributes:
        columns: Name to array of shape [n, ...], in the order of the file: numbers and truth values as they are
            (missing ones are NaN, in float64), text as `object` arrays of `str` with None where missing.
        source: The file, for messages.
    """

    columns: dict[str, Array]
    source: str

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def head(self, n: int) -> Table:
        """The first `n` rows, with the dtypes of the whole table."""
        return Table({name: array[:n] for name, array in self.columns.items()}, self.source)

    def require(self, name: str, what: str) -> Array:
        """A column by name.

        Raises:
            DataError: There is none of that name.
        """
        if name not in self.columns:
            raise DataError(self.source, f"no column {name!r}", f"needed for {what}; it has {listed(self.columns)}")
        return self.columns[name]


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a data file.

    A CSV cell is missing only where it is empty: `NA`, `null` and `nan` are text like any other, and text keeps its
    spaces and its case.

    Args:
        path: A `.npz`, `.csv` or `.parquet` file.
        columns: Column names of a CSV file that has no header.

    Raises:
        DataError: It cannot be read, has no rows, or has columns of unequal lengths, with the same name, or of a kind
            that no model takes.
    """
    readers = {".npz": _read_npz, ".parquet": _read_parquet}
    suffix = path.suffix.lower()
    if suffix not in (*readers, ".csv"):
        raise DataError(
            str(path), f"found a file of the kind {suffix or 'without suffix'}", "needed .npz, .csv, .parquet"
        )
    try:
        if path.stat().st_size == 0:
            raise DataError(str(path), "the file is empty (0 bytes)", "needed rows")
        found = _read_csv(path, columns) if suffix == ".csv" else readers[suffix](path)
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}", "needed a readable file") from None
    _check(path, found)
    return Table(found, str(path))


def listed(names: Sequence[str] | dict[str, Any], most: int = 20) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(str(name) for name in list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def text_array(values: Sequence[Any] | Array) -> Array:
    """An `object` array of `str`, with None where a value is missing (None or NaN)."""
    array = np.empty(len(values), dtype=object)
    array[:] = [None if value is None or value != value else str(value) for value in values]
    return array


def _check(path: Path, columns: dict[str, Array]) -> None:
    where = str(path)
    if not columns:
        raise DataError(where, "no columns", "needed the model's inputs")
    scalars = [name for name, array in columns.items() if array.ndim == 0]
    if scalars:
        raise DataError(where, f"{listed(scalars)} is a single value", "needed arrays with one entry a row")
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length:,}" for name, length in list(lengths.items())[:8])
        raise DataError(where, f"unequal numbers of rows: {found}", "needed as many rows in every array")
    if next(iter(lengths.values())) == 0:
        raise DataError(where, "no rows", f"needed at least one row under {listed(columns)}")


def _read_npz(path: Path) -> dict[str, Array]:
    where = str(path)
    with path.open("rb") as stream:
        if stream.read(len(NPY_MAGIC)) == NPY_MAGIC:
            raise DataError(where, "one array without a name (.npy)", "needed .npz, whose keys are input names")
        stream.seek(0)
        if not zipfile.is_zipfile(stream):
            raise DataError(where, "not a complete .npz file", "write it again with numpy.savez")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as file:
                repeated = _repeated([name.removesuffix(".npy") for name in file.zip.namelist()])
                if repeated:
                    raise DataError(where, f"found {listed(repeated)} more than once", "needed different names")
                return {name: _npz_array(where, file, name) for name in file.files}
        except DAMAGED_ZIP as error:
            raise DataError(where, f"not a complete .npz file ({error})", "write it again with numpy.savez") from None


def _npz_array(where: str, file: Any, name: str) -> Array:
    try:
        array: Array = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            where,
            f"{name!r} is an array of Python objects (ragged lists, for example)",
            "needed numbers, truth values or text: loading objects can run code; give every row the same shape",
        ) from None
    if array.dtype.kind in "biuf":
        return array.astype(np.float64) if array.dtype.itemsize > 8 else array
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    raise DataError(where, f"{name!r} holds {array.dtype}", "needed numbers, truth values or text")


def _read_csv(path: Path, columns: Sequence[str] | None) -> dict[str, Array]:
    import pandas

    where = str(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((row for row in csv.reader(file) if row), [])
        names = list(columns) if columns else first
        repeated = _repeated(names)
        if repeated:
            raise DataError(where, f"columns named {listed(repeated)} more than once", "needed different names")
        if columns and len(first) != len(names):
            raise DataError(
                where, f"{len(first)} columns in its first row", f"needed {len(names)}, as many as --columns names"
            )
        if "" in names:
            raise DataError(where, f"column {names.index('') + 1} has no name", "needed a name for each in the header")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                path,
                header=None if columns else 0,
                names=names,
                index_col=False,
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
                encoding="utf-8-sig",
            )
    except pandas.errors.EmptyDataError:
        raise DataError(where, "no rows", "needed a header and rows") from None
    except (pandas.errors.ParserError, pandas.errors.ParserWarning, csv.Error) as error:
        needed = f"needed {len(names)} cells in every row, separated by commas"
        raise DataError(where, f"rows of unequal length ({str(error).strip()})", needed) from None
    except UnicodeDecodeError as error:
        raise DataError(where, f"not UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8") from None
    return {name: _frame_column(frame[name]) for name in names}


def _frame_column(series: Any) -> Array:
    values = series.to_numpy()
    return values if values.dtype.kind in "biuf" else text_array(series.tolist())


def _read_parquet(path: Path) -> dict[str, Array]:
    import pyarrow
    import pyarrow.parquet

    where = str(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            repeated = _repeated(file.schema_arrow.names)
            if repeated:
                raise DataError(where, f"columns named {listed(repeated)} more than once", "needed different names")
            table = file.read()
        names = [name for name in table.column_names if not name.startswith(PANDAS_INDEX)]
        return {name: _arrow_column(where, name, table.column(name)) for name in names}
    except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise DataError(where, f"not a complete Parquet file ({error})", "write it again") from None


def _arrow_column(where: str, name: str, column: Any) -> Array:
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if types.is_boolean(kind) and column.null_count == 0:
        return np.asarray(column.to_numpy(), dtype=bool)
    if types.is_integer(kind) or types.is_floating(kind):
        return np.asarray(column.to_numpy())
    if types.is_decimal(kind):
        return np.asarray(column.cast(pyarrow.float64()).to_numpy())
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _stacked(where, name, column.to_pylist())
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind) or types.is_temporal(kind):
        return text_array(column.to_pylist())
    raise DataError(where, f"column {name!r} holds {kind}", "needed numbers, truth values, text or lists of numbers")


def _stacked(where: str, name: str, rows: list[Any]) -> Array:
    try:
        stacked = np.asarray(rows)
    except ValueError:
        stacked = np.empty(0, dtype=object)
    if stacked.dtype.kind not in "biuf" or stacked.ndim < 2:
        raise DataError(where, f"column {name!r} holds lists of unequal lengths", "needed as many numbers in every row")
    return stacked


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]
