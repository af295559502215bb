"""Writes what a study found: `result.json`, `report.html` and the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equipoise.compose.certify import Evidence, Judgement, certificate, judge, provable
from equipoise.compose.choice import Choice
from equipoise.core.brief import Brief
from equipoise.core.candidate import Candidate
from equipoise.core.certificate import Certificate, Provable, SliceVerdict
from equipoise.core.estimate import Estimate
from equipoise.core.padding import Padding
from equipoise.core.result import CacheFigures, Cost, Result
from equipoise.errors import BundleError, InputError
from equipoise.flow.before_after import before_and_after
from equipoise.flow.bundling import write_plan_bundle
from equipoise.flow.flips import flips_of
from equipoise.flow.padding import padding_of
from equipoise.flow.prepare import Prepared
from equipoise.flow.robustness import robustness_of
from equipoise.flow.sentence import sentence
from equipoise.flow.workbench import Workbench
from equipoise.policy.cost import break_even_rps, monthly_usd
from equipoise.report.card import model_card
from equipoise.report.details import ReportDetails, ScreenedPoint
from equipoise.report.study import write_report
from equipoise.stats.predictions import Predictions

Array = NDArray[Any]
BUSY = 0.7
"""Below this share of what its median batch says, the throughput of the original was dragged down by others."""
BY_IDENTITY = "the original artifact in its own runtime and precision: the same answers, so no loss"


def write_answer(
    brief: Brief, choice: Choice, prepared: Prepared, workbench: Workbench, folder: Path, reused: int, wall_s: float
) -> Result:
    """Write the result, the report and the bundle of a study that ended.

    Args:
        brief: What was wanted.
        choice: Where the search ended.
        prepared: What it started from.
        workbench: Holds outputs and artifacts.
        folder: Where the answer goes.
        reused: How many earlier studies opened the same certify rows.
        wall_s: How long the study took.

    Returns:
        What `result.json` holds.
    """
    evidence = _evidence(choice, prepared, workbench)
    judged = None if evidence is None else _certificate(choice, prepared, workbench, evidence, reused)
    result = Result(
        decision=choice.decision,
        sentence="",
        baseline=choice.baseline,
        baseline_tuned=choice.baseline_tuned,
        chosen=choice.chosen,
        nearest_miss=choice.nearest_miss,
        frontier=tuple(choice.measured[name] for name in choice.frontier),
        rejected=choice.failures,
        certificate=judged,
        provable=None if evidence is None else _provable(choice, prepared, workbench, evidence),
        cost=_cost(choice, prepared),
        fallback=None if choice.fallback is None else choice.fallback[1],
        distrust=choice.doubting[1] if isinstance(choice.doubting, tuple) else None,
        cache=_cache(choice, reused),
        flips=flips_of(choice, prepared, workbench, evidence),
        robustness=robustness_of(choice, prepared, workbench),
        padding=_padding(choice, prepared),
        payback=choice.payback,
        value=choice.value,
        splits=prepared.splits,
        environment=prepared.environment,
        seed=brief.seed,
        wall_s=wall_s,
        warnings=_warnings(choice, prepared, reused),
    )
    result = result.model_copy(update={"sentence": sentence(result, brief)})
    details = _details(brief, choice, prepared, workbench, evidence)
    warnings = list(result.warnings)
    if choice.chosen is not None:
        try:
            card = model_card(result, details.model, details.data)
            write_plan_bundle(choice, result.certificate, card, prepared, workbench, folder / "bundle")
        except BundleError as error:
            warnings.append(f"no bundle was written: {error}")
            result = result.model_copy(update={"warnings": tuple(warnings)})
    write_report(result, details, folder / "report.html")
    partial = folder / "result.json.partial"
    partial.write_text(result.model_dump_json(indent=2), encoding="utf-8")
    partial.rename(folder / "result.json")
    return result


def _padding(choice: Choice, prepared: Prepared) -> Padding | None:
    chosen = (choice.chosen or choice.baseline).name
    spec = prepared.material.baseline.variant.spec
    return padding_of(prepared.material.splits["search"].feeds, spec, choice.entrants[chosen].settings.batch)


# --- the certificate ------------------------------------------------------------------------------------------------


def _evidence(choice: Choice, prepared: Prepared, workbench: Workbench) -> Evidence | None:
    if prepared.judge is None:
        return None
    baseline = workbench.outputs(choice.certify_actions[choice.baseline_tuned.name])
    return prepared.judge.evidence(baseline, "certify", choice.rows_certify)


def _judged(name: str, choice: Choice, prepared: Prepared, workbench: Workbench) -> tuple[Predictions, Judgement]:
    judged_by = prepared.judge
    if judged_by is None:
        raise RuntimeError("nothing is judged with the metric `none`")
    outputs = workbench.outputs(choice.certify_actions[name])
    baseline = workbench.outputs(choice.certify_actions[choice.baseline_tuned.name])
    judgement, _ = judged_by(outputs, baseline, "certify", choice.rows_certify)
    return judged_by.predictions(outputs, "certify"), judgement


def _certificate(
    choice: Choice, prepared: Prepared, workbench: Workbench, evidence: Evidence, reused: int
) -> Certificate | None:
    if choice.chosen is None or prepared.judge is None:
        return None
    if choice.decision == "keep":
        quality = prepared.judge.quality(evidence.baseline, evidence)
        return Certificate(
            metric=evidence.metric.name,
            margin=evidence.main.margin,
            confidence=evidence.confidence,
            n=len(evidence.main.rows),
            groups=None if evidence.groups is None else len(set(evidence.groups[evidence.main.rows].tolist())),
            baseline=quality,
            chosen=quality,
            difference=_zero(len(evidence.main.rows)),
            method=BY_IDENTITY,
            candidates_tried=choice.tried,
            candidates_certified=len(choice.order),
            slices=_slices_by_identity(evidence, prepared.brief.seed),
            reused=reused,
            passed=True,
        )
    predictions, judgement = _judged(choice.chosen.name, choice, prepared, workbench)
    return certificate(
        predictions,
        judgement,
        evidence,
        candidates_tried=choice.tried,
        candidates_certified=len(choice.order),
        reused=reused,
        seed=prepared.brief.seed,
    )


def _cache(choice: Choice, reused: int) -> CacheFigures | None:
    """What remembering answers costs and saves; the proof of near matches opened the same rows as all others."""
    cache = choice.cache
    if cache is None or cache.near_certificate is None:
        return cache
    proof = cache.near_certificate.model_copy(update={"reused": reused})
    return cache.model_copy(update={"near_certificate": proof})


def _zero(n: int) -> Estimate:
    return Estimate(value=0.0, low=0.0, high=0.0, n=n, method=BY_IDENTITY)


def _slices_by_identity(evidence: Evidence, seed: int) -> tuple[SliceVerdict, ...]:
    """What these rows could say at best: a slice too small to prove even equal answers is named; it blocks nothing."""
    verdicts = judge(evidence.baseline, evidence, seed).verdicts
    return tuple(verdict.model_copy(update={"blocks": False}) for verdict in verdicts)


def _provable(choice: Choice, prepared: Prepared, workbench: Workbench, evidence: Evidence) -> Provable:
    """For the first candidate of the fixed sequence; for the original itself where none answered these rows."""
    of_the_original = Provable(drop=0.0, plan=choice.baseline_tuned.name, n=len(evidence.main.rows), rows_for_margin=0)
    if not choice.order:
        return of_the_original
    first = choice.order[0]
    try:
        _, judgement = _judged(first, choice, prepared, workbench)
    except InputError:  # its answers are not there: it failed on these rows, which its own line says
        return of_the_original
    return provable(first, judgement, evidence, prepared.total_rows)


# --- money ----------------------------------------------------------------------------------------------------------


def _cost(choice: Choice, prepared: Prepared) -> Cost:
    rate = None if prepared.material.traffic is None else prepared.material.traffic.rate_rps
    basis = "packed" if rate is None else "provisioned"

    def usd(candidate: Candidate | None) -> float | None:
        if candidate is None:
            return None
        return candidate.usd_per_million_packed if rate is None else candidate.usd_per_million_provisioned

    def ratio(over: float | None) -> float | None:
        chosen = usd(choice.chosen)
        return None if over is None or chosen is None else over / chosen

    def bill(candidate: Candidate | None) -> float | None:
        sustained = None if candidate is None else choice.sustained_rps.get(candidate.name)
        if rate is None or not sustained:
            return None
        return monthly_usd(prepared.price.usd_per_hour, rate, sustained)

    chosen_rps, tuned_rps = (
        None if candidate is None else choice.sustained_rps.get(candidate.name, candidate.throughput_rps.value)
        for candidate in (choice.chosen, choice.baseline_tuned)
    )
    return Cost(
        usd_per_million_baseline=usd(choice.baseline),
        usd_per_million_baseline_tuned=usd(choice.baseline_tuned),
        usd_per_million_chosen=usd(choice.chosen),
        ratio=ratio(usd(choice.baseline)),
        ratio_tuned=ratio(usd(choice.baseline_tuned)),
        ratio_interval=choice.ratio,
        basis=basis,
        price=prepared.price,
        monthly_usd_baseline=bill(choice.baseline),
        monthly_usd_chosen=bill(choice.chosen),
        break_even_rps=break_even_rps(chosen_rps, tuned_rps) if chosen_rps and tuned_rps else None,
    )


def _warnings(choice: Choice, prepared: Prepared, reused: int) -> tuple[str, ...]:
    warnings = list(prepared.warnings)
    untried = sum(failure.reason.startswith("not tried") for failure in choice.failures)
    if untried:
        warnings.append(
            f"the budget ended before {untried} forms of the model were tried; a larger --budget tries them"
        )
    baseline = choice.baseline
    p50 = baseline.latency_s.p50
    if p50 is not None and choice.entrants[baseline.name].settings.default:
        steady_rps = baseline.batch / p50.value
        if prepared.material.traffic is None and baseline.throughput_rps.value < BUSY * steady_rps:
            warnings.append(
                f"the machine was busy: the original answered {baseline.throughput_rps.value:,.0f} rows/s where its "
                f"median batch says {steady_rps:,.0f}; figures may not repeat, so run again on a quiet machine"
            )
    if isinstance(choice.doubting, str):
        warnings.append(f"untrusted answers are given all the same: {choice.doubting}")
    if choice.fallback is not None and not choice.fallback[1].offered:
        proof = choice.fallback[1].certificate
        warnings.append(
            f"no fallback is offered: {choice.fallback[1].name} reaches {proof.quality.value:.4g} by itself, which "
            f"does not prove the floor of {proof.floor:g}; under pressure requests are refused"
        )
    if prepared.price.kind == "assumed":
        warnings.append(f"the price is {prepared.price.source}: {prepared.price.usd_per_hour:g} USD an hour")
    if (
        prepared.judge is not None
        and prepared.judge.metric.name == "agreement"
        and prepared.brief.quality.metric is None
    ):
        warnings.append("the data has no target: quality is the share of answers that agree with the original's")
    if reused:
        warnings.append(f"{reused} earlier studies opened the same certify rows: bring fresh rows before relying on it")
    duplicates = prepared.splits.duplicates
    if duplicates.exact or duplicates.near:
        warnings.append(
            f"{duplicates.exact:,} rows repeat an earlier one exactly and {duplicates.near:,} nearly; "
            "they are kept in one split"
        )
    if duplicates.in_training:
        warnings.append(
            f"{duplicates.in_training:,} rows also stand in the training data: the quality figures flatter the model"
        )
    if duplicates.conflicting_targets:
        warnings.append(f"{duplicates.conflicting_targets:,} repeated rows have another target than the first")
    certify = prepared.material.splits["certify"].n
    if prepared.judge is not None and choice.rows_certify < certify:
        warnings.append(
            f"the budget allowed {choice.rows_certify:,} of the {certify:,} certify rows; "
            "a larger --budget proves tighter margins"
        )
    return tuple(warnings)


# --- report ----------------------------------------------------------------------------------------------


def _details(
    brief: Brief, choice: Choice, prepared: Prepared, workbench: Workbench, evidence: Evidence | None
) -> ReportDetails:
    traffic = prepared.material.traffic
    points = [
        ScreenedPoint(
            name=screened.name,
            settings=screened.settings,
            usd_per_million=screened.usd_per_million,
            quality=screened.quality,
            drop_high=screened.drop_high,
        )
        for screened in choice.screened
        if screened.name not in choice.measured and traffic is None
    ]
    # One picture, one split: qualities here are all of the search rows.
    screened_as = {screened.config_name: screened for screened in choice.screened}
    for name, candidate in choice.measured.items():
        usd = candidate.usd_per_million_packed
        if traffic is not None and candidate.usd_per_million_provisioned is None:
            continue  # no number of machines answers the traffic within the limit: it has no cost on this scale
        if candidate.usd_per_million_provisioned is not None:
            usd = candidate.usd_per_million_provisioned
        p99 = candidate.latency_s.p99
        tested = name in choice.order
        original = choice.entrants[name].config == prepared.material.baseline  # certified by identity
        points.append(
            ScreenedPoint(
                name=name,
                settings=choice.entrants[name].settings.lanes,
                usd_per_million=usd,
                quality=screened_as[choice.entrants[name].config.name].quality,
                p99_s=None if p99 is None else p99.value,
                drop_high=0.0 if original else screened_as[choice.entrants[name].config.name].drop_high,
                certified=True if original else name in choice.certified if tested else None,
            )
        )
    return ReportDetails(
        model=Path(brief.model.path).name,
        data=Path(brief.data.path).name,
        metric="none" if evidence is None else evidence.metric.name,
        margin=None if evidence is None else evidence.main.margin,
        higher_is_better=evidence is None or evidence.metric.higher_is_better,
        p99_limit_s=brief.limits.p99_s,
        memory_limit_bytes=brief.limits.memory_bytes,
        rate_rps=None if traffic is None else traffic.rate_rps,
        screened=tuple(points),
        latency_samples_s=workbench.study.load_arrays(choice.race_samples),
        sustained_rps=choice.sustained_rps,
        layers=before_and_after(choice, prepared, workbench),
        trainings=workbench.trainings(),
    )
