"""Finds the residual blocks of a torch model, and leaves some of them out."""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from pathlib import Path

import torch
from torch import fx

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.errors import TechniqueError
from equipoise.train.changeable import Changeable
from equipoise.train.checkpoint import load_checkpoint
from equipoise.train.export import write_changed
from equipoise.train.lessons import Lessons
from equipoise.train.losses import answer_loss
from equipoise.train.recovery import TEMPERATURE, Recovery
from equipoise.train.strength import module_row_seconds

CHOICE = "left_out.json"
JUDGED_ROWS = 128
SEARCH_SHARE = 0.15
"""Share of the training time in which blocks are judged anew after each that goes; then the last judgement stands."""
ADDITIONS = frozenset({"add", "add_"})


def shorten_and_recover(source: Path, step: Step, context: BuildContext, training: Training) -> None:
    """Write a form of the torch model in `source` with fewer residual blocks.

    Args:
        source: Its artifact folder.
        step: `blocks` or `share`, and what `Recovery` reads.
        context: Where to, which output, seed and threads.
        training: Rows, answers and time.

    Raises:
        TechniqueError: It has no blocks to leave out, or not so many; the training diverged.
    """
    found = load_checkpoint(training.folder)
    run = TrainingRun(training, step, resumed=found is not None)
    recovery = Recovery(source, step, context, training)
    kept = training.folder / CHOICE
    with tool("torch"):
        if kept.is_file():
            for name in json.loads(kept.read_text()):
                leave_out(recovery.model, name)
        else:
            kept.write_text(json.dumps(_leave_out_enough(recovery, step, training, run)))
    write_changed(recovery.teach(recovery.model, run, found), recovery.spec, recovery.lessons.inputs, context)


def blocks(graph: fx.Graph) -> dict[str, fx.Node]:
    """Additions of a tensor and something computed from it: name of the addition to the tensor that would go on.

    Two tensors of one shape are added, and the first is among what the second is computed from, or the other way round.
    """
    before: dict[fx.Node, set[fx.Node]] = {}
    found = {}
    for node in graph.nodes:
        before[node] = set(node.all_input_nodes).union(*(before[each] for each in node.all_input_nodes))
        if node.op != "call_function" or getattr(node.target, "_opname", "") not in ADDITIONS or len(node.args) < 2:
            continue
        first, second = node.args[:2]
        if not isinstance(first, fx.Node) or not isinstance(second, fx.Node) or _shape(first) != _shape(second):
            continue
        if first in before[second]:
            found[node.name] = first
        elif second in before[first]:
            found[node.name] = second
    return found


def leave_out(model: Changeable, name: str) -> None:
    """Let what a block was given go on in its place.

    Raises:
        TechniqueError: There is no such block.
    """
    graph = model.graph.graph
    given = blocks(graph).get(name)
    if given is None:
        raise TechniqueError(f"the model has no block {name!r}")
    addition = next(node for node in graph.nodes if node.name == name)
    addition.replace_all_uses_with(given)
    graph.erase_node(addition)
    graph.eliminate_dead_code()
    model.graph.recompile()
    model.graph.delete_all_unused_submodules()


def _leave_out_enough(recovery: Recovery, step: Step, training: Training, run: TrainingRun) -> list[str]:
    """Leave out as many blocks as are to go, and say which.

    Raises:
        TechniqueError: There are no blocks, or leaving out all of them is not enough.
    """
    model, wanted = recovery.model, int(str(step.parameters.get("blocks", 0)))
    order = _order(model, recovery.lessons.some(JUDGED_ROWS), run, wanted or len(blocks(model.graph.graph)))
    enough = wanted
    if not wanted:
        allowed_s = float(str(step.parameters.get("share", 0.6)))
        allowed_s *= module_row_seconds(model, recovery.spec, training.search)
        counts = range(1, len(order) + 1)
        enough = 1 + bisect_left(
            counts,
            True,
            key=lambda count: (
                module_row_seconds(_without(model, order[:count]), recovery.spec, training.search) <= allowed_s
            ),
        )
    if enough > len(order):
        raise TechniqueError(
            f"it has {len(order)} residual blocks that can be left out; that is "
            + (f"fewer than {wanted}" if wanted else "not enough for the share of its time that was allowed")
        )
    for name in order[:enough]:
        leave_out(model, name)
    return order[:enough]


def _order(model: Changeable, lessons: Lessons, run: TrainingRun, most: int) -> list[str]:
    """Blocks in the order in which they go, `most` of them at most: each time the one that is missed least."""
    rest, gone = copy.deepcopy(model), list[str]()
    ranked = _by_loss(rest, lessons)
    while ranked and len(gone) < most:
        gone.append(ranked[0])
        leave_out(rest, ranked[0])
        if run.elapsed_s < SEARCH_SHARE * run.budget_s:
            ranked = _by_loss(rest, lessons)
        else:
            left = blocks(rest.graph.graph)
            ranked = [name for name in ranked[1:] if name in left]
    return gone


def _by_loss(model: Changeable, lessons: Lessons) -> list[str]:
    """Blocks, that without which the answers change least first."""
    losses = {}
    for name in blocks(model.graph.graph):
        with torch.inference_mode():
            answers = _without(model, [name]).eval().teachable(lessons.inputs)
        losses[name] = float(answer_loss(answers, lessons.answers, lessons.kind, TEMPERATURE))
    return sorted(losses, key=lambda name: losses[name])


def _without(model: Changeable, names: list[str]) -> Changeable:
    """A copy without some blocks."""
    shorter = copy.deepcopy(model)
    for name in names:
        leave_out(shorter, name)
    return shorter


def _shape(node: fx.Node) -> tuple[str, ...]:
    value = node.meta.get("val")
    return () if value is None else tuple(map(str, value.shape))
