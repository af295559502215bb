"""How long an artifact takes for a row, measured: what strengths of techniques are chosen by."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from equipoise.compress.tools import IR_FILE, ONNX_FILE, TFLITE_FILE, open_natively
from equipoise.core.profile import Settings
from equipoise.preprocess.rows import Rows
from equipoise.registry import runtimes

BATCH = 32
TIMED_S = 0.25
FEWEST_RUNS = 5


def row_seconds(artifact: Path, rows: Rows, clock: Callable[[], float] = time.perf_counter) -> float:
    """The shortest time that a row took in batches of 32, one thread, in OpenVINO's float32 where it opens the file.

    A quick figure to compare forms of one model by; what is served is measured by the search, on every runtime.

    Args:
        artifact: Its folder.
        rows: Real rows; the first 32 are asked.
        clock: Tells seconds.

    Raises:
        ModelError: It cannot be opened.
    """
    if any((artifact / name).is_file() for name in (ONNX_FILE, IR_FILE, TFLITE_FILE)):
        settings = Settings(runtime="openvino", precision="f32", threads=1, replicas=1, batch=BATCH)
        session = runtimes()["openvino"].open(artifact, settings)
    else:
        session = open_natively(artifact)
    size = session.spec.fixed_batch or BATCH
    prepared = session.prepare(rows.take(np.resize(np.arange(rows.n), size)).feeds)
    session.run(prepared)
    times: list[float] = []
    while len(times) < FEWEST_RUNS or sum(times) < TIMED_S:
        begin = clock()
        session.run(prepared)
        times.append(clock() - begin)
    return min(times) / size
