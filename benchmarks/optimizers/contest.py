"""One model, one set of rows, and every competitor on them: made, tuned, judged and raced by the same code.

Nothing here times or judges anything itself: the sweep of settings, the race in turns and the proof are those that
`equipoise optimize` uses.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tools import TOOLS, Task, describe, quantize

from equipoise.compose.actions import Action, Answer, Answered, Build, Race, Raced, Reply
from equipoise.compose.servable import Config, Entrant
from equipoise.compose.state import P99_SAMPLES, Screened, SearchState
from equipoise.compose.tune import tune_settings
from equipoise.core.candidate import Candidate
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.profile import Precision, Settings
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import Failure, Variant
from equipoise.errors import ChildTimedOut, EquipoiseError
from equipoise.flow.optimize import optimize_brief, search_facts
from equipoise.flow.prepare import Prepared, prepare
from equipoise.flow.workbench import Workbench
from equipoise.host.sandbox import Sandbox
from equipoise.ingest.brief import brief_from_options
from equipoise.runtimes.openvino import BF16_FLAGS
from equipoise.store.study import StudyFolder

Returned = TypeVar("Returned")
Tell = Callable[[str], None]

OURS, ORIGINAL, CONVERTED = "Equipoise", "the model as given", "ONNX form, not quantised"
AS_LEFT, TUNED = "as the tool leaves it", "its own best settings"
PATIENCE_S = 600.0
"""Longest that judging or tuning one competitor may take; none of it counts as its time to optimise."""
ROUNDS = 9


@dataclass(frozen=True)
class Case:
    """A model and its data, as options of `equipoise optimize`."""

    name: str
    options: dict[str, Any]


class Row(Noun):
    """What became of one competitor in one setting.

    Attributes:
        tool: Who made it.
        setting: `AS_LEFT` (of ours, the settings that it chose) or `TUNED`; empty where there is nothing to run.
        runs_as: Runtime, precision, threads, replicas and batch; empty where there is nothing to run.
        cost_to_ours: Cost of an answer over that of ours, from rounds timed in turns; null where it was not timed.
        quality: The metric on the certify rows; null where it did not answer.
        p_value: Of the hypothesis that it loses the margin or more, on the certify rows; null for the model as given.
        certified: Whether that is rejected at 1 - confidence, or it is the model as given.
        optimise_s: Wall time that the tool took; null for the model as given.
        note: Why a figure is missing, or what was done.
    """

    tool: str
    setting: str = ""
    runs_as: str = ""
    cost_to_ours: Estimate | None = None
    quality: Estimate | None = None
    p_value: float | None = None
    certified: bool = False
    optimise_s: float | None = None
    note: str = ""


@dataclass
class _Competitor:
    """Somebody's model on its way through the contest.

    Attributes:
        name: Whose it is.
        variant: What was made; null where nothing was.
        config: In its runtime and precision; null for the one that a person gets who changes nothing.
        entrants: Setting to what races in it.
        answered: How its answers to the certify rows were judged.
        optimise_s: Wall time that making it took.
        note: As in `Row`.
    """

    name: str
    variant: Variant | None = None
    config: Config | None = None
    entrants: dict[str, Entrant] = field(default_factory=dict)
    answered: Answered | None = None
    optimise_s: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Other:
    """A competitor that is no quantiser: another engine for the same model.

    Attributes:
        name: Of it.
        write: Writes its form of the model in an artifact folder into an empty one, given some rows; runs in a child.
        runtime: Registered name of what runs it.
        precision: Which it is told to compute in.
    """

    name: str
    write: Callable[[Path, dict[str, Any], Path], None]
    runtime: str
    precision: Precision


def contest(
    case: Case,
    budget_s: float,
    race_s: float,
    out: Path,
    tell: Tell,
    tools: Sequence[str] = tuple(TOOLS),
    others: Sequence[Other] = (),
) -> list[Row]:
    """Give every tool the same budget, then judge (unless the metric is `none`) and time what they made, side by side.

    Args:
        case: What is optimised.
        budget_s: Wall time for each tool.
        race_s: Wall time for the race.
        out: Where everything is kept.
        tell: Told what is being done.
        tools: Quantisers that take part.
        others: What takes part besides.

    Returns:
        Rows of the table: ours first.
    """
    brief = brief_from_options(**case.options, budget=f"{budget_s:g}s")
    tell(f"{OURS}, {budget_s:g} s")
    result = optimize_brief(brief, out / "ours")
    if result.chosen is None:
        raise SystemExit(f"{case.name}: there is nothing to compare with. {result.sentence}")
    study = StudyFolder(out / "contest", {"brief": brief.content_digest})
    prepared = prepare(brief, study)
    workbench = Workbench(study, prepared.material, tell)
    try:
        original = _Competitor(ORIGINAL, prepared.material.baseline.variant, prepared.material.baseline)
        ours = _ours(result.chosen, result.wall_s, out / "ours" / "study" / "artifacts", study)
        rivals = [original, *_made(prepared, workbench, budget_s, tell, tools)]
        rivals += [_other(other, prepared, workbench, tell) for other in others]
        for competitor in rivals:
            _settle(competitor, prepared, workbench)
        for competitor in (original, ours, *rivals[1:]):  # all are judged against the original's answers
            _judge(competitor, prepared, workbench)
        raced = _race((ours, *rivals), race_s, workbench)
    finally:
        workbench.close()
    return [row for competitor in (ours, *rivals) for row in _rows(competitor, raced, prepared)]


# --- making -----------------------------------------------------------------------------------------------------------


def _ours(chosen: Candidate, wall_s: float, artifacts: Path, study: StudyFolder) -> _Competitor:
    """What our study chose, in the settings that it chose."""
    folder = study.new_folder()
    shutil.copytree(artifacts / chosen.digest, folder, dirs_exist_ok=True)
    with Sandbox(study.log("ours")) as child:
        variant: Variant = child.call(describe, folder, chosen.recipe, timeout_s=PATIENCE_S)
    study.keep_artifact(folder, variant.artifact)
    config = Config(variant=variant, runtime=chosen.runtime, precision=chosen.precision)
    settings = Settings(
        runtime=chosen.runtime,
        precision=chosen.precision,
        threads=chosen.threads,
        replicas=chosen.replicas,
        batch=chosen.batch,
    )
    entrant = Entrant(name=OURS, config=config, settings=settings)
    return _Competitor(OURS, variant, config, {AS_LEFT: entrant}, optimise_s=wall_s, note=str(chosen.recipe))


def _made(
    prepared: Prepared, workbench: Workbench, budget_s: float, tell: Tell, tools: Sequence[str]
) -> list[_Competitor]:
    """What each tool makes of the model; of scikit-learn models, of the ONNX form, which competes itself."""
    source = prepared.material.baseline.variant
    made = []
    if source.format != "onnx":
        converted = _Competitor(CONVERTED)
        made.append(converted)
        outcome = workbench.carry_out(Build(recipe=Recipe(steps=(Step(technique="onnx_form"),))), budget_s)
        if not isinstance(outcome, Variant):
            converted.note = _reason(outcome)
            return made
        source = converted.variant = outcome
        converted.optimise_s = outcome.build_s
    return made + [_made_by(tool, source, prepared, workbench.study, budget_s, tell) for tool in tools]


def _other(other: Other, prepared: Prepared, workbench: Workbench, tell: Tell) -> _Competitor:
    tell(f"{other.name}: writing its form of the model")
    study, competitor = workbench.study, _Competitor(other.name)
    folder = study.new_folder()
    source = study.artifact(prepared.material.baseline.variant.artifact)
    begin = time.monotonic()
    try:
        with Sandbox(study.log(other.name.replace(" ", "-"))) as child:
            child.call(other.write, source, workbench.sample, folder, timeout_s=PATIENCE_S)
            variant = child.call(describe, folder, Recipe(source=other.name), timeout_s=PATIENCE_S)
        study.keep_artifact(folder, variant.artifact)
        competitor.variant = variant
        competitor.config = Config(variant=variant, runtime=other.runtime, precision=other.precision)
    except EquipoiseError as error:
        competitor.note = f"does not apply: {error}"
    competitor.optimise_s = time.monotonic() - begin
    return competitor


def _made_by(
    tool: str, source: Variant, prepared: Prepared, study: StudyFolder, budget_s: float, tell: Tell
) -> _Competitor:
    tell(f"{tool}, at most {budget_s:g} s")
    folder = study.new_folder()
    task = Task(
        source=study.artifact(source.artifact),
        folder=folder,
        calibration=prepared.material.calibration,
        validation=prepared.material.splits["search"],
        meaning=prepared.meaning,
        max_drop=prepared.brief.quality.max_drop.drop,
    )
    competitor = _Competitor(tool)
    begin = time.monotonic()
    try:
        with Sandbox(study.log(tool.replace(" ", "-"))) as child:
            competitor.variant = child.call(quantize, tool, task, timeout_s=budget_s)
        study.keep_artifact(folder, competitor.variant.artifact)
    except ChildTimedOut:
        competitor.note = f"no result within {budget_s:g} s"
    except EquipoiseError as error:
        competitor.note = f"does not apply: {error}"
    competitor.optimise_s = time.monotonic() - begin
    return competitor


# --- tuning, judging, racing ------------------------------------------------------------------------------------------


def _settle(competitor: _Competitor, prepared: Prepared, workbench: Workbench) -> None:
    """Find the settings that a competitor races in: as its tool leaves it, and the best that our own sweep finds."""
    if competitor.variant is None:
        return
    competitor.config = config = competitor.config or _unchanged(competitor.variant, prepared)
    state = SearchState(search_facts(prepared), PATIENCE_S)
    if _drive(state.speed(config, 1, default=True, batches=(1,)), workbench) is None:
        competitor.note = f"does not apply: it does not run, {_reason(state.failures[-1])}"
        return
    screened = Screened(config, {})
    _drive(tune_settings(state, screened), workbench)
    as_left = Settings(
        runtime=config.runtime,
        precision=config.precision,
        threads=state.facts.cores,
        replicas=1,
        batch=competitor.variant.spec.fixed_batch or 1,
        default=True,
    )
    competitor.entrants = {
        AS_LEFT: Entrant(name=f"{competitor.name}, {AS_LEFT}", config=config, settings=as_left),
        # The fastest of all: how seldom our own search could time a long batch is no limit of the person's.
        TUNED: Entrant(name=f"{competitor.name}, {TUNED}", config=config, settings=state.fastest_settings(screened)),
    }


def _unchanged(variant: Variant, prepared: Prepared) -> Config:
    """A variant as it runs where nobody sets a precision: OpenVINO then computes floats in bfloat16 where it can."""
    config = prepared.material.native(variant)
    if config.runtime == "openvino" and BF16_FLAGS & set(prepared.environment.cpu_flags):
        return config.model_copy(update={"precision": "bf16"})
    return config


def _judge(competitor: _Competitor, prepared: Prepared, workbench: Workbench) -> None:
    if not competitor.entrants or competitor.config is None or prepared.judge is None:
        return
    settings = list(competitor.entrants.values())[-1].settings
    rows = prepared.material.splits["certify"].n
    answer = Answer(config=competitor.config, settings=settings, split="certify", rows=rows)
    outcome = workbench.carry_out(answer, PATIENCE_S)
    if isinstance(outcome, Answered):
        competitor.answered = outcome
    else:
        competitor.note = f"does not answer: {_reason(outcome)}"


def _race(competitors: Iterable[_Competitor], race_s: float, workbench: Workbench) -> Raced:
    """All in turns. Ours comes first, so that it is timed in every block and all ratios of throughput are to it."""
    entrants = tuple(entrant for competitor in competitors for entrant in competitor.entrants.values())
    race = Race(entrants=entrants, samples=P99_SAMPLES, rounds=ROUNDS, seconds=race_s)
    outcome = workbench.carry_out(race, race_s)
    if not isinstance(outcome, Raced):
        raise SystemExit(f"the race could not be run: {_reason(outcome)}")
    return outcome


def _rows(competitor: _Competitor, raced: Raced, prepared: Prepared) -> list[Row]:
    row = Row(tool=competitor.name, optimise_s=competitor.optimise_s, note=competitor.note)
    if competitor.answered is not None:
        row = row.model_copy(update=_proof(competitor, competitor.answered, prepared))
    rows = []
    for setting, entrant in competitor.entrants.items():
        settings = entrant.settings
        lanes = "default threads" if settings.default else f"{settings.threads} threads x {settings.replicas}"
        found: dict[str, Any] = {
            "setting": setting,
            "runs_as": f"{settings.runtime} {settings.precision}, {lanes}, batch {settings.batch}",
        }
        if entrant.name in raced.failures:
            found["note"] = f"not timed: {_reason(raced.failures[entrant.name])}"
        else:
            found["cost_to_ours"] = _inverse(raced.ratio_to_baseline[entrant.name])
        rows.append(row.model_copy(update=found))
    return rows or [row]


def _proof(competitor: _Competitor, answered: Answered, prepared: Prepared) -> dict[str, Any]:
    """The original, whoever offers it, loses nothing by identity; all others are tested."""
    given, config = prepared.material.baseline, competitor.config
    if (
        config is not None
        and config.variant.recipe.is_original
        and (config.runtime, config.precision) == (given.runtime, given.precision)
    ):
        return {"quality": answered.quality, "certified": True}
    judgement = answered.judgement
    if judgement is None:
        raise ValueError("a contest needs a metric: there is no quality to compare at with `--metric none`")
    return {"quality": answered.quality, "p_value": judgement.p_value, "certified": judgement.passed}


def _inverse(speed: Estimate) -> Estimate:
    """A ratio of costs from the ratio of throughputs."""
    return Estimate(
        value=1 / speed.value,
        low=None if speed.high is None else 1 / speed.high,
        high=None if not speed.low else 1 / speed.low,
        n=speed.n,
        method=speed.method,
    )


def _drive(asked: Generator[Action, Reply, Returned], workbench: Workbench) -> Returned:
    """Carry out what a step of the search asks for."""
    try:
        action = next(asked)
        while True:
            action = asked.send(Reply(workbench.carry_out(action, PATIENCE_S), PATIENCE_S))
    except StopIteration as end:
        returned: Returned = end.value
        return returned


def _reason(outcome: object) -> str:
    return outcome.reason if isinstance(outcome, Failure) else f"unexpected outcome {outcome!r}"
