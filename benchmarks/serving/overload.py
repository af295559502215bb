"""Five times as many requests as a server can answer, for a minute: what it answers, what it refuses, how it recovers.

A ResNet with a p99 limit. Its capacity is what a closed loop gets out of it. Then requests come at five times that
rate, Poisson, open loop; after them at half of it, to see how soon all are answered. Then the capacity is measured
again, and answers are held against the mean of both: a shared machine is not as fast in every minute. Refusing takes
time of the same core: the faster the model, the more requests a second are to be refused, and the less of the core is
left for answers.

    python benchmarks/serving/overload.py [--quick]           # about 2 minutes, ResNet-56: some milliseconds a row
    python benchmarks/serving/overload.py --model resnet20    # one that takes a third of that
    python benchmarks/serving/overload.py --model resnet50    # one that takes tens of milliseconds
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bundles import CIFAR, Made, StageOf, cifar_images, make_bundle, real, resnet50
from claims import Claim, at_least, at_most, options_of, report
from load import OK, Seen, closed, open_loop, pin
from questions import target
from server import GENERATOR_CORE, Server, equipoise, free_port, started
from traffic import any_question, poisson

MEBIBYTE = 1 << 20
TIMES = 5.0
AFTER_SHARE, AFTER_S = 0.5, 6.0
CAPACITY_S = 8.0
LIMIT_S = 0.2
BATCH = 4
PIXELS = 112
SETTLED_S = 5.0
"""Memory of the first seconds is not judged: connections and buffers are made then."""
SHED = (429, 503)
LEAST_GOODPUT, MOST_LIMITS, MOST_SHED_S, MOST_RECOVERY_S, MOST_GROWTH = 0.9, 2.0, 0.02, 2.0, 0.02


def main() -> None:
    """Overload a server and print what it did."""
    parser = options_of(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (default: %(default)s)")
    parser.add_argument("--model", choices=("resnet20", "resnet56", "resnet50"), default="resnet56")
    options = parser.parse_args()
    seconds = 8.0 if options.quick else options.seconds
    with tempfile.TemporaryDirectory(prefix="equipoise-overload-") as place:
        model, rows = asked_model(options.model, Path(place))
        stage = StageOf(model, BATCH)
        made = make_bundle(Path(place) / "bundle", options.model, [stage], {"image": rows}, limit_s=LIMIT_S)
        pin(GENERATOR_CORE)
        port = free_port()
        with started(equipoise([f"m={made.folder}"], port), port) as server:
            asked = target(port, "m", made.direct, rows, "binary")
            capacity_rps = closed(asked, 3 * BATCH, CAPACITY_S, warm_up_s=1.0).steady_rps
            arrival_s = poisson(TIMES * capacity_rps, seconds, seed=1)
            after_s = seconds + poisson(AFTER_SHARE * capacity_rps, AFTER_S, seed=2)
            every_s = np.concatenate([arrival_s, after_s])
            before_s = server.cpu_s
            with sampled(server) as memory:
                seen = open_loop(asked, every_s, any_question(len(every_s), len(rows), seed=3))
            used_s = server.cpu_s - before_s
            again_rps = closed(asked, 3 * BATCH, CAPACITY_S, warm_up_s=1.0).steady_rps
    claims, figures = judged(seen, made, (capacity_rps + again_rps) / 2, seconds, memory)
    figures["capacity_rps, before and after"] = [capacity_rps, again_rps]
    figures["server core seconds a request"] = used_s / len(seen)
    report(f"Overload at {TIMES:g} times the capacity of {options.model}", claims, figures, options)


def asked_model(name: str, folder: Path) -> tuple[Path, Any]:
    """A model and what it is asked."""
    if name == "resnet50":
        rows = np.random.default_rng(0).standard_normal((16, 3, PIXELS, PIXELS), dtype=np.float32)
        return resnet50(folder / "resnet50.onnx", PIXELS), rows
    return real(CIFAR / f"{name}.onnx"), cifar_images(200)


@contextmanager
def sampled(server: Server, every_s: float = 0.2) -> Iterator[list[tuple[float, int]]]:
    """Reads the server's memory again and again in here: when, and bytes."""
    found: list[tuple[float, int]] = []
    over = threading.Event()

    def read() -> None:
        while not over.wait(every_s):
            found.append((time.perf_counter(), server.memory_bytes))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def judged(
    seen: Seen, made: Made, capacity_rps: float, seconds: float, memory: list[tuple[float, int]]
) -> tuple[list[Claim], dict[str, Any]]:
    """What was seen, and what is claimed of it."""
    begin_s = float(seen.start_s.min())
    during = seen.between(begin_s, begin_s + seconds)
    after = seen.between(begin_s + seconds, begin_s + seconds + AFTER_S + 1)
    shed = np.isin(during.status, SHED)
    in_time = during.right & (during.latency_s <= MOST_LIMITS * LIMIT_S)
    goodput_rps = float(np.count_nonzero(in_time)) / seconds
    shed_s = during.latency_s[shed]
    within = [size for at_s, size in memory if begin_s + SETTLED_S <= at_s <= begin_s + seconds]
    first, last = (float(np.mean(part)) for part in (within[: len(within) // 5], within[-len(within) // 5 :]))
    others = {status: n for status, n in seen.counts().items() if status not in (OK, *SHED)}
    claims = [
        at_least("goodput / capacity", goodput_rps / capacity_rps, LEAST_GOODPUT),
        at_most("p99 of answers / limit", during.quantile_s(0.99) / LIMIT_S, MOST_LIMITS),
        at_most("p99 of refusals, ms", _quantile(shed_s, 0.99) * 1e3, MOST_SHED_S * 1e3),
        at_most("growth of memory, last fifth over first", last / first - 1, MOST_GROWTH),
        at_most("wrong answers", seen.wrong, 0),
        at_most("requests neither answered nor refused", sum(others.values()), 0),
        at_most("seconds until all are answered within the limit again", recovery_s(after), MOST_RECOVERY_S),
    ]
    figures = {
        "capacity_rps": capacity_rps,
        "goodput_rps": goodput_rps,
        "statuses": {str(status): count for status, count in during.counts().items()},
        "statuses after": {str(status): count for status, count in after.counts().items()},
        "p50_s": during.quantile_s(0.5),
        "p99_s": during.quantile_s(0.99),
        "refused p50_s": _quantile(shed_s, 0.5),
        "refused most_s": _quantile(shed_s, 1.0),
        "memory MiB": [size / MEBIBYTE for size in within],
        "service_s": {str(rows): float(np.median(seconds)) for rows, seconds in made.service[0].items()},
    }
    return claims, figures


def recovery_s(after: Seen) -> float:
    """Seconds after the overload from which every request was answered within the limit."""
    failed = ~(after.right & (after.latency_s <= LIMIT_S))
    begin_s = float(after.start_s.min())
    return float(after.start_s[failed].max() - begin_s) if failed.any() else 0.0


def _quantile(seconds: Any, q: float) -> float:
    return float(np.quantile(seconds, q)) if len(seconds) else float("nan")


if __name__ == "__main__":
    main()
