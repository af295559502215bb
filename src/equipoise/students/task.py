"""What a student is fed and must give, told from the model's inputs and from rows to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equipoise.core.tensor import TensorSpec
from equipoise.errors import TechniqueError

Array = NDArray[Any]
Kind = Literal["image", "text", "table"]
CHANNELS = (1, 3, 4)
"""Numbers of channels that tell which axis of an image holds them."""
SMALLEST_SIDE = 8
PADDED_SHARE = 0.05
"""Share of rows that must end in the same token before it is taken for padding."""
ROWS_LOOKED_AT = 20_000


@dataclass(frozen=True)
class Task:
    """What a student is fed and must give.

    Attributes:
        kind: What the rows are: images, token numbers, or columns of numbers.
        inputs: Input names in the model's order.
        outputs: Numbers that it answers with: classes, or 1 for a value.
        mean: Of each channel, or column, over the rows: [channels] or [columns]; empty for text.
        std: The same, of the standard deviation; 1 where a channel never varies.
        layout: Axes of an image after the batch: `hwc`, `chw` or `hw`; empty for the rest.
        side: Shorter side of an image, pixels; tokens a row for text; columns for a table.
        numbers: Numbers that a row holds.
        vocabulary: Token numbers that were seen, plus one for any other; 0 for the rest.
        padding: The token number that fills short rows; null where there is none.
        mask: Name of the input that marks real tokens with 1; null where there is none.
    """

    kind: Kind
    inputs: tuple[str, ...]
    outputs: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = ""
    side: int = 0
    numbers: int = 0
    vocabulary: int = 0
    padding: int | None = None
    mask: str | None = None

    @property
    def channels(self) -> int:
        """Channels of an image, or columns of a table."""
        return len(self.mean)


def task_of(inputs: Sequence[TensorSpec], rows: Mapping[str, Array], outputs: int) -> Task:
    """Tell what kind of rows a model takes, and measure what a student needs to know of them.

    Args:
        inputs: The model's inputs.
        rows: Rows to learn from, input name to [n, ...]; at most 20,000 of them, evenly spread, are
            looked at: files are often sorted by class.
        outputs: Numbers that the student must answer with.

    Raises:
        TechniqueError: They are neither images nor tokens nor columns of numbers.

    Example:
        >>> images = np.zeros((4, 28, 28), np.uint8)
        >>> task_of([TensorSpec(name="x", dtype="uint8", shape=(None, 28, 28))], {"x": images}, 10).layout
        'hw'
    """
    names = tuple(spec.name for spec in inputs)
    looked = {name: np.asarray(rows[name][:: -(-len(rows[name]) // ROWS_LOOKED_AT)]) for name in names}
    for name, array in looked.items():
        if array.dtype.kind not in "fiub":
            raise TechniqueError(f"a student is fed numbers; input {name!r} holds {array.dtype}")
    first = looked[names[0]]
    if len(names) == 1 and _layout(first.shape[1:]):
        return _image(names, first, outputs)
    tokens = [name for name, array in looked.items() if array.dtype.kind in "iu" and array.ndim == 2]
    if tokens and len(tokens) == len(names) and first.shape[1] >= 4:
        return _text(names, looked, outputs)
    if all(array.ndim <= 2 for array in looked.values()):
        table = np.concatenate([array.reshape(len(array), -1).astype(np.float64) for array in looked.values()], 1)
        mean, std = _moments(table)
        return Task("table", names, outputs, mean, std, side=len(mean), numbers=len(mean))
    shapes = ", ".join(f"{name} {array.shape[1:]}" for name, array in looked.items())
    raise TechniqueError(f"there is no student for rows of this form: {shapes}; give a factory of your own")


def _layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and min(shape) >= SMALLEST_SIDE:
        return "hw"
    if len(shape) != 3:
        return ""
    if shape[2] in CHANNELS and min(shape[:2]) >= SMALLEST_SIDE:
        return "hwc"
    return "chw" if shape[0] in CHANNELS and min(shape[1:]) >= SMALLEST_SIDE else ""


def _image(names: tuple[str, ...], rows: Array, outputs: int) -> Task:
    layout = _layout(rows.shape[1:])
    axes = {"hw": (0, 1, 2), "hwc": (0, 1, 2), "chw": (0, 2, 3)}[layout]
    mean = np.atleast_1d(rows.mean(axis=axes, dtype=np.float64))
    std = np.atleast_1d(rows.std(axis=axes, dtype=np.float64))
    std = np.where(std > 0, std, 1.0)
    side = min(rows.shape[1:] if layout == "hw" else rows.shape[1:3] if layout == "hwc" else rows.shape[2:])
    return Task("image", names, outputs, tuple(mean.tolist()), tuple(std.tolist()), layout, side, numbers=rows[0].size)


def _text(names: tuple[str, ...], rows: Mapping[str, Array], outputs: int) -> Task:
    mask = next((name for name in names if "mask" in name.lower() and len(names) > 1), None)
    ids = next(rows[name] for name in names if name != mask)
    if int(ids.min()) < 0:
        raise TechniqueError("token numbers count from 0; there are negative ones")
    last, counts = np.unique(ids[:, -1], return_counts=True)
    common = int(np.argmax(counts))
    padding = int(last[common]) if counts[common] > max(1, PADDED_SHARE * len(ids)) else None
    return Task("text", names, outputs, side=ids.shape[1], vocabulary=int(ids.max()) + 2, padding=padding, mask=mask)


def _moments(table: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    finite = np.where(np.isfinite(table), table, np.nan)
    known = np.isfinite(finite).any(axis=0)
    finite[:, ~known] = 0.0
    mean, std = np.nanmean(finite, axis=0), np.nanstd(finite, axis=0)
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
