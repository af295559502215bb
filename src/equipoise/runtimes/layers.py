"""What a runtime says of the layers that it executes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equipoise.core.profile import Precision, Settings
from equipoise.core.tensor import ModelSpec
from equipoise.runtimes.base import Array, Runtime

Shape = tuple[int, ...]
Turn = tuple[int, int]
"""First run, from 0, and the one behind the last, of some runs in a row."""
# Operators that only give what is there another shape or name.
VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Shape", "ShapeOf", "Size", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Operation:
    """One operator with the shapes that it had.

    Attributes:
        operator: Its type, as ONNX, ONNX Runtime or OpenVINO spells it.
        inputs: Shape of each input; null where it is left out or not known.
        outputs: Shape of each output; null where it is not known.
        attributes: Those that numbers, texts and lists of them can hold.
    """

    operator: str
    inputs: tuple[Shape | None, ...]
    outputs: tuple[Shape | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TimedLayer:
    """One layer that was executed.

    Attributes:
        name: As the runtime names it.
        operator: What kind of thing it does.
        kernel: The runtime's own word for how; empty where it says nothing.
        precision: Arithmetic; null where the runtime does not say, or where it computes no real numbers.
        operations: The operators that it carries out; null where nothing is known of them.
        parameters: Weights that it reads; null where it is not known.
        bytes_moved: Bytes of its inputs, weights and outputs; null where it is not known.
        seconds: Mean of the runs of each turn: float64[turns].
    """

    name: str
    operator: str
    kernel: str
    precision: Precision | None
    operations: tuple[Operation, ...] | None
    parameters: int | None
    bytes_moved: int | None
    seconds: NDArray[np.float64]


@dataclass(frozen=True)
class TimedLayers:
    """All layers of a model, in the order in which they run.

    Attributes:
        layers: Each with as many turns.
        parameters: Weights of the model, each counted once; null where they are not known.
    """

    layers: tuple[TimedLayer, ...]
    parameters: int | None


class LayeredSession(Protocol):
    """An opened artifact whose layers are timed as it runs."""

    @property
    def spec(self) -> ModelSpec:
        """What it takes and gives."""

    def prepare(self, feeds: Mapping[str, Array]) -> Any:
        """Turn named arrays of shape [n, ...] into what the library takes. Not timed."""

    def run(self, prepared: Any) -> float:
        """Answer one batch; the seconds that it took, without the reading of its layers' times."""

    def layers(self, turns: Sequence[Turn]) -> TimedLayers:
        """The layers with their times in these turns, whose runs must all have had one shape; it runs no more."""


@runtime_checkable
class LayerRuntime(Runtime, Protocol):
    """A runtime that can say what each layer takes."""

    def open_layers(self, artifact: Path, settings: Settings, scratch: Path) -> LayeredSession:
        """Open the artifact in that folder in that setting, with a folder for what is written meanwhile.

        Raises:
            ModelError: The file cannot be opened.
        """
