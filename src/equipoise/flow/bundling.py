"""Makes the plan of what was chosen, and writes its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.choice import Choice
from equipoise.compose.servable import Servable
from equipoise.core.candidate import Candidate
from equipoise.core.certificate import Certificate
from equipoise.core.plan import BatchRule, Fallback, Forecast, Plan, PlanStage
from equipoise.core.profile import Settings
from equipoise.errors import EquipoiseError
from equipoise.execute.plan import open_plan_from
from equipoise.flow.children import open_child_of
from equipoise.flow.prepare import Prepared
from equipoise.flow.workbench import Workbench
from equipoise.host.sandbox import Sandbox
from equipoise.measure.session import Round, time_batches
from equipoise.preprocess.synthetic import synthetic_rows
from equipoise.store.bundle import write_bundle

Array = NDArray[Any]
GOLDEN_ROWS = 16
GOLDEN_TIMEOUT_S = 120.0
SERVICE_SECONDS = 0.1
"""For each batch size of each stage: what a simulation draws from need not be exact, but it must be there."""


def write_plan_bundle(
    choice: Choice,
    certificate: Certificate | None,
    card: str,
    prepared: Prepared,
    workbench: Workbench,
    folder: Path,
) -> None:
    """Write the bundle of what was chosen; nothing where nothing was.

    Args:
        choice: Where the search ended.
        certificate: What was proved of it.
        card: Text of its model card.
        prepared: What the search started from.
        workbench: Holds the artifacts.
        folder: Where the bundle will be.

    Raises:
        BundleError: Something that is not a bundle lies there, or an artifact may not be in one.
    """
    if choice.chosen is None:
        return
    plan = plan_of(choice, choice.chosen, prepared)
    artifacts = {model.artifact: workbench.study.artifact(model.artifact) for model in plan.models}
    rows = prepared.material.calibration
    if prepared.brief.data.real_golden_rows:
        golden = dict(rows.take(slice(0, GOLDEN_ROWS)).feeds)
    else:
        golden = synthetic_rows(rows, GOLDEN_ROWS, prepared.brief.seed)
    with Sandbox(workbench.study.log("golden")) as child:
        outputs = child.call(golden_answers, plan, artifacts, golden, timeout_s=GOLDEN_TIMEOUT_S)
    labels = prepared.meaning.labels
    write_bundle(
        folder,
        plan,
        certificate,
        prepared.environment,
        prepared.splits,
        None if labels is None else tuple(map(str, labels)),
        golden,
        outputs,
        artifacts,
        card,
        columns=prepared.columns,
        service=[service_seconds(stage, plan, artifacts, workbench) for stage in plan.all_stages],
        preprocessing=prepared.preprocessing,
    )


def plan_of(choice: Choice, chosen: Candidate, prepared: Prepared) -> Plan:
    """The plan that serves a candidate."""
    entrant = choice.entrants[chosen.name]
    settings, p99 = entrant.settings, chosen.latency_s.p99
    doubting = choice.doubting if isinstance(choice.doubting, tuple) else None
    served = entrant.config if doubting is None else doubting[0]
    limit_s = prepared.brief.limits.p99_s
    rule = choice.batch_rules.get(chosen.name, BatchRule(max_rows=settings.batch, limit_s=limit_s))
    return Plan(
        name=chosen.name,
        output=prepared.meaning.output,
        output_kind=prepared.meaning.kind,
        multilabel=prepared.meaning.multilabel,
        stages=_stages(served, settings, rule),
        cache=choice.cache.rule if choice.cache is not None and choice.cache.chosen else None,
        fallback=_fallback(choice, settings, rule),
        distrust=None if doubting is None else doubting[1],
        usd_per_hour=prepared.price.usd_per_hour,
        forecast=Forecast(
            quality=None if chosen.quality is None else chosen.quality.value,
            p99_s=None if p99 is None else p99.value,
            throughput_rps=chosen.throughput_rps.value,
            usd_per_million_packed=chosen.usd_per_million_packed,
            usd_per_million_provisioned=chosen.usd_per_million_provisioned,
        ),
    )


def _fallback(choice: Choice, settings: Settings, rule: BatchRule) -> Fallback | None:
    """What answers under pressure, where it was proved to: in the plan's own lanes and batches."""
    if choice.fallback is None or not choice.fallback[1].offered:
        return None
    config, mode = choice.fallback
    (stage,) = _stages(config, settings.model_copy(update={"default": False}), rule)
    return Fallback(stage=stage, certificate=mode.certificate)


def _stages(config: Servable, settings: Settings, rule: BatchRule) -> tuple[PlanStage, ...]:
    """The first stage puts requests together by `rule`; what it passes on has waited once and waits no more."""
    first, *later = config.stages(settings)
    at_once = rule.model_copy(update={"max_wait_s": 0.0})
    return (
        first.model_copy(update={"batch_rule": rule}),
        *(stage.model_copy(update={"batch_rule": at_once}) for stage in later),
    )


def golden_answers(plan: Plan, artifacts: Mapping[str, Path], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What a plan answers to the golden inputs (runs inside a child)."""
    return open_plan_from(plan, artifacts).answer(inputs)


def service_seconds(
    stage: PlanStage, plan: Plan, artifacts: Mapping[str, Path], workbench: Workbench
) -> dict[int, Array]:
    """Seconds of a stage's batches, by their rows, all replicas busy; empty where it could not be timed again."""
    largest = stage.rows
    batches = sorted({largest, *(2**power for power in range(largest.bit_length()) if 2**power < largest)})
    alone = stage.model_copy(update={"accept": None})
    seconds: dict[int, Array] = {}
    try:
        with open_child_of((alone,), plan.form, artifacts, workbench.sample, workbench.study.log("service")) as child:
            for rows in batches:
                timed: Round = child.call(time_batches, rows, SERVICE_SECONDS, timeout_s=GOLDEN_TIMEOUT_S)
                seconds[rows] = np.asarray(timed.batch_s)
    except EquipoiseError:  # the plan was timed and proved: only a simulation of it is lost
        return {}
    return seconds
