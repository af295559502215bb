"""Fewer residual blocks."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.training import required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.train.needs import require_torch

FEWEST_ADDITIONS = 3


class Shallow:
    """Leaves out the residual blocks that change the answers least, and teaches the rest the model's own answers.

    A block adds something to what it was given; without it, what it was given goes on (Huang et al. 2016, arXiv
    1603.09382; Fan et al. 2020, arXiv 1909.11556). Blocks are any additions of a tensor and something computed from it,
    in convolutional networks and transformers alike. Each in turn the block goes whose loss, on training rows, costs
    least: `blocks` of them, or as few as bring the time a row, measured here, down to `share`. The result is an ONNX
    model: the same architecture, less deep.
    """

    name: ClassVar[str] = "shallow"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "taught"
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For torch models with some additions."""
        if recipe.steps or model.format != "torch":
            return []
        if sum(model.operators.get(name, 0) for name in ("add", "add_")) < FEWEST_ADDITIONS:
            return []
        return [Step(technique=self.name, parameters={"share": share}) for share in (0.6, 0.35)]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the shallower model.

        Raises:
            TechniqueError: It is no torch model, has no blocks to leave out, or the training diverged.
        """
        training = required_training(context.training, self.name)
        require_torch(self.name)
        from equipoise.train.blocks import shorten_and_recover

        shorten_and_recover(source, step, context, training)
        return "onnx"
