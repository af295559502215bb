"""Techniques that break one promise each, for the suite to find; importable in a fresh process through PYTHONPATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.tools import load_onnx, save_onnx
from equipoise.compress.training import TrainingRun, required_training
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format


class Copy:
    """Copies an ONNX model as it is, which breaks nothing."""

    name: ClassVar[str] = "copy"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"
    trains: ClassVar[bool] = False

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        return [Step(technique=self.name)] if model.format == "onnx" else []

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        save_onnx(self.changed(load_onnx(source), context), context.folder)
        return "onnx"

    def changed(self, model: Any, context: BuildContext) -> Any:
        return model


class Scribbler(Copy):
    """Writes into the model that it was given."""

    name: ClassVar[str] = "scribbler"

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        made = super().apply(source, step, context)
        (source / "notes").write_text("mine\n")
        return made


class Gambler(Copy):
    """Draws from no seed."""

    name: ClassVar[str] = "gambler"

    def changed(self, model: Any, context: BuildContext) -> Any:
        return scaled(model, 1 + int.from_bytes(os.urandom(2)) / 65_536)


class Crasher(Copy):
    """Says nothing of what is wrong with a model."""

    name: ClassVar[str] = "crasher"

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        shutil.copyfile(source / "model.onnx", context.folder / "model.onnx")
        return "onnx"


class Peeker(Copy):
    """Reads true answers, and says that it reads none."""

    name: ClassVar[str] = "peeker"
    data_use: ClassVar[DataUse] = "unlabelled"

    def changed(self, model: Any, context: BuildContext) -> Any:
        target = context.calibration.target
        return scaled(model, 1.0 if target is None else 1.0 + float(np.arange(len(target)) @ target))


class Forgetter(Copy):
    """Leaves a part of its result in its own memory."""

    name: ClassVar[str] = "forgetter"

    def changed(self, model: Any, context: BuildContext) -> Any:
        import equipoise.compress.tools as tools

        opened = tools.open_natively

        def with_memory(artifact: Path) -> Any:
            session = opened(artifact)
            run = session.run
            session.run = lambda prepared: {name: array + 1 for name, array in run(prepared).items()}
            return session

        import equipoise.testing.laboratory as laboratory

        laboratory.open_natively = with_memory
        return model


class Trainer(Copy):
    """Trains for as long as it may, which breaks nothing."""

    name: ClassVar[str] = "trainer"
    data_use: ClassVar[DataUse] = "unlabelled"
    trains: ClassVar[bool] = True

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        training = required_training(context.training, self.name)
        run = TrainingRun(training, step)
        while self.goes_on(run):
            run.tell(loss=float(next(iter(training.teacher.values())).mean()), quality=0.5)
        run.finish(finished=False)
        return super().apply(source, step, context)

    def goes_on(self, run: TrainingRun) -> bool:
        return run.goes_on()


class Dawdler(Trainer):
    """Trains twice as long as it may."""

    name: ClassVar[str] = "dawdler"

    def goes_on(self, run: TrainingRun) -> bool:
        return run.elapsed_s < 2 * run.budget_s


class Sprinter(Trainer):
    """Stops at once and says that it is not finished."""

    name: ClassVar[str] = "sprinter"

    def goes_on(self, run: TrainingRun) -> bool:
        return run.done < 1


def scaled(model: Any, factor: float) -> Any:
    """The model, its last layer's weights times a factor."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.name == "w3":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), "w3"))
    return model
