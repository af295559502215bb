"""What the search may ask for, and what it is told.

An action is a frozen record with a digest, so that a study that was interrupted finds in its journal what it has
already done. Who carries actions out (`flow`) knows nothing of why they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from equipoise.compose.certify import Judgement
from equipoise.compose.servable import Composed, Entrant, Part, Servable, single
from equipoise.core.certificate import Certificate, FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.plan import AcceptRule, BatchRule, Combine
from equipoise.core.profile import Profile, Settings
from equipoise.core.recipe import Recipe
from equipoise.core.value import ErrorLoss, TrafficLoss
from equipoise.core.variant import Failure, Variant

SplitName = Literal["search", "certify", "trace"]
"""Rows that choose, rows that prove, and the rows that the requests of a trace asked for, of both kinds."""


class Build(Noun):
    """Make a variant, and compare its answers with those of the model it came from."""

    action: Literal["build"] = "build"
    recipe: Recipe


class Speed(Noun):
    """Time a config or a composition, briefly, at growing batch sizes.

    Attributes:
        default: Leave threads to the runtime's own default.
        batches: Batch sizes to time, in rows, ascending; it stops early where a batch takes longer than `longest_s`, or
            where larger ones are no faster.
        seconds: For each batch size.
    """

    action: Literal["speed"] = "speed"
    config: Servable
    threads: int
    replicas: int
    default: bool = False
    batches: tuple[int, ...]
    seconds: float
    longest_s: float


class SpeedPoint(Noun):
    """Speed at one batch size."""

    batch: int
    rows_per_s: float
    batch_s: float


class Sped(Noun):
    """What came of a `Speed` action."""

    points: tuple[SpeedPoint, ...]


class Answer(Noun):
    """Answer the first `rows` rows of a split, keeping every output.

    The search is told how the answers were judged against the baseline's on the same rows; those of a trace are only
    kept.
    """

    action: Literal["answer"] = "answer"
    config: Servable
    settings: Settings
    split: SplitName
    rows: int


@dataclass(frozen=True)
class Answered:
    """What came of an `Answer` action.

    Attributes:
        judgement: Against the baseline; null with the metric `none`.
        quality: The metric on the main rows; null with the metric `none`.
        floor: Against the floor, by itself; null where none was given. Where untrusted answers are referred to a
            person, of the others alone.
        trusted: Share of the main rows whose answer is trusted; null where none is doubted.
        errors: What its errors on the main rows cost; null where an error has no price.
    """

    judgement: Judgement | None
    quality: Estimate | None
    floor: FloorCertificate | None = None
    trusted: float | None = None
    errors: ErrorLoss | None = None


class Asked(Noun):
    """A stage that a composition may have.

    Attributes:
        answers: How each of its members answered the search rows.
        combine: How they are combined; null for one.
        points: Rows of a batch and the seconds it takes, all members together.
    """

    answers: tuple[Answer, ...]
    combine: Combine | None = None
    points: tuple[tuple[int, float], ...]

    @property
    def part(self) -> Part:
        """The stage, without a threshold yet."""
        return Part(members=tuple(single(answer.config) for answer in self.answers), combine=self.combine)


class Compose(Noun):
    """Find thresholds at which stages, asked one after the other, are cheap and keep the quality.

    Attributes:
        stages: Cheapest first; a single one is an ensemble.
        replicas: Batches that are computed at the same time.
        longest_s: Longest that one batch may take, through all stages.
        scale: Certify rows for each search row.
        most: How many to return.
    """

    action: Literal["compose"] = "compose"
    stages: tuple[Asked, ...]
    replicas: int
    longest_s: float
    scale: float
    most: int


class Option(Noun):
    """A composition that search rows speak for.

    Attributes:
        composed: Its stages and thresholds.
        rows_per_s: Forecast from its stages' speeds and shares.
        p_value: On search rows that did not choose its thresholds.
        power: Probability that it passes on the certify rows, estimated from the same.
    """

    composed: Composed
    rows_per_s: float
    p_value: float
    power: float


class Composable(Noun):
    """What came of a `Compose` action, the most promising first.

    Attributes:
        options: Those worth timing; none where no threshold is likely to keep the quality and be cheaper.
        tried: Thresholds that were judged.
        best: What the best of them was, in words, where there are no options.
    """

    options: tuple[Option, ...]
    tried: int
    best: str = ""


class Doubt(Noun):
    """Find out how a last stage tells that its answer is not to be trusted.

    Attributes:
        answers: How each of its members answered the search rows.
        combine: How they are combined; null for one.
        asked_by: How the cascade answered the search rows: only those that reached its last stage count; null where all
            do.
        below: Calibrated probability of being right below which an answer is not trusted.
    """

    action: Literal["doubt"] = "doubt"
    answers: tuple[Answer, ...]
    combine: Combine | None = None
    asked_by: Answer | None = None
    below: float


class Doubted(Noun):
    """What came of a `Doubt` action: when the answer is trusted; null where nothing says how sure it is."""

    accept: AcceptRule | None


class LookUp(Noun):
    """Time how long it takes to make a cache key and to look it up, and weigh what is remembered.

    Attributes:
        answered: How a plan answered rows that are like those that will be remembered.
        near: Steps that inputs are rounded to, by input name; empty for none.
    """

    action: Literal["look_up"] = "look_up"
    answered: Answer
    near: dict[str, float] = Field(default_factory=dict)


class LookedUp(Noun):
    """What came of a `LookUp` action: seconds of one, and bytes of one remembered answer."""

    lookup_s: float
    entry_bytes: int


class NearMatch(Noun):
    """Find out how nearly inputs must match to share an answer, and prove it on later requests.

    Attributes:
        plan: How the plan answered the rows of the trace.
        original: How the original did.
        sizes: Answers that may be remembered.
        entry_share: Price of one remembered answer's memory, as a share of the machine's.
        exact_entries: Answers that the cache of exact matches remembers.
    """

    action: Literal["near_match"] = "near_match"
    plan: Answer
    original: Answer
    sizes: tuple[int, ...]
    entry_share: float
    exact_entries: int


class NearMatched(Noun):
    """What came of a `NearMatch` action.

    Attributes:
        near: Steps that inputs are rounded to, by input name; empty where none was worth a proof.
        max_entries: Answers that are remembered.
        hit_share: Share of the later requests that find an answer.
        exact_hit_share: The same with exact matches only.
        certificate: What the later requests prove; null where nothing was tested.
        why_not: Why near matches are not proved, in words; empty where they are.
    """

    near: dict[str, float] = Field(default_factory=dict)
    max_entries: int = 1
    hit_share: float = 0.0
    exact_hit_share: float = 0.0
    certificate: Certificate | None = None
    why_not: str = ""


class Race(Noun):
    """Time finalists in turns, each in a fresh process, with the baseline among them.

    Attributes:
        entrants: Who is timed; the first is the baseline, the second the tuned baseline.
        samples: Batches to time of each, at least: 299 bound a p99.
        rounds: How many turns each gets.
        seconds: About how long it may take in all.
    """

    action: Literal["race"] = "race"
    entrants: tuple[Entrant, ...]
    samples: int
    rounds: int
    seconds: float


class Raced(Noun):
    """What came of a race.

    Attributes:
        profiles: By entrant name.
        failures: By entrant name.
        ratio_to_tuned: Throughput over the tuned baseline's, from rounds timed in turns, by entrant name.
        ratio_to_baseline: The same over the baseline's.
        samples: Name of the raw samples in the study's store.
    """

    profiles: dict[str, Profile]
    failures: dict[str, Failure]
    ratio_to_tuned: dict[str, Estimate]
    ratio_to_baseline: dict[str, Estimate]
    samples: str


class Load(Noun):
    """Put the brief's traffic on one machine that runs an entrant.

    Attributes:
        entrant: What runs; its settings' batch bounds the rows of a batch.
        points: Its measured service times.
        seconds: How long the traffic lasts.
    """

    action: Literal["load"] = "load"
    entrant: Entrant
    points: tuple[SpeedPoint, ...]
    seconds: float


class Loaded(Noun):
    """What came of a load: latency from intended arrival to answer, what one machine sustains within the limit, how.

    Attributes:
        profile: What was measured.
        batch_rule: How requests were put together.
        loss: What requests suffered; null where the brief prices neither waiting nor failures.
    """

    profile: Profile
    batch_rule: BatchRule
    loss: TrafficLoss | None = None


class Best(Noun):
    """Tell the person the best so far; asks for nothing."""

    action: Literal["best"] = "best"
    name: str
    usd_per_million: float
    proved: bool


Action = Build | Speed | Answer | Compose | Doubt | LookUp | NearMatch | Race | Load | Best
Outcome = Variant | Failure | Sped | Answered | Composable | Doubted | LookedUp | NearMatched | Raced | Loaded | None


@dataclass(frozen=True)
class Reply:
    """What the search is told: what came of its action, how much of the budget is left, how long was trained so far."""

    outcome: Outcome
    remaining_s: float
    trained_s: float = 0.0
