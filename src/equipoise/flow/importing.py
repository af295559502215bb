"""Reads a model's file in a process of its own, since a hostile file may crash or fill its reader."""

from __future__ import annotations

from pathlib import Path

from equipoise.compose.servable import Config
from equipoise.core.environment import Environment
from equipoise.core.recipe import Recipe
from equipoise.core.variant import Variant
from equipoise.errors import ModelError, SandboxError
from equipoise.host.sandbox import Sandbox
from equipoise.ingest.model import ImportedModel, import_model
from equipoise.ingest.table import Table
from equipoise.registry import runtimes
from equipoise.store.artifacts import artifact_bytes, artifact_digest

IMPORT_TIMEOUT_S = 300.0
TABLE_ROWS = 256
"""Rows of the data that a reader sees, to tell the types of a scikit-learn model's columns."""
NATIVE = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "openvino", "sklearn": "sklearn", "torch": "torch"}


def import_in_child(
    path: Path,
    recipe: Recipe,
    trust: bool,
    table: Table | None,
    folder: Path,
    log: Path,
    state: Path | None = None,
) -> tuple[ImportedModel, Variant]:
    """Read a model and write its artifact.

    Args:
        path: The model's file.
        recipe: An empty one, of the model's source.
        trust: Whether files that can execute code may be opened.
        table: Rows of the data; null where they must become what the model takes first.
        folder: An existing, empty folder for the artifact.
        log: File that receives what the process prints.
        state: Weights of a PyTorch module, where they are not in its file.

    Raises:
        ModelError: The file is damaged, hostile, not a model, of a kind that cannot be served, or ended its reader.
    """
    with Sandbox(log) as child:
        try:
            head = None if table is None else table.head(TABLE_ROWS)
            model: ImportedModel = child.call(
                import_model, path, trust, folder, head, state, timeout_s=IMPORT_TIMEOUT_S
            )
        except SandboxError as error:
            raise ModelError(str(path), f"reading it ended with: {error}", "check the file") from error
    return model, Variant(
        recipe=recipe,
        artifact=artifact_digest(folder),
        format=model.format,
        quantized=model.quantized,
        spec=model.spec,
        artifact_bytes=artifact_bytes(folder),
        build_s=0.0,
        data_use="none",
        tool_versions={},
    )


def native_config(variant: Variant, machine: Environment) -> Config:
    """A variant in the runtime of its format, in its own precision."""
    runtime = NATIVE[variant.format]
    precision = runtimes()[runtime].precisions(variant.format, variant.quantized, machine)[0]
    return Config(variant=variant, runtime=runtime, precision=precision)
