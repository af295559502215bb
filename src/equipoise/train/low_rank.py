"""Two thin layers for one, where the weights hardly need more."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.training import required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.train.needs import require_torch


class LowRank:
    """Factorises linear and convolution layers by their singular values, and teaches the result the model's answers.

    A layer of n inputs and m outputs becomes one of n inputs and r outputs and one of r inputs and m outputs (Denton et
    al. 2014, arXiv 1404.0736; for convolutions Zhang et al. 2015, arXiv 1505.06798: r filters of the same window, then
    a 1 x 1 convolution). The rank r keeps the share `energy` of the sum of squared singular values, rounded up to a
    multiple of 8; a layer that would not become smaller stays. Without `energy` it follows from `share`: as much energy
    as brings the time a row, measured here, down to this share. The result is an ONNX model.
    """

    name: ClassVar[str] = "low_rank"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "taught"
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For torch models with layers to factorise, most promising where linear layers do the work."""
        if recipe.steps or model.format != "torch":
            return []
        if not {"linear", "conv1d", "conv2d", "conv3d"} & model.operators.keys():
            return []
        return [Step(technique=self.name, parameters={"share": share}) for share in (0.6, 0.35)]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the factorised model.

        Raises:
            TechniqueError: It is no torch model, factorising makes it no faster, or the training diverged.
        """
        training = required_training(context.training, self.name)
        require_torch(self.name)
        from equipoise.train.factorising import factorise_and_recover

        factorise_and_recover(source, step, context, training)
        return "onnx"
