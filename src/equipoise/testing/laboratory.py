"""Where a technique is tried: in processes of their own, as a study does it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from equipoise.compress.base import BuildContext, Technique
from equipoise.compress.tools import open_natively
from equipoise.compress.training import Training, read_record
from equipoise.core.recipe import Step
from equipoise.core.training import TrainingRecord
from equipoise.errors import EquipoiseError, SandboxError
from equipoise.host.sandbox import Sandbox
from equipoise.preprocess.rows import Array, Rows
from equipoise.store.artifacts import artifact_digest
from equipoise.testing.example import Example

CALL_TIMEOUT_S = 300.0
ANSWER_BATCH = 16


class TickingClock:
    """A clock on which time passes only by looking at it, so that a test decides how long a training takes.

    Args:
        tick_s: What each look takes, in seconds.
    """

    def __init__(self, tick_s: float = 1.0) -> None:
        self.tick_s = tick_s
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time, in seconds."""
        self.now_s += self.tick_s
        return self.now_s


class Share:
    """A share of right answers, as a `compress.training.Quality`: labels, or columns of which the largest counts.

    Args:
        output: Name of the output that is judged.
        target: True answers, [n].
    """

    higher_is_better = True

    def __init__(self, output: str, target: Array) -> None:
        self.output = output
        self.target = target

    def __call__(self, outputs: Mapping[str, Array]) -> float:
        """Share of rows answered like `target`."""
        found = outputs[self.output]
        return float(np.mean((found.argmax(axis=1) if found.ndim > 1 else found) == self.target))


@dataclass(frozen=True)
class Attempt:
    """What came of a technique's attempt.

    Attributes:
        failure: Why it ended, as a study records it; empty where it made an artifact.
        crashed: Whether it ended by something that is no reason for a person: an exception of its own, a dead process.
        artifact: Folder of what it made.
        digest: SHA-256 of its files; empty where it failed.
        outputs: What it answers to the search rows, opened in the process that made it.
        record: How it was trained; null where it does not train.
    """

    failure: str
    crashed: bool
    artifact: Path
    digest: str = ""
    outputs: dict[str, Array] | None = None
    record: TrainingRecord | None = None


class Laboratory:
    """Two processes, in which techniques build and what they built is opened.

    Args:
        folder: Where everything goes that they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._children: dict[str, Sandbox] = {}
        self._attempts = 0
        self._teachers: dict[Path, dict[str, Array]] = {}
        self._kept: dict[tuple[str, Path, str, str], Attempt] = {}

    def made_before(self, name: str, example: Example, step: Step, process: str) -> Attempt | None:
        """What came of the same attempt before; null where it was not made."""
        return self._kept.get((name, example.artifact, str(step), process))

    def keep(self, name: str, example: Example, step: Step, process: str, attempt: Attempt) -> None:
        """Keep what came of an attempt for checks that ask for the same."""
        self._kept[name, example.artifact, str(step), process] = attempt

    def attempt(
        self,
        technique: Technique,
        example: Example,
        step: Step,
        *,
        process: str = "first",
        source: Path | None = None,
        rows: Rows | None = None,
        teacher: Mapping[str, Array] | None = None,
        clock: Callable[[], float] = time.monotonic,
        trains: bool | None = None,
        seed: int = 0,
    ) -> Attempt:
        """Have a technique build, and answer the search rows with what it made.

        Args:
            technique: Who builds.
            example: The model and its rows.
            step: What it is asked for.
            process: Name of the process it is done in.
            source: Another artifact to build from than the example's.
            rows: Other rows to calibrate with and to train on.
            teacher: Other answers to learn than the model's.
            clock: What a training keeps its time by.
            trains: Whether it is given something to train with; null for whether it says that it trains.
            seed: For everything random.
        """
        self._attempts += 1
        place = self.folder / f"{step.technique}-{self._attempts}"
        checkpoints = place / "checkpoints"
        checkpoints.mkdir(parents=True)
        (place / "artifact").mkdir()
        rows = example.rows if rows is None else rows
        training = None
        if getattr(technique, "trains", False) if trains is None else trains:
            labelled = technique.data_use == "labelled"
            training = Training(
                rows=rows if labelled else replace(rows, target=None),
                teacher=self.teacher_of(example, rows) if teacher is None else teacher,
                teacher_artifact=example.artifact,
                search=example.search,
                quality=None if example.search.target is None else Share(example.output, example.search.target),
                folder=checkpoints,
                clock=clock,
            )
        context = BuildContext(rows, example.output, place / "artifact", seed, threads=1, training=training)
        try:
            found: Attempt = self._child(process).call(
                _apply, technique, source or example.artifact, step, context, example.search, timeout_s=CALL_TIMEOUT_S
            )
            return found
        except SandboxError as error:
            self._children.pop(process).close()
            return Attempt(failure=error.message, crashed=True, artifact=context.folder)

    def teacher_of(self, example: Example, rows: Rows) -> dict[str, Array]:
        """What an example's model answers to rows; to its own it is asked once."""
        if rows is not example.rows:
            return self.answers(example.artifact, rows)
        if example.artifact not in self._teachers:
            self._teachers[example.artifact] = self.answers(example.artifact, rows)
        return self._teachers[example.artifact]

    def answers(self, artifact: Path, rows: Rows, process: str = "second") -> dict[str, Array]:
        """What an artifact answers, opened in a process."""
        found: dict[str, Array] = self._child(process).call(_answers, artifact, rows, timeout_s=CALL_TIMEOUT_S)
        return found

    def close(self) -> None:
        """End both processes."""
        for child in self._children.values():
            child.close()
        self._children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _child(self, name: str) -> Sandbox:
        if name not in self._children:
            self._children[name] = Sandbox(self.folder / f"{name}.log")
        return self._children[name]


def _apply(technique: Technique, source: Path, step: Step, context: BuildContext, search: Rows) -> Attempt:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as a study does: they speak to a library's developers
            technique.apply(source, step, context)
        outputs = _answers(context.folder, search)
    except EquipoiseError as error:
        return Attempt(failure=str(error), crashed=False, artifact=context.folder)
    except Exception as error:  # a stranger's code: whatever it raised, it gave no reason
        return Attempt(failure=f"{type(error).__name__}: {error}", crashed=True, artifact=context.folder)
    return Attempt(
        failure="",
        crashed=False,
        artifact=context.folder,
        digest=artifact_digest(context.folder),
        outputs=outputs,
        record=None if context.training is None else read_record(context.training.folder),
    )


def _answers(artifact: Path, rows: Rows) -> dict[str, Array]:
    session = open_natively(artifact)
    size = session.spec.fixed_batch or ANSWER_BATCH
    last = rows.n - size + 1 if session.spec.fixed_batch else rows.n
    parts: list[dict[str, Any]] = []
    for start in range(0, last, size):
        feeds = rows.take(slice(start, start + size)).feeds
        parts.append(session.run(session.prepare(feeds)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
