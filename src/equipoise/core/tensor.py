"""Names, types and shapes of what a model takes and gives."""

from __future__ import annotations

from typing import Literal

from equipoise.core.noun import Noun

DType = Literal[
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "bfloat16", "float32", "float64", "string",
]  # fmt: skip


class TensorSpec(Noun):
    """One input or output of a model.

    Attributes:
        name: Its name in the model.
        dtype: Element type, as NumPy spells it; `string` for text.
        shape: One entry an axis, the batch axis first; null where the axis is free.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size this tensor takes, or null where any will do."""
        return self.shape[0] if self.shape else None


class ModelSpec(Noun):
    """What a model takes and gives, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size the model takes, or null where any will do."""
        return next((spec.fixed_batch for spec in self.inputs if spec.fixed_batch is not None), None)
