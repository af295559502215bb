"""What every technique must keep, as checks that anyone's can be run through.

    from equipoise.testing import example
    from equipoise.testing.technique import check_technique

    def test_my_technique(tmp_path):
        check_technique("my_technique", example.forest(tmp_path), tmp_path)

Or one test a check, by `TECHNIQUE_CHECKS`, name to function. A check fails with an `AssertionError` that says what was
found, what is required, and where to read on (`docs/plugins.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.compress.base import Technique
from equipoise.compress.facts import model_facts
from equipoise.core.recipe import Recipe, Step
from equipoise.core.training import TRAIN_S
from equipoise.errors import EquipoiseError
from equipoise.host.environment import environment
from equipoise.preprocess.rows import Array, Rows
from equipoise.registry import techniques
from equipoise.store.artifacts import artifact_digest
from equipoise.testing.example import Example, nothing
from equipoise.testing.laboratory import Attempt, Laboratory, TickingClock

LONG_S, SHORT_S = 120.0, 40.0
"""Training times on a clock that goes on by a second each time that a training looks at it."""
TOLERANCE = 1.1

Check = Callable[[Technique, Example, Step, Laboratory], None]


def check_technique(technique: Technique | str, example: Example, folder: Path, step: Step | None = None) -> None:
    """Run a technique through every check that applies to it.

    Args:
        technique: The technique, or the name by which it is installed. It must be importable in a fresh process.
        example: A model that it works on, with rows.
        folder: An existing folder for what it makes.
        step: What it is asked for; null for its own first proposal.

    Raises:
        AssertionError: It does not keep one of them.
    """
    found = installed(technique) if isinstance(technique, str) else technique
    asked = step or first_proposal(found, example)
    with Laboratory(folder / "laboratory") as laboratory:
        for check in TECHNIQUE_CHECKS.values():
            check(found, example, asked, laboratory)


def installed(name: str) -> Technique:
    """The technique of that name.

    Raises:
        AssertionError: None is installed.
    """
    found: Technique | None = techniques().get(name)
    _require(found is not None, f"no technique {name!r} is installed; there are {', '.join(techniques())}")
    if found is None:
        raise AssertionError
    return found


def first_proposal(technique: Technique, example: Example) -> Step:
    """What a technique would try first on an example.

    Raises:
        AssertionError: Nothing.
    """
    steps = proposals(technique, example)
    _require(bool(steps), f"{technique.name} proposes nothing for {example.name}; name a step, or take another example")
    return steps[0]


def proposals(technique: Technique, example: Example) -> list[Step]:
    """What a technique would try on an example."""
    return technique.propose(model_facts(example.artifact, environment()), Recipe())


def proposes_steps_of_its_own(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:  # noqa: ARG001
    """It proposes steps under its own name, the same each time, and no time to train: the search decides on that."""
    first, second = proposals(technique, example), proposals(technique, example)
    _require(first == second, f"{technique.name} proposes {_shown(first)}, then {_shown(second)} for the same model")
    for each in first:
        _require(each.technique == technique.name, f"{technique.name} proposes a step of {each.technique!r}")
        _require(TRAIN_S not in each.parameters, f"{each} names {TRAIN_S}, which the search decides on")


def leaves_its_source_as_it_was(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """The artifact that it starts from has the same bytes afterwards."""
    before = artifact_digest(example.artifact)
    _made(technique, example, step, laboratory)
    after = artifact_digest(example.artifact)
    _require(before == after, f"{step} changed the model that it was given: {before[:12]} became {after[:12]}")


def repeats_itself_by_seed(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """With the same seed, another process makes a model that gives the same answers to the last bit."""
    first, second = (_made(technique, example, step, laboratory, process=process) for process in ("first", "second"))
    _same_answers(first.outputs, second.outputs, f"{step} with the same seed, in another process")


def answers_the_same_in_a_fresh_process(
    technique: Technique, example: Example, step: Step, laboratory: Laboratory
) -> None:
    """What it saved is the whole model: opened in a process that did not make it, it gives the same answers."""
    made = _made(technique, example, step, laboratory)
    found = laboratory.answers(made.artifact, example.search)
    _same_answers(made.outputs, found, f"what {step} saved, opened in another process")


def keeps_inputs_and_outputs(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """Its result has the outputs of its source, by name, and as many values a row, all finite."""
    made, source = _made(technique, example, step, laboratory), laboratory.answers(example.artifact, example.search)
    found = made.outputs or {}
    _require(found.keys() == source.keys(), f"{step} gives {_shown(found)}, its source {_shown(source)}")
    for name, array in found.items():
        same = array.shape == source[name].shape
        _require(same, f"{step} gives {name!r} of shape {array.shape}, its source of shape {source[name].shape}")
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        _require(finite, f"{step} gives {name!r} with values that are not finite")


def refuses_what_it_cannot_use(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """A folder without a model ends in an error of ours with a reason, which a study records, and not in a crash."""
    empty = laboratory.folder / "nothing"
    empty = empty if empty.is_dir() else nothing(laboratory.folder)
    attempt = laboratory.attempt(technique, example, _timed(technique, step), source=empty, clock=TickingClock())
    _refused(attempt, f"{step} of a folder without a model")


def reads_no_more_than_it_says(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """Its result depends on no data where `data_use` is `none`, and on no true answer where it is `unlabelled`."""
    if technique.data_use == "labelled":
        return
    rows = example.rows
    if technique.data_use == "none":
        other = rows.take(np.arange(rows.n)[::-2])
        what = "other rows"
    else:
        target = None if rows.target is None else rows.target[::-1].copy()
        other, what = replace(rows, target=target), "other true answers"
    first = _made(technique, example, step, laboratory)
    second = _made(technique, example, step, laboratory, rows=other)
    _same_answers(first.outputs, second.outputs, f"{step} says data_use = {technique.data_use}, and with {what}")


def needs_time_to_train(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """A technique that trains refuses to without a budget, instead of training for as long as it likes."""
    if _trains(technique):
        _refused(laboratory.attempt(technique, example, step, clock=TickingClock()), f"{step} without {TRAIN_S}")
        timed = _timed(technique, step)
        _refused(laboratory.attempt(technique, example, timed, trains=False), f"{step} without training rows")


def keeps_its_time(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """A training ends within 110% of its time, on a clock that the check winds, and uses half of it or is done."""
    if not _trains(technique):
        return
    timed = _timed(technique, step, SHORT_S)
    made = _made(technique, example, timed, laboratory)
    record = made.record
    if record is None:
        raise AssertionError(f"{step} told nothing of its training: it needs a `compress.training.TrainingRun`")
    within = record.elapsed_s <= TOLERANCE * SHORT_S
    _require(within, f"{step} had {SHORT_S:g} s and trained for {record.elapsed_s:g} s; a tenth more is forgiven")
    used = record.finished or record.elapsed_s >= SHORT_S / 2
    _require(used, f"{step} had {SHORT_S:g} s, stopped after {record.elapsed_s:g} s, and says that it is not finished")


def tells_where_it_stands(technique: Technique, example: Example, step: Step, laboratory: Laboratory) -> None:
    """A training says after each step how far it is, in ascending order, and how good on the search rows."""
    if not _trains(technique):
        return
    record = _made(technique, example, step, laboratory).record
    points = () if record is None else record.points
    _require(bool(points), f"{step} told nothing of its training")
    steps, times = [point.step for point in points], [point.elapsed_s for point in points]
    _require(steps == sorted(steps) and times == sorted(times), f"{step} told steps {steps} at {times} s")
    looked = any(point.quality is not None for point in points)
    _require(looked, f"{step} never looked at its quality on the search rows")


def fails_where_there_is_nothing_to_learn(
    technique: Technique, example: Example, step: Step, laboratory: Laboratory
) -> None:
    """A teacher whose answers are not numbers ends in a failure with a reason, not in a model that answers as badly."""
    if not _trains(technique):
        return
    broken = {
        name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array
        for name, array in laboratory.answers(example.artifact, example.rows).items()
    }
    if all(array.dtype.kind != "f" for array in broken.values()):
        return
    attempt = laboratory.attempt(technique, example, _timed(technique, step), teacher=broken, clock=TickingClock())
    _refused(attempt, f"{step} of a teacher that answers NaN")


TECHNIQUE_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        proposes_steps_of_its_own,
        leaves_its_source_as_it_was,
        repeats_itself_by_seed,
        answers_the_same_in_a_fresh_process,
        keeps_inputs_and_outputs,
        refuses_what_it_cannot_use,
        reads_no_more_than_it_says,
        needs_time_to_train,
        keeps_its_time,
        tells_where_it_stands,
        fails_where_there_is_nothing_to_learn,
    )
}
"""Every check, by name; one that does not apply to a technique passes."""


def _trains(technique: Technique) -> bool:
    return getattr(technique, "trains", False)


def _timed(technique: Technique, step: Step, seconds: float = LONG_S) -> Step:
    """The step with the time that it may train; as it is where it does not train, or names a time."""
    if not _trains(technique) or TRAIN_S in step.parameters:
        return step
    return step.model_copy(update={"parameters": {**step.parameters, TRAIN_S: seconds}})


def _made(
    technique: Technique,
    example: Example,
    step: Step,
    laboratory: Laboratory,
    *,
    process: str = "first",
    rows: Rows | None = None,
) -> Attempt:
    """An attempt that must succeed; of the example's own rows it is made once a process."""
    timed = _timed(technique, step)
    found = laboratory.made_before(technique.name, example, timed, process) if rows is None else None
    if found is None:
        found = laboratory.attempt(technique, example, timed, process=process, rows=rows, clock=TickingClock())
        if rows is None:
            laboratory.keep(technique.name, example, timed, process, found)
    ended = "ended with" if found.crashed else "was refused:"
    _require(not found.failure, f"{step} of {example.name} {ended} {found.failure}")
    return found


def _refused(attempt: Attempt, what: str) -> None:
    _require(bool(attempt.failure), f"{what} made an artifact; it must be refused")
    found = f"{what} ended with {attempt.failure}; it must raise a {EquipoiseError.__name__}, such as TechniqueError"
    _require(not attempt.crashed, found)


def _same_answers(first: dict[str, Array] | None, second: dict[str, Array] | None, what: str) -> None:
    if first is None or second is None:
        raise AssertionError(f"{what}: no answers to compare")
    for name, array in first.items():
        same = np.array_equal(array, second[name], equal_nan=array.dtype.kind == "f")
        _require(same, f"{what}: {name!r} differs in {_differing(array, second[name])} of {array.size:,} values")


def _differing(first: Array, second: Array) -> str:
    return "the shape" if first.shape != second.shape else f"{int((first != second).sum()):,}"


def _shown(things: Any) -> str:
    return ", ".join(str(each) for each in things) or "nothing"


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise AssertionError(f"{otherwise} (see docs/plugins.md)")
