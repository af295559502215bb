"""Prunes a torch model in rounds, each followed by training."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.errors import TechniqueError
from equipoise.train.changeable import Changeable, last_layers
from equipoise.train.checkpoint import load_checkpoint
from equipoise.train.export import write_changed
from equipoise.train.recovery import Recovery
from equipoise.train.strength import MEASURING_SHARE, largest, module_row_seconds

HISTORY = "pruned.json"
RATIOS = tuple(step / 16 for step in range(14, 0, -1))
"""Shares of channels that go, from the most on."""
MOST_OF_A_LAYER = 0.9
MULTIPLE = 8
ROUNDS = 2
ROUND_SHARE = 0.15
"""Share of the time that each round but the last trains."""
LOSS_ROWS = 512


def prune_and_recover(source: Path, step: Step, context: BuildContext, training: Training) -> None:
    """Write a pruned form of the torch model in `source`.

    Args:
        source: Its artifact folder.
        step: `ratio` or `share`, `importance`, `rounds`, `multiple`, and what `Recovery` reads.
        context: Where to, which output, seed and threads.
        training: Rows, answers and time.

    Raises:
        TechniqueError: It cannot be pruned, or not so far; the training diverged.
    """
    found = load_checkpoint(training.folder)
    run = TrainingRun(training, step, resumed=found is not None)
    recovery = Recovery(source, step, context, training)
    model, kept = recovery.model, training.folder / HISTORY
    pruner = _Pruner(recovery, step)
    if found is not None and kept.is_file():
        with tool("Torch-Pruning"):
            pruner.repeat(model, json.loads(kept.read_text()))
    else:
        found = None
        ratio = _ratio(recovery, pruner, step, training, run)
        rounds = int(str(step.parameters.get("rounds", ROUNDS)))
        history: list[Any] = []
        for number in range(1, rounds + 1):
            with tool("Torch-Pruning"):
                history += pruner.prune(model, _still(ratio * number / rounds, ratio * (number - 1) / rounds))
            if not history:
                raise TechniqueError(f"no channel could go at a ratio of {ratio:g}: whole multiples of channels stay")
            if number < rounds:
                recovery.teach(model, run, None, share=number * ROUND_SHARE)
        kept.write_text(json.dumps(history))
    write_changed(recovery.teach(model, run, found), recovery.spec, recovery.lessons.inputs, context)


def _still(wanted: float, gone: float) -> float:
    """Share of the channels that are there which must go, so that `wanted` of those there were are gone."""
    return (wanted - gone) / (1 - gone)


def _ratio(recovery: Recovery, pruner: _Pruner, step: Step, training: Training, run: TrainingRun) -> float:
    """The ratio that was asked for, or the smallest at which the model takes no more than its share of the time."""
    if "ratio" in step.parameters:
        ratio = float(str(step.parameters["ratio"]))
        if not 0 < ratio < 1:
            raise TechniqueError(f"the ratio is {ratio:g}: needs a share of the channels, above 0 and below 1")
        return ratio
    share = float(str(step.parameters.get("share", 0.5)))
    allowed_s = share * module_row_seconds(recovery.model, recovery.spec, training.search)

    def takes_s(ratio: float) -> float:
        pruned = copy.deepcopy(recovery.model)
        with tool("Torch-Pruning"):
            history = pruner.prune(pruned, ratio)
        return module_row_seconds(pruned, recovery.spec, training.search) if history else math.inf

    return largest(RATIOS, takes_s, allowed_s, lambda: run.elapsed_s < MEASURING_SHARE * run.budget_s)


class _Pruner:
    """Removes channels by Torch-Pruning.

    Args:
        recovery: The model's example rows and lessons.
        step: Says what matters, and of what channels stay multiples.
    """

    def __init__(self, recovery: Recovery, step: Step) -> None:
        self._recovery = recovery
        self._importance = str(step.parameters.get("importance", "magnitude"))
        self._multiple = int(str(step.parameters.get("multiple", MULTIPLE)))

    def prune(self, model: Changeable, ratio: float) -> list[Any]:
        """Remove this share of the channels, and say which went, as JSON has it; nothing where multiples forbid it."""
        import torch_pruning

        model.eval()
        pruner = torch_pruning.pruner.BasePruner(
            model,
            self._recovery.example(),
            importance=self._measure(model),
            global_pruning=True,
            pruning_ratio=ratio,
            max_pruning_ratio=MOST_OF_A_LAYER,
            round_to=self._multiple,
            ignored_layers=last_layers(model.graph),
            output_transform=_sum,
        )
        pruner.step()
        model.zero_grad(set_to_none=True)
        history: list[Any] = json.loads(json.dumps(pruner.pruning_history()))
        return history

    def repeat(self, model: Changeable, history: list[Any]) -> None:
        """Remove what was removed before."""
        import torch_pruning

        graph = torch_pruning.DependencyGraph().build_dependency(
            model.eval(), self._recovery.example(), output_transform=_sum
        )
        graph.load_pruning_history(history)

    def _measure(self, model: Changeable) -> Any:
        """What tells how much a channel matters.

        Raises:
            TechniqueError: There is no such measure, or the model has not what it needs.
        """
        import torch_pruning

        match self._importance:
            case "magnitude":
                return torch_pruning.importance.GroupMagnitudeImportance(p=2)
            case "taylor":
                self._gradients(model)
                return torch_pruning.importance.GroupTaylorImportance()
            case "bn_scale":
                if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()):
                    raise TechniqueError("importance=bn_scale needs batch normalisation, and the model has none")
                return torch_pruning.importance.BNScaleImportance()
        raise TechniqueError(f"there is no importance {self._importance!r}; there are magnitude, taylor, bn_scale")

    def _gradients(self, model: Changeable) -> None:
        """Gradients of the distance to answers that are a little off: at the model's own they would all be 0."""
        some = self._recovery.lessons.some(LOSS_ROWS)
        model.zero_grad(set_to_none=True)
        answers = model.teachable(some.inputs)
        if some.kind == "value":
            loss = answers.square().mean()
        else:
            surest = some.answers.argmax(1)
            loss = nn.functional.cross_entropy(answers, surest)
        loss.backward()


def _sum(outputs: Any) -> torch.Tensor:
    """One number that all outputs go into: what a dependency graph is traced back from."""
    tensors = outputs if isinstance(outputs, tuple | list) else (outputs,)
    total: torch.Tensor = sum(tensor.float().sum() for tensor in tensors if tensor.is_floating_point())
    return total
