"""From a bundle and some traffic to what its machines would do: reads, simulates, and writes what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equipoise.compose.service_times import ServiceTimes
from equipoise.compose.simulate import Machine, Simulation, Traffic, plan_machine, simulate
from equipoise.core.plan import Plan
from equipoise.core.simulation import SimulatedFleet, SimulatedLoad, SimulatedStage, SimulationResult
from equipoise.errors import BriefError, BundleError, DataError
from equipoise.ingest import spellings
from equipoise.ingest.trace import Trace, busiest_requests, busiest_window, read_trace
from equipoise.measure.arrivals import Kind, arrivals
from equipoise.store.bundle import SERVICE, Bundle

MOST_REQUESTS = 2_000_000
USUAL_REQUESTS = 100_000
LEAST_S, MOST_S = 10.0, 3600.0
USUAL_SHARE = 0.7
LOAD_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0)
LOAD_REQUESTS = 20_000
LATENCY_QUANTILES = (*np.linspace(0, 0.98, 50), 0.985, 0.99, 0.9925, 0.995, 0.9975, 0.999, 1.0)
FEW_SAMPLES = 30
# Of a plan that does not say what a look-up takes: Python's part, and hashing at about 0.9 GB/s.
LOOKUP_S, LOOKUP_S_PER_BYTE = 1e-5, 1.2e-9


@dataclass(frozen=True)
class SimulateOptions:
    """What a person asked for; null for what they left out.

    Attributes:
        trace: A trace to replay.
        rate_rps: Mean requests a second of traffic that is made up.
        kind: How those arrive.
        seconds: How long the traffic lasts; of a trace, its busiest stretch of that length.
        machines: How many machines share it.
        limit_s: The p99 limit.
        usd_per_hour: Price of one machine.
        seed: For all draws.
    """

    trace: Path | None = None
    rate_rps: float | None = None
    kind: Kind = "poisson"
    seconds: float | None = None
    machines: int = 1
    limit_s: float | None = None
    usd_per_hour: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Case:
    """Traffic, what it is in words, and how long it lasts."""

    traffic: Traffic
    words: str
    duration_s: float

    @property
    def rate_rps(self) -> float:
        return len(self.traffic.arrival_s) / self.duration_s


def simulate_options(given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> SimulateOptions:
    """Read options as people spell them.

    Args:
        given: `trace`, `rate`, `arrivals`, `seconds`, `machines`, `p99_ms`, `price`, `seed`; null for what is left out.
        spelled: Name to what a person wrote, for messages.

    Raises:
        BriefError: One cannot be used, or two contradict one another.
    """
    parsers: dict[str, Callable[[Any, str], Any]] = {
        "rate": spellings.positive("requests a second"),
        "arrivals": spellings.one_of("poisson", "constant", "bursty"),
        "seconds": spellings.positive("seconds"),
        "machines": spellings.whole_number,
        "p99_ms": spellings.positive("milliseconds", 1e-3),
        "price": spellings.positive("US dollars an hour"),
        "seed": spellings.whole_number,
    }
    found = {name: parse(given[name], spelled(name)) for name, parse in parsers.items() if given.get(name) is not None}
    if found.get("machines") == 0:
        spellings.fail(spelled("machines"), given["machines"], "needed at least 1 machine")
    trace = given.get("trace")
    if trace is not None:
        for name in ("rate", "arrivals"):
            if name in found:
                needed = "give one of them: a trace has its own arrivals"
                raise BriefError(spelled(name), f"found with {spelled('trace')}", needed)
    return SimulateOptions(
        trace=None if trace is None else Path(trace),
        rate_rps=found.get("rate"),
        kind=found.get("arrivals", "poisson"),
        seconds=found.get("seconds"),
        machines=found.get("machines", 1),
        limit_s=found.get("p99_ms"),
        usd_per_hour=found.get("price"),
        seed=found.get("seed", 0),
    )


def simulate_bundle(bundle: Bundle, options: SimulateOptions) -> SimulationResult:
    """Simulate what the machines of a bundle's plan would do.

    A trace is replayed as it is, all of it or its busiest stretch, never faster or slower. Without a trace and a rate,
    traffic is 70% of what the machines could answer if they were kept full.

    Args:
        bundle: A bundle with measured service times.
        options: The traffic, the machines and the limit.

    Returns:
        What was found, with one machine and with as many as were asked for.

    Raises:
        BundleError: The bundle has no service times.
        DataError: The trace cannot be used.
        BriefError: The traffic is too much to simulate.
    """
    plan = bundle.plan
    if len(bundle.service) != len(plan.all_stages) or not all(bundle.service):
        raise BundleError(
            str(bundle.folder),
            f"it has no {SERVICE} with measured seconds of its {len(plan.all_stages)} stages",
            "a simulation draws from them; make the bundle again with `equipoise optimize`",
        )
    machine = plan_machine(plan, bundle.service, _lookup_s(bundle))
    limit_s = options.limit_s if options.limit_s is not None else machine.limit_s
    usd_per_hour = options.usd_per_hour if options.usd_per_hour is not None else plan.usd_per_hour
    case = _case(options, _capacity_rps(machine, _hits(machine)))
    counts = dict.fromkeys((1, options.machines))
    seen = {
        count: simulate(machine, case.traffic, limit_s=limit_s, machines=count, seed=options.seed) for count in counts
    }
    asked = seen[options.machines]
    hits = asked.hit_share if case.traffic.key is not None and machine.cache is not None else _hits(machine)
    capacity_rps = _capacity_rps(machine, hits)
    return SimulationResult(
        plan=plan.name,
        traffic=case.words,
        rate_rps=case.rate_rps,
        limit_s=limit_s,
        usd_per_hour=usd_per_hour,
        capacity_rps=capacity_rps,
        seed=options.seed,
        fleets=tuple(_fleet(found, plan, limit_s, usd_per_hour) for found in seen.values()),
        loads=_loads(_with_hits(machine, hits), case, capacity_rps, limit_s, options),
        notes=_notes(bundle, machine, case),
    )


def write_simulation(result: SimulationResult, folder: Path) -> None:
    """Write `simulation.json` and `simulation.html` into a folder, which is made where it is missing.

    Raises:
        BriefError: The folder cannot be made or written into.
    """
    from equipoise.report.simulation import write_simulation_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "simulation.json").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        write_simulation_page(result, folder / "simulation.html")
    except OSError as error:
        raise BriefError("--out", f"{folder} cannot be written ({error})", "give a folder that can be") from None


def _case(options: SimulateOptions, capacity_rps: float) -> _Case:
    if options.trace is not None:
        return _trace_case(read_trace(options.trace), options)
    rate_rps = options.rate_rps if options.rate_rps is not None else USUAL_SHARE * capacity_rps * options.machines
    seconds = options.seconds
    if seconds is None:
        seconds = min(MOST_S, max(LEAST_S, USUAL_REQUESTS / rate_rps))
    _refuse_too_many(rate_rps * seconds, "--rate", options)
    at_s = arrivals(options.kind, rate_rps, seconds, np.random.default_rng(options.seed))
    if not len(at_s):
        found = f"{rate_rps:g} requests a second for {seconds:g} s, in which none came"
        raise BriefError("--seconds", found, "give a longer time or a higher rate")
    words = f"{options.kind} arrivals, {rate_rps:,.4g} requests a second for {seconds:,.4g} s"
    return _Case(Traffic(at_s, duration_s=seconds), words, seconds)


def _trace_case(trace: Trace, options: SimulateOptions) -> _Case:
    name = options.trace.name if options.trace is not None else ""
    seconds = options.seconds
    if seconds is None or seconds > trace.duration_s:
        seconds = trace.duration_s
        words = f"the trace {name}, all {seconds:,.4g} s of it"
    else:
        words = f"the busiest {seconds:,.4g} s of the trace {name}"
    if not trace.single:
        _refuse_too_many(trace.requests * min(1.0, seconds / float(trace.length_s.sum())), str(options.trace), options)
        at_s = busiest_window(trace, seconds, options.seed)
        if len(at_s) == 0:
            raise DataError(str(options.trace), f"no request in {seconds:g} s", "give a longer --seconds")
        _refuse_too_many(len(at_s), str(options.trace), options)
        return _Case(Traffic(at_s, duration_s=seconds), words, seconds)
    busy = busiest_requests(trace, seconds)
    _refuse_too_many(busy.requests, str(options.trace), options)
    key: NDArray[np.generic] | None = busy.key if busy.key is not None else busy.row
    return _Case(Traffic(busy.start_s, key=key, high=busy.high, duration_s=seconds), words, seconds)


def _refuse_too_many(requests: float, where: str, options: SimulateOptions) -> None:
    if requests > MOST_REQUESTS:
        raise BriefError(
            where,
            f"found about {requests:,.0f} requests",
            f"needed at most {MOST_REQUESTS:,}: give a shorter --seconds"
            + ("" if options.seconds is None else f" than {options.seconds:g}"),
        )


def _capacity_rps(machine: Machine, hits: float) -> float:
    """Requests a second of one machine kept full, every batch of the largest size, hits of the cache left out."""
    busy_s = sum(
        stage.share * ServiceTimes(stage.seconds).mean_s(stage.rule.max_rows) / stage.rule.max_rows
        for stage in machine.stages
    )
    return machine.lanes / (busy_s * max(1 - hits, 1e-6))


def _hits(machine: Machine) -> float:
    return 0.0 if machine.cache is None else machine.cache.hit_share


def _with_hits(machine: Machine, hits: float) -> Machine:
    if machine.cache is None:
        return machine
    return replace(machine, cache=machine.cache.model_copy(update={"hit_share": hits}))


def _lookup_s(bundle: Bundle) -> float:
    """Measured, where the plan says it; else what Python and hashing take."""
    if bundle.plan.cache is not None and bundle.plan.cache.lookup_s > 0:
        return bundle.plan.cache.lookup_s
    row_bytes = sum(array.nbytes / max(1, len(array)) for array in bundle.golden_inputs.values())
    return LOOKUP_S + LOOKUP_S_PER_BYTE * row_bytes


def _loads(
    machine: Machine, case: _Case, capacity_rps: float, limit_s: float | None, options: SimulateOptions
) -> tuple[SimulatedLoad, ...]:
    found = []
    high = case.traffic.high
    for share in LOAD_SHARES:
        rng = np.random.default_rng(options.seed)
        rate_rps = share * capacity_rps
        at_s = arrivals(options.kind, rate_rps, LOAD_REQUESTS / rate_rps, rng)
        drawn = None if high is None else rng.random(len(at_s)) < high.mean()
        seen = simulate(machine, Traffic(at_s, high=drawn), limit_s=limit_s, seed=options.seed)
        found.append(
            SimulatedLoad(
                capacity_share=share,
                rate_rps=rate_rps,
                p99_s=seen.quantile_s(0.99),
                late_share=None if limit_s is None else seen.late_share,
                shed_share=seen.shed_share,
                degraded_share=seen.degraded_share,
            )
        )
    return tuple(found)


def _fleet(seen: Simulation, plan: Plan, limit_s: float | None, usd_per_hour: float) -> SimulatedFleet:
    names = [f"stage {number}" for number in range(1, len(plan.stages) + 1)]
    if plan.fallback is not None:
        names.append("fallback")
    return SimulatedFleet(
        machines=seen.machines,
        requests=seen.requests,
        answered=seen.answered,
        duration_s=seen.duration_s,
        p50_s=seen.quantile_s(0.5),
        p95_s=seen.quantile_s(0.95),
        p99_s=seen.quantile_s(0.99),
        latency_quantiles_s=_quantiles(seen),
        late_share=None if limit_s is None else seen.late_share,
        goodput_rps=seen.goodput_rps,
        utilisation=seen.utilisation,
        hit_share=seen.hit_share,
        shed_share=seen.shed_share,
        degraded_share=seen.degraded_share,
        usd_per_million=seen.usd_per_million(usd_per_hour),
        stages=tuple(
            SimulatedStage(name=name, answered_share=share, batches=_counted(rows))
            for name, share, rows in zip(names, seen.stage_shares, seen.batch_rows, strict=True)
        ),
    )


def _quantiles(seen: Simulation) -> tuple[tuple[float, float], ...]:
    if not seen.answered:
        return ()
    values = np.quantile(seen.answer_s, LATENCY_QUANTILES).tolist()
    return tuple((float(q), value) for q, value in zip(LATENCY_QUANTILES, values, strict=True))


def _counted(rows: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    sizes, counts = np.unique(rows, return_counts=True)
    return tuple(zip(sizes.tolist(), counts.tolist(), strict=True))


def _notes(bundle: Bundle, machine: Machine, case: _Case) -> tuple[str, ...]:
    machine_words = f"{bundle.environment.cpu_model}, {bundle.environment.cores} cores"
    notes = [f"Seconds of batches are drawn from what was measured when the bundle was made, on {machine_words}."]
    fewest = min(len(samples) for service in bundle.service for samples in service.values())
    if fewest < FEW_SAMPLES:
        notes.append(f"Some batch size was measured only {fewest} times: slower batches than those are never drawn.")
    if machine.cache is not None:
        hits = (
            "hits are drawn at the forecast share" if case.traffic.key is None else "each machine's cache starts empty"
        )
        known = "was measured" if machine.cache.lookup_s > 0 else "is taken"
        notes.append(f"A look-up in the cache {known} to last {machine.lookup_s * 1e6:.0f} µs; {hits}.")
        if machine.cache.near and case.traffic.key is not None:
            notes.append("The trace's keys tell equal requests; near matches, which the cache finds too, do not count.")
    elif case.traffic.key is not None:
        notes.append("The trace has keys, but the plan has no cache: repeated requests are computed again.")
    return tuple(notes)
