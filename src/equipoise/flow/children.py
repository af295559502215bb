"""Opens models in child processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from equipoise.compose.servable import Servable
from equipoise.core.plan import AnswerForm, DistrustAnswer, PlanStage
from equipoise.core.profile import Settings
from equipoise.host.sandbox import Sandbox
from equipoise.measure.session import answer, open_session
from equipoise.preprocess.rows import Rows
from equipoise.runtimes.base import Array
from equipoise.store.study import StudyFolder

OPEN_TIMEOUT_S = 120.0
CHUNK_BYTES = 8 * 2**20


def open_child(
    config: Servable,
    settings: Settings,
    sample: Mapping[str, Array],
    study: StudyFolder,
    log: str,
    *,
    memory_cap_bytes: int | None = None,
    timeout_s: float = OPEN_TIMEOUT_S,
) -> Sandbox:
    """A process of its own in which a config is open, and has answered a row.

    Args:
        config: What is opened.
        settings: Where and how it runs.
        sample: Real rows to time with, input name to [n, ...].
        study: Holds the artifact, and the log.
        log: Name of the log that receives what the process prints.
        memory_cap_bytes: Largest resident size; null for the default.
        timeout_s: Longest that opening may take.

    Returns:
        The process, which the caller ends.

    Raises:
        SandboxError: It crashed, hung, or took too much memory.
        EquipoiseError: The artifact could not be opened.
    """
    artifacts = {each.digest: study.artifact(each.digest) for each in config.configs}
    return open_child_of(
        config.stages(settings),
        config.form,
        artifacts,
        sample,
        study.log(log),
        untrusted=config.untrusted,
        memory_cap_bytes=memory_cap_bytes,
        timeout_s=timeout_s,
    )


def open_child_of(
    stages: Sequence[PlanStage],
    form: AnswerForm | None,
    artifacts: Mapping[str, Path],
    sample: Mapping[str, Array],
    log: Path,
    *,
    untrusted: DistrustAnswer | None = None,
    memory_cap_bytes: int | None = None,
    timeout_s: float = OPEN_TIMEOUT_S,
) -> Sandbox:
    """The same for a plan's stages; see `open_child`."""
    child = Sandbox(log, memory_cap_bytes)
    try:
        child.call(open_session, tuple(stages), form, artifacts, sample, untrusted, timeout_s=timeout_s)
    except BaseException:
        child.close()
        raise
    return child


def answers_of(child: Sandbox, rows: Rows, batch: int, timeout_s: float) -> dict[str, Array]:
    """Answers to rows, sent in chunks so that the data does not count as the model's memory.

    Args:
        child: A process in which something is open.
        rows: At least one.
        batch: Rows a batch.
        timeout_s: Longest that all of them together may take.

    Raises:
        SandboxError: It crashed, hung, or took too much memory.
    """
    row_bytes = max(1, sum(array[:1].nbytes for array in rows.feeds.values()))
    chunk = max(1, CHUNK_BYTES // row_bytes // batch) * batch
    deadline = time.monotonic() + timeout_s
    parts = [
        child.call(answer, rows.take(slice(start, start + chunk)).feeds, batch, timeout_s=deadline - time.monotonic())
        for start in range(0, rows.n, chunk)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
