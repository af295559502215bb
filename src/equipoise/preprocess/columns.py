"""What the columns of a data file hold: one reading of them for studies and for predictions."""

from __future__ import annotations

import csv
import struct
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError
from equipoise.preprocess.text_files import TEXT_SUFFIXES

Array = NDArray[Any]
SUFFIXES = (".npz", ".csv", ".parquet", *TEXT_SUFFIXES)
# What zipfile and numpy raise on damaged files: an unknown compression, a password, an array of petabytes ...
DAMAGED_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, TypeError, RuntimeError, MemoryError,
    OverflowError,
)  # fmt: skip
PANDAS_INDEX = "__index_level_"  # the unnamed row index that pandas adds
NPY_MAGIC = b"\x93NUMPY"


def file_kind(path: Path) -> str:
    """The suffix that says what a data file is.

    Raises:
        DataError: It is none of `SUFFIXES`, or the file cannot be read or is empty.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        found = f"found a file of the kind {kind or 'without suffix'}"
        raise DataError(str(path), found, f"needed {', '.join(SUFFIXES)}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(NPY_MAGIC))
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}", "needed a readable file") from None
    if size == 0:
        raise DataError(str(path), "the file is empty (0 bytes)", "needed rows")
    if kind == ".npz" and start == NPY_MAGIC:
        raise DataError(str(path), "one array without a name (.npy)", "needed .npz, whose keys are input names")
    return kind


def listed(names: Sequence[str] | Mapping[str, Any], most: int = 20) -> str:
    """Names for a message, the first few of many."""
    shown = ", ".join(str(name) for name in list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def refuse_repeated(names: Sequence[str], where: str, of: str = "columns named ") -> None:
    """Refuse a file that has the same name twice.

    Raises:
        DataError: It has.
    """
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(where, f"found {of}{listed(repeated)} more than once", "needed different names")


def text_array(values: Sequence[Any] | Array) -> Array:
    """An `object` array of `str`, with None where a value is missing (None or NaN)."""
    array = np.empty(len(values), dtype=object)
    array[:] = [None if value is None or value != value else str(value) for value in values]
    return array


def csv_names(path: Path, header: Sequence[str] | None) -> list[str]:
    """Names of the columns of a CSV file: those of its first line, or `header` where it has none.

    Raises:
        DataError: It is not UTF-8, a name is missing or stands there twice, or `header` names another number.
    """
    where = str(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = next((row for row in csv.reader(file) if row), [])
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error) from None
    except csv.Error as error:
        raise DataError(where, f"not a readable CSV file ({error})", "needed a header line, then rows") from None
    names = list(header) if header else first
    refuse_repeated(names, where)
    if header and len(first) != len(names):
        raise DataError(
            where, f"{len(first)} columns in its first row", f"needed {len(names)}, as many as --columns names"
        )
    if "" in names:
        raise DataError(where, f"column {names.index('') + 1} has no name", "needed a name for each in the header")
    return names


def csv_frames(
    path: Path,
    header: Sequence[str] | None,
    text: Sequence[str] = (),
    rows: int | None = None,
    only: Sequence[str] | None = None,
) -> Iterator[tuple[Any, float]]:
    """Read a CSV file as pandas frames. A cell is missing only where it is empty, and text is taken as it stands.

    Args:
        path: The file.
        header: Names of the columns of a file that has no header.
        text: Columns whose cells are text whatever they look like.
        rows: Most rows of a frame; null for all at once, so that a column's type is that of all its cells.
        only: Columns to read of a file that was read before (cells beyond the header go unnoticed then); null for all.

    Yields:
        A frame, and the share of the file that was read when it was, 0 to 1.

    Raises:
        DataError: It is not UTF-8, or has a row with more cells than the header.
    """
    import pandas

    where, names = str(path), csv_names(path, header)
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            reader = pandas.read_csv(
                file,
                header=None if header else 0,
                names=names,
                usecols=None if only is None else list(only),
                index_col=False,
                dtype=dict.fromkeys(text, str),
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
                encoding="utf-8-sig",
                iterator=True,
            )
            while True:
                with warnings.catch_warnings():  # pandas warns of cells beyond the header, and drops them
                    warnings.simplefilter("error", pandas.errors.ParserWarning)
                    try:
                        frame = reader.read(rows)
                    except StopIteration:
                        return
                yield frame, min(1.0, file.tell() / size)
    except pandas.errors.EmptyDataError:
        raise DataError(where, "no rows", "needed a header and rows") from None
    except (pandas.errors.ParserError, pandas.errors.ParserWarning, csv.Error) as error:
        needed = f"needed {len(names)} cells in every row, separated by commas"
        raise DataError(where, f"rows of unequal length ({str(error).strip()})", needed) from None
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error) from None


def frame_column(series: Any) -> Array:
    """A column of a frame: numbers and truth values as they are, else text."""
    values: Array = series.to_numpy()
    return values if values.dtype.kind in "biuf" else text_array(series.tolist())


def parquet_names(schema: Any, where: str) -> list[str]:
    """Names of the columns of a Parquet file, without the row index that pandas adds.

    Raises:
        DataError: One stands there twice.
    """
    refuse_repeated(schema.names, where)
    return [name for name in schema.names if not name.startswith(PANDAS_INDEX)]


def arrow_column(where: str, name: str, column: Any) -> Array:
    """A column of a Parquet file, whole or in part: numbers and truth values as they are, lists as rows, else text.

    Raises:
        DataError: It holds structures, or lists of unequal lengths.
    """
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if types.is_decimal(kind):
        column, kind = column.cast(pyarrow.float64()), pyarrow.float64()
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind) and column.null_count == 0:
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)
    if types.is_integer(kind) or types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if holds_lists(kind):
        return _stacked(where, name, column.to_pylist())
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind) or types.is_temporal(kind):
        return text_array(column.to_pylist())
    raise DataError(where, f"column {name!r} holds {kind}", "needed numbers, truth values, text or lists of numbers")


def holds_lists(kind: Any) -> bool:
    """Whether an Arrow type is one of lists."""
    from pyarrow import types

    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def npz_names(archive: zipfile.ZipFile, where: str) -> list[str]:
    """Names of the arrays of an `.npz` file; whatever else lies in it is left alone.

    Raises:
        DataError: One stands there twice.
    """
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    refuse_repeated(names, where, of="")
    return names


def npz_array(where: str, name: str, array: Array) -> Array:
    """An array of an `.npz` file: numbers and truth values as they are, text as `object`.

    Raises:
        DataError: It holds something else.
    """
    if array.dtype.kind in "biuf":
        return array.astype(np.float64) if array.dtype.itemsize > 8 else array
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    raise DataError(where, f"{name!r} holds {array.dtype}", "needed numbers, truth values or text")


def objects_refused(where: str, name: str) -> DataError:
    """The refusal of an array that only unpickling would open."""
    return DataError(
        where,
        f"{name!r} is an array of Python objects (ragged lists, for example)",
        "needed numbers, truth values or text: loading objects can run code; give every row the same shape",
    )


def single_value_refused(where: str, names: Sequence[str]) -> DataError:
    """The refusal of arrays without rows."""
    return DataError(where, f"{listed(names)} is a single value", "needed arrays with one entry a row")


def require_equal_lengths(where: str, lengths: Mapping[str, int]) -> None:
    """Refuse arrays of different numbers of rows.

    Raises:
        DataError: They are of different ones.
    """
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length:,}" for name, length in list(lengths.items())[:8])
        raise DataError(where, f"unequal numbers of rows: {found}", "needed as many rows in every array")


def _stacked(where: str, name: str, rows: list[Any]) -> Array:
    try:
        stacked = np.asarray(rows)
    except ValueError:
        stacked = np.empty(0, dtype=object)
    if stacked.dtype.kind not in "biuf" or stacked.ndim < 2:
        raise DataError(where, f"column {name!r} holds lists of unequal lengths", "needed as many numbers in every row")
    return stacked


def _not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    return DataError(where, f"not UTF-8 text: {error.reason} at byte {error.start}", "save it as UTF-8")
