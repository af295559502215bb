"""The names of all metrics, what they mean, and what tells them apart. `docs/serving/metrics.md` says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODEL = ("model", "version")
STAGE = (*MODEL, "stage")


@dataclass(frozen=True)
class Described:
    """A metric.

    Attributes:
        name: Its name, in base units; a counter's ends in `_total`.
        kind: Whether it only rises, or goes up and down, or counts values below edges.
        meaning: What it says, in one sentence.
        labels: What tells its series apart: each has few values, and none is a request's own.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = MODEL


READY = Described(
    "equipoise_ready", "gauge", "1 while all models answer and the server was not told to stop, else 0.", ()
)
MODEL_READY = Described("equipoise_model_ready", "gauge", "1 while a model version answers requests, else 0.")
PLAN = Described("equipoise_plan_info", "gauge", "1; its labels say which plan is served.", (*MODEL, "plan", "digest"))
LIMIT = Described("equipoise_slo_seconds", "gauge", "The plan's p99 limit, an edge of every histogram of seconds.")

RESPONSES = Described(
    "equipoise_responses_total",
    "counter",
    "Requests of any kind by the status that they ended with: a number of HTTP, or gRPC's name.",
    ("status",),
)
REQUESTS = Described("equipoise_requests_total", "counter", "Requests by what became of them.", (*MODEL, "outcome"))
WITHIN_LIMIT = Described(
    "equipoise_requests_within_slo_total", "counter", "Requests that got answers within the plan's p99 limit."
)
REQUEST_ROWS = Described("equipoise_request_rows_total", "counter", "Rows of requests that got answers.")
UNTRUSTED = Described(
    "equipoise_untrusted_rows_total", "counter", "Rows that got an answer which the plan does not trust."
)
DEGRADED = Described("equipoise_degraded_requests_total", "counter", "Requests that the plan's fallback answered.")
REQUEST_S = Described(
    "equipoise_request_seconds", "histogram", "Seconds from arrival to answer, of requests that got answers."
)
QUEUE_S = Described(
    "equipoise_queue_seconds", "histogram", "Of those, seconds in queues; without what was remembered or joined."
)
COMPUTE_S = Described(
    "equipoise_compute_seconds", "histogram", "Of those, seconds in batches; without what was remembered or joined."
)
DEPTH = Described(
    "equipoise_cascade_depth", "histogram", "Stages that were asked; without what was remembered or joined."
)
ANSWERED_ROWS = Described(
    "equipoise_answered_rows_total",
    "counter",
    "Rows by the stage whose answer they got; without what was remembered or joined.",
    STAGE,
)
BATCH_ROWS = Described("equipoise_batch_rows", "histogram", "Rows of a stage's batches.", STAGE)
HITS = Described("equipoise_cache_hits_total", "counter", "Requests whose answers were remembered.")
MISSES = Described(
    "equipoise_cache_misses_total", "counter", "Requests whose answers were neither remembered nor being computed."
)
JOINED = Described("equipoise_joined_requests_total", "counter", "Requests that waited for an equal request's answer.")
BUSY_S = Described(
    "equipoise_lane_busy_seconds_total", "counter", "Seconds that a stage's batches kept their lanes.", STAGE
)
LANE_S = Described(
    "equipoise_lane_seconds_total", "counter", "Seconds that a model's lanes could have computed, busy or not."
)
QUEUE_ROWS = Described("equipoise_queue_rows", "gauge", "Rows that wait for a stage now.", STAGE)
WORKERS_MEMORY = Described(
    "equipoise_workers_resident_memory_bytes", "gauge", "Resident memory of the server's worker processes.", ()
)

PRICE = Described("equipoise_machine_usd_per_hour", "gauge", "Price of the machine.", ())
MACHINE_USD = Described(
    "equipoise_machine_usd_total", "counter", "What the machine has cost since it serves, idle or not.", ()
)
USD = Described("equipoise_usd_total", "counter", "A model's share of that.")
USD_PER_MILLION = Described(
    "equipoise_usd_per_million_requests",
    "gauge",
    "What a million answered requests cost: since the model is served (all), or of late (5m).",
    (*MODEL, "window"),
)
FORECAST_USD = Described(
    "equipoise_forecast_usd_per_million_requests",
    "gauge",
    "What the plan promises of that: the machine kept full (packed), or at the brief's traffic (provisioned).",
    (*MODEL, "basis"),
)
FORECAST_P99 = Described("equipoise_forecast_p99_seconds", "gauge", "The p99 that the plan promises.")

WRITTEN = Described("equipoise_observations_written_total", "counter", "Observations that were written.", ())
DROPPED = Described(
    "equipoise_observations_dropped_total", "counter", "Observations that were not, and why.", ("reason",)
)

METRICS = tuple(value for value in list(vars().values()) if isinstance(value, Described))
