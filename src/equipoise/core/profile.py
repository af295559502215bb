"""How fast and how big a variant is, on one machine, in one setting."""

from __future__ import annotations

from typing import Literal

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun

RuntimeName = str
Precision = Literal["f32", "bf16", "f16", "int8", "int8_bf16", "f64"]


class Settings(Noun):
    """Where and how a variant runs.

    Attributes:
        runtime: Registered name of the runtime.
        precision: Arithmetic that the runtime was told to use. A quantised graph says `int8` where its remaining
            floating-point parts compute in float32, `int8_bf16` where they compute in bfloat16.
        threads: Threads that one replica computes with.
        replicas: Batches that are computed at the same time in one process.
        batch: Rows a batch, at most.
        default: Leave threads to the runtime's own default, as most deployments do (the baseline).
    """

    runtime: RuntimeName
    precision: Precision
    threads: int
    replicas: int
    batch: int
    default: bool = False

    @property
    def lanes(self) -> str:
        """Threads, replicas and batch in a few words.

        Example:
            >>> Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=2, batch=8).lanes
            '1 thread x 2 replicas, batch 8'
        """
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{threads}{f' x {self.replicas} replicas' if self.replicas > 1 else ''}, batch {self.batch}"


class LatencyQuantiles(Noun):
    """Quantiles of seconds; null where there were too few samples to bound them."""

    p50: Estimate | None = None
    p95: Estimate | None = None
    p99: Estimate | None = None


class Profile(Noun):
    """Measured speed and size of a variant in one setting.

    Attributes:
        latency_s: Without traffic, compute time of one full batch; with traffic, time from intended arrival to answer.
        throughput_rps: Rows a second with the machine kept full.
        sustained_rps: The share of the brief's traffic that one machine answers within the p99 limit, in requests a
            second; null without traffic.
        peak_memory_bytes: Largest resident size of the process that held it.
        cold_start_s: From a started process to the first answer.
        environment: Digest of the environment it is bound to.
        samples: Name of the raw samples in the study's store.
    """

    latency_s: LatencyQuantiles
    throughput_rps: Estimate
    sustained_rps: float | None = None
    peak_memory_bytes: Estimate
    cold_start_s: Estimate
    environment: str
    samples: str | None = None
