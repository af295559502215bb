"""What a study works on: models, rows, judge, traffic and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.near import Requests
from equipoise.compose.servable import Config
from equipoise.core.brief import LimitsBrief, ValueBrief
from equipoise.core.variant import Variant
from equipoise.flow.evidence import MAIN, Judge
from equipoise.flow.traffic import Traffic
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]
SAMPLE_ROWS, SAMPLE_BYTES, LEAST_SAMPLE_ROWS = 2048, 64 * 2**20, 256


@dataclass(frozen=True)
class Material:
    """What the workbench works on.

    Attributes:
        originals: Recipe source to the variant that was given.
        baseline: The artifact as given, in its native runtime and precision.
        native: Format to the runtime and precision that check a conversion into it.
        splits: `search` and `certify` rows; `trace`, where it is known what a trace's requests asked for.
        calibration: Rows that techniques may read.
        output: The output that is judged.
        judge: Judges outputs on the first rows of a split; null with the metric `none`.
        traffic: The brief's traffic; null for none.
        limits: The brief's limits.
        value: What errors, waiting and failures cost; null where nothing has a price.
        seed: For everything random.
        cores: Cores that may be used.
        environment: Digest of the environment.
        train: Rows that techniques may train on; null where nothing is to be trained.
        requests: Of the trace, where it is known what they asked for; null else.
    """

    originals: dict[str, Variant]
    baseline: Config
    native: Callable[[Variant], Config]
    splits: dict[str, Rows]
    calibration: Rows
    output: str
    judge: Judge | None
    traffic: Traffic | None
    limits: LimitsBrief
    seed: int
    cores: int
    environment: str
    requests: Requests | None = None
    train: Rows | None = None
    value: ValueBrief | None = None


def sample_of(search: Rows) -> dict[str, Array]:
    """Rows to time with: a cascade is as fast as its rows are easy, so they are those that it is judged on."""
    row_bytes = max(1, sum(array[:1].nbytes for array in search.feeds.values()))
    most = max(LEAST_SAMPLE_ROWS, min(SAMPLE_ROWS, SAMPLE_BYTES // row_bytes))
    return search.take(np.flatnonzero(search.population == MAIN)[:most]).feeds
