"""The training that all techniques share: a learner is taught a teacher's answers for as long as its time allows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.core.training import TrainDevice
from equipoise.errors import TechniqueError
from equipoise.train.augment import shifted
from equipoise.train.checkpoint import Checkpoint
from equipoise.train.lessons import Lessons, tensors
from equipoise.train.losses import answer_loss
from equipoise.train.pace import Pace
from equipoise.train.precision import autocast, faster_precision

Array = NDArray[Any]
LOOKS = 12
"""Times that a training looks at the search rows, evenly spread over its time."""
LOOK_SHARE = 0.1
"""After a look it trains for so long that looking took this share of the time: a short training looks less often."""
ANSWER_BATCH = 256
PLATEAU_LOOKS = 5
"""Looks in a row without a better loss or quality after which more time would change nothing."""
LARGEST_GRADIENT = 5.0
Precision = Literal["auto", "f32", "bf16"]
PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}


class Learner(Protocol):
    """What can be taught: a module with answers that a loss can be computed of."""

    def teachable(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits, or values, [n, outputs], of a batch of the model's inputs by name."""

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The model's outputs, in the model's order."""


@dataclass(frozen=True)
class FitSettings:
    """How a learner is taught.

    Attributes:
        learning_rate: The largest; it rises shortly, then falls by half a cosine.
        optimizer: `adamw` (arXiv 1711.05101), or `sgd` with Nesterov's momentum of 0.9.
        batch: Rows a step.
        temperature: Of soft targets.
        weight_decay: Of all weights with more than one axis.
        most_epochs: Passes over the rows, shorter trainings that this one goes on from included.
        shift: Pixels by which images are moved at most, in the model's layout; 0 for none.
        layout: Axes of an image after the batch: `hwc`, `chw` or `hw`.
        precision: `f32`, `bf16`, or `auto` for the one in which this machine trains this model faster.
    """

    learning_rate: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    batch: int = 128
    temperature: float = 4.0
    weight_decay: float = 0.01
    most_epochs: int = 200
    shift: int = 0
    layout: str = ""
    precision: Precision = "auto"


class Fit:
    """One training of one learner.

    Args:
        learner: Is trained in place; a module with the methods of `Learner`.
        lessons: What it learns from.
        settings: How.
        training: What the search gave; its checkpoint folder, clock and judge are used.
        outputs: Names of the model's outputs, in its order.
        seed: For the order of the rows and everything else that is random.
    """

    def __init__(
        self,
        learner: nn.Module,
        lessons: Lessons,
        settings: FitSettings,
        training: Training,
        outputs: tuple[str, ...],
        seed: int,
    ) -> None:
        self.learner: Any = learner
        self.settings, self.training, self.outputs, self.seed = settings, training, outputs, seed
        self.device = _device(training.device)
        self.lessons = lessons
        self.learner.to(self.device)
        _lay_out(self.learner, torch.channels_last)
        self.optimizer = _optimizer(self.learner, settings)
        self.precision = torch.float32
        self.steps_an_epoch = max(1, lessons.n // settings.batch)
        self.search = tensors(training.search.feeds, tuple(lessons.inputs))
        self.best: dict[str, Any] | None = None
        self._best_quality: float | None = None
        self._steps = 0
        self._told_before = 0  # steps of what was trained before in the same run: hints, say
        self._order: Tensor | None = None

    def run(self, run: TrainingRun, found: Checkpoint | None, share: float = 1.0) -> nn.Module:
        """Train until the time or the passes are used up, and leave the learner with its best weights.

        Args:
            run: Keeps the time and the learning curve.
            found: What an earlier training left; null to begin anew.
            share: Of the time and the passes in all, where something else follows; the run is finished only at 1.

        Returns:
            The learner, on the CPU, in evaluation mode.

        Raises:
            TechniqueError: It diverged, or memory did not suffice.
        """
        if found is not None:
            self._go_on_from(found)
        self._told_before = max(0, run.done - self._steps)
        try:
            finished = self._train(run, share)
        except torch.OutOfMemoryError as error:
            raise TechniqueError(
                f"the GPU's memory did not suffice for batches of {self.settings.batch} rows: {error}; "
                "train on the CPU, or with a smaller batch"
            ) from error
        if self.best is not None:
            self.learner.load_state_dict(self.best)
        if share == 1.0:
            run.finish(finished=finished)
        trained: nn.Module = self.learner.to("cpu").eval()
        _lay_out(trained, torch.contiguous_format)
        return trained

    def _train(self, run: TrainingRun, share: float) -> bool:
        """Train for a share of the time and of the passes; whether more time would change nothing."""
        most_steps = math.ceil(share * self.settings.most_epochs * self.steps_an_epoch)
        kept_s = (1 - share) * run.budget_s
        pace, plateau = Pace(), _Plateau()
        self._choose_precision()
        begin_steps, begin_s, looked, reserve_s = self._steps, run.elapsed_s, 0, kept_s
        next_look_s = 0.0
        loss = torch.zeros((), device=self.device)
        counted = 0
        while self._steps < most_steps and run.left_s > reserve_s:
            done = self._steps - begin_steps
            step_s = (run.elapsed_s - begin_s) / done if done else 0.0
            pace.move(most_steps - self._steps, run.left_s - reserve_s, step_s)
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * pace.factor
            loss += self._step(self._batch(), self.precision)
            self._steps += 1
            counted += 1
            if pace.progress * LOOKS >= looked + 1 and run.elapsed_s >= next_look_s:
                looked = int(pace.progress * LOOKS + 1e-9)
                before_s = run.elapsed_s
                if self._look(run, float(loss) / counted, most_steps, plateau, share == 1.0):
                    return True
                look_s = run.elapsed_s - before_s
                reserve_s, next_look_s = kept_s + 1.2 * look_s, run.elapsed_s + look_s / LOOK_SHARE
                loss, counted = torch.zeros_like(loss), 0
        if counted:
            self._look(run, float(loss) / counted, most_steps, plateau, share == 1.0)
        return self._steps >= most_steps

    def _look(self, run: TrainingRun, loss: float, most_steps: int, plateau: _Plateau, last: bool) -> bool:
        """Judge on the search rows, keep what is worth keeping, and say whether to stop early.

        What something else follows is neither judged nor kept: it is another model by then.
        """
        quality = None
        if last and self.training.quality is not None and math.isfinite(loss):
            quality = self.training.quality(self.answers())
        before = self._told_before
        better = run.tell(step=before + self._steps, steps=before + most_steps, loss=loss, quality=quality)
        if better or self.best is None or quality == self._best_quality:  # as good, and trained for longer
            self.best, self._best_quality = copy.deepcopy(self.learner.state_dict()), quality
        if last:
            Checkpoint(
                self.learner.state_dict(), self.optimizer.state_dict(), self.best, self._best_quality, self._steps
            ).save(self.training.folder)
        return plateau.reached(loss, better and quality is not None)

    def answers(self) -> dict[str, Array]:
        """The learner's outputs to the search rows, by name."""
        self.learner.eval()
        parts = []
        count = len(next(iter(self.search.values())))
        with torch.inference_mode():
            for start in range(0, count, ANSWER_BATCH):
                batch = [tensor[start : start + ANSWER_BATCH].to(self.device) for tensor in self.search.values()]
                given = self.learner(*batch)
                given = given if isinstance(given, tuple) else (given,)
                parts.append([output.cpu().numpy() for output in given])
        self.learner.train()
        return {name: np.concatenate([part[position] for part in parts]) for position, name in enumerate(self.outputs)}

    def _step(self, batch: Lessons, precision: torch.dtype) -> Tensor:
        """Train one batch and give its loss."""
        self.learner.train()
        with autocast(precision, self.device):
            answers = self.learner.teachable(batch.inputs)
        loss = answer_loss(answers.float(), batch.answers, batch.kind, self.settings.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.learner.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        return loss.detach()

    def _batch(self) -> Lessons:
        """The next rows in an order that the seed decides, moved a little where they are images."""
        epoch, position = divmod(self._steps, self.steps_an_epoch)
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if self._order is None or position == 0:
            self._order = torch.randperm(self.lessons.n, generator=random)
        index = self._order[position * self.settings.batch : (position + 1) * self.settings.batch]
        batch = self.lessons.take(index)
        if self.settings.shift:
            random.manual_seed(self.seed * 1_000_003 + self._steps)
            moved = {
                name: shifted(tensor, self.settings.layout, self.settings.shift, random)
                for name, tensor in batch.inputs.items()
            }
            batch = Lessons(moved, batch.answers, batch.kind)
        return Lessons(
            {name: tensor.to(self.device) for name, tensor in batch.inputs.items()},
            batch.answers.to(self.device),
            batch.kind,
        )

    def _choose_precision(self) -> None:
        """Time a few steps in each precision, and put everything back that they changed."""
        if self.settings.precision != "auto":
            self.precision = PRECISIONS[self.settings.precision]
            return
        weights, state = copy.deepcopy(self.learner.state_dict()), copy.deepcopy(self.optimizer.state_dict())
        batch, random = self._batch(), torch.get_rng_state()
        self.precision = faster_precision(lambda kind: float(self._step(batch, kind)), self.device, self.training.clock)
        self.learner.load_state_dict(weights)
        self.optimizer.load_state_dict(state)
        torch.set_rng_state(random)

    def _go_on_from(self, found: Checkpoint) -> None:
        self.learner.load_state_dict(found.weights)
        self.optimizer.load_state_dict(found.optimizer)
        self.best, self._best_quality = found.best, found.quality
        self._steps = found.steps


class _Plateau:
    """Tells when nothing gets better any more."""

    def __init__(self) -> None:
        self._best_loss = math.inf
        self._idle = 0

    def reached(self, loss: float, better: bool) -> bool:
        """Note one look, and say whether there were enough without anything better."""
        improved = better or loss < self._best_loss
        self._best_loss = min(loss, self._best_loss)
        self._idle = 0 if improved else self._idle + 1
        return self._idle >= PLATEAU_LOOKS


def precision_of(step: Step) -> Precision:
    """The precision that a step of a recipe asks for.

    Raises:
        TechniqueError: There is no such precision.
    """
    match step.parameters.get("precision", "auto"):
        case "auto" | "f32" | "bf16" as known:
            return known
        case other:
            raise TechniqueError(f"there is no precision {other!r} to train in; there are auto, f32, bf16")


def _lay_out(module: nn.Module, layout: torch.memory_format) -> None:
    """Order the weights of convolutions of images in memory: channels last trains up to 1.7 times as fast on a CPU."""
    for weights in module.parameters():
        if weights.dim() == 4:
            weights.data = weights.data.contiguous(memory_format=layout)


def _device(name: TrainDevice) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TechniqueError(
            "training on a GPU was asked for, and torch finds none: install a CUDA build, or use the CPU"
        )
    return torch.device(name)


def _optimizer(module: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    decayed = [each for each in module.parameters() if each.dim() > 1]
    others = [each for each in module.parameters() if each.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate)
