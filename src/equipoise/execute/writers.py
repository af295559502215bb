"""Writes answers a piece at a time; a file appears under its name when it is whole."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError

Array = NDArray[Any]


class Writer(ABC):
    """Collects pieces in a folder beside the file; leaving without an error puts the file in its place."""

    def __init__(self, out: Path) -> None:
        self.names: list[str] = []
        self._out = out
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        except OSError as error:
            raise DataError(str(out), f"cannot be written: {error.strerror}", "give a path in another folder") from None
        self._partial = self._folder / out.name

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
            if kind is None:
                self._partial.replace(self._out)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def write(self, columns: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Add rows.

        Args:
            columns: For people, name to [n].
            outputs: The model's own, name to [n, ...].
        """

    @abstractmethod
    def close(self) -> None:
        """Finish the file."""


class CsvWriter(Writer):
    """Columns for people, as text."""

    def write(self, columns: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:  # noqa: ARG002
        """Add rows."""
        import pandas as pd

        first = not self.names
        self.names = list(columns)
        pd.DataFrame(dict(columns)).to_csv(self._partial, mode="w" if first else "a", header=first, index=False)

    def close(self) -> None:
        """Nothing is open."""


class ParquetWriter(Writer):
    """Columns for people, typed."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._file: Any = None

    def write(self, columns: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:  # noqa: ARG002
        """Add rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(column) for name, column in columns.items()})
        if self._file is None:
            self.names = list(columns)
            self._file = pq.ParquetWriter(self._partial, table.schema)
        self._file.write_table(table)

    def close(self) -> None:
        """Write the footer."""
        if self._file is not None:
            self._file.close()


class NpzWriter(Writer):
    """Columns for people and every output of the model, as arrays; text as fixed-width unicode, never pickled."""

    def __init__(self, out: Path) -> None:
        super().__init__(out)
        self._pieces: list[list[Path]] = []
        self._kinds: list[np.dtype[Any]] = []
        self._shapes: list[tuple[int, ...]] = []

    def write(self, columns: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Add rows."""
        plainer = {name: column for name, column in columns.items() if name not in outputs or outputs[name].ndim == 1}
        arrays = {name: _plain(array) for name, array in {**outputs, **plainer}.items()}
        if not self.names:
            self.names = list(arrays)
            self._pieces = [[] for _ in arrays]
            self._kinds = [array.dtype for array in arrays.values()]
            self._shapes = [(0, *array.shape[1:]) for array in arrays.values()]
        for index, array in enumerate(arrays.values()):
            piece = self._folder / f"{index}-{len(self._pieces[index])}.npy"
            np.save(piece, array, allow_pickle=False)
            self._pieces[index].append(piece)
            self._kinds[index] = np.result_type(self._kinds[index], array.dtype)
            self._shapes[index] = (self._shapes[index][0] + len(array), *array.shape[1:])

    def close(self) -> None:
        """Join the pieces: only now are all lengths, and the widest text, known."""
        with zipfile.ZipFile(self._partial, "w", allowZip64=True) as archive:
            for name, pieces, kind, shape in zip(self.names, self._pieces, self._kinds, self._shapes, strict=True):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    described = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(file, described)
                    for piece in pieces:
                        file.write(np.ascontiguousarray(np.load(piece, allow_pickle=False), kind).tobytes())


def _plain(array: Array) -> Array:
    return array.astype(str) if array.dtype == object else array


WRITERS: dict[str, type[Writer]] = {".npz": NpzWriter, ".csv": CsvWriter, ".parquet": ParquetWriter}
