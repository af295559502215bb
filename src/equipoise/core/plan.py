"""What is served: stages, when each answers, how they batch, what is remembered, and what is forecast of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipoise.core.certificate import FloorCertificate
from equipoise.core.noun import Noun
from equipoise.core.profile import Settings

Measure = Literal["max_probability", "margin", "entropy", "agreement", "spread"]
Combine = Literal["mean", "vote"]
DistrustAnswer = Literal["refer", "simple", "default"]


class BatchRule(Noun):
    """How requests are put together.

    Attributes:
        max_rows: Most rows in one batch.
        max_wait_s: Longest that the first request waits for others while a replica is free.
        limit_s: The p99 limit that batches are sized for; null for none.
    """

    max_rows: int
    max_wait_s: float = 0.0
    limit_s: float | None = None


class Calibration(Noun):
    """How a stage's raw confidence becomes the probability that its answer is right.

    Attributes:
        method: `temperature` divides the logits before the confidence is taken (Guo et al. 2017, arXiv 1706.04599);
            `isotonic` maps the confidence through a rising step line (Zadrozny and Elkan 2002); `none` leaves it.
        temperature: Of `temperature`; 1 otherwise.
        knots: Of `isotonic`: raw confidence and probability, both ascending, joined by straight lines.
    """

    method: Literal["none", "temperature", "isotonic"] = "none"
    temperature: float = Field(default=1.0, gt=0)
    knots: tuple[tuple[float, float], ...] = ()


class AcceptRule(Noun):
    """When a stage's answer stands.

    Attributes:
        measure: What is taken for confidence: the largest class probability, its margin over the second, one minus the
            normalised entropy, the share of an ensemble's members that agree with its answer, or minus the standard
            deviation of their numbers.
        calibration: Of that measure, for this artifact in this precision.
        at_least: Calibrated confidence from which on the answer stands; a regression's `spread` is not calibrated.
    """

    measure: Measure
    calibration: Calibration = Calibration()
    at_least: float


class AnswerForm(Noun):
    """What a model's judged output holds.

    Attributes:
        output: Its name.
        kind: `logits`, `probabilities`, `labels` or `value`.
        multilabel: Whether a row has several labels, each there or not.
    """

    output: str
    kind: str
    multilabel: bool = False


class StageModel(Noun):
    """One variant in its setting."""

    artifact: str
    format: str
    settings: Settings


class PlanStage(Noun):
    """What a row is asked in one step.

    Attributes:
        models: One variant, or several that are all asked and whose answers are combined.
        combine: How: the mean of their probabilities (or numbers), or a vote; null for a single variant.
        batch_rule: How rows that reach this stage are put together.
        accept: When its answer stands; null where it always does. Of a last stage it says when the answer is trusted.
        share: Share of rows that are forecast to reach it, 0 to 1.
    """

    models: tuple[StageModel, ...] = Field(min_length=1)
    combine: Combine | None = None
    batch_rule: BatchRule
    accept: AcceptRule | None = None
    share: float = Field(default=1.0, ge=0, le=1)

    @property
    def rows(self) -> int:
        """Rows of its largest batch."""
        return max(1, min(self.batch_rule.max_rows, *(model.settings.batch for model in self.models)))

    @property
    def lanes(self) -> int:
        """Batches that are computed at the same time."""
        return self.models[0].settings.replicas


class Fallback(Noun):
    """What answers when the plan cannot in time, or cannot at all.

    Attributes:
        stage: What it asks; its answers always stand.
        certificate: What was proved of it by itself, against the floor.
    """

    stage: PlanStage
    certificate: FloorCertificate


class Distrust(Noun):
    """What is given where the last stage does not trust its own answer.

    Attributes:
        answer: `refer` to a person (no answer is given), the `simple` stage's answer (the first one's, or the
            fallback's), or a fixed `default`.
        default: The label, or the number, of `default`.
        share_answered: Share of rows whose answer stands, on the certify rows.
        certificate: What was proved of it by itself, against the floor: of the answers that stand where the others are
            referred, else of all answers that are given.
    """

    answer: DistrustAnswer
    default: str | None = None
    share_answered: float = Field(ge=0, le=1)
    certificate: FloorCertificate


class CacheRule(Noun):
    """What is remembered of answers.

    Attributes:
        max_entries: Answers that are kept; the one unused for longest goes first.
        entry_bytes: Memory of one.
        hit_share: Share of requests that are forecast to find their answer, 0 to 1.
        lookup_s: Measured seconds of making a key and looking it up; 0 where it was not measured.
        near: Steps that inputs are rounded to, by input name, so that near matches find it too; empty for exact ones
            only.
    """

    max_entries: int = Field(gt=0)
    entry_bytes: int = Field(gt=0)
    hit_share: float = Field(ge=0, le=1)
    lookup_s: float = Field(default=0.0, ge=0)
    near: dict[str, float] = Field(default_factory=dict)


class Forecast(Noun):
    """What the plan is expected to do on the machine it was measured on."""

    quality: float | None
    p99_s: float | None
    throughput_rps: float
    usd_per_million_packed: float
    usd_per_million_provisioned: float | None


class Plan(Noun):
    """What is served.

    Attributes:
        name: Name of the candidate it serves.
        output: The output that is judged and returned.
        output_kind: What that output holds.
        multilabel: Whether a row has several labels, each there or not.
        stages: What answers, in the order it is asked: a row goes on until a stage's answer stands.
        cache: What is remembered; null for nothing.
        fallback: What answers under pressure, or when a stage is down; null where nothing was certified to: the server
            then refuses requests instead. Requests of high priority never get it, nor an early stage's answer.
        distrust: What is given where the last stage does not trust its answer; null to give that answer.
        usd_per_hour: Price of the machine that the forecast was made with.
        forecast: What is expected of it.
    """

    name: str
    output: str
    output_kind: str
    multilabel: bool = False
    stages: tuple[PlanStage, ...] = Field(min_length=1)
    cache: CacheRule | None = None
    fallback: Fallback | None = None
    distrust: Distrust | None = None
    usd_per_hour: float = Field(gt=0)
    forecast: Forecast

    @property
    def form(self) -> AnswerForm:
        """What the judged output holds."""
        return AnswerForm(output=self.output, kind=self.output_kind, multilabel=self.multilabel)

    @property
    def all_stages(self) -> tuple[PlanStage, ...]:
        """The stages, and the fallback's at the end."""
        return self.stages if self.fallback is None else (*self.stages, self.fallback.stage)

    @property
    def models(self) -> tuple[StageModel, ...]:
        """Every variant in its setting, each once."""
        return tuple(dict.fromkeys(model for stage in self.all_stages for model in stage.models))
