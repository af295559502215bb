"""Reads every data file of a brief and binds it to the model, so that whatever is wrong shows before any long work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.brief import Brief
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.ingest.data_files import DataFiles, Keep, made_now
from equipoise.ingest.rows import bind_rows, feature_columns, target_name
from equipoise.ingest.slices import slice_values, spelled
from equipoise.ingest.table import Table
from equipoise.preprocess.lengths import joined
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]


@dataclass(frozen=True)
class StudyData:
    """The data of a study, bound to its model.

    Attributes:
        rows: The main rows and those of the out-of-distribution sets, one after the other; `rows.extra` holds the slice
            columns (text; numbers of many values are cut at their quartiles; null outside the main rows) and the group
            column (text).
        calibration: Rows for calibration, where they come apart.
        train: Rows the model was trained on, where they were given; with targets where something is to be trained
            and their file has them.
        target: Name of the column of true answers; null where there is none.
        group: Name of the group column; null where there is none.
        columns: Columns of the main file that the model's single input is made from, in order; empty where inputs are
            found by name.
        classes: Classes of images in the order of their folders; null where there were none.
        preprocessing: How raw images or texts became the rows; null where they were tensors or columns already.
        files: The image that each of the main rows is; empty where they are no files of their own.
        warnings: What the person should know about the data.
    """

    rows: Rows
    calibration: Rows | None
    train: Rows | None
    target: str | None
    group: str | None
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    preprocessing: PlacedPreprocessing | None = None
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def groups(self) -> Array | None:
        """Which rows belong together, [n]; null without a group column."""
        return None if self.group is None else self.rows.extra[self.group]


def load_study_data(
    brief: Brief, spec: ModelSpec, table: Table | None = None, files: DataFiles | None = None
) -> StudyData:
    """Read and check the data of a brief.

    Args:
        brief: Which files, and what is asked of them.
        spec: What the model takes.
        table: The main data file, where it was read already.
        files: Reads the data files; null to read them as the brief says.

    Raises:
        DataError: A file cannot be read, a column is missing or does not fit the model, the target is missing where the
            metric needs it, or a slice or group column cannot serve as one.
    """
    data = brief.data
    files = files or files_of(brief, spec)
    main = table or files.read(Path(data.path))
    named = files.names
    needs = _needs_target(brief.quality.metric)
    target = target_name(main, spec, data.target, needs or ("--target" if data.target else None))
    extra = list(dict.fromkeys([*data.slices, *([data.group] if data.group else [])]))
    for column in extra:
        if main.require(column, "a slice or the group").ndim != 1:
            raise DataError(main.source, f"column {column!r} has several values a row", "needed one value a row")
    columns = _columns(feature_columns(main, spec, target, extra))
    slices = {column: slice_values(main, column) for column in data.slices}
    groups = None if data.group is None else _group_values(main, data.group, slices)
    parts = [replace(bind_rows(main, spec, target, extra=extra, needs_target=needs), extra={})]
    group_parts = [groups]
    for name, ood in data.ood.items():
        other = files.read(Path(ood.path))
        why = f"the set {name!r}, compared by {brief.quality.metric or 'the target'},"
        part = _bound(other, spec, target, extra, columns, population=name, needs_target=why if target else None)
        _require_same_kind(parts[0], part, main, other)
        _require_same_shapes(parts[0], part, other, files.filling)
        parts.append(part)
        group_parts.append(None if data.group is None else _group_values(other, data.group, {}))
    return StudyData(
        rows=_joined(parts, slices, data.group, group_parts, files.filling),
        calibration=_calibration(brief, spec, target, extra, columns, parts[0], main, files),
        train=_train(brief, spec, target, extra, columns, files),
        target=target,
        group=data.group,
        columns=columns,
        classes=files.classes,
        preprocessing=files.placed,
        files=named,
        warnings=(*files.notes, *_notes(main, slices)),
    )


def files_of(brief: Brief, spec: ModelSpec, keep: Keep = made_now) -> DataFiles:
    """What reads a brief's data files; `keep` as `DataFiles` takes it.

    Raises:
        DataError: The brief's preprocessing does not fit the model.
    """
    data = brief.data
    besides = [name for name in (data.target, data.group, *data.slices) if name is not None]
    return DataFiles(spec, data.columns, brief.preprocess, keep, besides)


def _columns(sources: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The columns of the single input that was found by something else than its name."""
    by_name = all(columns == (name,) for name, columns in sources.items())
    return () if by_name else next(iter(sources.values()))


def _needs_target(metric: str | None) -> str | None:
    """Why there must be a target; None where there need be none."""
    return None if metric in (None, "agreement", "none") or ":" in metric else f"the metric {metric}"


def _bound(
    table: Table,
    spec: ModelSpec,
    target: str | None,
    extra: Sequence[str],
    columns: Sequence[str],
    population: str = "main",
    needs_target: str | None = None,
) -> Rows:
    """Rows of a further file, which may lack the slice columns; its own columns besides the inputs are left out."""
    there = [column for column in extra if column in table.columns]
    rows = bind_rows(
        table, spec, target, extra=there, population=population, needs_target=needs_target, columns=columns
    )
    return replace(rows, extra={})


def _calibration(
    brief: Brief,
    spec: ModelSpec,
    target: str | None,
    extra: Sequence[str],
    columns: Sequence[str],
    rows: Rows,
    main: Table,
    files: DataFiles,
) -> Rows | None:
    if brief.data.calibration is None:
        return None
    table = files.read(Path(brief.data.calibration))
    found = _bound(table, spec, target, extra, columns)
    _require_same_kind(rows, found, main, table)
    return found


def _train(
    brief: Brief,
    spec: ModelSpec,
    target: str | None,
    extra: Sequence[str],
    columns: Sequence[str],
    files: DataFiles,
) -> Rows | None:
    if brief.data.train is None:
        return None
    table = files.read(Path(brief.data.train))
    if brief.limits.train_s and target is not None and target in table.columns:
        return _bound(table, spec, target, extra, columns)
    unlabelled = replace(table, columns={name: array for name, array in table.columns.items() if name != target})
    return replace(_bound(unlabelled, spec, None, extra, columns), target=None)


def _require_same_kind(main: Rows, other: Rows, main_table: Table, table: Table) -> None:
    """Refuse targets that cannot be compared: text here, numbers there, or another number of labels."""
    if main.target is None or other.target is None:
        return
    kinds = [(array.dtype == object, array.shape[1:]) for array in (main.target, other.target)]
    if kinds[0] != kinds[1]:
        found, needed = (
            f"{'text' if is_text else 'numbers'}{f' of shape {list(shape)} a row' if shape else ''}"
            for is_text, shape in reversed(kinds)
        )
        raise DataError(table.source, f"its target holds {found}", f"needed {needed}, as in {main_table.source}")


def _require_same_shapes(main: Rows, other: Rows, table: Table, filling: Mapping[str, int]) -> None:
    """Refuse inputs of a free size that differs between sets, but for sequences, which are filled up."""
    for name, array in other.feeds.items():
        wanted = main.feeds[name].shape[1:]
        if name not in filling and array.shape[1:] != wanted:
            found = f"input {name!r} is {list(array.shape[1:])} a row"
            raise DataError(table.source, found, f"needed {list(wanted)}, as in the main rows: make them one size")


def _group_values(table: Table, column: str, slices: dict[str, Array]) -> Array:
    values = table.require(column, "the group (--group)")
    if values.ndim != 1:
        raise DataError(table.source, f"column {column!r} has several values a row", "needed one group a row")
    named = spelled(values)
    missing = np.array([value is None for value in named])
    if missing.any():
        raise DataError(
            table.source,
            f"the group {column!r} is missing in {missing.sum():,} of {len(missing):,} rows, first in row "
            f"{int(missing.argmax()) + 1}",
            "needed the group of every row",
        )
    if column in slices and len(set(slices[column].tolist())) != len(set(named.tolist())):
        raise DataError(
            table.source,
            f"column {column!r} is the group and, cut at its quartiles, a slice",
            "needed another column for one of them",
        )
    return slices.get(column, named)


def _joined(
    parts: Sequence[Rows],
    slices: dict[str, Array],
    group: str | None,
    group_parts: Sequence[Array | None],
    filling: Mapping[str, int],
) -> Rows:
    further = sum(part.n for part in parts[1:])
    extra = {column: np.concatenate([values, np.full(further, None)]) for column, values in slices.items()}
    if group is not None:
        extra[group] = np.concatenate([values for values in group_parts if values is not None])
    targets = [part.target for part in parts if part.target is not None]
    return Rows(
        feeds=joined([part.feeds for part in parts], filling),
        target=np.concatenate(targets) if targets else None,
        extra=extra,
        population=np.concatenate([part.population for part in parts]),
        texts=_all([part.texts for part in parts]),
    )


def _all(texts: Sequence[Array | None]) -> Array | None:
    there = [each for each in texts if each is not None]
    return np.concatenate(there) if len(there) == len(texts) else None


def _notes(main: Table, slices: dict[str, Array]) -> tuple[str, ...]:
    notes = []
    for column, values in slices.items():
        if len(set(values.tolist())) < len(np.unique(main.columns[column].astype(str))):
            parts = ", ".join(sorted(set(values.tolist())))
            notes.append(f"the slice {column} was cut at its quartiles: {parts}")
    return tuple(notes)
