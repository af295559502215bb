"""The simulator's forecast beside what the server did, with the seconds that the server's own batches took.

Three plans on CIFAR-10 (a model one row at a time, a larger one in batches, a cascade of both with a cache) are served
under Poisson arrivals and a real trace at 50% and 80% of what they can answer. Each run's batches are noted in the
server; the simulator then gets the same arrivals, replays how slow those batches were, one after the other, and must
find the same latencies, batch sizes and depths. It knows the engine alone: what a request takes outside of it, in HTTP,
is the run's own as well (the mean that clients saw, less the mean that the engine saw), and is added to each. Then the
rate at which the p99 crosses the plan's limit is looked for, in both.

    python benchmarks/serving/forecast.py             # about 25 minutes
    python benchmarks/serving/forecast.py --quick
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bundles import CIFAR, Made, StageOf, cifar_images, make_bundle, on_core, real
from claims import Claim, at_most, options_of, report
from crossing import crossing
from load import Seen, closed, open_loop, pin
from numpy.typing import NDArray
from observed import PROGRAM
from questions import shuffled, target
from server import GENERATOR_CORE, SERVER_CORE, free_port, started
from traffic import TRAFFIC, any_question, popular

from equipoise.compose.service_times import levels_of
from equipoise.compose.simulate import Simulation, Traffic, plan_machine, simulate
from equipoise.core.plan import AcceptRule, CacheRule
from equipoise.policy.cache import Lru, cache_key

Array = NDArray[Any]
LOADS = (0.5, 0.8)
SURE = 0.9
QUESTIONS, POPULAR = 500, 4000
SIMULATIONS = 5
CACHE_ENTRIES = 300
RATES = 10
CROSSED = (0.65, 1.3)
"""Shares of the capacity between which a crossing is looked for."""
PATIENCE_S = 5.0
"""Own deadline of requests where a crossing is looked for: with the plan's limit they would be refused before it."""
MOST_OFF = {"p50": 0.15, "p99": 0.25, "batch": 0.10, "depth": 0.10, "rate": 0.05}
LEAST_SHARE = 0.02
"""Stages that fewer requests reach have too few batches to compare."""


@dataclass(frozen=True)
class Case:
    """A plan and what is asked of it.

    Attributes:
        name: In words.
        made: Its bundle.
        rows: Images that are asked for.
        repeats: Whether some are asked far more often than others.
        lookup_s: Seconds of a look-up in its cache.
    """

    name: str
    made: Made
    rows: Array
    repeats: bool
    lookup_s: float = 0.0

    def questions(self, requests: int, seed: int) -> Array:
        """Which image each request asks for."""
        return (popular if self.repeats else any_question)(requests, len(self.rows), seed)


@dataclass(frozen=True)
class Run:
    """One run and its simulations.

    Attributes:
        seen: What clients saw.
        service: For each stage, rows of a batch to the seconds that such batches took.
        depth: Deepest stage of each answer, -1 for a remembered one: [answers].
        batch_rows: Rows of each stage's batches.
        simulated: What the simulator made of the same arrivals.
        engine_s: Seconds of each answer within the engine.
        outside_s: Mean seconds of a request outside of the engine: HTTP, and the ways there and back.
    """

    seen: Seen
    service: tuple[dict[int, Array], ...]
    depth: Array
    batch_rows: tuple[Array, ...]
    simulated: tuple[Simulation, ...]
    engine_s: Array
    outside_s: float

    def simulated_s(self, q: float) -> float:
        """A quantile of the simulated latencies, as a client would see them."""
        return self.outside_s + float(np.mean([np.quantile(one.answer_s, q) for one in self.simulated]))


def main() -> None:
    """Run all plans under all traffic, and look for the crossings."""
    parser = options_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run (default: %(default)s)")
    parser.add_argument("--plan", action="append", help="only plans whose name has this in it")
    options = parser.parse_args()
    seconds, loads, rates = (3.0, LOADS[:1], 3) if options.quick else (options.seconds, LOADS, RATES)
    claims: list[Claim] = []
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="equipoise-forecast-") as place:
        for case in cases(Path(place)):
            if options.plan and not any(part in case.name for part in options.plan):
                continue
            pin(GENERATOR_CORE)
            capacity_rps = capacity(case, min(5.0, seconds), Path(place))
            say(f"{case.name}: {capacity_rps:.1f} requests/s at most")
            figures[case.name] = {"capacity_rps": capacity_rps}
            for kind, arrivals in TRAFFIC.items():
                for share in loads:
                    found = run(case, arrivals(share * capacity_rps, seconds, seed=1), seconds, Path(place))
                    label = f"{case.name}, {kind}, {share:.0%}"
                    mine, figures[case.name][f"{kind} {share}"] = compared(label, found)
                    claims += mine
                    say("; ".join(f"{claim.what} {claim.found:.1%}" for claim in mine[:-1]))
            off, figures[case.name]["crossing"] = crossed(case, capacity_rps, seconds / 2, rates, Path(place))
            what = f"{case.name}: rate at which the p99 crosses the limit"
            claims.append(at_most(what, off, MOST_OFF["rate"]))
    report("The simulator's forecast, beside the server", claims, figures, options)


def cases(folder: Path) -> list[Case]:
    """The plans, in bundles."""
    small, large = real(CIFAR / "resnet20.onnx"), real(CIFAR / "resnet56.onnx")
    asked, other = cifar_images(POPULAR), cifar_images(64, skip=POPULAR)
    rows = {"image": other}
    single = make_bundle(folder / "single", "single", [StageOf(small, 1)], rows, limit_s=0.05)
    batched = make_bundle(folder / "batched", "batched", [StageOf(large, 8)], rows, limit_s=0.3, max_wait_s=0.01)
    sure = AcceptRule(measure="max_probability", at_least=SURE)
    first = single.direct.stages.stages[0]
    unsure = np.exp(first.ask({"image": asked})[0]["logits"])  # as a study on the questions, each once, would find
    share = float(np.mean(unsure.max(axis=1) / unsure.sum(axis=1) < SURE))
    cache = CacheRule(max_entries=CACHE_ENTRIES, entry_bytes=400, hit_share=0.3)
    stages = [StageOf(small, 8, sure), StageOf(large, 8, share=share)]
    cascade = make_bundle(folder / "cascade", "cascade", stages, rows, limit_s=0.3, cache=cache)
    return [
        Case("single", single, asked[:QUESTIONS], repeats=False),
        Case("batched", batched, asked[:QUESTIONS], repeats=False),
        Case("cascade with a cache", cascade, asked, repeats=True, lookup_s=lookup_s(asked)),
    ]


def lookup_s(rows: Array) -> float:
    """Seconds of a look-up, on the server's core."""
    with on_core(SERVER_CORE):
        answers: Lru[bool] = Lru(CACHE_ENTRIES)
        start_s = time.perf_counter()
        for row in rows[:500]:
            answers.get(cache_key("0" * 64, "m/1", "", ("logits",), {"image": row[None]}, {}, high=False))
        return (time.perf_counter() - start_s) / 500


def capacity(case: Case, seconds: float, folder: Path) -> float:
    """How many requests a second it answers at most."""
    port = free_port()
    with started(command(case, port, folder / "capacity.npz"), port):
        asked = target(port, "m", case.made.direct, case.rows, "binary", PATIENCE_S)
        mixed = shuffled(asked, case.questions(4 * len(asked.requests), seed=2))
        return closed(mixed, 24, seconds, warm_up_s=1.0).steady_rps


def run(case: Case, arrival_s: Array, seconds: float, folder: Path, timeout_s: float | None = None) -> Run:
    """Serve some traffic with a new server, then simulate it."""
    port = free_port()
    file = folder / f"{case.name}.npz"
    questions = case.questions(len(arrival_s), seed=3)
    with started(command(case, port, file), port):
        asked = target(port, "m", case.made.direct, case.rows, "binary", timeout_s)
        seen = open_loop(asked, arrival_s, questions)
    with np.load(file) as saved:
        batches, requests = saved["batch"], saved["request"]
    stages = range(len(case.made.plan.stages))
    service = tuple(by_rows(batches[batches[:, 0] == stage]) for stage in stages)
    service = tuple(found or made for found, made in zip(service, case.made.service, strict=True))
    own_s = None if timeout_s is None else np.full(len(arrival_s), timeout_s)
    traffic = Traffic(arrival_s, key=questions if case.repeats else None, deadline_s=own_s, duration_s=seconds)
    machine = plan_machine(case.made.plan, service, case.lookup_s)
    levels = levels_of([(stage, rows) for stage, rows, _ in batches.tolist()], batches[:, 2]) if len(batches) else None
    simulated = tuple(simulate(machine, traffic, seed=seed, levels=levels) for seed in range(SIMULATIONS))
    rows = tuple(batches[batches[:, 0] == stage][:, 1] for stage in stages)
    answered = requests[requests[:, 0] > -2]
    outside_s = float(seen.latency_s[seen.answered].mean() - answered[:, 1].mean())
    return Run(seen, service, answered[:, 0], rows, simulated, answered[:, 1], outside_s)


def by_rows(batches: Array) -> dict[int, Array]:
    """Seconds of a stage's batches, by their rows."""
    return {int(rows): batches[batches[:, 1] == rows][:, 2] for rows in np.unique(batches[:, 1])}


def compared(label: str, found: Run) -> tuple[list[Claim], dict[str, Any]]:
    """How far the simulations are off."""
    pairs = {f"p{q * 100:.0f}": (found.seen.quantile_s(q), found.simulated_s(q)) for q in (0.5, 0.99)}
    for stage, rows in enumerate(found.batch_rows):
        reached = float(np.mean(found.depth >= stage))
        if reached < LEAST_SHARE or not len(rows):
            continue
        pairs[f"batch of stage {stage + 1}"] = (
            float(rows.mean()),
            mean(found, lambda one, stage=stage: one.batch_rows[stage].mean()),
        )
        if stage:
            simulated = mean(found, lambda one, stage=stage: sum(one.stage_shares[stage:]))
            pairs[f"depth, share that reaches stage {stage + 1}"] = (reached, simulated)
    claims = [
        at_most(f"{label}: {what}", abs(simulated / served - 1), MOST_OFF[what.partition(" ")[0].strip(",")])
        for what, (served, simulated) in pairs.items()
    ]
    claims.append(at_most(f"{label}: wrong answers", found.seen.wrong, 0))
    figures = {what: {"served": served, "simulated": simulated} for what, (served, simulated) in pairs.items()}
    figures["statuses"] = {str(status): count for status, count in found.seen.counts().items()}
    figures["hit share"] = {
        "served": float(np.mean(found.depth == -1)),
        "simulated": mean(found, lambda one: one.hit_share),
    }
    figures["engine"] = {f"p{q * 100:.0f}": float(np.quantile(found.engine_s, q)) for q in (0.5, 0.99)}
    figures["outside the engine, s"] = found.outside_s
    figures["busy share"] = mean(found, lambda one: one.utilisation)
    figures["requests"] = len(found.seen)
    return claims, figures


def crossed(case: Case, capacity_rps: float, seconds: float, rates: int, folder: Path) -> tuple[float, dict[str, Any]]:
    """How far apart the rates are at which served and simulated p99 cross the plan's limit."""
    limit_s = case.made.plan.stages[0].batch_rule.limit_s
    assert limit_s is not None
    at, served, simulated = [], [], []
    for number, share in enumerate(np.linspace(*CROSSED, rates)):
        arrival_s = TRAFFIC["poisson"](share * capacity_rps, seconds, seed=10 + number)
        found = run(case, arrival_s, seconds, folder, timeout_s=PATIENCE_S)
        at.append(len(arrival_s) / seconds)
        served.append(found.seen.quantile_s(0.99))
        simulated.append(found.simulated_s(0.99))
        say(f"{case.name}, {at[-1]:.1f}/s: p99 {served[-1] * 1e3:.0f} ms, simulated {simulated[-1] * 1e3:.0f} ms")
    at_rps, simulated_rps = crossing(at, served, limit_s), crossing(at, simulated, limit_s)
    figures = {
        "rate_rps": at,
        "p99_s": served,
        "simulated_p99_s": simulated,
        "limit_s": limit_s,
        "crossing_rps": at_rps,
        "simulated_crossing_rps": simulated_rps,
    }
    return abs(simulated_rps / at_rps - 1), figures


def command(case: Case, port: int, file: Path) -> list[str]:
    """Serves a plan and notes its batches."""
    return [sys.executable, PROGRAM, f"m={case.made.folder}", str(port), str(file)]


def mean(found: Run, figure: Any) -> float:
    """Mean of a figure of the simulations."""
    return float(np.mean([figure(one) for one in found.simulated]))


def say(what: str) -> None:
    """Tell what was found."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
