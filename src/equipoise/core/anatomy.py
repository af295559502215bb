"""Which layers and operators of a model cost what, as `anatomy.json` holds it."""

from __future__ import annotations

from typing import Literal

from equipoise.core.environment import Environment
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.profile import Precision, Settings
from equipoise.core.roofline import Roofline
from equipoise.core.tensor import DType
from equipoise.core.variant import Format


class FedInput(Noun):
    """What an input was fed.

    Attributes:
        name: The input.
        dtype: Type of its elements.
        shape: Of one batch, batch axis first.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]


class LayerCost(Noun):
    """What one layer costs, as the runtime executes it: it may stand for several operators of the model.

    Attributes:
        name: As the runtime names it; for scikit-learn, the step.
        operator: What kind of thing it does.
        kernel: The runtime's own word for how; empty where it says nothing.
        precision: Arithmetic; null for what computes no real numbers, or where the runtime does not say.
        time_s: Seconds of one batch: the mean over the quieter half of the turns.
        share: Of the time of all layers, 0 to 1.
        flops: Operations of one batch, a multiplication and an addition being two; null where no formula is known.
        parameters: Weights that it reads; null where it is not known.
        bytes_moved: Bytes of its inputs, weights and outputs; null where it is not known.
        flops_per_byte: Arithmetic intensity; null where one of the two is.
        flops_per_s: Operations a second that it reached; null where they are not known, or none.
        bound: Which roof is above it at its intensity; null without a roof.
        roof_share: What it reached of that roof. What stays in the cache may reach more than 1.
    """

    name: str
    operator: str
    kernel: str
    precision: Precision | None
    time_s: Estimate
    share: float
    flops: int | None
    parameters: int | None
    bytes_moved: int | None
    flops_per_byte: float | None
    flops_per_s: float | None
    bound: Literal["compute", "memory"] | None
    roof_share: float | None


class OperatorCost(Noun):
    """What all layers of one kind cost together.

    Attributes:
        operator: The kind.
        layers: How many there are.
        time_s: Seconds of one batch, the sum of the layers' times.
        share: Of the time of all layers, 0 to 1.
        flops: Operations of the layers with a known formula; null where none has one.
        unknown: Layers whose operations are not known.
        parameters: Weights that the layers read; null where they are not known of any.
        bytes_moved: Bytes of the layers of which they are known; null where they are not known of any.
    """

    operator: str
    layers: int
    time_s: float
    share: float
    flops: int | None
    unknown: int
    parameters: int | None
    bytes_moved: int | None


class Anatomy(Noun):
    """What `anatomy.json` holds.

    Attributes:
        version: Of this layout.
        model: Name of the model's file.
        format: What kind of file it is.
        settings: Where and how it ran.
        inputs: What it was fed, a batch.
        rows: Where the rows came from: `random`, or the data file's name.
        whole_s: Seconds of one batch, measured without a look at its layers.
        observed_s: The same while its layers were timed.
        layers_s: Sum of the layers' times.
        flops: Operations of one batch, of all layers with a known formula; null where no layer has one.
        unknown_share: Share of the time that went to layers whose operations are not known.
        parameters: Weights of the model, each counted once; null where they are not known.
        layers: In the order in which they run.
        operators: By kind, the dearest first.
        roofline: The most that this machine can do; null where no layer's operations are known.
        environment: The machine and its libraries.
        notes: What else one should know.
    """

    version: Literal[1] = 1
    model: str
    format: Format
    settings: Settings
    inputs: tuple[FedInput, ...]
    rows: str
    whole_s: Estimate
    observed_s: Estimate
    layers_s: float
    flops: int | None
    unknown_share: float
    parameters: int | None
    layers: tuple[LayerCost, ...]
    operators: tuple[OperatorCost, ...]
    roofline: Roofline | None
    environment: Environment
    notes: tuple[str, ...]
