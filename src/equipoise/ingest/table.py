"""Reads data files into named arrays, changing nothing on the way."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError
from equipoise.preprocess.columns import (
    DAMAGED_ZIP,
    arrow_column,
    csv_frames,
    file_kind,
    frame_column,
    listed,
    npz_array,
    npz_names,
    objects_refused,
    parquet_names,
    require_equal_lengths,
    single_value_refused,
    text_array,
)
from equipoise.preprocess.text_files import TEXT_SUFFIXES, text_columns

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Named arrays of the same length.

    Attributes:
        columns: Name to array of shape [n, ...], in the order of the file: numbers and truth values as they are
            (missing ones are NaN, in float64), text as `object` arrays of `str` with None where missing.
        source: The file, for messages.
        spelled: Reads columns again as the text that stands in the file; null where the file itself says what is text.
        texts: What some of the columns were made from, [n] of str; null where nothing was made from text.
    """

    columns: dict[str, Array]
    source: str
    spelled: Callable[[Sequence[str]], dict[str, Array]] | None = None
    texts: Array | None = None

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

    def as_text(self, names: Iterable[str]) -> Table:
        """The table with these columns as text, where its file does not say whether they are: `007` in a CSV file."""
        guessed = [name for name in names if self.columns[name].dtype != object]
        if self.spelled is None or not guessed:
            return self
        return replace(self, columns=self.columns | self.spelled(guessed))


def read_table(path: Path, columns: Sequence[str] | None = None) -> Table:
    """Read a data file.

    A CSV cell is missing only where it is empty: `NA`, `null` and `nan` are text like any other, and text keeps its
    spaces and its case.

    Args:
        path: A `.npz`, `.csv` or `.parquet` file, or one of labelled text (`preprocess.text_files`).
        columns: Column names of a CSV file that has no header.

    Raises:
        DataError: It cannot be read, has no rows, or has columns of unequal lengths, with the same name, or of a kind
            that no model takes.
    """
    try:
        match file_kind(path):
            case ".csv":
                table = _read_csv(path, columns)
            case ".parquet":
                table = Table(_read_parquet(path), str(path))
            case kind if kind in TEXT_SUFFIXES:
                table = Table(next((columns for columns, _ in text_columns(path)), {}), str(path))
            case _:
                table = Table(_read_npz(path), str(path))
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror or error}", "needed a readable file") from None
    _check(table)
    return table


def _check(table: Table) -> None:
    where, columns = table.source, table.columns
    if not columns:
        raise DataError(where, "no columns", "needed the model's inputs")
    scalars = [name for name, array in columns.items() if array.ndim == 0]
    if scalars:
        raise single_value_refused(where, scalars)
    require_equal_lengths(where, {name: len(array) for name, array in columns.items()})
    if table.n == 0:
        raise DataError(where, "no rows", f"needed at least one row under {listed(columns)}")


def _read_npz(path: Path) -> dict[str, Array]:
    where = str(path)
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise DataError(where, "not a complete .npz file", "write it again with numpy.savez")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as file:
                return {name: _npz_array(where, file, name) for name in npz_names(file.zip, where)}
        except DAMAGED_ZIP as error:
            raise DataError(where, f"not a complete .npz file ({error})", "write it again with numpy.savez") from None


def _npz_array(where: str, file: Any, name: str) -> Array:
    try:
        array = file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise objects_refused(where, name) from None
    if not isinstance(array, np.ndarray):  # numpy hands out the bytes of what does not begin like an array
        raise ValueError(f"{name!r} is no array")
    return npz_array(where, name, array)


def _read_csv(path: Path, header: Sequence[str] | None) -> Table:
    spelled = partial(_spelled, path, header)
    frame, _ = next(csv_frames(path, header))
    columns = {name: frame_column(frame[name]) for name in frame.columns}
    # Truth values beside empty cells are objects to pandas: they are text, as it stands in the file.
    mixed = [name for name in frame.columns if any(isinstance(value, bool) for value in _objects(frame[name]))]
    return Table(columns | (spelled(mixed) if mixed else {}), str(path), spelled)


def _objects(series: Any) -> Array:
    values: Array = series.to_numpy()
    return values if values.dtype == object else values[:0]


def _spelled(path: Path, header: Sequence[str] | None, names: Sequence[str]) -> dict[str, Array]:
    frame, _ = next(csv_frames(path, header, text=names, only=names))
    return {name: text_array(frame[name].tolist()) for name in names}


def _read_parquet(path: Path) -> dict[str, Array]:
    import pyarrow
    import pyarrow.parquet

    where = str(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = parquet_names(file.schema_arrow, where)
            table = file.read()
        return {name: arrow_column(where, name, table.column(name)) for name in names}
    except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise DataError(where, f"not a complete Parquet file ({error})", "write it again") from None
