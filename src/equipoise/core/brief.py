"""What the person wants: a model, data that shows what its job is, limits, traffic and prices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from equipoise.core.certificate import Margin
from equipoise.core.corruption import Corruption
from equipoise.core.noun import Noun
from equipoise.core.plan import DistrustAnswer
from equipoise.core.preprocessing import PlacedPreprocessing
from equipoise.core.training import TrainDevice
from equipoise.core.variant import DataUse

MetricName = Annotated[
    str,
    Field(
        description="accuracy, balanced_accuracy, f1_macro, f1_weighted, f1_binary, auroc, log_loss, ece, mae, rmse, "
        "r2, agreement, none, or a person's own module:function"
    ),
]
OutputKind = Literal["logits", "probabilities", "labels", "value"]


class ModelBrief(Noun):
    """The model under study.

    Attributes:
        path: A `.onnx`, `.xml` (its `.bin` beside it), `.tflite`, `.pt2`, `.skops`, `.joblib` or `.pkl` file; or
            `module:function`, which makes a PyTorch module.
        state_dict: Weights of a PyTorch module; null where the function that makes it loads them.
        alternatives: Other models that the person already has for the same job.
        output: Which output is judged; null where there is only one that can be.
        output_kind: What that output holds; null to tell from its type and values.
        labels: Class names in the order of the output's columns; null where classes are numbered from 0.
        trust: Whether files that can execute code (pickles) may be opened.
    """

    path: str
    state_dict: str | None = None
    alternatives: tuple[str, ...] = ()
    output: str | None = None
    output_kind: OutputKind | None = None
    labels: tuple[str, ...] | None = None
    trust: bool = False


class OodSet(Noun):
    """A further set of rows, from another distribution, with a margin of its own."""

    path: str
    max_drop: Margin


class DataBrief(Noun):
    """The rows that show what the model's job is.

    Attributes:
        path: A `.npz`, `.csv` or `.parquet` file; or a folder of images by class, or an archive of one.
        target: Column or array of the true answers; null to look for `label`, then `y`.
        columns: Column names of a CSV file that has no header.
        text_columns: Column of the text that a model of text reads, two for pairs; null for the only column of text.
        calibration: Rows for calibration, kept apart from `path`.
        train: The rows the model was trained on, to find duplicates of them.
        group: Column whose equal values belong together (a patient, a user).
        slices: Column name to the largest drop on each of its values.
        ood: Name to out-of-distribution set.
        corrupt: Corruptions that rows are put to, as further sets.
        small_slices: What to do with slices that have too few rows for a verdict.
        show_rows: Show what the rows hold whose answers changed, and not their numbers alone.
        real_golden_rows: Put real rows, not synthetic ones, into the bundle's golden answers.
        data_use: The most of the data that may go into what is made: nothing, rows without their true answers, or both.
            Judging and timing read rows whatever it is.
    """

    path: str
    target: str | None = None
    columns: tuple[str, ...] | None = None
    text_columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] | None = None
    calibration: str | None = None
    train: str | None = None
    group: str | None = None
    slices: dict[str, Margin] = Field(default_factory=dict)
    ood: dict[str, OodSet] = Field(default_factory=dict)
    corrupt: tuple[Corruption, ...] = ()
    small_slices: Literal["block", "report", "pool"] = "block"
    show_rows: bool = False
    real_golden_rows: bool = False
    data_use: DataUse = "labelled"


class QualityBrief(Noun):
    """What "doing its job" means.

    Attributes:
        metric: Name of the metric; null for accuracy where there is a class target, R2 where the target is a number,
            and agreement with the original where there is none.
        max_drop: The largest loss that is acceptable.
        confidence: Probability with which the answer may be relied on.
        floor: Least figure of the metric that a degraded mode may have by itself (for metrics where lower is better,
            the most); null to offer none.
        distrust: What is given where the plan does not trust its own answer; null to give the answer.
        distrust_below: Calibrated probability of being right below which an answer is not trusted; null for a half.
        distrust_default: The label, or the number, that is given with `default`.
        positive_class: The class that counts as positive, for `f1_binary` and a two-class AUROC.
    """

    metric: MetricName | None = None
    max_drop: Margin = Margin(drop=0.01)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    floor: float | None = None
    distrust: DistrustAnswer | None = None
    distrust_below: float | None = Field(default=None, gt=0, lt=1)
    distrust_default: str | None = None
    positive_class: str | None = None


class LimitsBrief(Noun):
    """What must not be passed.

    Attributes:
        p99_s: Seconds within which 99 of 100 requests must be answered; null for no limit.
        memory_bytes: Resident memory of one serving process; null for no limit.
        budget_s: Wall time for the whole study, training apart.
        train_s: Wall time for all training, beside it; 0 where nothing is trained.
        train_device: Where torch trains: `auto` takes a GPU where it finds one.
        payback_days: Days within which training must have paid for itself at the brief's rate.
    """

    p99_s: float | None = Field(default=None, gt=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    budget_s: float = Field(default=300, ge=10)
    train_s: float = Field(default=0, ge=0)
    train_device: TrainDevice = "auto"
    payback_days: float = Field(default=90, gt=0)


class WorkloadBrief(Noun):
    """The traffic to serve.

    Attributes:
        rate_rps: Mean requests a second; null where nothing is known, or a trace says it.
        arrivals: How requests arrive around that rate.
        trace: A CSV file with the column `timestamp`, and perhaps `key`, `row` and `priority`, or with `period` and
            `count`; replaces rate and arrivals.
        repeat_share: Share of requests that repeat an earlier one exactly; null where nothing is known, or a trace with
            keys says it.
    """

    rate_rps: float | None = Field(default=None, gt=0)
    arrivals: Literal["constant", "poisson", "bursty"] = "poisson"
    trace: str | None = None
    repeat_share: float | None = Field(default=None, ge=0, lt=1)


class OwnedMachine(Noun):
    """A machine of one's own: what it cost, how long it lasts, and its electricity."""

    capex_usd: float = Field(gt=0)
    months: float = Field(gt=0)
    watts: float = Field(ge=0)
    usd_per_kwh: float = Field(ge=0)


class HardwareBrief(Noun):
    """What a machine costs: at most one of the three; none for a dated reference price, labelled as assumed."""

    usd_per_hour: float | None = Field(default=None, gt=0)
    instance: str | None = None
    owned: OwnedMachine | None = None


class ValueBrief(Noun):
    """What errors, slow answers and failures cost the business; null for what has no price.

    Attributes:
        usd_per_error: US dollars that a wrong answer costs: one price, or true class to price (0 for a class that is
            not there).
        usd_per_second_of_latency: US dollars for each second that an answer takes beyond the threshold.
        latency_threshold_s: Latency that costs nothing.
        usd_per_failed_request: US dollars that a request without an answer in time costs.
    """

    usd_per_error: float | dict[str, float] | None = None
    usd_per_second_of_latency: float | None = Field(default=None, ge=0)
    latency_threshold_s: float = Field(default=0.0, ge=0)
    usd_per_failed_request: float | None = Field(default=None, ge=0)

    @property
    def given(self) -> bool:
        """Whether anything has a price, so that net value decides and not cost alone."""
        prices = (self.usd_per_error, self.usd_per_second_of_latency, self.usd_per_failed_request)
        return any(price is not None for price in prices)


class Brief(Noun):
    """Everything a study needs to know, as options or as one TOML file.

    Attributes:
        preprocess: How raw images or texts become the model's inputs; null where rows are tensors or columns already.
    """

    model: ModelBrief
    data: DataBrief
    quality: QualityBrief = QualityBrief()
    limits: LimitsBrief = LimitsBrief()
    workload: WorkloadBrief = WorkloadBrief()
    hardware: HardwareBrief = HardwareBrief()
    preprocess: PlacedPreprocessing | None = None
    value: ValueBrief = ValueBrief()
    seed: int = 0
