"""Puts the brief's traffic on an entrant, in a process of its own, and finds what one machine sustains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.actions import Load, Loaded
from equipoise.core.brief import WorkloadBrief
from equipoise.core.estimate import Estimate
from equipoise.core.plan import BatchRule
from equipoise.core.profile import LatencyQuantiles, Profile
from equipoise.flow.children import open_child
from equipoise.measure.arrivals import arrivals, share_of
from equipoise.measure.load import LATE_SHARE, LoadResult, run_load, sustainable_rate
from equipoise.measure.session import answer_index
from equipoise.policy.batch import ServiceModel, batch_rule
from equipoise.policy.cost import machines_needed
from equipoise.runtimes.base import Array
from equipoise.stats.intervals import quantile_estimate
from equipoise.store.study import StudyFolder

ARRIVALS_FOR_P99 = 375
"""Requests of a run that are meant to arrive, so that the 299 that bound a p99 nearly always do."""
MOST_UTILISED = 0.9
"""Without a p99 limit, a machine is given at most this share of its throughput: beyond it queues grow without end."""
MOST_PROBES = 4


@dataclass(frozen=True)
class Traffic:
    """The brief's traffic.

    Attributes:
        rate_rps: Requests a second that machines are provided for: the mean rate, or that of a trace's busiest window.
        mean_rate_rps: Mean requests a second; of the whole trace.
        workload: How they arrive.
        trace_s: Arrivals of the trace's busiest window, seconds from its start; null without a trace.
        window_s: How long that window is; null without a trace.
    """

    rate_rps: float
    mean_rate_rps: float
    workload: WorkloadBrief
    trace_s: NDArray[np.float64] | None = None
    window_s: float | None = None

    def on_one_machine(self, rate_rps: float, seconds: float, seed: int) -> NDArray[np.float64]:
        """Arrivals on one machine that gets `rate_rps` of the traffic, for `seconds`: at least one.

        A trace's window is replayed whole, as often as it goes into that time and at least once: thinned as a load
        balancer would, anew each time, never stretched or compressed. A rate above its own is drawn as Poisson
        arrivals.
        """
        rng = np.random.default_rng(seed)
        if self.trace_s is not None and self.window_s is not None and rate_rps <= self.rate_rps:
            share, replays = rate_rps / self.rate_rps, max(1, round(seconds / self.window_s))
            times = np.concatenate([k * self.window_s + share_of(self.trace_s, share, rng) for k in range(replays)])
        else:
            kind = "poisson" if self.trace_s is not None else self.workload.arrivals
            times = arrivals(kind, rate_rps, seconds, rng)
        return times if len(times) else np.zeros(1)


def put_under_traffic(
    action: Load,
    traffic: Traffic,
    study: StudyFolder,
    sample: Mapping[str, Array],
    memory_cap_bytes: int | None,
    environment: str,
    seed: int,
    limit_s: float | None,
) -> Loaded:
    """Measure latency from intended arrival to answer, and the requests a second that one machine sustains.

    Args:
        action: What runs, its service times, and how long this may take.
        traffic: The brief's.
        study: Where raw samples and logs are kept.
        sample: Real rows that are sent, over and over.
        memory_cap_bytes: Largest resident size of the process; null for the default.
        environment: Digest of the environment that the profile is bound to.
        seed: For the arrivals.
        limit_s: The p99 limit; null for none.

    Returns:
        Latency under a machine's share of the traffic. Where that share brings too few requests for a p99 within the
        time, a heavier traffic is sent, whose p99 is no better than the one it stands for.

    Raises:
        SandboxError: The process did not finish.
    """
    entrant = action.entrant
    throughput_rps = max(point.rows_per_s for point in action.points)
    service = ServiceModel([(point.batch, point.batch_s) for point in action.points])
    begin = time.monotonic()
    log = f"load-{entrant.content_digest[:16]}"
    with open_child(entrant.config, entrant.settings, sample, study, log, memory_cap_bytes=memory_cap_bytes) as child:
        cold_start_s = time.monotonic() - begin
        run_s = traffic.window_s or max(1.0, action.seconds / (MOST_PROBES + 2))
        probes = max(1, min(MOST_PROBES, int(action.seconds / run_s) - 2))

        def load_at(rate_rps: float, seconds: float = run_s) -> LoadResult:
            rule = _rule(action, service, limit_s, rate_rps)
            times = traffic.on_one_machine(rate_rps, seconds, seed)
            answered: LoadResult = child.call(
                send, times, rule, service, entrant.settings.replicas, limit_s, timeout_s=10 + 10 * seconds
            )
            return answered

        sustained_rps = _sustained_rps(load_at, traffic.rate_rps, throughput_rps, limit_s, probes)
        share_rps = traffic.rate_rps
        if sustained_rps > 0:
            share_rps /= machines_needed(traffic.rate_rps, sustained_rps)
        final_s = 2 * run_s  # the window of a trace, twice over
        share_rps = min(max(share_rps, ARRIVALS_FOR_P99 / final_s), MOST_UTILISED * throughput_rps)
        final = load_at(share_rps, final_s)
        peak_memory_bytes = child.peak_memory_bytes
    samples = f"load-{action.content_digest}"
    study.save_arrays(
        samples,
        {"latency_s": final.latency_s, "batch_rows": final.batch_rows, "unanswered": np.asarray(final.unfinished)},
    )
    method = f"open loop, {share_rps:,.1f} requests/s on one machine, from intended arrival"
    profile = Profile(
        latency_s=_latency(final, method),
        throughput_rps=_figure(throughput_rps, "best median over batch sizes", n=len(action.points)),
        sustained_rps=sustained_rps,
        peak_memory_bytes=_figure(peak_memory_bytes, "largest resident size, sampled"),
        cold_start_s=_figure(cold_start_s, "from starting the process to the first answer"),
        environment=environment,
        samples=samples,
    )
    return Loaded(profile=profile, batch_rule=_rule(action, service, limit_s, share_rps))


def send(
    times: NDArray[np.float64], rule: BatchRule, service: ServiceModel, replicas: int, limit_s: float | None
) -> LoadResult:
    """Run one open-loop load on the child's opened artifact (runs inside the child)."""
    return run_load(answer_index, times, rule, service, replicas, limit_s)


def _rule(action: Load, service: ServiceModel, limit_s: float | None, rate_rps: float) -> BatchRule:
    settings = action.entrant.settings
    if settings.default:  # as deployed: one request at a time
        return BatchRule(max_rows=settings.batch, limit_s=limit_s)
    return batch_rule(service, limit_s, rate_rps, replicas=settings.replicas)


def _sustained_rps(
    load_at: Callable[[float], LoadResult], rate_rps: float, throughput_rps: float, limit_s: float | None, probes: int
) -> float:
    """Requests a second that one machine answers within the limit; the whole traffic, where one machine does."""
    ceiling_rps = MOST_UTILISED * throughput_rps
    if limit_s is None:
        return ceiling_rps
    if rate_rps <= ceiling_rps and load_at(rate_rps).late_share(limit_s) <= LATE_SHARE:
        return rate_rps
    return sustainable_rate(load_at, limit_s, min(throughput_rps, rate_rps), probes)


def _latency(run: LoadResult, method: str) -> LatencyQuantiles:
    # A run that was given up answered only its luckiest requests: their quantiles would flatter it.
    seen = run.latency_s if run.unfinished == 0 else np.empty(0)

    def quantile(q: float) -> Estimate | None:
        estimate = quantile_estimate(seen, q) if len(seen) else None
        return None if estimate is None else estimate.model_copy(update={"method": f"{method}; {estimate.method}"})

    return LatencyQuantiles(p50=quantile(0.5), p95=quantile(0.95), p99=quantile(0.99))


def _figure(value: float, method: str, n: int = 1) -> Estimate:
    return Estimate(value=float(value), low=None, high=None, n=n, method=method)
