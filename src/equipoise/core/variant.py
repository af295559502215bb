"""A form of a model that was made, and the record of one that could not be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipoise.core.noun import Noun
from equipoise.core.recipe import Recipe
from equipoise.core.tensor import ModelSpec
from equipoise.core.training import TrainingRecord

Format = Literal["onnx", "openvino", "tflite", "sklearn", "torch"]
DataUse = Literal["none", "unlabelled", "labelled"]
Stage = Literal["build", "convert", "screen", "time", "load", "choose", "certify"]


class Variant(Noun):
    """An artifact and where it came from.

    Attributes:
        recipe: How it was made.
        artifact: SHA-256 of the artifact's files; the folder of that name in the study's store holds them.
        format: What kind of file it is, and so which runtimes can open it.
        quantized: Whether its graph computes in integers.
        spec: What it takes and gives.
        artifact_bytes: Size of all its files.
        build_s: Wall time that its last step took.
        data_use: The most that any of its steps read of the data.
        tool_versions: Versions of the libraries that made it.
        operators: As `compress.base.ModelFacts` has them; empty for a model as it was given.
        estimators: Trees or boosting rounds of a scikit-learn ensemble; null for others.
        matrix_weights: As `compress.base.ModelFacts` has them; 0 for a model as it was given.
        training: How its last step trained it; null where that trained nothing.
    """

    recipe: Recipe
    artifact: str
    format: Format
    quantized: bool
    spec: ModelSpec
    artifact_bytes: int
    build_s: float
    data_use: DataUse
    tool_versions: dict[str, str]
    operators: dict[str, int] = Field(default_factory=dict)
    estimators: int | None = None
    matrix_weights: int = 0
    training: TrainingRecord | None = None


class Failure(Noun):
    """A candidate that could not be made or measured, or was given up: a result like any other.

    Attributes:
        name: The candidate.
        recipe: How it was, or should have been, made.
        stage: The step at which it ended.
        reason: Why, in a sentence for the person.
        log: The last lines the tool printed, if it printed any.
    """

    name: str
    recipe: Recipe
    stage: Stage
    reason: str
    log: str = ""
