"""What the search may ask for, and what it is told.

An action is a frozen record with a digest, so that a study that was interrupted finds in its journal what it has
already done. Who carries actions out (`flow`) knows nothing of why they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equipoise.compose.certify import Judgement
from equipoise.core.candidate import Candidate
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.plan import BatchRule
from equipoise.core.profile import Precision, Profile, RuntimeName, Settings
from equipoise.core.recipe import Recipe
from equipoise.core.result import NearestMiss
from equipoise.core.variant import Failure, Variant

SplitName = Literal["search", "certify"]


class Config(Noun):
    """A variant in a runtime and a precision: what quality belongs to."""

    variant: Variant
    runtime: RuntimeName
    precision: Precision

    @property
    def name(self) -> str:
        """Readable and unique within a study."""
        return f"{self.variant.recipe} @ {self.runtime} {self.precision}"


class Entrant(Noun):
    """A config in one setting: what speed and cost belong to."""

    name: str
    config: Config
    settings: Settings


class Build(Noun):
    """Make a variant, and compare its answers with those of the model it came from."""

    action: Literal["build"] = "build"
    recipe: Recipe


class Speed(Noun):
    """Time a config, briefly, at growing batch sizes.

    Attributes:
        default: Leave threads to the runtime's own default.
        batches: Batch sizes to time, in rows, ascending; it stops early where a batch takes longer than `longest_s`, or
            where larger ones are no faster.
        seconds: For each batch size.
    """

    action: Literal["speed"] = "speed"
    config: Config
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

    The search is told how the answers were judged against the baseline's on the same rows.
    """

    action: Literal["answer"] = "answer"
    config: Config
    settings: Settings
    split: SplitName
    rows: int


@dataclass(frozen=True)
class Answered:
    """What came of an `Answer` action; judgement and quality are null with the metric `none`."""

    judgement: Judgement | None
    quality: Estimate | None


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
    """What came of a load: latency from intended arrival to answer, what one machine sustains within the limit, how."""

    profile: Profile
    batch_rule: BatchRule


class Best(Noun):
    """Tell the person the best so far; asks for nothing."""

    action: Literal["best"] = "best"
    name: str
    usd_per_million: float
    proved: bool


Action = Build | Speed | Answer | Race | Load | Best
Outcome = Variant | Failure | Sped | Answered | Raced | Loaded | None


@dataclass(frozen=True)
class Reply:
    """What the search is told: what came of its action, and how much of the budget is left."""

    outcome: Outcome
    remaining_s: float


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
        sustained_rps: Requests a second that one machine answers within the limit, by name; empty without traffic.
        batch_rules: How requests are put together under the brief's traffic, by name; empty without traffic.
        screened: What screening found, for the report.
        race_samples: Name of the race's raw samples in the study's store.
        nearest_miss: Where infeasible, what came closest.
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
    sustained_rps: dict[str, float]
    batch_rules: dict[str, BatchRule]
    screened: tuple[Screening, ...]
    race_samples: str
    nearest_miss: NearestMiss | None
