"""The search for the cheapest plan: asks for work, is told what came of it, ends with a choice.

It is a generator without input, output or clock: it yields `compose.actions`, is sent a `Reply` with the budget that is
left, and returns a `Choice`. The same replies always lead to the same choice.

    baseline -> screen -> tune -> race -> load -> certify -> choose

Each phase may use the budget up to a share of it; screening stops early when what is left is needed by later phases.
Screening costs a fraction of a second a candidate; only a handful of finalists is timed with care, in turns with the
baseline; only those that the search split says will pass are shown the certify split.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from equipoise.compose.actions import (
    Action,
    Answer,
    Answered,
    Best,
    Build,
    Choice,
    Config,
    Entrant,
    Load,
    Loaded,
    Outcome,
    Race,
    Raced,
    Reply,
    Screening,
    Speed,
    Sped,
    SpeedPoint,
)
from equipoise.compose.certify import Judgement, fixed_sequence, order_by_evidence, power_on
from equipoise.compose.pareto import pareto
from equipoise.core.candidate import Candidate
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Profile, Settings
from equipoise.core.recipe import Recipe
from equipoise.core.result import NearestMiss
from equipoise.core.variant import Failure, Stage, Variant
from equipoise.errors import BaselineError
from equipoise.policy.cost import (
    usd_per_million_correct,
    usd_per_million_packed,
    usd_per_million_provisioned,
)

SCREEN_BATCHES = (1, 8, 32, 128)
TUNE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SCREEN_SECONDS = 0.12
TUNE_SECONDS = 0.2
SCREEN_UNTIL, TUNE_UNTIL, RACE_UNTIL = 0.50, 0.65, 0.85
"""Shares of the budget after which the phase is left."""
SEARCH_SHARE, CERTIFY_SHARE = 0.06, 0.12
"""Shares of the budget that one pass of the baseline over a split may take; a split is cut to so many rows."""
FINALISTS = 5
P99_SAMPLES = 299
RACE_ROUNDS = 9
HOPELESS_SPEED = 0.7
"""A candidate below this share of the tuned baseline's screened speed is given up: tuning does not make up for it."""
HOPELESS_POWER = 0.02
REPLACE_RATIO = 1.05
LAYER_REVERTS = (2, 4, 8, 16)
UNDER_TRAFFIC_SHARE, ALONE_SHARE = 0.45, 0.85
"""Largest share of the p99 limit that one batch may compute for: under traffic it also waits for the one before it."""


@dataclass(frozen=True)
class SearchFacts:
    """What a search starts from.

    Attributes:
        budget_s: Wall time for the whole study.
        finish_s: What is kept back for writing the answer.
        n_search: Rows of the search split.
        n_certify: Rows of the certify split.
        cores: Cores that may be used.
        confidence: Of the certificate.
        p99_limit_s: Null for none.
        memory_limit_bytes: Null for none.
        rate_rps: The brief's traffic; null for none.
        usd_per_hour: Price of this machine.
        judged: Whether there is a metric to certify.
        counts_correct: Whether the metric is a share of correct answers.
        baseline: The artifact as given, in its native runtime and precision.
        originals: Other runtimes and precisions for it, and the person's alternatives in theirs.
        recipes: What is worth building, most promising first.
        configs_of: Runtimes and precisions for a variant.
    """

    budget_s: float
    finish_s: float
    n_search: int
    n_certify: int
    cores: int
    confidence: float
    p99_limit_s: float | None
    memory_limit_bytes: int | None
    rate_rps: float | None
    usd_per_hour: float
    judged: bool
    counts_correct: bool
    baseline: Config
    originals: tuple[Config, ...]
    recipes: tuple[Recipe, ...]
    configs_of: Callable[[Variant], tuple[Config, ...]]


@dataclass
class _Screened:
    config: Config
    points: dict[tuple[int, int], tuple[SpeedPoint, ...]]  # by (threads, replicas)
    judgement: Judgement | None = None
    quality: Estimate | None = None

    def best(self, longest_s: float | None) -> tuple[tuple[int, int], SpeedPoint]:
        """The fastest setting whose batches take at most `longest_s`; where none does, the one with the quickest."""
        flat = [(lanes, point) for lanes, points in self.points.items() for point in points]
        allowed = [pair for pair in flat if longest_s is None or pair[1].batch_s <= longest_s]
        if not allowed:
            return min(flat, key=lambda pair: pair[1].batch_s)
        return max(allowed, key=lambda pair: pair[1].rows_per_s)


def solve(facts: SearchFacts) -> Generator[Action, Reply, Choice]:
    """Search for the cheapest plan within the limits that can be proved to do the job.

    Args:
        facts: What the search starts from.

    Yields:
        What to do next.

    Returns:
        Where it ended.

    Raises:
        BaselineError: The model under study could not be measured.
    """
    return (yield from _Search(facts).run())


@dataclass
class _Search:
    facts: SearchFacts
    remaining_s: float = 0.0
    rows_search: int = 0
    rows_certify: int = 0
    tried: int = 0
    screened: dict[str, _Screened] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    entrants: dict[str, Entrant] = field(default_factory=dict)
    measured: dict[str, Candidate] = field(default_factory=dict)
    raced: Raced | None = None
    loaded: dict[str, Loaded] = field(default_factory=dict)
    certify_judgements: dict[str, Judgement] = field(default_factory=dict)

    def run(self) -> Generator[Action, Reply, Choice]:
        self.remaining_s = self.facts.budget_s
        yield from self._measure_baseline()
        yield from self._screen()
        finalists = yield from self._tune()
        yield from self._race(finalists)
        yield from self._load()
        return (yield from self._certify())

    # --- baseline -----------------------------------------------------------------------------------------------

    def _measure_baseline(self) -> Generator[Action, Reply, None]:
        config = self.facts.baseline
        deployed = yield from self._speed(config, 1, default=True, batches=(1,))
        tuned = yield from self._speed(config, 1, batches=SCREEN_BATCHES)
        if deployed is None or tuned is None:
            raise BaselineError(self.failures[-1].reason)
        self.screened[config.name] = _Screened(config, {(self.facts.cores, 1): tuned})
        rows_per_s = max(point.rows_per_s for point in tuned)
        self.rows_search = min(self.facts.n_search, max(1, int(SEARCH_SHARE * self.facts.budget_s * rows_per_s)))
        self.rows_certify = min(self.facts.n_certify, max(1, int(CERTIFY_SHARE * self.facts.budget_s * rows_per_s)))
        if not (yield from self._answer(self.screened[config.name])):
            raise BaselineError(self.failures[-1].reason)
        yield from self._tell_best(config.name, proved=False)

    # --- screen -------------------------------------------------------------------------------------------------

    def _screen(self) -> Generator[Action, Reply, None]:
        waiting: deque[Config | Recipe] = deque((*self.facts.originals, *self.facts.recipes))
        artifacts = {self.facts.baseline.variant.artifact: self.facts.baseline.variant.recipe}
        while waiting:
            item = waiting.popleft()
            # What was built at some cost is at least timed, even where the time for building is over.
            if self._phase_is_over(SCREEN_UNTIL if isinstance(item, Recipe) else TUNE_UNTIL):
                self._give_up(item, "screen", "not tried: the budget ended first; a larger --budget would try it")
                continue
            if isinstance(item, Recipe):
                variant = yield from self._ask(Build(recipe=item))
                if not isinstance(variant, Variant):
                    self._note(variant)
                elif variant.artifact in artifacts:
                    self._give_up(item, "build", f"the same file as {artifacts[variant.artifact]}")
                else:
                    artifacts[variant.artifact] = item
                    waiting.extendleft(reversed(self.facts.configs_of(variant)))
                continue
            screened = yield from self._screen_config(item)
            if screened is not None:
                again = self._revert_layers(screened)
                if again is not None:
                    waiting.appendleft(again)

    def _screen_config(self, config: Config) -> Generator[Action, Reply, _Screened | None]:
        points = yield from self._speed(config, 1, batches=SCREEN_BATCHES)
        if points is None:
            return None
        screened = _Screened(config, {(self.facts.cores, 1): points})
        keep = self._rows_per_s(self.screened[self.facts.baseline.name])
        speed = self._rows_per_s(screened)
        if speed < HOPELESS_SPEED * keep:
            self._give_up(
                config, "screen", f"slower: {speed:,.0f} rows/s where the tuned original does {keep:,.0f} rows/s"
            )
            return None
        if not (yield from self._answer(screened)):
            return None
        self.screened[config.name] = screened
        judgement = screened.judgement
        if judgement is not None and self._power(screened) < HOPELESS_POWER:
            self._give_up(config, "screen", _quality_reason(judgement))
        elif self._is_cheapest(config.name):
            yield from self._tell_best(config.name, proved=False)
        return screened

    def _revert_layers(self, screened: _Screened) -> Recipe | None:
        """The same quantisation with more of its worst layers left in floating point, while quality is short."""
        recipe = screened.config.variant.recipe
        if self._power(screened) >= 0.5 or not recipe.steps:
            return None
        last = recipe.steps[-1]
        reverted = last.parameters.get("ignore_worst")
        if not isinstance(reverted, int):
            return None
        more = next((count for count in LAYER_REVERTS if count > reverted), None)
        if more is None:
            return None
        step = last.model_copy(update={"parameters": {**last.parameters, "ignore_worst": more}})
        return recipe.model_copy(update={"steps": (*recipe.steps[:-1], step)})

    # --- tune ---------------------------------------------------------------------------------------------------

    def _tune(self) -> Generator[Action, Reply, list[Entrant]]:
        keep_name = self.facts.baseline.name
        hopeful = [name for name in self._hopeful() if name != keep_name]
        finalists: list[Entrant] = []
        for name in [keep_name, *hopeful]:
            screened = self.screened[name]
            if not self._phase_is_over(TUNE_UNTIL):
                yield from self._tune_settings(screened)
            finalists.append(self._entrant(screened))
        return finalists

    def _hopeful(self) -> list[str]:
        """The finalists: what no other beats in both cost and evidence, the surest always among them."""
        names = [name for name, screened in self.screened.items() if self._power(screened) >= HOPELESS_POWER]
        costs = {name: 1 / self._rows_per_s(self.screened[name]) for name in names}
        doubts = {name: self._doubt(self.screened[name]) for name in names}
        keep_cost = costs.get(self.facts.baseline.name, min(costs.values(), default=0.0))
        cheaper = [name for name in names if costs[name] <= 1.2 * keep_cost and name != self.facts.baseline.name]
        # Screened speeds are rough: what is within 30% of the front may yet be on it.
        near_front = [
            name
            for name in cheaper
            if not any(costs[other] * 1.3 < costs[name] and doubts[other] <= doubts[name] for other in cheaper)
        ]
        for name in cheaper:
            if name not in near_front:
                better = min((o for o in cheaper if doubts[o] <= doubts[name]), key=lambda other: costs[other])
                self._give_up(self.screened[name].config, "choose", f"{better} is cheaper and loses no more")
        for name in names:
            if name not in cheaper and name != self.facts.baseline.name:
                self._give_up(self.screened[name].config, "choose", "no cheaper than the tuned original")
        ranked = sorted(near_front, key=lambda name: costs[name])
        likely = [name for name in ranked if self._power(self.screened[name]) >= 0.5]
        chosen = (likely or ranked)[: FINALISTS - 1]
        surest = sorted((name for name in ranked if name not in chosen), key=lambda name: (doubts[name], costs[name]))
        chosen += surest[: FINALISTS - len(chosen)]
        for name in ranked:
            if name not in chosen:
                self._give_up(self.screened[name].config, "choose", f"the {FINALISTS} finalists are cheaper or surer")
        return chosen

    def _tune_settings(self, screened: _Screened) -> Generator[Action, Reply, None]:
        cores = self.facts.cores
        lanes = sorted({(cores // replicas, replicas) for replicas in (1, 2, cores) if cores % replicas == 0})
        for threads, replicas in lanes:
            points = yield from self._speed(
                screened.config, replicas, threads=threads, batches=TUNE_BATCHES, seconds=TUNE_SECONDS, fatal=False
            )
            if points is not None:
                screened.points[threads, replicas] = points

    # --- race and load ------------------------------------------------------------------------------------------

    def _race(self, finalists: list[Entrant]) -> Generator[Action, Reply, None]:
        config = self.facts.baseline
        deployed = Entrant(
            name=f"{config.name} (as deployed)",
            config=config,
            settings=Settings(
                runtime=config.runtime,
                precision=config.precision,
                threads=self.facts.cores,
                replicas=1,
                batch=config.variant.spec.fixed_batch or 1,
                default=True,
            ),
        )
        entrants = (deployed, *finalists)
        self.entrants = {entrant.name: entrant for entrant in entrants}
        seconds = max(self.remaining_s - (1 - RACE_UNTIL) * self.facts.budget_s, 0.1 * self.facts.budget_s)
        if self.facts.rate_rps is not None:
            seconds /= 2  # the other half is for the traffic
        raced = yield from self._ask(
            Race(entrants=entrants, samples=P99_SAMPLES, rounds=RACE_ROUNDS, seconds=round(seconds, 1))
        )
        if not isinstance(raced, Raced):
            self._note(raced)
            raise BaselineError(self.failures[-1].reason)
        self.raced = raced
        for failure in raced.failures.values():
            self.failures.append(failure)
        for name, profile in raced.profiles.items():
            self.measured[name] = self._candidate(self.entrants[name], profile)

    def _load(self) -> Generator[Action, Reply, None]:
        if self.facts.rate_rps is None or self.raced is None:
            return
        for position, name in enumerate(list(self.measured)):
            left = len(self.measured) - position
            seconds = max(2.0, (self.remaining_s - (1 - RACE_UNTIL) * self.facts.budget_s) / left)
            entrant = self.entrants[name]
            loaded = yield from self._ask(
                Load(entrant=entrant, points=self._service_points(entrant), seconds=round(seconds, 1))
            )
            if isinstance(loaded, Loaded):
                self.loaded[name] = loaded
                raced = self.raced.profiles[name]
                profile = loaded.profile.model_copy(update={"throughput_rps": raced.throughput_rps})
                self.measured[name] = self._candidate(entrant, profile)
            else:
                self._note(loaded)
                del self.measured[name]

    def _service_points(self, entrant: Entrant) -> tuple[SpeedPoint, ...]:
        points = self.screened[entrant.config.name].points
        lanes = (entrant.settings.threads, entrant.settings.replicas)
        if not entrant.settings.default:
            return points[lanes]
        return tuple(point for point in points[self.facts.cores, 1] if point.batch <= entrant.settings.batch)

    # --- certify and choose -------------------------------------------------------------------------------------

    def _certify(self) -> Generator[Action, Reply, Choice]:
        deployed, tuned = list(self.entrants)[:2]
        tuned_candidate = self.measured[tuned]
        feasible = {name: candidate for name, candidate in self.measured.items() if self._misses(candidate) is None}
        for name, candidate in self.measured.items():
            miss = self._misses(candidate)
            if miss is not None and name not in (deployed, tuned):
                self._give_up(self.entrants[name].config, "choose", miss)
        keep_is_feasible = tuned in feasible
        rivals = [
            name
            for name in feasible
            if name not in (deployed, tuned) and (not keep_is_feasible or self._beats(name, tuned_candidate))
        ]
        for name in feasible:
            if name not in rivals and name not in (deployed, tuned):
                self._give_up(self.entrants[name].config, "choose", self._no_gain(name))
        order, certified = yield from self._open_certify(tuned, rivals)
        chosen: str | None = None
        if certified:
            chosen = min(certified, key=self._cost_key)
        elif keep_is_feasible:
            chosen = tuned
        self._explain_losers(rivals, order, certified, chosen)
        if chosen is not None:
            yield from self._tell_best(chosen, proved=True)
        return Choice(
            decision="infeasible" if chosen is None else "keep" if chosen == tuned else "replace",
            baseline=self.measured[deployed],
            baseline_tuned=self.measured[tuned],
            chosen=None if chosen is None else self.measured[chosen],
            measured=self.measured,
            entrants=self.entrants,
            frontier=self._frontier(),
            failures=tuple(self.failures),
            order=order,
            certified=certified,
            tried=self.tried,
            ratio=None if chosen is None or self.raced is None else self.raced.ratio_to_tuned.get(chosen),
            rows_certify=self.rows_certify,
            sustained_rps={
                name: loaded.profile.sustained_rps
                for name, loaded in self.loaded.items()
                if loaded.profile.sustained_rps is not None
            },
            batch_rules={name: loaded.batch_rule for name, loaded in self.loaded.items()},
            screened=tuple(self._screening(screened) for screened in self.screened.values()),
            race_samples="" if self.raced is None else self.raced.samples,
            nearest_miss=self._nearest_miss() if chosen is None else None,
        )

    def _open_certify(
        self, tuned: str, rivals: list[str]
    ) -> Generator[Action, Reply, tuple[tuple[str, ...], tuple[str, ...]]]:
        if not self.facts.judged:
            return (), tuple(rivals)
        baseline = self.entrants[tuned]
        answered = yield from self._ask(self._answer_certify(baseline))
        if not isinstance(answered, Answered):
            self._note(answered)
            raise BaselineError(self.failures[-1].reason)
        points = [(self._cost_key(name)[0], self._doubt(self._screened_of(name))) for name in rivals]
        front = [rivals[index] for index in pareto(points)]
        for name in rivals:
            if name not in front:
                self._give_up(self.entrants[name].config, "choose", "another finalist is cheaper and surer")
        judgements = {name: judgement for name in front if (judgement := self._screened_of(name).judgement)}
        order = order_by_evidence(judgements, self._split_scale)
        sequence = fixed_sequence(order, alpha=1 - self.facts.confidence)
        opened: list[str] = []
        try:
            name = next(sequence)
            while True:
                opened.append(name)
                answered = yield from self._ask(self._answer_certify(self.entrants[name]))
                p_value = 1.0
                if isinstance(answered, Answered) and answered.judgement is not None:
                    p_value = answered.judgement.p_value
                    self.certify_judgements[name] = answered.judgement
                    self.measured[name] = self.measured[name].model_copy(update={"quality": answered.quality})
                    if p_value > 1 - self.facts.confidence:
                        reason = _quality_reason(answered.judgement, on="certify")
                        self._give_up(self.entrants[name].config, "certify", reason)
                else:
                    self._note(answered)
                name = sequence.send(p_value)
        except StopIteration as stop:
            return tuple(opened), tuple(stop.value)

    def _answer_certify(self, entrant: Entrant) -> Answer:
        return Answer(config=entrant.config, settings=entrant.settings, split="certify", rows=self.rows_certify)

    def _explain_losers(
        self, rivals: list[str], order: tuple[str, ...], certified: tuple[str, ...], chosen: str | None
    ) -> None:
        explained = {failure.name for failure in self.failures}
        for name in rivals:
            config = self.entrants[name].config
            if name == chosen or config.name in explained:
                continue
            if name in certified:
                self._give_up(config, "choose", f"certified, but {chosen} is cheaper")
            elif name not in order:
                self._give_up(config, "certify", "not tested: an earlier one in the fixed sequence did not pass")

    def _beats(self, name: str, keep: Candidate) -> bool:
        """Whether a candidate is cheaper than the tuned original, beyond the noise of the measurement."""
        mine, other = self._cost_key(name), self._cost_of(keep)
        if mine[0] != other[0] and self.facts.rate_rps is not None:
            return mine[0] * REPLACE_RATIO < other[0]
        ratio = self.raced.ratio_to_tuned.get(name) if self.raced else None
        return ratio is not None and ratio.low is not None and ratio.low > REPLACE_RATIO

    def _no_gain(self, name: str) -> str:
        ratio = self.raced.ratio_to_tuned.get(name) if self.raced else None
        if ratio is None or ratio.low is None:
            return "timed too few rounds to say that it is cheaper than the tuned original"
        return (
            f"not surely cheaper than the tuned original: {ratio.value:.2f} times as fast "
            f"(95% interval {ratio.low:.2f} to {ratio.high or ratio.value:.2f}, more than {REPLACE_RATIO} is required)"
        )

    def _misses(self, candidate: Candidate) -> str | None:
        """The limit that a candidate passes, in words; null where it passes none."""
        limit = self.facts.p99_limit_s
        if limit is not None:
            p99 = candidate.latency_s.p99
            if p99 is None or p99.high is None:
                return f"no p99 could be established within the budget (limit {limit * 1e3:g} ms)"
            if p99.high > limit:
                return f"p99 {p99.value * 1e3:.1f} ms, at most {p99.high * 1e3:.1f} ms; the limit is {limit * 1e3:g} ms"
        memory = self.facts.memory_limit_bytes
        if memory is not None and candidate.peak_memory_bytes.value > memory:
            return (
                f"memory {candidate.peak_memory_bytes.value / 2**20:,.0f} MiB; the limit is {memory / 2**20:,.0f} MiB"
            )
        return None

    def _nearest_miss(self) -> NearestMiss | None:
        """What came closest to the limits, measured by how far it passes the one it misses, as a share of it."""
        misses: list[tuple[float, NearestMiss]] = []
        limit_s, memory = self.facts.p99_limit_s, self.facts.memory_limit_bytes
        for name, candidate in list(self.measured.items())[1:]:
            p99, judgement = candidate.latency_s.p99, self.certify_judgements.get(name)
            if limit_s is not None and p99 is not None and p99.high is not None and p99.high > limit_s:
                found, needed = f"{p99.value * 1e3:.1f} ms", f"{limit_s * 1e3:g} ms"
                miss = NearestMiss(name=name, limit="p99", found=found, needed=needed)
                misses.append((p99.high / limit_s - 1, miss))
            elif memory is not None and candidate.peak_memory_bytes.value > memory:
                found = f"{candidate.peak_memory_bytes.value / 2**20:,.0f} MiB"
                miss = NearestMiss(name=name, limit="memory", found=found, needed=f"{memory / 2**20:,.0f} MiB")
                misses.append((candidate.peak_memory_bytes.value / memory - 1, miss))
            elif judgement is not None:
                found = _quality_reason(judgement, on="certify")
                miss = NearestMiss(
                    name=name, limit="quality", found=found, needed=f"p <= {1 - self.facts.confidence:g}"
                )
                misses.append((judgement.p_value, miss))
        return min(misses, key=lambda pair: pair[0], default=(0.0, None))[1]

    def _screening(self, screened: _Screened) -> Screening:
        entrant = self._entrant(screened)
        settings = entrant.settings
        difference = None if screened.judgement is None else screened.judgement.main.difference
        return Screening(
            name=entrant.name,
            config_name=screened.config.name,
            settings=f"{settings.threads} threads x {settings.replicas}, batch {settings.batch}",
            usd_per_million=usd_per_million_packed(self.facts.usd_per_hour, self._rows_per_s(screened)),
            quality=screened.quality,
            drop_high=None if difference is None else difference.high,
        )

    def _frontier(self) -> tuple[str, ...]:
        deployed = next(iter(self.entrants))
        names = [name for name in self.measured if name != deployed]
        front = pareto([(self._cost_key(name)[0], self._doubt(self._screened_of(name))) for name in names])
        return tuple(sorted((names[index] for index in front), key=self._cost_key))

    # --- small steps --------------------------------------------------------------------------------------------

    def _ask(self, action: Action) -> Generator[Action, Reply, Outcome | Answered]:
        reply = yield action
        self.remaining_s = reply.remaining_s
        return reply.outcome

    def _speed(
        self,
        config: Config,
        replicas: int,
        *,
        batches: tuple[int, ...],
        threads: int | None = None,
        default: bool = False,
        seconds: float = SCREEN_SECONDS,
        fatal: bool = True,
    ) -> Generator[Action, Reply, tuple[SpeedPoint, ...] | None]:
        fixed = config.variant.spec.fixed_batch
        outcome = yield from self._ask(
            Speed(
                config=config,
                threads=threads or self.facts.cores,
                replicas=replicas,
                default=default,
                batches=(fixed,) if fixed else batches,
                seconds=seconds,
                longest_s=self._longest_batch_s() or 2.0,
            )
        )
        if isinstance(outcome, Sped) and outcome.points:
            return outcome.points
        if fatal:
            self._note(outcome)
        return None

    def _answer(self, screened: _Screened) -> Generator[Action, Reply, bool]:
        if not self.facts.judged:
            return True
        settings = self._entrant(screened).settings
        answered = yield from self._ask(
            Answer(config=screened.config, settings=settings, split="search", rows=self.rows_search)
        )
        if not isinstance(answered, Answered):
            self._note(answered)
            return False
        self.tried += 1
        screened.judgement, screened.quality = answered.judgement, answered.quality
        return True

    def _tell_best(self, name: str, *, proved: bool) -> Generator[Action, Reply, None]:
        if name in self.measured:
            usd = self._cost_key(name)[0]
        else:
            usd = usd_per_million_packed(self.facts.usd_per_hour, self._rows_per_s(self.screened[name]))
        yield from self._ask(Best(name=name, usd_per_million=usd, proved=proved))

    def _entrant(self, screened: _Screened) -> Entrant:
        (threads, replicas), point = screened.best(self._longest_batch_s())
        config = screened.config
        return Entrant(
            name=f"{config.name}, {threads} threads x {replicas}, batch {point.batch}",
            config=config,
            settings=Settings(
                runtime=config.runtime,
                precision=config.precision,
                threads=threads,
                replicas=replicas,
                batch=point.batch,
            ),
        )

    def _candidate(self, entrant: Entrant, profile: Profile) -> Candidate:
        usd_per_hour, rate = self.facts.usd_per_hour, self.facts.rate_rps
        packed = usd_per_million_packed(usd_per_hour, profile.throughput_rps.value)
        provisioned = None
        if rate is not None and profile.sustained_rps:
            provisioned = usd_per_million_provisioned(usd_per_hour, rate, profile.sustained_rps)
        quality = self.screened[entrant.config.name].quality
        deciding = packed if provisioned is None else provisioned
        correct = None
        if self.facts.counts_correct and quality is not None and quality.value > 0:
            correct = usd_per_million_correct(deciding, quality.value)
        settings = entrant.settings
        return Candidate(
            name=entrant.name,
            digest=entrant.config.variant.artifact,
            recipe=entrant.config.variant.recipe,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads,
            replicas=settings.replicas,
            batch=settings.batch,
            quality=quality,
            latency_s=profile.latency_s,
            throughput_rps=profile.throughput_rps,
            peak_memory_bytes=profile.peak_memory_bytes,
            artifact_bytes=entrant.config.variant.artifact_bytes,
            cold_start_s=profile.cold_start_s,
            usd_per_million_packed=packed,
            usd_per_million_provisioned=provisioned,
            usd_per_million_correct=correct,
        )

    def _cost_key(self, name: str) -> tuple[float, float]:
        return self._cost_of(self.measured[name])

    def _cost_of(self, candidate: Candidate) -> tuple[float, float]:
        """What decides: the cost at the brief's traffic where there is one; ties, and the rest, by the packed cost."""
        packed = candidate.usd_per_million_packed
        if self.facts.rate_rps is None:
            return packed, packed
        provisioned = candidate.usd_per_million_provisioned
        return math.inf if provisioned is None else provisioned, packed

    def _screened_of(self, name: str) -> _Screened:
        return self.screened[self.entrants[name].config.name]

    def _longest_batch_s(self) -> float | None:
        limit = self.facts.p99_limit_s
        if limit is None:
            return None
        return limit * (ALONE_SHARE if self.facts.rate_rps is None else UNDER_TRAFFIC_SHARE)

    def _rows_per_s(self, screened: _Screened) -> float:
        return screened.best(self._longest_batch_s())[1].rows_per_s

    def _doubt(self, screened: _Screened) -> float:
        return 0.0 if screened.judgement is None else screened.judgement.p_value

    def _power(self, screened: _Screened) -> float:
        """Probability to pass on the certify split, estimated from the search split."""
        return 1.0 if screened.judgement is None else power_on(screened.judgement, self._split_scale)

    @property
    def _split_scale(self) -> float:
        return self.rows_certify / self.rows_search

    def _is_cheapest(self, name: str) -> bool:
        likely = [screened for screened in self.screened.values() if self._power(screened) >= 0.5]
        mine = self.screened[name]
        return mine in likely and self._rows_per_s(mine) == max(map(self._rows_per_s, likely))

    def _phase_is_over(self, share: float) -> bool:
        return self.remaining_s < (1 - share) * self.facts.budget_s + self.facts.finish_s

    def _note(self, outcome: Outcome | Answered) -> None:
        if not isinstance(outcome, Failure):
            raise TypeError(f"expected a Failure, was told {outcome!r}")
        self.failures.append(outcome)

    def _give_up(self, item: Config | Recipe, stage: Stage, reason: str) -> None:
        recipe = item if isinstance(item, Recipe) else item.variant.recipe
        name = str(item) if isinstance(item, Recipe) else item.name
        self.failures.append(Failure(name=name, recipe=recipe, stage=stage, reason=reason))


def _quality_reason(judgement: Judgement, on: str = "search") -> str:
    difference = judgement.main.difference
    if difference is None or difference.high is None:
        return f"quality: {judgement.main.method}"
    text = f"quality: loses {difference.value:.4g} on the {on} rows (at most {difference.high:.4g})"
    if judgement.blocked_by:
        text += f"; blocked by {', '.join(judgement.blocked_by)}"
    return text
