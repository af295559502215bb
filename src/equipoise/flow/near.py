"""Near matches: which rows a trace's requests asked for, and what the answers that a study has kept say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.actions import Answer, NearMatch, NearMatched
from equipoise.compose.near import Index, Requests, Sizing, near_match, spread_of
from equipoise.compose.servable import Composed
from equipoise.errors import DataError
from equipoise.flow.evidence import MAIN, Judge
from equipoise.ingest.trace import Trace
from equipoise.preprocess.rows import Rows
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
MOST_REQUESTS = 100_000
"""Of a longer trace the last ones count: they are most like those to come."""


def check_rows(trace: Trace, rows: int, path: Path, data: str) -> None:
    """See that a trace's requests ask for rows that are there.

    Args:
        trace: The trace.
        rows: Rows of the data file.
        path: The trace, for errors.
        data: The data file, for errors.

    Raises:
        DataError: It has the column `row` without `key`, or asks for a row that the data does not have.
    """
    if trace.row is None:
        return
    if trace.key is None:
        raise DataError(
            str(path),
            "it has the column row and no column key",
            "needed both: equal keys are equal requests; to leave near matches alone, rename the column row",
        )
    beyond = trace.row >= rows
    if beyond.any():
        more = int(np.count_nonzero(beyond)) - 1
        raise DataError(
            str(path),
            f"request {int(beyond.argmax()) + 1:,} asks for row {int(trace.row[beyond][0]):,}"
            + (f", and {more:,} more ask for rows as far" if more else ""),
            f"{data} has {rows:,} rows, counted from 0: needed a row of 0 to {rows - 1:,}, of the data that the trace "
            "was recorded with",
        )


def requests_of(trace: Trace | None, certify: Index) -> tuple[Requests, Index] | None:
    """The requests of a trace that says what they asked for.

    Args:
        trace: The trace; null for none.
        certify: Rows of the data that are in the certify split.

    Returns:
        The last requests, and the rows of the data that they asked for, each once, in the order of their first request;
        null where the trace has no keys and rows.
    """
    if trace is None or trace.row is None or trace.key is None:
        return None
    asked = trace.row[-MOST_REQUESTS:]
    rows, first, place = np.unique(asked, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(rows), dtype=np.intp)
    rank[order] = np.arange(len(rows))
    high = None if trace.high is None else trace.high[-MOST_REQUESTS:]
    requests = Requests(
        time_s=trace.start_s[-MOST_REQUESTS:],
        row=rank[place.reshape(-1)],
        certify=np.isin(rows[order], certify),
        high=high if high is not None and high.any() else None,
        key=trace.key[-MOST_REQUESTS:],
    )
    return requests, rows[order].astype(np.intp)


def match_nearly(
    action: NearMatch,
    load: Callable[[Answer], dict[str, Array]],
    requests: Requests,
    judged_by: Judge,
    splits: Mapping[str, Rows],
) -> NearMatched:
    """Find out how nearly inputs must match to share an answer, and prove it.

    Args:
        action: How the rows of the trace were answered, and what a cache may be.
        load: Loads the outputs of an `Answer`.
        requests: The requests of the trace.
        judged_by: Decodes outputs, and knows the claims.
        splits: Rows by split.
    """
    n = action.plan.rows
    if requests.high is not None and isinstance(action.plan.config, Composed) and len(action.plan.config.parts) > 1:
        return NearMatched(why_not="not offered: requests of high priority pass the plan's first stages by, unproved")
    outputs, rows = load(action.plan), splits["trace"].take(slice(0, n))

    def given(answered_by: Index, asked: Index) -> Predictions:
        taken = {name: array[answered_by] for name, array in outputs.items()}
        return judged_by.decoded(taken, None if rows.target is None else rows.target[asked])

    search = splits["search"]
    return near_match(
        rows.feeds,
        requests.before_row(n),
        judged_by.evidence(load(action.original), "trace", n),
        given,
        Sizing(action.sizes, action.entry_share, action.exact_entries),
        spread_of(search.take(np.flatnonzero(search.population == MAIN)).feeds),
        judged_by.seed,
    )
