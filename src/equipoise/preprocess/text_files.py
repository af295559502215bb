"""Reads labelled text, a piece at a time: JSON lines, and lines of `label text`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.errors import DataError

Array = NDArray[Any]
JSON_SUFFIXES = (".jsonl", ".ndjson")
LINE_SUFFIXES = (".txt", ".train", ".dev", ".valid", ".test", ".all")
"""The names by which files of `label text` lines go: `stsa.binary.dev`, `TREC.test.all`."""
TEXT_SUFFIXES = (*JSON_SUFFIXES, *LINE_SUFFIXES)
LABEL, TEXT = "label", "text"
SHOWN_LINES = 5
LINES_LOOKED_AT = 1000


def is_labelled(path: Path, classes: Collection[str]) -> bool:
    """Whether lines that are no JSON begin with a label: one of the classes, or a whole number.

    Raises:
        DataError: Most of the first ones do, and some do not.
    """
    lines = (line for line, _ in _decoded_lines(path) if line.strip())
    firsts = [line.split(maxsplit=1)[0] for line in islice(lines, LINES_LOOKED_AT)]
    others = [first for first in firsts if first not in classes and not _is_whole(first)]
    if 0 < len(others) < len(firsts) / 2:
        raise DataError(
            str(path),
            f"{len(firsts) - len(others):,} of the first {len(firsts):,} lines begin with a class, and {len(others):,} "
            f"with something else, {others[0]!r} for example",
            "give every line its label, or none",
        )
    return not others


def text_columns(
    path: Path, rows: int | None = None, *, labelled: bool = True
) -> Iterator[tuple[dict[str, Array], float]]:
    """Read a text file.

    A line of JSON is an object whose values are text, numbers, truth values or null. Any other line is a label without
    spaces, a space or tab, and the text. Lines without a character but spaces are passed over.

    Args:
        path: The file; its suffix says which of the two it is.
        rows: Most rows of a piece; null for all at once, so that a column's type is that of all its values.
        labelled: Whether lines that are no JSON begin with a label; without it, they are text alone.

    Yields:
        Column name to [n]: numbers where all are numbers (missing ones are NaN), else text as an `object` array, None
        where missing; and the share of the file that was read when they were, 0 to 1.

    Raises:
        DataError: A line is not UTF-8, or not what a line should be; it is named by its number.
    """
    is_json = path.suffix.lower() in JSON_SUFFIXES
    size = max(1, path.stat().st_size)
    numbers: list[int] = []
    lines: list[str] = []
    read = 0
    for number, (line, content_bytes) in enumerate(_decoded_lines(path), start=1):
        read += content_bytes
        if line.strip():
            numbers.append(number)
            lines.append(line)
        if len(lines) == rows:
            yield _columns(path, lines, numbers, is_json=is_json, labelled=labelled), min(1.0, read / size)
            numbers, lines = [], []
    if lines:
        yield _columns(path, lines, numbers, is_json=is_json, labelled=labelled), 1.0


def spelled(values: Array) -> Array:
    """A column as text, where it only looked like numbers in the piece that was read."""
    if values.dtype == object:
        return values
    return _objects([None if value != value else json.dumps(value) for value in values.tolist()])


def _decoded_lines(path: Path) -> Iterator[tuple[str, int]]:
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    str(path),
                    f"line {number:,} is not UTF-8 text: byte 0x{content[error.start]:02x}, {error.start + 1:,} bytes "
                    "into it",
                    "save the file as UTF-8 (`iconv -f LATIN1 -t UTF-8`, if it is in Latin-1)",
                ) from None
            yield line.rstrip("\r\n"), len(content)


def _columns(
    path: Path, lines: Sequence[str], numbers: Sequence[int], *, is_json: bool, labelled: bool
) -> dict[str, Array]:
    if is_json:
        return _json_columns(path, lines, numbers)
    return _line_columns(path, lines, numbers) if labelled else {TEXT: _objects([line.strip() for line in lines])}


def _line_columns(path: Path, lines: Sequence[str], numbers: Sequence[int]) -> dict[str, Array]:
    parts = [line.split(maxsplit=1) for line in lines]
    bad = [number for number, part in zip(numbers, parts, strict=True) if len(part) < 2]
    if bad:
        raise _bad_lines(path, bad, len(lines), "a label and no text", f"needed `{LABEL} {TEXT}` in every line")
    labels = [part[0] for part in parts]
    texts = [part[1].rstrip() for part in parts]
    return {
        LABEL: np.array(labels, dtype=np.int64) if all(map(_is_whole, labels)) else _objects(labels),
        TEXT: _objects(texts),
    }


def _is_whole(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit()


def _json_columns(path: Path, lines: Sequence[str], numbers: Sequence[int]) -> dict[str, Array]:
    found = []
    for line, number in zip(lines, numbers, strict=True):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                str(path), f"line {number:,} is not JSON ({error})", "needed an object in every line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(str(path), f"line {number:,} is {line[:40]!r}", "needed an object in every line")
        found.append(row)
    names = dict.fromkeys(name for row in found for name in row)
    return {name: _values(path, name, [row.get(name) for row in found], numbers) for name in names}


def _values(path: Path, name: str, values: Sequence[Any], numbers: Sequence[int]) -> Array:
    kinds = {type(value) for value in values}
    strange = kinds - {str, int, float, bool, type(None)}
    if strange:
        bad = [number for value, number in zip(values, numbers, strict=True) if type(value) in strange]
        raise _bad_lines(path, bad, len(values), f"a list or an object under {name!r}", "needed text, numbers or null")
    if kinds <= {bool}:
        return np.array(values, dtype=bool)
    if kinds <= {int} and all(-(2**63) <= value < 2**63 for value in values):
        return np.array(values, dtype=np.int64)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return _objects([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])


def _bad_lines(path: Path, bad: Sequence[int], lines: int, what: str, needed: str) -> DataError:
    shown = ", ".join(f"{number:,}" for number in bad[:SHOWN_LINES]) + (", ..." if len(bad) > SHOWN_LINES else "")
    return DataError(str(path), f"{what} in {len(bad):,} of {lines:,} lines: {shown}", needed)


def _objects(values: Sequence[str | None]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
