"""A small neural network, taught a larger model's answers."""

from __future__ import annotations

import copy
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.sklearn_students import Lesson, filled, lesson, may_be_taught, save_student
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun, read_record, required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array

HIDDEN: tuple[tuple[int, ...], ...] = ((32,), (64, 32))
MOST_EPOCHS, PATIENCE = 200, 20
"""It ends after so many epochs, or so many without an improvement on the search rows."""
PROGRESS_FILE, OPTIMIZER = "progress.skops", "sklearn.neural_network._stochastic_optimizers.AdamOptimizer"
SMALLEST_SHARE = 0.01
"""Shares are taught as log odds, and cut off here: one that is nearly 0 has no more to say than one of 1 in 100."""


class DistilMlp:
    """Replaces the final estimator by a multi-layer perceptron that learns its answers on the training rows.

    The network regresses the teacher's log odds by least squares ("Do deep nets really need to be deep?", Ba and
    Caruana 2014, arXiv 1312.6184), which weighs all classes alike where a log loss follows the largest; then the
    logistic function, or softmax, is put behind it. Its weights are those of the best epoch on the search rows. Numbers
    are scaled, missing ones filled.
    """

    name: ClassVar[str] = "distil_mlp"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For whatever is neither linear nor a small network itself: one hidden layer first, then two."""
        if not may_be_taught(model, recipe) or {"MLPClassifier", "MLPRegressor"} & model.operators.keys():
            return []
        return [Step(technique=self.name, parameters={"hidden": list(sizes)}) for sizes in HIDDEN]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the student.

        Raises:
            TechniqueError: There is no training budget, several targets, or too few rows; or the training diverged.
        """
        import threadpoolctl

        training = required_training(context.training, self.name)
        earlier = _earlier(training.folder)
        run = TrainingRun(training, step, resumed=earlier is not None)
        taught = lesson(source, training)
        with tool("scikit-learn"), threadpoolctl.threadpool_limits(context.threads):
            student = _train(taught, _hidden(step), context, training, run, earlier)
        save_student(taught, student, context)
        return "sklearn"


@dataclass(frozen=True)
class _Progress:
    """Where a training stopped.

    Attributes:
        network: As its last epoch left it, its optimizer with it.
        best: The finished student of the best epoch.
        best_step: Which epoch that was.
        done: Epochs.
    """

    network: Any
    best: Any
    best_step: int
    done: int


def _train(
    taught: Lesson,
    hidden: tuple[int, ...],
    context: BuildContext,
    training: Training,
    run: TrainingRun,
    earlier: _Progress | None,
) -> Any:
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaled = make_pipeline(*filled(taught.features), StandardScaler())
    features = np.asarray(scaled.fit_transform(taught.features), dtype=np.float32)
    targets, mean, spread = _targets(taught)
    network = MLPRegressor(hidden_layer_sizes=hidden, random_state=context.seed)
    best, best_step = None, 0
    if earlier is not None:
        network, best, best_step = earlier.network, earlier.best, earlier.best_step
    run.begin_steps()
    while run.done < MOST_EPOCHS and run.done - best_step < PATIENCE and (run.done == 0 or run.goes_on()):
        network.partial_fit(features, targets)
        student = make_pipeline(*(part for _, part in scaled.steps), _finished(network, taught, mean, spread))
        quality = taught.quality_of(student, training)
        if run.tell(steps=MOST_EPOCHS, loss=float(network.loss_), quality=quality):
            best, best_step = student, run.done
    if best is None:
        raise TechniqueError("no epoch gave an answer that can be judged; scale the inputs, or leave out the largest")
    finished = run.done == MOST_EPOCHS or run.done - best_step >= PATIENCE
    if not finished:
        _keep(_Progress(network, best, best_step, run.done), training.folder)
    run.finish(finished=finished)
    return best


def _keep(progress: _Progress, folder: Path) -> None:
    import skops.io

    skops.io.dump(vars(progress), folder / f"{PROGRESS_FILE}.partial")
    os.replace(folder / f"{PROGRESS_FILE}.partial", folder / PROGRESS_FILE)


def _earlier(folder: Path) -> _Progress | None:
    """Where a shorter training stopped; null where there was none, or its files cannot be read or do not agree."""
    import skops.io

    try:
        found = _Progress(**skops.io.load(folder / PROGRESS_FILE, trusted=[OPTIMIZER]))
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return None
    record = read_record(folder)  # one that went on from there and was killed told of more than it left
    return found if record is not None and record.points and record.points[-1].step == found.done else None


def _targets(taught: Lesson) -> tuple[Array, Array, Array]:
    """What the network regresses, standardised, [n] or [n, columns], and the mean and spread of each column."""
    if taught.shares is None:
        answers = np.asarray(taught.values)[:, None]
    else:
        logs = np.log(np.clip(taught.shares, SMALLEST_SHARE, 1 - SMALLEST_SHARE))
        answers = logs[:, 1:] - logs[:, :1] if logs.shape[1] == 2 else logs - logs.mean(axis=1, keepdims=True)
    mean, spread = answers.mean(axis=0), answers.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    standard = ((answers - mean) / spread).astype(np.float32)
    return standard[:, 0] if standard.shape[1] == 1 else standard, mean, spread


def _finished(network: Any, taught: Lesson, mean: Array, spread: Array) -> Any:
    """The network as an estimator of the teacher's kind, whose last layer gives numbers, or shares of classes."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import LabelBinarizer

    weights = [each.astype(np.float64) for each in network.coefs_]
    biases = [each.astype(np.float64) for each in network.intercepts_]
    weights[-1], biases[-1] = weights[-1] * spread, biases[-1] * spread + mean
    kind = MLPRegressor if taught.classes is None else MLPClassifier
    student = kind(hidden_layer_sizes=network.hidden_layer_sizes, activation=network.activation)
    student.coefs_, student.intercepts_ = weights, biases
    for name in ("n_layers_", "n_outputs_", "n_features_in_", "n_iter_", "t_", "loss_", "out_activation_"):
        setattr(student, name, copy.copy(getattr(network, name)))
    if taught.classes is not None:
        student.out_activation_ = "logistic" if len(taught.classes) == 2 else "softmax"
        student._label_binarizer = LabelBinarizer().fit(taught.classes)
        student.classes_ = taught.classes
    return student


def _hidden(step: Step) -> tuple[int, ...]:
    found = step.parameters.get("hidden", list(HIDDEN[0]))
    sizes = tuple(size for size in found if isinstance(size, int) and size > 0) if isinstance(found, list) else ()
    if not sizes or len(sizes) != len(found):  # type: ignore[arg-type]
        raise TechniqueError(f"hidden is {found!r}; needs the sizes of its layers, such as [64, 32]")
    return sizes
