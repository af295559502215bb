"""What a search knows, and the small steps that all its phases take."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field

from equipoise.compose.actions import (
    Action,
    Answer,
    Answered,
    Best,
    Loaded,
    Outcome,
    Raced,
    Reply,
    Sped,
    Speed,
    SpeedPoint,
)
from equipoise.compose.certify import Judgement, power_on
from equipoise.compose.facts import SearchFacts
from equipoise.compose.phases import JUDGED, UNJUDGED, Phases
from equipoise.compose.servable import Entrant, Servable
from equipoise.core.candidate import Candidate
from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Profile, Settings
from equipoise.core.recipe import Recipe
from equipoise.core.value import ErrorLoss
from equipoise.core.variant import Failure, Stage
from equipoise.policy.cost import machines_needed, usd_per_million_correct, usd_per_million_packed

SCREEN_SECONDS = 0.12
UNDER_TRAFFIC_SHARE, ALONE_SHARE = 0.45, 0.85
"""Largest share of the p99 limit that one batch may compute for: under traffic it also waits for the one before it."""
P99_SAMPLES = 299
RACE_SHARE_OF_ONE = 0.04
"""Share of the budget in which one finalist's p99 should be timed: a batch that takes longer is not worth its speed."""
NEAR_MOST = 0.97
SLOWEST_SWEPT_S = 0.25
"""A batch that takes longer than this is the last whose size is timed."""


@dataclass
class Screened:
    """What was timed and judged.

    Attributes:
        config: What.
        points: Its speeds by (threads, replicas).
        judgement: What the search split says of it; null with the metric `none`.
        quality: The metric on the search rows.
        errors: What its errors on them cost; null where an error has no price.
        floor: Against the floor, by itself; null where none was given.
        unflattered: Of a composition, p-value and power on search rows that did not choose its thresholds.
    """

    config: Servable
    points: dict[tuple[int, int], tuple[SpeedPoint, ...]]
    judgement: Judgement | None = None
    quality: Estimate | None = None
    errors: ErrorLoss | None = None
    floor: FloorCertificate | None = None
    unflattered: tuple[float, float] | None = None

    def fastest(self, longest_s: float = math.inf) -> tuple[tuple[int, int], SpeedPoint]:
        """The setting of most rows a second whose batches take at most `longest_s`; else that of the quickest batch.

        Of those that are within 3% of the most, the one with the quickest batch: more would be noise.
        """
        flat = [(lanes, point) for lanes, points in self.points.items() for point in points]
        allowed = [pair for pair in flat if pair[1].batch_s <= longest_s]
        if not allowed:
            return min(flat, key=lambda pair: pair[1].batch_s)
        most = max(point.rows_per_s for _, point in allowed)
        return min(
            (pair for pair in allowed if pair[1].rows_per_s >= NEAR_MOST * most), key=lambda pair: pair[1].batch_s
        )


@dataclass
class SearchState:
    """What a search has found so far.

    Attributes:
        facts: What it started from.
        remaining_s: Budget that is left.
        trained_s: Wall time that all training took so far.
        rows_search: Rows of the search split that candidates answer.
        rows_certify: Rows of the certify split that candidates answer.
        tried: Candidates that were judged on the search split.
        timed: Names of configs that ran at all.
        screened: By config name.
        failures: What was given up, with the reason.
        search_actions: How the search split was answered, by config name.
        entrants: Who is in the race, by name: the baseline, the tuned baseline, the finalists.
        measured: Who came through it, by name.
        raced: What the race brought.
        loaded: What the traffic brought, by entrant name.
        certified: What the certify split says, by entrant name.
        certified_errors: What errors on the certify rows cost, by entrant name.
        certify_actions: How it was opened, by entrant name.
        planned: Candidates in the fixed sequence, whether or not it came to all of them.
    """

    facts: SearchFacts
    remaining_s: float
    trained_s: float = 0.0
    rows_search: int = 0
    rows_certify: int = 0
    tried: int = 0
    timed: set[str] = field(default_factory=set)
    screened: dict[str, Screened] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    search_actions: dict[str, Answer] = field(default_factory=dict)
    entrants: dict[str, Entrant] = field(default_factory=dict)
    measured: dict[str, Candidate] = field(default_factory=dict)
    raced: Raced | None = None
    loaded: dict[str, Loaded] = field(default_factory=dict)
    certified: dict[str, Judgement] = field(default_factory=dict)
    certified_errors: dict[str, ErrorLoss] = field(default_factory=dict)
    certify_actions: dict[str, Answer] = field(default_factory=dict)
    planned: int = 0

    # --- asking -------------------------------------------------------------------------------------------------

    def ask(self, action: Action) -> Generator[Action, Reply, Outcome | Answered]:
        """Yield an action and take what came of it."""
        reply = yield action
        self.remaining_s, self.trained_s = reply.remaining_s, reply.trained_s
        return reply.outcome

    def speed(
        self,
        config: Servable,
        replicas: int,
        *,
        batches: tuple[int, ...],
        threads: int | None = None,
        default: bool = False,
        seconds: float = SCREEN_SECONDS,
        fatal: bool = True,
    ) -> Generator[Action, Reply, tuple[SpeedPoint, ...] | None]:
        """Time a config; null, and noted, where it could not be. `fatal` says whether that ends the config."""
        fixed = config.fixed_batch
        outcome = yield from self.ask(
            Speed(
                config=config,
                threads=threads or self.facts.cores,
                replicas=replicas,
                default=default,
                batches=(fixed,) if fixed else batches,
                seconds=seconds,
                longest_s=SLOWEST_SWEPT_S,
            )
        )
        if isinstance(outcome, Sped) and outcome.points:
            return outcome.points
        if fatal:
            self.note(outcome)
        return None

    def answer(self, screened: Screened) -> Generator[Action, Reply, bool]:
        """Have a config judged on the search split; whether it could be."""
        if not self.facts.judged:
            return True
        settings = self.fastest_settings(screened)
        action = Answer(config=screened.config, settings=settings, split="search", rows=self.rows_search)
        answered = yield from self.ask(action)
        if not isinstance(answered, Answered):
            self.note(answered)
            return False
        self.tried += 1
        self.search_actions[screened.config.name] = action
        screened.judgement, screened.quality = answered.judgement, answered.quality
        screened.floor, screened.errors = answered.floor, answered.errors
        return True

    def answer_certify(self, name: str, settings: Settings) -> Generator[Action, Reply, Outcome | Answered]:
        """Open the certify split for an entrant; one that may be chosen answers as it would be served."""
        config = self.entrants[name].config
        action = Answer(config=config, settings=settings, split="certify", rows=self.rows_certify)
        self.certify_actions[name] = action
        return (yield from self.ask(action))

    def tell_best(self, name: str, *, proved: bool) -> Generator[Action, Reply, None]:
        """Tell the person of the best so far."""
        if name in self.measured:
            usd = self.cost_key(name)[0]
        else:
            usd = usd_per_million_packed(self.facts.usd_per_hour, self.rows_per_s(self.screened[name]))
        yield from self.ask(Best(name=name, usd_per_million=usd, proved=proved))

    # --- noting -------------------------------------------------------------------------------------------------

    def note(self, outcome: Outcome | Answered) -> None:
        """Keep a failure that was reported."""
        if not isinstance(outcome, Failure):
            raise TypeError(f"expected a Failure, was told {outcome!r}")
        self.failures.append(outcome)

    def give_up(self, item: Servable | Recipe, stage: Stage, reason: str) -> None:
        """Record why a config, or a recipe, goes no further."""
        recipe = item if isinstance(item, Recipe) else item.recipe
        name = str(item) if isinstance(item, Recipe) else item.name
        self.failures.append(Failure(name=name, recipe=recipe, stage=stage, reason=reason))

    # --- knowing ------------------------------------------------------------------------------------------------

    @property
    def phases(self) -> Phases:
        """Until when each phase may begin something new."""
        return JUDGED if self.facts.judged else UNJUDGED

    def phase_is_over(self, share: float) -> bool:
        """Whether a phase that may use the budget up to `share` of it must end."""
        return self.remaining_s < (1 - share) * self.facts.budget_s + self.facts.finish_s

    def is_trained(self, config: Servable) -> bool:
        """Whether this study trained it, or a part of it."""
        return any(each.recipe.train_s > 0 for each in config.configs)

    def entrant(self, screened: Screened) -> Entrant:
        """A config in the setting that it would be served in."""
        lanes, point = screened.fastest(self.longest_batch_s(screened))
        config = screened.config
        settings = _settings(config, lanes, point)
        return Entrant(name=f"{config.name}, {settings.lanes}", config=config, settings=settings)

    def fastest_settings(self, screened: Screened) -> Settings:
        """The setting in which a config answers most rows a second, whatever the limits: for reading a whole split."""
        return _settings(screened.config, *screened.fastest())

    def candidate(self, entrant: Entrant, profile: Profile) -> Candidate:
        """An entrant with the figures that were measured of it."""
        usd_per_hour, rate = self.facts.usd_per_hour, self.facts.rate_rps
        packed = usd_per_million_packed(usd_per_hour, profile.throughput_rps.value)
        provisioned = None
        if rate is not None and profile.sustained_rps:
            machines = machines_needed(rate, profile.sustained_rps)
            provisioned = usd_per_million_packed(usd_per_hour * machines, self.facts.mean_rate_rps or rate)
        quality = self.screened[entrant.config.name].quality
        settings = entrant.settings
        return Candidate(
            name=entrant.name,
            digest=entrant.config.digest,
            recipe=entrant.config.recipe,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            replicas=settings.replicas,
            batch=settings.batch,
            quality=quality,
            latency_s=profile.latency_s,
            throughput_rps=profile.throughput_rps,
            peak_memory_bytes=profile.peak_memory_bytes,
            artifact_bytes=entrant.config.artifact_bytes,
            cold_start_s=profile.cold_start_s,
            usd_per_million_packed=packed,
            usd_per_million_provisioned=provisioned,
            usd_per_million_correct=self.usd_correct(packed if provisioned is None else provisioned, quality),
            stages=entrant.config.roles,
            data_use=entrant.config.data_use,
        )

    def usd_correct(self, usd_per_million: float, quality: Estimate | None) -> float | None:
        """Cost of a million correct answers; null where the metric does not count them."""
        if not self.facts.counts_correct or quality is None:
            return None
        return usd_per_million_correct(usd_per_million, quality.value)

    def set_quality(self, name: str, quality: Estimate | None) -> None:
        """Take an entrant's quality from the certify split, once that was opened for it."""
        candidate = self.measured[name]
        provisioned = candidate.usd_per_million_provisioned
        usd = candidate.usd_per_million_packed if provisioned is None else provisioned
        changes = {"quality": quality, "usd_per_million_correct": self.usd_correct(usd, quality)}
        self.measured[name] = candidate.model_copy(update=changes)

    def cost_key(self, name: str) -> tuple[float, float]:
        """What decides between measured entrants."""
        return self.cost_of(self.measured[name])

    def cost_of(self, candidate: Candidate) -> tuple[float, float]:
        """What decides: the cost at the brief's traffic where there is one; ties, and the rest, by the packed cost."""
        packed = candidate.usd_per_million_packed
        if self.facts.rate_rps is None:
            return packed, packed
        provisioned = candidate.usd_per_million_provisioned
        return math.inf if provisioned is None else provisioned, packed

    def ratio_to(self, name: str, original: str) -> Estimate | None:
        """How many times as fast as the original, as deployed or tuned, from rounds timed in turns; else null."""
        if self.raced is None:
            return None
        of_deployed = self.entrants[original].settings.default
        return (self.raced.ratio_to_baseline if of_deployed else self.raced.ratio_to_tuned).get(name)

    def screened_of(self, name: str) -> Screened:
        """What was screened of an entrant's config."""
        return self.screened[self.entrants[name].config.name]

    def longest_batch_s(self, screened: Screened) -> float:
        """A batch longer than this passes the p99 limit, or is too long to be timed often enough to say."""
        quickest_s = min(point.batch_s for points in screened.points.values() for point in points)
        limit = self.facts.p99_limit_s
        if limit is None:  # a p99 is good to know, and needed for nothing
            return SLOWEST_SWEPT_S
        timeable_s = max(RACE_SHARE_OF_ONE * self.facts.budget_s / P99_SAMPLES, 2 * quickest_s)
        return min(timeable_s, limit * (ALONE_SHARE if self.facts.rate_rps is None else UNDER_TRAFFIC_SHARE))

    def rows_per_s(self, screened: Screened) -> float:
        """Rows a second of a config in the setting that it would be served in."""
        return screened.fastest(self.longest_batch_s(screened))[1].rows_per_s

    def doubt(self, screened: Screened) -> float:
        """Its p-value on the search split: 0 is beyond doubt."""
        if screened.unflattered is not None:
            return screened.unflattered[0]
        return 0.0 if screened.judgement is None else screened.judgement.p_value

    def power(self, screened: Screened) -> float:
        """Probability to pass on the certify split, estimated from the search split."""
        if screened.unflattered is not None:
            return screened.unflattered[1]
        return 1.0 if screened.judgement is None else power_on(screened.judgement, self.split_scale)

    @property
    def errors_priced(self) -> bool:
        """Whether an error has a price, so that a dearer model may be worth more than a cheaper one."""
        return self.facts.value is not None and self.facts.value.usd_per_error is not None

    @property
    def split_scale(self) -> float:
        """Certify rows for each search row."""
        return self.rows_certify / self.rows_search


def _settings(config: Servable, lanes: tuple[int, int], point: SpeedPoint) -> Settings:
    threads, replicas = lanes
    return Settings(
        runtime=config.runtime, precision=config.precision, threads=threads, replicas=replicas, batch=point.batch
    )
