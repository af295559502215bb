"""The answer of a study, as `result.json` holds it."""

from __future__ import annotations

from typing import Literal

from equipoise.core.candidate import Candidate
from equipoise.core.certificate import Certificate, FloorCertificate, Provable
from equipoise.core.environment import Environment
from equipoise.core.estimate import Estimate
from equipoise.core.flips import Flips
from equipoise.core.noun import Noun
from equipoise.core.padding import Padding
from equipoise.core.payback import Payback
from equipoise.core.plan import CacheRule, Distrust
from equipoise.core.price import Price
from equipoise.core.robustness import Robustness
from equipoise.core.splits import Splits
from equipoise.core.value import BusinessValue
from equipoise.core.variant import Failure

SCHEMA_VERSION = 1


class Cost(Noun):
    """What the answer saves.

    Attributes:
        usd_per_million_baseline: The model as people deploy it: its native runtime, default options, batch 1. Null,
            like the other figures, where there is traffic that it cannot answer within the limit at any rate.
        usd_per_million_baseline_tuned: The same artifact, runtime and precision with its own best batch and threads.
        usd_per_million_chosen: The chosen plan; null where nothing meets the limits.
        ratio: Baseline over chosen.
        ratio_tuned: Tuned baseline over chosen.
        ratio_interval: Of `ratio_tuned`, from rounds timed in turns; null where nothing was chosen.
        basis: `provisioned` where traffic was given (whole machines, idle time paid), else `packed`.
        price: Of one machine for one hour.
        monthly_usd_baseline: A month's bill at the brief's traffic; null without traffic.
        monthly_usd_chosen: The same for the chosen plan.
        break_even_rps: Traffic above which the chosen plan needs fewer machines than the tuned baseline; null where
            it never does.
    """

    usd_per_million_baseline: float | None
    usd_per_million_baseline_tuned: float | None
    usd_per_million_chosen: float | None
    ratio: float | None
    ratio_tuned: float | None
    ratio_interval: Estimate | None
    basis: Literal["packed", "provisioned"]
    price: Price
    monthly_usd_baseline: float | None = None
    monthly_usd_chosen: float | None = None
    break_even_rps: float | None = None


class DegradedMode(Noun):
    """What answers under pressure, or when the plan is down.

    Attributes:
        name: The config.
        usd_per_million_packed: Cost of a million of its answers, with the machine kept full.
        certificate: What was proved of it by itself.
        offered: Whether the plan has it: only what was proved is served.
    """

    name: str
    usd_per_million_packed: float
    certificate: FloorCertificate
    offered: bool


class CacheFigures(Noun):
    """What remembering answers costs and saves.

    Attributes:
        rule: What is remembered.
        lookup_s: Seconds to make a key and look it up.
        usd_per_million_without: The chosen plan without it, by the basis that decides.
        usd_per_million_with: The same with it, its memory and its look-ups paid.
        memory_usd_per_million: The part of that for memory.
        source: Where the hit rate comes from.
        chosen: Whether the plan has it: only where it saves more than it costs.
        near_reason: Why inputs that nearly match share no answer, in words; empty where they do (`rule.near`).
        near_certificate: What was proved of the plan with near matches, on later requests than those that chose how
            near; each of them counts as a row. Null where it was not tested.
    """

    rule: CacheRule
    lookup_s: float
    usd_per_million_without: float
    usd_per_million_with: float
    memory_usd_per_million: float
    source: str
    chosen: bool
    near_reason: str = ""
    near_certificate: Certificate | None = None


class NearestMiss(Noun):
    """The candidate that came closest to the limits, and the limit that binds."""

    name: str
    limit: str
    found: str
    needed: str


class Result(Noun):
    """The answer of a study.

    Attributes:
        decision: `replace` the model by `chosen`; `keep` the original artifact, runtime and precision (settings may
            change); `infeasible`: nothing meets the limits.
        sentence: The answer in one plain sentence.
        nearest_miss: Where infeasible: what came closest, and the limit that binds.
        frontier: Candidates that no other beats in both cost and quality.
        rejected: Every other candidate, with the stage and the reason.
        certificate: Null with the metric `none`, and where infeasible.
        provable: The tightest drop that these data can prove; null with the metric `none`.
        fallback: What answers under pressure; null where no floor was given, or nothing is faster.
        distrust: What is given where the plan does not trust its answer; null where that was not asked, or not proved.
        cache: What remembering answers would save; null where nothing is known of repeats.
        value: What the plans are worth, and how the choice hangs on the prices; null where nothing has a price.
        payback: When training has paid for itself; null where no trained plan was certified.
        flips: Whose answers the chosen plan changes; null where the original is kept, or answers are no single labels.
        padding: What filling costs in the plan's batches; null where rows are no token sequences.
        robustness: The original beside what was chosen, and beside what a corruption stopped, on corrupted rows.
        warnings: What the person should know before relying on the answer.
    """

    schema_version: int = SCHEMA_VERSION
    decision: Literal["replace", "keep", "infeasible"]
    sentence: str
    baseline: Candidate
    baseline_tuned: Candidate
    chosen: Candidate | None
    nearest_miss: NearestMiss | None = None
    frontier: tuple[Candidate, ...]
    rejected: tuple[Failure, ...]
    certificate: Certificate | None
    provable: Provable | None
    cost: Cost
    fallback: DegradedMode | None = None
    distrust: Distrust | None = None
    cache: CacheFigures | None = None
    flips: Flips | None = None
    robustness: tuple[Robustness, ...] = ()
    padding: Padding | None = None
    payback: Payback | None = None
    value: BusinessValue | None = None
    splits: Splits
    environment: Environment
    seed: int
    wall_s: float
    warnings: tuple[str, ...] = ()
