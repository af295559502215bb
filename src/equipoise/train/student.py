"""A small network of its own, taught the model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.training import required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.train.needs import has_torch, require_torch
from equipoise.train.proposals import proposed_students
from equipoise.train.source import original_spec


class SmallStudent:
    """Teaches a small network the model's own answers, softened (Hinton et al. 2015, arXiv 1503.02531).

    The model may be of any form; only its answers are used. `family` names the kind of network
    (`students.families`), or a person's own factory as `module:function`. Its size is `width`, or follows from
    `share`: the widest student that takes at most this share of the model's own time a row, measured here. The student
    is an ONNX model with the model's inputs and outputs, so that it is quantised like any other.
    """

    name: ClassVar[str] = "student"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "taught"
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For models that take numbers: the families that suit them, at the shares of time that usually pay."""
        if recipe.steps:
            return []
        steps = [Step(technique=self.name, parameters=each) for each in proposed_students(model.spec)]
        return steps if has_torch() else steps[:1]  # one failure says what to install as well as six do

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the student.

        Raises:
            TechniqueError: There is no student for such rows, too few rows, or the training diverged.
        """
        training = required_training(context.training, self.name)
        require_torch(self.name)
        from equipoise.train.teaching import teach_student

        teach_student(original_spec(source), source, step, context, training)
        return "onnx"
