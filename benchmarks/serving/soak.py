"""Ten minutes at 80% of capacity among trouble: no wrong answer, none too late, no memory that grows.

Two models are asked at once by an open loop, every request with a deadline of its own. Meanwhile clients leave in the
middle of a request or of its answer, send their bodies a few bytes at a time, or send bodies that are not requests; the
models are loaded anew, and worker processes are killed. Every answer of the open loop is compared with what its model
gives for that very input when it is asked directly.

    python benchmarks/serving/soak.py             # 10 minutes
    python benchmarks/serving/soak.py --quick     # 20 seconds
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from bundles import CIFAR, StageOf, cifar_images, make_bundle, real
from claims import Claim, at_least, at_most, options_of, report
from load import OK, UNANSWERED, Seen, Target, closed, collected, pin, sending
from numpy.typing import NDArray
from overload import MEBIBYTE, sampled
from questions import shuffled, target
from server import GENERATOR_CORE, equipoise, free_port, started, understood
from traffic import any_question, poisson
from trend import slope_per_minute
from trouble import Trouble

Array = NDArray[Any]
SHARE = 0.8
DEADLINE_S, GRACE_S = 2.0, 0.25
"""Every request's own deadline, and how much later its answer, of whatever status, may reach the client."""
LIMIT_S = 0.5
REFUSED = (429, 503, 504)
"""Overloaded; a worker that died with the request, or none that lives; the deadline passed."""
WARM_UP_S = 120.0


def main() -> None:
    """Ask for ten minutes, and judge what came back."""
    parser = options_of(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="(default: %(default)s)")
    options = parser.parse_args()
    seconds = 20.0 if options.quick else options.seconds
    warm_up_s = WARM_UP_S if seconds > 2 * WARM_UP_S else seconds / 5
    rows = cifar_images(300)
    with tempfile.TemporaryDirectory(prefix="equipoise-soak-") as place:
        folder = Path(place)
        made = {}
        for name in ("resnet20", "resnet56"):
            stage = StageOf(real(CIFAR / f"{name}.onnx"), 4)
            made[name] = make_bundle(folder / name, name, [stage], {"image": rows}, limit_s=LIMIT_S)
        pin(GENERATOR_CORE)
        port = free_port()
        extras = [*understood("--admin"), *understood("--workers", "1")]
        bundles = [f"{name}={one.folder}" for name, one in made.items()]
        with started(equipoise(bundles, port, *extras), port) as server:
            asked = both(
                [
                    target(port, "resnet20", made["resnet20"].direct, rows, "binary", DEADLINE_S),
                    target(port, "resnet56", made["resnet56"].direct, rows, "json", DEADLINE_S),
                ]
            )
            order = np.random.default_rng(0).permutation(len(asked.requests))  # both models at the same time
            capacity_rps = closed(shuffled(asked, order), 24, 5.0, warm_up_s=1.0).steady_rps
            arrival_s = poisson(SHARE * capacity_rps, seconds, seed=1)
            questions = any_question(len(arrival_s), len(asked.requests), seed=2)
            kills, swaps = "--workers" in extras, "--admin" in extras
            trouble = Trouble(server, asked.requests, list(made), kills=kills, swaps=swaps)
            with sampled(server, 0.5) as memory, collected():
                seen = uvloop.run(soaked(asked, arrival_s, questions, trouble))
            alive = server.process.poll() is None
    claims, figures = judged(seen, trouble, memory, warm_up_s)
    claims.append(at_least("the server still lives", alive, 1))
    figures |= {"capacity_rps": capacity_rps, "options": extras}
    report(f"Soak, {seconds:.0f} s at {SHARE:.0%}", claims, figures, options)


async def soaked(asked: Target, arrival_s: Array, questions: Array, trouble: Trouble) -> Seen:
    """The open loop, and trouble beside it until it ends."""
    making = [asyncio.ensure_future(each) for each in trouble.kinds()]
    try:
        return await sending(asked, arrival_s, questions, patience_s=DEADLINE_S + 5)
    finally:
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)


def both(targets: Sequence[Target]) -> Target:
    """The questions of two targets as those of one."""
    first, second = targets
    n = len(first.requests)

    def check(question: int, body: bytes) -> bool:
        return first.check(question, body) if question < n else second.check(question - n, body)

    return replace(first, requests=[*first.requests, *second.requests], check=check)


def judged(
    seen: Seen, trouble: Trouble, memory: list[tuple[float, int]], warm_up_s: float
) -> tuple[list[Claim], dict[str, Any]]:
    """What was seen, and what is claimed of it."""
    begin_s = float(seen.start_s.min())
    at_s = np.array([when for when, _ in memory])
    size = np.array([bytes_ / MEBIBYTE for _, bytes_ in memory])
    late = int(np.count_nonzero((seen.latency_s > DEADLINE_S + GRACE_S) | (seen.status == UNANSWERED)))
    strange = {status: n for status, n in seen.counts().items() if status not in (OK, *REFUSED)}
    slope = slope_per_minute(at_s[at_s >= begin_s + warm_up_s], size[at_s >= begin_s + warm_up_s])
    claims = [
        at_most("answers that are wrong for their own input", seen.wrong, 0),
        at_most(f"requests without an answer {GRACE_S:g} s after their deadline", late, 0),
        at_most("requests with another end than an answer or a refusal", sum(strange.values()), 0),
        at_most("malformed bodies that were not refused as such", trouble.unrefused, 0),
        at_most("loads of a model that failed", trouble.done["load failed"], 0),
        at_most("memory, MiB a minute, lower end of its 95% interval", slope.low, 0.0),
    ]
    figures = {
        "statuses": {str(status): count for status, count in seen.counts().items()},
        "share answered": float(np.mean(seen.right)),
        "p50_s": seen.quantile_s(0.5),
        "p99_s": seen.quantile_s(0.99),
        "most_s": float(seen.latency_s.max()),
        "trouble": dict(trouble.done),
        "strange": {str(status): count for status, count in strange.items()},
        "memory MiB a minute": vars(slope),
        "memory MiB": size[:: max(1, len(size) // 120)].tolist(),
    }
    print(
        f"trouble made: {dict(trouble.done)}; statuses {seen.counts()}; memory {vars(slope)} MiB a minute", flush=True
    )
    return claims, figures


if __name__ == "__main__":
    main()
