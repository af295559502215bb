"""Teaches a model that was made simpler the answers that it gave before."""

from __future__ import annotations

from pathlib import Path

import torch

from equipoise.compress.base import BuildContext
from equipoise.compress.tools import load_torch, tool
from equipoise.compress.training import Training, TrainingRun
from equipoise.core.recipe import Step
from equipoise.train.changeable import Changeable, graph_of
from equipoise.train.checkpoint import Checkpoint
from equipoise.train.fit import Fit, FitSettings, precision_of
from equipoise.train.lessons import Lessons, lessons_of

LEARNING_RATE = 1e-3
TEMPERATURE = 2.0


class Recovery:
    """A torch model under study, and what its simpler form is taught.

    Args:
        source: Artifact folder with its program.
        step: `learning_rate`, `temperature` and `epochs`, where they are not the usual ones.
        context: Which output, seed and threads.
        training: Rows, answers and time.

    Attributes:
        model: As it was given; layers can be changed.
        spec: What it takes and gives.
        lessons: Rows and its own answers to them.

    Raises:
        TechniqueError: It holds no torch program, or nothing that can be taught.
    """

    def __init__(self, source: Path, step: Step, context: BuildContext, training: Training) -> None:
        torch.set_num_threads(context.threads)
        torch.manual_seed(context.seed)
        with tool("torch"):
            program, self.spec = load_torch(source)
            graph = graph_of(program)
        inputs = tuple(tensor.name for tensor in self.spec.inputs)
        self.lessons: Lessons = lessons_of(training, context.output, inputs)
        self.model = Changeable(graph, self.spec, context.output, self.lessons.kind)
        self._step, self._context, self._training = step, context, training

    def example(self) -> tuple[torch.Tensor, ...]:
        """A few rows, in the order of the inputs."""
        return tuple(tensor[:4] for tensor in self.lessons.inputs.values())

    def teach(self, model: Changeable, run: TrainingRun, found: Checkpoint | None, share: float = 1.0) -> Changeable:
        """Train a simpler form for the run's time, or a share of it.

        Raises:
            TechniqueError: It diverged.
        """
        given = self._step.parameters
        settings = FitSettings(
            learning_rate=float(str(given.get("learning_rate", LEARNING_RATE))),
            temperature=float(str(given.get("temperature", TEMPERATURE))),
            precision=precision_of(self._step),
            most_epochs=int(str(given.get("epochs", FitSettings.most_epochs))),
            weight_decay=1e-4,
        )
        outputs = tuple(tensor.name for tensor in self.spec.outputs)
        with tool("torch"):
            Fit(model, self.lessons, settings, self._training, outputs, self._context.seed).run(run, found, share)
        return model
