"""What every technique does: say what it would try on a model, and make one such form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from equipoise.compress.training import Training
from equipoise.core.environment import Environment
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec
from equipoise.core.variant import DataUse, Format
from equipoise.preprocess.rows import Rows

Fidelity = Literal["exact", "lossy", "taught"]


@dataclass(frozen=True)
class ModelFacts:
    """What a technique may know of a model before it is asked to change it.

    Attributes:
        format: What kind of file it is.
        spec: What it takes and gives.
        operators: ONNX operator type to number of nodes, OpenVINO's for IR and TensorFlow Lite; for scikit-learn, class
            name of each step to 1.
        estimators: Trees of a scikit-learn ensemble's final step, boosting rounds for boosted ones; null for others.
        environment: The machine it will run on.
        matrix_weights: Floating-point weights in large matrices, which linear layers multiply by and embeddings look
            up (`runtimes.matrices`).
    """

    format: Format
    spec: ModelSpec
    operators: dict[str, int]
    estimators: int | None
    environment: Environment
    matrix_weights: int = 0


@dataclass(frozen=True)
class BuildContext:
    """What a technique may use while it works.

    Attributes:
        calibration: Rows of the calibrate split, with targets only where the brief has them.
        output: Name of the output that is judged.
        folder: An empty folder for the artifact.
        seed: For everything random.
        threads: Threads it may use.
        training: Rows to train on and time to do it, for a technique that trains; null for all others.
    """

    calibration: Rows
    output: str
    folder: Path
    seed: int
    threads: int
    training: Training | None = None


class Technique(Protocol):
    """Makes simpler forms of a model.

    Attributes:
        name: Registered name.
        data_use: What it reads of the calibrate split, or of the training rows where it trains.
        trains: Whether it trains (see `compress.training`): it is then proposed only in a study with a training budget,
            and each of its steps is given the parameter `train_s`, the seconds it may take.
        resumes: Whether a longer training goes on from a shorter one of the same step, and so costs the difference.
        reverts_layers: Whether its parameter `ignore_worst` leaves so many of its worst layers as they were; the search
            raises it while quality is short.
        reshapes: Whether its result is another model for the same job, with errors of its own: fewer trees, another
            architecture. What only changes precision or the graph leaves a model the same one.
        fidelity: `exact` where its result must answer like its source to rounding; `lossy` where it must be nearer to
            that than no model at all, and quality is judged; `taught` where quality alone is.
    """

    name: ClassVar[str]
    data_use: ClassVar[DataUse]
    fidelity: ClassVar[Fidelity]
    trains: ClassVar[bool] = False
    resumes: ClassVar[bool] = False
    reverts_layers: ClassVar[bool] = False
    reshapes: ClassVar[bool] = False

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """Steps worth trying on a model that `recipe` made, the most promising first; none where it does not apply."""

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the changed form of the artifact in folder `source` into `context.folder` and say its format.

        Raises:
            TechniqueError: It does not apply, or could not finish.
        """
