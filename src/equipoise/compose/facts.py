"""What a search starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equipoise.compose.servable import Config
from equipoise.core.brief import ValueBrief
from equipoise.core.plan import AnswerForm, DistrustAnswer
from equipoise.core.recipe import Recipe
from equipoise.core.variant import DataUse, Failure, Variant


@dataclass(frozen=True)
class WantedDistrust:
    """What is given where the plan does not trust its answer.

    Attributes:
        answer: What.
        below: Calibrated probability of being right below which an answer is not trusted.
        default: The label, or the number, of a default.
    """

    answer: DistrustAnswer
    below: float
    default: str | None


@dataclass(frozen=True)
class Repeats:
    """What is known of requests that repeat earlier ones.

    Attributes:
        hit_shares: Answers that are remembered, to the share of requests that find theirs.
        usd_per_gib_hour: Price of a GiB of memory for an hour.
        source: Where the hit shares and that price come from.
        rows: Different rows of the data that the requests asked for; 0 where it is not known which they asked for.
    """

    hit_shares: tuple[tuple[int, float], ...]
    usd_per_gib_hour: float
    source: str
    rows: int = 0


def _nothing(variant: Variant) -> tuple[Recipe, ...]:  # noqa: ARG001
    return ()


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
        rate_rps: The brief's traffic that machines are provided for, its peak where it has one; null for none.
        mean_rate_rps: Mean of the brief's traffic, which shares the cost of those machines; null for none.
        usd_per_hour: Price of this machine.
        judged: Whether there is a metric to certify.
        counts_correct: Whether the metric is a share of correct answers.
        baseline: The artifact as given, in its native runtime and precision.
        originals: Other runtimes and precisions for it, and the person's alternatives in theirs.
        recipes: What is worth building, most promising first.
        refused: What would be worth building, and is forbidden.
        train_s: Wall time for all training, beside the budget.
        trainings: What is worth training, for times that the search decides.
        next_recipes: What is worth building of a variant that was trained.
        payback_days: Days within which training must have paid for itself at the brief's rate.
        configs_of: Runtimes and precisions for a variant.
        value: What errors, waiting and failures cost; null where nothing has a price, and cost alone decides.
        distrust: What is wanted where the plan does not trust its answer; null for its answer.
        repeats: What is known of requests that repeat earlier ones; null for nothing.
        form: What the judged output holds; null where answers cannot be put together: several labels a row, or a
            person's own metric.
        data_use: How much of the data may go into what is made.
        reshaping: Techniques whose result is another model, with errors of its own.
        resuming: Techniques whose longer trainings go on from shorter ones.
        reverting: Techniques that can leave their worst layers as they were (parameter `ignore_worst`).
        compiling: Runtimes that compile for long before they answer, and so come behind all others.
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
    mean_rate_rps: float | None
    usd_per_hour: float
    judged: bool
    counts_correct: bool
    baseline: Config
    originals: tuple[Config, ...]
    recipes: tuple[Recipe, ...]
    configs_of: Callable[[Variant], tuple[Config, ...]]
    value: ValueBrief | None = None
    distrust: WantedDistrust | None = None
    repeats: Repeats | None = None
    form: AnswerForm | None = None
    data_use: DataUse = "labelled"
    reshaping: frozenset[str] = frozenset()
    resuming: frozenset[str] = frozenset()
    reverting: frozenset[str] = frozenset()
    compiling: frozenset[str] = frozenset()
    refused: tuple[Failure, ...] = ()
    train_s: float = 0.0
    trainings: tuple[Recipe, ...] = ()
    next_recipes: Callable[[Variant], tuple[Recipe, ...]] = _nothing
    payback_days: float = 90.0
