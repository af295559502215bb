"""Where a search ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equipoise.compose.actions import Answer
from equipoise.compose.servable import Composed, Config, Entrant
from equipoise.core.candidate import Candidate
from equipoise.core.estimate import Estimate
from equipoise.core.payback import Payback
from equipoise.core.plan import BatchRule, Distrust
from equipoise.core.result import CacheFigures, DegradedMode, NearestMiss
from equipoise.core.value import BusinessValue
from equipoise.core.variant import Failure


@dataclass(frozen=True)
class Screening:
    """What screening found of a config, for the report.

    Attributes:
        name: Of the entrant it would have been.
        config_name: Of the config.
        settings: Its fastest setting, in a few words.
        usd_per_million: Packed cost at the screened speed.
        quality: The metric on the search rows; null with the metric `none`.
        drop_high: Upper bound of its loss on the search rows.
    """

    name: str
    config_name: str
    settings: str
    usd_per_million: float
    quality: Estimate | None
    drop_high: float | None


@dataclass(frozen=True)
class Choice:
    """Where a search ended.

    Attributes:
        decision: As in `core.result.Result`.
        baseline: The model as people deploy it.
        baseline_tuned: The same with its own best settings.
        chosen: Null where infeasible.
        measured: Everything that was raced, by candidate name, with its figures.
        entrants: The entrants behind `measured`.
        frontier: Names, cheapest first.
        failures: Everything that was given up, with the reason.
        order: Names in the fixed sequence in which they were certified.
        certified: Names that passed, in that order.
        tried: Candidates that were judged on the search split.
        ratio: Of the chosen plan to the tuned baseline, from rounds timed in turns.
        rows_certify: Rows of the certify split that candidates answered.
        certify_actions: How the certify split was answered, by entrant name, the tuned baseline among them.
        search_actions: How the search split was answered, by config name, the baseline first.
        sustained_rps: Requests a second that one machine answers within the limit, by name; empty without traffic.
        batch_rules: How requests are put together under the brief's traffic, by name; empty without traffic.
        screened: What screening found, for the report.
        race_samples: Name of the race's raw samples in the study's store.
        nearest_miss: Where infeasible, what came closest.
        fallback: The config that answers under pressure, and what was proved of it; null for none.
        doubting: The chosen plan with a last stage that may doubt, and what was proved of it; why there is none, in
            words; null where none was asked for.
        payback: When training has paid for itself; null where no trained plan was certified.
        cache: What remembering answers would cost and save; null where nothing is known of repeats.
        value: What the plans are worth; null where nothing has a price.
    """

    decision: Literal["replace", "keep", "infeasible"]
    baseline: Candidate
    baseline_tuned: Candidate
    chosen: Candidate | None
    measured: dict[str, Candidate]
    entrants: dict[str, Entrant]
    frontier: tuple[str, ...]
    failures: tuple[Failure, ...]
    order: tuple[str, ...]
    certified: tuple[str, ...]
    tried: int
    ratio: Estimate | None
    rows_certify: int
    certify_actions: dict[str, Answer]
    search_actions: dict[str, Answer]
    sustained_rps: dict[str, float]
    batch_rules: dict[str, BatchRule]
    screened: tuple[Screening, ...]
    race_samples: str
    nearest_miss: NearestMiss | None
    fallback: tuple[Config, DegradedMode] | None = None
    doubting: tuple[Composed, Distrust] | str | None = None
    cache: CacheFigures | None = None
    payback: Payback | None = None
    value: BusinessValue | None = None
