"""Which students are worth a try for a model, told from what it takes."""

from __future__ import annotations

from pydantic import JsonValue

from equipoise.core.tensor import ModelSpec
from equipoise.students.task import CHANNELS

IMAGE: tuple[tuple[str, float], ...] = (
    ("small_resnet", 0.15), ("small_cnn", 0.15), ("small_resnet", 0.3), ("small_cnn", 0.05), ("mobilenet", 0.15),
    ("efficientnet", 0.3),
)  # fmt: skip
TEXT: tuple[tuple[str, float], ...] = (
    ("text_cnn", 0.1), ("bag_of_embeddings", 0.02), ("transformer", 0.25), ("text_cnn", 0.03),
)  # fmt: skip
TABLE: tuple[tuple[str, float], ...] = (("mlp", 0.1), ("mlp", 0.3))


def proposed_students(spec: ModelSpec) -> list[dict[str, JsonValue]]:
    """Parameters of steps, the most promising first; none for a model that takes text itself.

    Families at shares of the model's own time a row: a student must be much faster to pay for being taught.
    """
    if any(tensor.dtype in ("string", "float16", "bfloat16") for tensor in spec.inputs):
        return []
    first = spec.inputs[0]
    if len(spec.inputs) == 1 and len(first.shape) in (3, 4):
        image = len(first.shape) == 3 or first.shape[1] in CHANNELS or first.shape[3] in CHANNELS
        found = IMAGE if image else ()
    elif all(tensor.dtype in ("int32", "int64") and len(tensor.shape) == 2 for tensor in spec.inputs):
        found = TEXT
    else:
        found = TABLE if all(len(tensor.shape) <= 2 for tensor in spec.inputs) else ()
    return [{"family": family, "share": share} for family, share in found]
