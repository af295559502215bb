"""The original model's answers, from its file: what a bundle is compared with after its study is gone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.tensor import ModelSpec
from equipoise.errors import ModelError, SandboxError
from equipoise.flow.children import answers_of, open_child_of
from equipoise.flow.importing import import_in_child, native_config
from equipoise.host.environment import environment
from equipoise.ingest.table import Table
from equipoise.preprocess.rows import Rows

Array = NDArray[Any]
BATCH = 16
TIMEOUT_S = 3600.0


def original_answers(
    path: Path, trust: bool, table: Table, bound: Callable[[ModelSpec], Rows], state: Path | None = None
) -> dict[str, Array]:
    """Read a model and have it answer, each in a process of its own, in its native runtime and precision.

    Args:
        path: The model's file.
        trust: Whether files that can execute code may be opened.
        table: Rows of the data.
        bound: Binds all rows to what a model takes.
        state: Weights of a PyTorch module, where they are not in its file.

    Returns:
        Output name to [n, ...].

    Raises:
        ModelError: The file cannot be used, or does not run on these rows.
        DataError: The rows do not fit what it takes.
    """
    machine = environment()
    with tempfile.TemporaryDirectory(prefix="equipoise-check-") as work:
        folder, log = Path(work) / "artifact", Path(work) / "log"
        folder.mkdir()
        model, variant = import_in_child(path, Recipe(), trust, table, folder, log, state)
        config, rows = native_config(variant, machine), bound(model.spec)
        batch = model.spec.fixed_batch or BATCH
        settings = Settings(
            runtime=config.runtime, precision=config.precision, threads=machine.cores, replicas=1, batch=batch
        )
        artifacts, sample = {variant.artifact: folder}, rows.take(slice(0, batch)).feeds
        try:
            with open_child_of(config.stages(settings), None, artifacts, sample, log) as child:
                return answers_of(child, rows, batch, TIMEOUT_S)
        except SandboxError as error:
            raise ModelError(
                str(path), f"it does not run on these rows: {error}", "needed the model that the bundle was made from"
            ) from error
