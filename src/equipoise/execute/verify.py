"""Is a bundle still what was certified: its bytes, its answers on this machine, and the machine itself?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.core.environment import Environment
from equipoise.core.plan import Plan
from equipoise.errors import InputError
from equipoise.execute.plan import open_plan
from equipoise.execute.stages import CONFIDENCE, STAGE, STAGE_OUTPUTS
from equipoise.host.environment import environment
from equipoise.store.bundle import Bundle, read_bundle, require_bundle
from equipoise.store.manifest import changed_files

Array = NDArray[Any]
STEEPEST = 5.0
"""How much faster than a model's scores its calibrated confidence may change."""
# The largest difference, as a share of the largest expected figure of that output, that rounding can make between two
# machines that compute in that precision.
TOLERANCE: dict[str, float] = {"f64": 1e-6, "f32": 1e-4, "f16": 1e-2, "bf16": 4e-2, "int8": 4e-2, "int8_bf16": 4e-2}


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        ok: Every byte and every golden answer is as it was; a changed machine alone does not count against it.
        changed_files: One line for each file that is missing, added or changed.
        changed_answers: One line for each output that answers differently here.
        same_environment: Whether speed was measured on a machine and libraries like these.
        notes: What the person should know besides.
    """

    ok: bool
    changed_files: tuple[str, ...]
    changed_answers: tuple[str, ...]
    same_environment: bool
    notes: tuple[str, ...]


def verify_bundle(folder: Path) -> Verification:
    """Check a bundle's digests, compute its golden answers again on this machine, and compare the machine.

    Changed files are never opened: where there are any, no answer is computed.

    Args:
        folder: The bundle.

    Raises:
        BundleError: It is not a bundle, or it is intact and yet cannot be read.
    """
    require_bundle(folder)
    _, changes = changed_files(folder)
    if changes:
        note = "its answers were not computed, since files that were changed are not opened"
        return Verification(False, changes, (), same_environment=False, notes=(note,))
    bundle = read_bundle(folder)
    here = environment()
    differences = environment_differences(bundle.environment, here)
    notes = ("speed was measured elsewhere: " + "; ".join(differences),) if differences else ()
    answers, failure = _answers(bundle)
    changed = (failure,) if answers is None else changed_answers(bundle.plan, bundle.golden_outputs, answers)
    return Verification(not changed, (), changed, same_environment=not differences, notes=notes)


def changed_answers(plan: Plan, expected: Mapping[str, Array], found: Mapping[str, Array]) -> tuple[str, ...]:
    """Compare answers with the golden ones: labels must be equal, numbers within the rounding of the plan's precision.

    Where an output holds a score for each class, the class with the highest must be the same too, unless the golden
    answer's two highest lie closer together than the rounding.

    Returns:
        One line for each output that differs.
    """
    tolerance = max(TOLERANCE[model.settings.precision] for model in plan.models)
    lines = []
    same = _answered_by_the_same(plan, expected, found, tolerance)
    if same is None:
        return ("rows are answered by other stages than before, though nothing was close to a threshold",)
    for name, golden in expected.items():
        if name in STAGE_OUTPUTS:
            continue
        answer = found.get(name)
        if answer is None:
            lines.append(f"output {name!r} is missing")
        elif answer.shape != golden.shape:
            lines.append(f"output {name!r} has shape {answer.shape}, expected {golden.shape}")
        elif golden.dtype.kind not in "fc":
            differ = int(np.sum(answer[same].astype(str) != golden[same].astype(str)))
            if differ:
                lines.append(f"output {name!r}: {differ} of {golden.size} labels differ")
        else:
            lines += _number_differences(name, golden[same], answer[same], tolerance, plan)
    return tuple(lines)


def _answered_by_the_same(
    plan: Plan, expected: Mapping[str, Array], found: Mapping[str, Array], tolerance: float
) -> NDArray[np.bool_] | None:
    """Which rows the same stage answered; null where one changed whose confidence was not close to a threshold.

    Rounding may carry a confidence over a threshold, and the row then has another stage's answer, which is as good.
    """
    rows = len(next(iter(expected.values())))
    if STAGE not in expected:
        return np.ones(rows, dtype=bool)
    if STAGE not in found or len(found[STAGE]) != rows:
        return None
    same = np.asarray(expected[STAGE] == found[STAGE])
    parted = np.minimum(expected[STAGE], found[STAGE])
    for row in np.flatnonzero(~same):
        rule = plan.stages[int(parted[row])].accept
        sure = expected[CONFIDENCE][row, int(parted[row])]
        if rule is None or not abs(sure - rule.at_least) <= STEEPEST * tolerance * max(1.0, abs(rule.at_least)):
            return None
    return same


def environment_differences(measured: Environment, here: Environment) -> tuple[str, ...]:
    """What speed depends on and is different here, one phrase each; memory size is not part of it."""
    pairs = [
        ("processor", measured.cpu_model, here.cpu_model),
        ("instruction sets", " ".join(measured.cpu_flags), " ".join(here.cpu_flags)),
        ("cores", str(measured.cores), str(here.cores)),
        ("system", measured.system, here.system),
        *(
            (name, measured.libraries.get(name, "absent"), here.libraries.get(name, "absent"))
            for name in sorted(set(measured.libraries) | set(here.libraries))
        ),
    ]
    return tuple(f"{what} {now or 'none'} instead of {then or 'none'}" for what, then, now in pairs if then != now)


def _answers(bundle: Bundle) -> tuple[dict[str, Array] | None, str]:
    try:
        return open_plan(bundle).answer(bundle.golden_inputs), ""
    except InputError as error:
        return None, f"it cannot be opened here: {error}"
    except Exception as error:  # a runtime's own exceptions: whatever it raised, there is no answer
        return None, f"it cannot answer here: {type(error).__name__}: {error}"


def _number_differences(name: str, golden: Array, answer: Array, tolerance: float, plan: Plan) -> list[str]:
    if not np.array_equal(np.isfinite(golden), np.isfinite(answer)):
        return [f"output {name!r}: other answers than before are not finite"]
    finite = np.isfinite(golden)
    expected, found = golden[finite].astype(np.float64), answer[finite].astype(np.float64)
    if not expected.size:
        return []
    allowed = tolerance * max(float(np.abs(expected).max()), float(np.finfo(np.float32).tiny))
    worst = float(np.abs(found - expected).max())
    if worst > allowed:
        return [f"output {name!r} differs by {worst:.3g}, expected at most {allowed:.3g}"]
    if name != plan.output or plan.output_kind == "value" or golden.ndim != 2 or golden.shape[1] < 2:
        return []
    highest = np.sort(golden.astype(np.float64), axis=1)
    clear = highest[:, -1] - highest[:, -2] > 2 * allowed
    differ = int(np.sum(clear & (golden.argmax(axis=1) != answer.argmax(axis=1))))
    return [f"output {name!r}: {differ} of {len(golden)} labels differ"] if differ else []
