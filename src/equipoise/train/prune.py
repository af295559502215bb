"""Fewer channels, whole groups of them at a time."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.training import required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.train.needs import require_torch

ATTENTION = frozenset({"scaled_dot_product_attention", "softmax"})
"""Operators of models whose widths are cut into heads, which this does not prune."""


class Prune:
    """Removes the channels that matter least, and teaches what is left the model's own answers.

    Torch-Pruning (Fang et al. 2023, arXiv 2301.12900) finds which channels of which layers must go together and
    removes them: the result is an ordinary, smaller network. `importance` says what matters: the `magnitude` of
    weights, their first-order effect on the loss (`taylor`, Molchanov et al. 2019, arXiv 1906.10771), or the scale of a
    batch normalisation (`bn_scale`, Liu et al. 2017, arXiv 1708.06519). How much goes is `ratio`, or follows from
    `share`: as little as brings the time a row, measured here, down to this share. It goes in `rounds`, with training
    in between. Channels stay multiples of `multiple`. The result is an ONNX model.
    """

    name: ClassVar[str] = "prune"
    data_use: ClassVar[DataUse] = "unlabelled"
    fidelity: ClassVar[Fidelity] = "taught"
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """For torch models with convolutions or linear layers, and without attention."""
        if recipe.steps or model.format != "torch" or ATTENTION & model.operators.keys():
            return []
        if not {"conv1d", "conv2d", "conv3d"} & model.operators.keys() and model.operators.get("linear", 0) < 2:
            return []
        strengths = ((0.4, "taylor"), (0.2, "magnitude"), (0.6, "magnitude"))
        return [
            Step(technique=self.name, parameters={"share": share, "importance": importance})
            for share, importance in strengths
        ]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the pruned model.

        Raises:
            TechniqueError: It is no torch model, its shapes do not allow it, or the training diverged.
        """
        training = required_training(context.training, self.name)
        require_torch(self.name, "torch_pruning")
        from equipoise.train.pruning import prune_and_recover

        prune_and_recover(source, step, context, training)
        return "onnx"
