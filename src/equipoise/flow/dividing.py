"""The rows that a study searches, certifies, calibrates and trains on, none of them for two of these."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.near import Requests
from equipoise.compose.servable import Config
from equipoise.core.brief import Brief
from equipoise.core.corruption import Corruption
from equipoise.core.splits import Splits
from equipoise.errors import DataError
from equipoise.flow.corrupting import with_corruptions
from equipoise.flow.evidence import numbered
from equipoise.flow.near import requests_of
from equipoise.ingest.splits import split_rows
from equipoise.ingest.study_data import StudyData
from equipoise.ingest.trace import Trace
from equipoise.preprocess.rows import Rows
from equipoise.store.study import StudyFolder

FEWEST_TRAINING_ROWS = 50


@dataclass(frozen=True)
class DividedRows:
    """How the rows of the data were divided.

    Attributes:
        splits: `search` and `certify` rows; `trace`, where it is known what a trace's requests asked for.
        calibration: Rows that techniques may read.
        train: Rows that techniques may train on; null where nothing is to be trained.
        requests: Of the trace, where it is known what they asked for; null else.
        corruptions: What was done to the rows of further sets.
        figures: How many rows are where.
        notes: What the person should know.
    """

    splits: dict[str, Rows]
    calibration: Rows
    train: Rows | None
    requests: Requests | None
    corruptions: tuple[Corruption, ...]
    figures: Splits
    notes: tuple[str, ...]


def divide(brief: Brief, data: StudyData, trace: Trace | None, baseline: Config, study: StudyFolder) -> DividedRows:
    """Divide the rows, and make the corrupted sets that the brief wants of them.

    Raises:
        DataError: There are too few for what is wanted.
    """
    index, figures = split_rows(
        data.rows,
        groups=data.groups,
        calibration=data.calibration,
        train=data.train,
        seed=brief.seed,
        source=brief.data.path,
    )
    calibration = data.calibration
    if calibration is None:
        calibration = data.rows.take(np.random.default_rng(brief.seed).permutation(index.calibrate))
    # In random order: where the budget allows some of the rows, it takes the first.
    shuffle = np.random.default_rng(brief.seed).permutation
    known = numbered(data.rows)
    rows = {"search": known.take(shuffle(index.search)), "certify": known.take(shuffle(index.certify))}
    corrupted = with_corruptions(brief, rows, baseline, study, data.preprocessing)
    splits, asked = corrupted.splits, requests_of(trace, index.certify)
    if asked is not None:
        splits["trace"] = data.rows.take(asked[1])
    return DividedRows(
        splits=splits,
        calibration=calibration,
        train=_training_rows(brief, data, index.train),
        requests=None if asked is None else asked[0],
        corruptions=corrupted.corruptions,
        figures=figures,
        notes=corrupted.notes,
    )


def _training_rows(brief: Brief, data: StudyData, index: NDArray[np.intp]) -> Rows | None:
    """Rows that techniques may train on: none that repeats a row of the data. True answers only where they may go in.

    Raises:
        DataError: Too few are left.
    """
    if data.train is None or not brief.limits.train_s:
        return None
    if len(index) < FEWEST_TRAINING_ROWS:
        raise DataError(
            str(brief.data.train),
            f"{data.train.n:,} rows, of which {len(index):,} repeat no row of {brief.data.path}",
            f"needed at least {FEWEST_TRAINING_ROWS} to train on that are not among those that judge",
        )
    rows = data.train.take(index)
    return rows if brief.data.data_use == "labelled" else replace(rows, target=None)
