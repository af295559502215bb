"""Factorises the layers of a torch model by singular values."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.errors import TechniqueError
from equipoise.train.changeable import Changeable
from equipoise.train.checkpoint import load_checkpoint
from equipoise.train.export import write_changed
from equipoise.train.recovery import Recovery
from equipoise.train.strength import MEASURING_SHARE, largest, module_row_seconds

CHOICE = "energy.txt"
ENERGIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
MULTIPLE = 8


def factorise_and_recover(source: Path, step: Step, context: BuildContext, training: Training) -> None:
    """Write a factorised form of the torch model in `source`.

    Args:
        source: Its artifact folder.
        step: `energy` or `share`, and what `Recovery` reads.
        context: Where to, which output, seed and threads.
        training: Rows, answers and time.

    Raises:
        TechniqueError: No layer becomes smaller, or the model no faster; the training diverged.
    """
    found = load_checkpoint(training.folder)
    run = TrainingRun(training, step, resumed=found is not None)
    recovery = Recovery(source, step, context, training)
    energy = _energy(recovery, step, training, run)
    with tool("torch"):
        changed = factorise(recovery.model, energy)
    if changed == 0:
        raise TechniqueError(f"no layer becomes smaller at {energy:.0%} of the energy of its singular values")
    write_changed(recovery.teach(recovery.model, run, found), recovery.spec, recovery.lessons.inputs, context)


def factorise(model: Changeable, energy: float) -> int:
    """Put two layers in place of each that becomes smaller by it.

    Args:
        model: Changed in place.
        energy: Share of the sum of squared singular values that stays, above 0 and at most 1.

    Returns:
        How many layers were factorised.
    """
    names = [name for name, layer in model.graph.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    count = 0
    for name in names:
        pair = _factors(model.graph.get_submodule(name), energy)
        if pair is not None:
            setattr(model.graph, name, pair)
            count += 1
    return count


def rank_for(values: Tensor, energy: float) -> int:
    """The smallest rank that keeps this share of the squared singular values, up to a multiple of 8.

    Example:
        >>> rank_for(torch.tensor([3.0, 1.0, 0.1]), 0.9)
        8
    """
    kept = torch.cumsum(values.square(), 0) / values.square().sum().clamp(min=1e-12)
    rank = int(torch.searchsorted(kept, torch.tensor(energy, dtype=kept.dtype))) + 1
    return math.ceil(min(rank, len(values)) / MULTIPLE) * MULTIPLE


def _energy(recovery: Recovery, step: Step, training: Training, run: TrainingRun) -> float:
    """The energy that was asked for, or the most at which the model takes no more than its share of the time."""
    if "energy" in step.parameters:
        energy = float(str(step.parameters["energy"]))
        if not 0 < energy <= 1:
            raise TechniqueError(f"the energy is {energy:g}: needs a share, above 0 and at most 1")
        return energy
    kept = training.folder / CHOICE
    if kept.is_file():
        return float(kept.read_text())
    share = float(str(step.parameters.get("share", 0.6)))
    allowed_s = share * module_row_seconds(recovery.model, recovery.spec, training.search)

    def takes_s(energy: float) -> float:
        thinner = copy.deepcopy(recovery.model)
        return module_row_seconds(thinner, recovery.spec, training.search) if factorise(thinner, energy) else math.inf

    energy = largest(ENERGIES, takes_s, allowed_s, lambda: run.elapsed_s < MEASURING_SHARE * run.budget_s)
    kept.write_text(str(energy))
    return energy


def _factors(layer: nn.Module, energy: float) -> nn.Sequential | None:
    """The two layers, or null where they would not be smaller together."""
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        return None
    weight: Tensor = layer.weight.detach()
    flat = weight.reshape(len(weight), -1)
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    rank = rank_for(values, energy)
    if rank * (flat.shape[0] + flat.shape[1]) >= flat.numel() or rank >= len(values):
        return None
    root = values[:rank].sqrt()
    first, second = _pair(layer, rank)
    with torch.no_grad():
        first.weight.copy_((root[:, None] * right[:rank]).reshape(first.weight.shape))
        second.weight.copy_((left[:, :rank] * root).reshape(second.weight.shape))
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def _pair(layer: nn.Module, rank: int) -> tuple[nn.Module, nn.Module]:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features, bias=bias)
    if not isinstance(layer, nn.Conv2d):
        raise TechniqueError(f"cannot factorise a {type(layer).__name__}")
    window = nn.Conv2d(
        layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False
    )
    return window, nn.Conv2d(rank, layer.out_channels, 1, bias=bias)
