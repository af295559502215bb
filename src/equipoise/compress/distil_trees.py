"""A small ensemble of trees, or a single tree, taught a larger model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.sklearn_students import Lesson, lesson, may_be_taught, save_student, weighted_rows
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun, required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array

STUDENTS: tuple[dict[str, Any], ...] = (
    {"student": "tree", "leaves": 512},
    {"student": "boosted", "rounds": 15, "leaves": 15},
    {"student": "tree", "leaves": 128},
    {"student": "forest", "trees": 10, "leaves": 256},
    {"student": "boosted", "rounds": 40, "leaves": 15},
    {"student": "boosted", "rounds": 100, "leaves": 31},
)
LEARNING = 10.0
"""Learning rate times rounds: fewer rounds must each take a longer step."""
FASTEST_RATE, SLOWEST_RATE = 0.3, 0.1
ROUNDS_A_STEP = 5
FIRST_SHARE = 1 / 8
"""A tree grows in one go, so it is grown on so many of the rows first, which tells how long all of them would take."""
LEAST_LEAF_ROWS = 5


class DistilTrees:
    """Replaces the final estimator by few trees that learn its answers on the training rows.

    A deep forest averages hundreds of trees to smooth what each overfits; a small boosted ensemble, or one tree, can
    follow that smooth surface itself once it is taught the averages and not the labels (Bucila et al. 2006; "born again
    trees", Breiman and Shang 1996). Soft answers are taught exactly: each row stands once for each class, weighted by
    its share.
    """

    name: ClassVar[str] = "distil_trees"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "lossy"
    trains: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """A tree, boosted trees and a forest, each clearly smaller than the model where that is made of trees."""
        if not may_be_taught(model, recipe) or "DecisionTree" in " ".join(model.operators):
            return []
        present = model.estimators
        steps = [
            each for each in STUDENTS if present is None or 2 * each.get("rounds", each.get("trees", 1)) <= present
        ]
        return [Step(technique=self.name, parameters=parameters) for parameters in steps]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the student.

        Raises:
            TechniqueError: There is no training budget, several targets, or too few rows; or the kind is unknown.
        """
        import threadpoolctl

        training = required_training(context.training, self.name)
        grow = {"boosted": _boosted, "forest": _forest, "tree": _tree}.get(str(step.parameters.get("student")))
        if grow is None:
            found = step.parameters.get("student")
            raise TechniqueError(f"student is {found!r}; it can be boosted, forest or tree")
        run = TrainingRun(training, step)
        taught = lesson(source, training)
        with tool("scikit-learn"), threadpoolctl.threadpool_limits(context.threads):
            student = grow(taught, step, context, training, run)
        save_student(taught, student, context)
        return "sklearn"


def _rows(taught: Lesson) -> tuple[Array, Array, Array | None]:
    """Features, answers and weights to fit to."""
    if taught.shares is None or taught.classes is None:
        return taught.features, np.asarray(taught.values), None
    row, column, weight = weighted_rows(taught.shares)
    return taught.features[row], taught.classes[column], weight


def _boosted(taught: Lesson, step: Step, context: BuildContext, training: Training, run: TrainingRun) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    run.begin_steps()
    rounds, leaves = _number(step, "rounds", 40), _number(step, "leaves", 15)
    features, answers, weight = _rows(taught)
    kind = HistGradientBoostingRegressor if taught.classes is None else HistGradientBoostingClassifier
    student = kind(
        learning_rate=min(FASTEST_RATE, max(SLOWEST_RATE, LEARNING / rounds)),
        max_leaf_nodes=leaves,
        early_stopping=False,
        warm_start=True,
        random_state=context.seed,
    )
    done = 0
    while done < rounds and (done == 0 or run.goes_on()):
        done = min(rounds, done + (ROUNDS_A_STEP if done else 1))
        student.set_params(max_iter=done)
        student.fit(features, answers, sample_weight=weight)
        run.tell(step=done, steps=rounds, quality=taught.quality_of(student, training))
    run.finish(finished=done == rounds)
    return student


def _forest(taught: Lesson, step: Step, context: BuildContext, training: Training, run: TrainingRun) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    run.begin_steps()
    trees = _number(step, "trees", 10)
    features, answers, weight = _rows(taught)
    kind = RandomForestRegressor if taught.classes is None else RandomForestClassifier
    student = kind(
        n_estimators=1,
        max_leaf_nodes=_number(step, "leaves", 256),
        min_samples_leaf=LEAST_LEAF_ROWS,
        warm_start=True,
        random_state=context.seed,
    )
    done = 0
    while done < trees and (done == 0 or run.goes_on()):
        done += 1
        student.set_params(n_estimators=done)
        student.fit(features, answers, sample_weight=weight)
        run.tell(step=done, steps=trees, quality=taught.quality_of(student, training))
    run.finish(finished=done == trees)
    return student


def _tree(taught: Lesson, step: Step, context: BuildContext, training: Training, run: TrainingRun) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    run.begin_steps()
    features, answers, weight = _rows(taught)
    order = np.random.default_rng(context.seed).permutation(len(features))
    kind = DecisionTreeRegressor if taught.classes is None else DecisionTreeClassifier
    sizes = [max(1, int(len(order) * FIRST_SHARE)), len(order)]
    student: Any = None
    for number, size in enumerate(sizes, 1):
        if student is not None and not run.goes_on(1 / FIRST_SHARE):
            break
        some = np.sort(order[:size])
        grown = kind(
            max_leaf_nodes=_number(step, "leaves", 128), min_samples_leaf=LEAST_LEAF_ROWS, random_state=context.seed
        )
        grown.fit(features[some], answers[some], sample_weight=None if weight is None else weight[some])
        if taught.classes is not None and len(grown.classes_) < len(taught.classes):
            continue  # the first rows lack a class, and a student must know all of them
        student = grown
        run.tell(step=number, steps=len(sizes), quality=taught.quality_of(student, training))
    if student is None:
        raise TechniqueError(
            "the training rows that fit in the training time lack a class; more --train-minutes may do"
        )
    run.finish(finished=run.done == len(sizes))
    return student


def _number(step: Step, name: str, default: int) -> int:
    found = step.parameters.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise TechniqueError(f"{name} is {found!r}; needs a whole number of at least 1")
    return found
