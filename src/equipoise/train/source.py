"""What the model under study takes and gives, from its artifact."""

from __future__ import annotations

from pathlib import Path

from equipoise.compress.tools import IR_FILE, ONNX_FILE, SKOPS_FILE, TFLITE_FILE, TORCH_FILE, open_natively
from equipoise.core.tensor import ModelSpec
from equipoise.errors import TechniqueError

FILES = (ONNX_FILE, IR_FILE, TFLITE_FILE, SKOPS_FILE, TORCH_FILE)


def original_spec(source: Path) -> ModelSpec:
    """Names, types and shapes of an artifact's inputs and outputs, in its own order.

    Raises:
        TechniqueError: The folder holds no model.
        ModelError: It cannot be opened.
    """
    if not any((source / name).is_file() for name in FILES):
        found = ", ".join(sorted(path.name for path in source.iterdir())) or "nothing"
        raise TechniqueError(f"works on any model; {source.name} holds {found}")
    spec: ModelSpec = open_natively(source).spec
    return spec
