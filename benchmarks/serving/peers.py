"""Our server beside others: one tiny model, the same rows, one load generator, each server alone on a core of its own.

A perceptron of 784, 64 and 10 units on ONNX Runtime with one thread answers JSON requests of 784 numbers over 1 and
over 32 connections that stay open. Every server is started anew in every round, in turns (A B C A B C ...), so that a
noisy minute hits all alike; ratios are taken within a round, and their median counts.

    python benchmarks/serving/peers.py             # 5 rounds, about 20 minutes, and once the others' installation
    python benchmarks/serving/peers.py --quick
    python benchmarks/serving/peers.py --only ceiling --only fastapi

Requests per second of the server's processor time are what a server costs; per second of wall time stands beside it.
Of a peer that spreads over several processes the wall ratio counts. All of its processes share the one core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bundles import Made, flat_images, make_bundle, mlp
from bundles import StageOf as Stage
from claims import Claim, at_least, at_most, options_of, report
from contestants import CONTESTANTS, Contestant, installed
from grpc_load import grpc_closed, grpc_port_option
from load import Target, closed, pin
from questions import target
from server import GENERATOR_CORE, Server, equipoise, free_port, started

QUESTIONS = 256
FEW, MANY = 1, 32
LIMIT_S = 0.1
OURS = "equipoise"
LEAST_RATIOS = {"ceiling": 0.6, "fastapi": 3.0, "mlserver": 4.0, "litserve": 8.0, "ray": 20.0}
MOST_P50 = 0.5


@dataclass(frozen=True)
class Reading:
    """What one way of asking a server showed in a round.

    Attributes:
        wall_rps: Right answers a second.
        cpu_rps: Right answers a second of the server's processor time.
        p50_s: Median latency.
        p99_s: The 99th percentile.
        wrong: Answers that were not right, or no answers.
    """

    wall_rps: float
    cpu_rps: float
    p50_s: float
    p99_s: float
    wrong: int


Round = dict[str, dict[int, Reading]]
"""Who was asked how, such as `equipoise, binary`, to connections to what was read."""


def main() -> None:
    """Run the rounds, print a table and what it shows."""
    parser = options_of(__doc__)
    parser.add_argument("--only", choices=[*CONTESTANTS, OURS], action="append", help="leave out the others")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: %(default)s)")
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    names = [name for name in CONTESTANTS if not options.only or name in options.only]
    pythons, missing = installed(names, say)

    with tempfile.TemporaryDirectory(prefix="equipoise-peers-") as place:
        folder = Path(place)
        model = mlp(folder / "mlp.onnx")
        rows = flat_images(QUESTIONS)
        made = make_bundle(folder / "bundle", "mlp", [Stage(model, 32)], {"x": rows}, limit_s=LIMIT_S)
        pin(GENERATOR_CORE)
        seen: list[Round] = []
        for number in range(1, rounds + 1):
            found: Round = {}
            for name in [name for name in pythons if name not in missing]:
                say(f"round {number} of {rounds}: {name}")
                try:
                    found |= of_contestant(CONTESTANTS[name], pythons[name], model, made, rows, seconds)
                except (RuntimeError, OSError) as error:
                    missing[name] = str(error)
            say(f"round {number} of {rounds}: {OURS}")
            found |= of_ours(made, rows, seconds)
            seen.append(found)
    always = set.intersection(*map(set, seen))
    seen = [{label: each[label] for label in seen[0] if label in always} for each in seen]
    print(table(seen))
    for name, why in missing.items():
        print(f"\n{name} was not measured: {why}")
    figures = {"rounds": [_plain(found) for found in seen], "missing": missing}
    report("Beside other servers: a tiny model, 784 numbers as JSON", claims(seen), figures, options)


def of_contestant(
    contestant: Contestant, python: str, model: Path, made: Made, rows: Any, seconds: float
) -> dict[str, dict[int, Reading]]:
    """Measure another server."""
    port = free_port()
    variables = contestant.variables(model, port)
    command = [python, *contestant.arguments]
    found: Round = {}
    with started(command, port, contestant.ready, environment=variables, folder=contestant.folder) as server:
        for label, path in contestant.paths.items():
            asked = contestant.target(port, path, made.direct, rows)
            found[label] = {n: measured(server, asked, n, seconds) for n in (FEW, MANY)}
    return found


def of_ours(made: Made, rows: Any, seconds: float) -> dict[str, dict[int, Reading]]:
    """Measure our server, with all that it validates, counts, limits and logs: JSON, binary tensors, bytes, gRPC."""
    port = free_port()
    grpc = grpc_port_option()
    found: Round = {}
    with started(equipoise([f"mlp={made.folder}"], port, *(grpc[1] if grpc else ())), port) as server:
        for label, form in ((OURS, "json"), (f"{OURS}, binary", "binary"), (f"{OURS}, raw", "raw")):
            asked = target(port, "mlp", made.direct, rows, form)  # type: ignore[arg-type]
            found[label] = {n: measured(server, asked, n, seconds) for n in (FEW, MANY)}
        if grpc is not None:
            found[f"{OURS}, gRPC"] = {n: over_grpc(server, grpc[0], made, rows, n, seconds) for n in (FEW, MANY)}
    return found


def measured(server: Server, asked: Target, connections: int, seconds: float) -> Reading:
    """Keep some connections busy after a warm-up, and read the server's clock before and after."""
    closed(asked, connections, min(1.0, seconds / 2), warm_up_s=0.0)
    before_s = server.cpu_s
    seen = closed(asked, connections, seconds, warm_up_s=0.0)
    used_s = server.cpu_s - before_s
    right = int(np.count_nonzero(seen.right))
    return Reading(seen.answered_rps, right / used_s, seen.quantile_s(0.5), seen.quantile_s(0.99), len(seen) - right)


def over_grpc(server: Server, port: int, made: Made, rows: Any, connections: int, seconds: float) -> Reading:
    """The same over gRPC, with raw tensor contents."""
    grpc_closed(port, "mlp", made.direct, rows, connections, min(1.0, seconds / 2))
    before_s = server.cpu_s
    seen = grpc_closed(port, "mlp", made.direct, rows, connections, seconds)
    used_s = server.cpu_s - before_s
    right = int(np.count_nonzero(seen.right))
    return Reading(seen.answered_rps, right / used_s, seen.quantile_s(0.5), seen.quantile_s(0.99), len(seen) - right)


def claims(seen: list[Round]) -> list[Claim]:
    """What is claimed of the medians of the rounds' ratios."""
    found: list[Claim] = []
    for name, least in LEAST_RATIOS.items():
        if name in seen[0]:
            unit, figure = ("wall", "wall_rps") if CONTESTANTS[name].spreads else ("server CPU", "cpu_rps")
            what = f"requests per {unit} second, {MANY} connections, / {name}"
            found.append(at_least(what, ratio(seen, name, MANY, figure), least))
    if "fastapi" in seen[0]:
        p50 = ratio(seen, "fastapi", FEW, "p50_s")
        found.append(at_most("p50 of one connection / fastapi", p50, MOST_P50))
    binary = f"{OURS}, binary"
    quicker = median(each[binary][MANY].cpu_rps / each[OURS][MANY].cpu_rps for each in seen)
    found.append(at_least(f"requests per server CPU second, {MANY} connections, binary tensors / JSON", quicker, 1.0))
    wrong = sum(reading.wrong for each in seen for label in each for reading in each[label].values())
    found.append(at_most("requests without the right answer, all servers", wrong, 0))
    return found


def ratio(seen: list[Round], label: str, connections: int, figure: str) -> float:
    """Ours over another's, the median of the rounds."""
    return median(getattr(each[OURS][connections], figure) / getattr(each[label][connections], figure) for each in seen)


def table(seen: list[Round]) -> str:
    """Medians of all readings, and ours over each."""
    lines = [
        "\n| server | connections | requests / CPU-second | requests / second | p50, ms | p99, ms | ours / it, CPU | "
        "ours / it, wall |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label in seen[0]:
        for connections in (FEW, MANY):
            figures = [each[label][connections] for each in seen]
            lines.append(
                f"| {label} | {connections} | {median(r.cpu_rps for r in figures):,.0f} "
                f"| {median(r.wall_rps for r in figures):,.0f} | {median(r.p50_s for r in figures) * 1e3:.3f} "
                f"| {median(r.p99_s for r in figures) * 1e3:.3f} | {ratio(seen, label, connections, 'cpu_rps'):.2f} "
                f"| {ratio(seen, label, connections, 'wall_rps'):.2f} |"
            )
    return "\n".join(lines)


def say(what: str) -> None:
    """Tell what is being done."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", file=sys.stderr, flush=True)


def _plain(found: Mapping[str, Mapping[int, Reading]]) -> dict[str, Any]:
    return {label: {str(n): vars(reading) for n, reading in each.items()} for label, each in found.items()}


if __name__ == "__main__":
    main()
