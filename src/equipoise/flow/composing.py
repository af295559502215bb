"""Finds the thresholds of a composition from the answers that a study has kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from equipoise.compose.actions import Answer, Asked, Composable, Compose, Doubt, Doubted, Option
from equipoise.compose.cascade import (
    LEAST_POWER,
    SURE_POWER,
    StageRows,
    Thresholds,
    confidences,
    promising,
    search_thresholds,
)
from equipoise.compose.certify import WANTED_POWER, Evidence, judge, power_on
from equipoise.compose.cross_fitting import cross_fitted
from equipoise.compose.servable import Composed
from equipoise.compose.wording import quality_reason
from equipoise.core.plan import AcceptRule, AnswerForm
from equipoise.execute.stages import STAGE, Outputs, combined
from equipoise.flow.evidence import Judge
from equipoise.policy.batch import ServiceModel


def compose_stages(
    action: Compose, evidence: Evidence, judged_by: Judge, load: Callable[[Answer], Outputs]
) -> Composable:
    """Judge a composition at many thresholds on the search rows.

    Args:
        action: Its stages.
        evidence: The search rows that they answered.
        judged_by: Decodes outputs.
        load: Loads the outputs of an `Answer`.

    Returns:
        The most promising; `best` says in words why there are none.
    """
    meaning = judged_by.meaning
    form = AnswerForm(output=meaning.output, kind=meaning.kind)
    stages = [_stage_rows(asked, form, judged_by, load) for asked in action.stages]
    if len(stages) == 1:
        return _ensemble(action, stages[0], evidence, form)
    found = search_thresholds(
        stages,
        evidence,
        replicas=action.replicas,
        longest_s=action.longest_s,
        scale=action.scale,
        seed=judged_by.seed,
    )
    chosen = promising(found, action.most)
    if not chosen and found:
        likeliest = max(found, key=lambda each: each.power)
        best = f"at its surest thresholds, {quality_reason(likeliest.judgement)}"
        return Composable(options=(), tried=len(found), best=best)
    options = []
    best = ""
    for each in chosen:
        unflattered = cross_fitted(
            stages,
            evidence,
            power=SURE_POWER if each.power >= SURE_POWER else WANTED_POWER,
            replicas=action.replicas,
            longest_s=action.longest_s,
            scale=action.scale,
            seed=judged_by.seed,
        )
        power = power_on(unflattered, action.scale)
        if power >= LEAST_POWER:
            options.append(_option(action, each, form, unflattered.p_value, power))
        else:
            best = f"on rows that did not choose its thresholds, {quality_reason(unflattered)}"
    return Composable(options=tuple(options), tried=len(found), best=best)


def doubt(action: Doubt, evidence: Evidence, judged_by: Judge, load: Callable[[Answer], Outputs]) -> Doubted:
    """Calibrate a last stage's confidence on the search rows that reach it.

    Args:
        action: Which stage, and below which confidence it doubts.
        evidence: The search rows.
        judged_by: Decodes outputs.
        load: Loads the outputs of an `Answer`.

    Returns:
        When its answer is trusted; null where nothing says how sure it is, or no row reaches it.
    """
    meaning = judged_by.meaning
    form = AnswerForm(output=meaning.output, kind=meaning.kind)
    # Its speed plays no part here.
    asked = Asked(answers=action.answers, combine=action.combine, points=((1, 1.0),))
    reached = evidence.main.rows
    if action.asked_by is not None:
        stage = load(action.asked_by)[STAGE]
        reached = reached[stage[reached] == stage.max()]
    if not len(reached):
        return Doubted(accept=None)
    there = replace(evidence, claims=(replace(evidence.main, rows=reached),))
    found = confidences(_stage_rows(asked, form, judged_by, load), there, cheap=True)
    usable = [(measure, calibration) for measure, calibration, _ in found if measure != "spread"]
    if not usable:
        return Doubted(accept=None)
    measure, calibration = usable[-1]
    return Doubted(accept=AcceptRule(measure=measure, calibration=calibration, at_least=action.below))


def _stage_rows(asked: Asked, form: AnswerForm, judged_by: Judge, load: Callable[[Answer], Outputs]) -> StageRows:
    outputs = [load(answer) for answer in asked.answers]
    service = ServiceModel(list(asked.points))
    if asked.combine is None:
        return StageRows(judged_by.predictions(outputs[0], "search"), service)
    members = tuple(judged_by.predictions(each, "search") for each in outputs)
    together = judged_by.predictions(combined(outputs, form, asked.combine), "search")
    return StageRows(together, service, members)


def _ensemble(action: Compose, stage: StageRows, evidence: Evidence, form: AnswerForm) -> Composable:
    judgement = judge(stage.predictions, evidence)
    power = power_on(judgement, action.scale)
    rows, seconds = max(stage.service.points, key=lambda point: point[0] / point[1])
    if power < LEAST_POWER:
        return Composable(options=(), tried=1, best=quality_reason(judgement))
    composed = Composed(parts=(action.stages[0].part,), form=form)
    option = Option(composed=composed, rows_per_s=rows / seconds, p_value=judgement.p_value, power=power)
    return Composable(options=(option,), tried=1)


def _option(action: Compose, found: Thresholds, form: AnswerForm, p_value: float, power: float) -> Option:
    parts = tuple(
        asked.part.model_copy(update={"accept": accept, "share": share})
        for asked, accept, share in zip(action.stages, found.accepts, found.shares, strict=True)
    )
    return Option(composed=Composed(parts=parts, form=form), rows_per_s=found.rows_per_s, p_value=p_value, power=power)
