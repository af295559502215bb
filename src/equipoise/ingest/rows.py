"""Binds the columns of a data file to a model's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import ModelSpec
from equipoise.errors import DataError
from equipoise.ingest.table import Table
from equipoise.preprocess.binding import bind, input_sources
from equipoise.preprocess.columns import listed
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]
TARGET_NAMES = ("label", "y")


def bind_rows(
    table: Table,
    spec: ModelSpec,
    target: str | None = None,
    *,
    extra: Sequence[str] = (),
    population: str = "main",
    needs_target: str | None = None,
    columns: Sequence[str] = (),
) -> Rows:
    """Bind a table's columns to a model's inputs, by name.

    The rules are those of `preprocess.binding`, which predictions follow too.

    Args:
        table: The data file.
        spec: What the model takes.
        target: Column of the true answers; None to look for `label`, then `y`.
        extra: Columns wanted besides (slices, groups).
        population: `main`, or the name of an out-of-distribution set.
        needs_target: Why there must be a target; None where there need be none.
        columns: Columns that made up the model's single input in the main file, in order.

    Raises:
        DataError: A column is missing, or has another shape or type than the model takes; the target is missing, or
            has missing values.
    """
    answers = target_name(table, spec, target, needs_target)
    sources = feature_columns(table, spec, answers, extra, columns)
    text = (name for tensor in spec.inputs if tensor.dtype == "string" for name in sources[tensor.name])
    return Rows(
        feeds=bind(table.as_text(text).columns, spec, sources, table.source),
        target=None if answers is None else _target(table, answers),
        extra={name: table.require(name, "a slice or the group") for name in extra},
        population=np.full(table.n, population, dtype=object),
        texts=table.texts,
    )


def feature_columns(
    table: Table, spec: ModelSpec, target: str | None, extra: Sequence[str] = (), columns: Sequence[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The columns that each input is made from: input name to their names, in order.

    Slice and group columns are features too where the model takes as many columns with them, and not where it takes as
    many without.

    Raises:
        DataError: There is no column, or another number of them, for an input.
    """
    features = [name for name in table.columns if name != target]
    choices = (features, [name for name in features if name not in extra] or features)
    shapes = {name: array.shape[1:] for name, array in table.columns.items()}
    return input_sources(shapes, spec, table.source, choices, target, columns)


def target_name(table: Table, spec: ModelSpec, target: str | None, needs_target: str | None) -> str | None:
    """The column of the true answers: the one that was named, else `label`, else `y`; None where there is none.

    Raises:
        DataError: The named one is missing, or `needs_target` says why there must be one and there is none.
    """
    if target is not None:
        if target in table.columns or needs_target:
            table.require(target, "the true answers (--target)")
            return target
        return None
    inputs = {tensor.name for tensor in spec.inputs}
    found = next((name for name in TARGET_NAMES if name in table.columns and name not in inputs), None)
    if found is None and needs_target:
        raise DataError(
            table.source,
            f"no column {' or '.join(TARGET_NAMES)}",
            f"{needs_target} needs the true answers: name their column with --target; it has {listed(table.columns)}",
        )
    return found


def _target(table: Table, name: str) -> Array:
    array = table.columns[name]
    if array.dtype.kind == "f":
        missing = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
    elif array.dtype == object:
        missing = np.fromiter((value is None for value in array.ravel()), bool, array.size)
        missing = missing.reshape(len(array), -1).any(axis=1)
    else:
        return array
    if missing.any():
        raise DataError(
            table.source,
            f"the target {name!r} has no finite value in {missing.sum():,} of {len(array):,} rows, first in row "
            f"{int(missing.argmax()) + 1}",
            "needed a true answer in every row: remove those rows, or fill them in",
        )
    return array
