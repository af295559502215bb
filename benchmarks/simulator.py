"""How many requests the simulator answers in a second of wall time, on one core.

    python benchmarks/simulator.py             # 200,000 requests a plan
    python benchmarks/simulator.py 1000000

Three plans: one model, one row at a time; one model in batches, with a p99 limit and therefore with admission; and a
cascade with a fallback, a cache with keys and two machines. It prints figures and asserts none.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from equipoise.compose.simulate import Machine, StageTimes, Traffic, simulate
from equipoise.core.plan import BatchRule, CacheRule

SIZES = (1, 2, 4, 8, 16, 32)
UTILISATION = 0.7


def samples(first_s: float, row_s: float, rng: np.random.Generator) -> dict[int, np.ndarray]:
    return {rows: (first_s + row_s * rows) * rng.lognormal(0.0, 0.1, 300) for rows in SIZES}


def plans(rng: np.random.Generator) -> dict[str, tuple[Machine, float, int]]:
    """Name to machine, requests a second, machines."""
    single = Machine((StageTimes(BatchRule(max_rows=1), samples(0.004, 0.001, rng)),), queue_rows=1024)
    rule = BatchRule(max_rows=32, max_wait_s=0.004, limit_s=0.05)
    batched = Machine((StageTimes(rule, samples(0.004, 0.0005, rng)),), lanes=2, queue_rows=1024)
    late = BatchRule(max_rows=32, limit_s=0.05)
    cascade = Machine(
        (StageTimes(rule, samples(0.002, 0.0001, rng)), StageTimes(late, samples(0.004, 0.0005, rng), share=0.25)),
        lanes=2,
        fallback=StageTimes(late, samples(0.001, 0.0001, rng)),
        cache=CacheRule(max_entries=10_000, entry_bytes=200, hit_share=0.3),
        lookup_s=1e-5,
        queue_rows=1024,
    )
    return {
        "single, batch 1": (single, UTILISATION / 0.005, 1),
        "batches of up to 32, two lanes, p99 limit": (batched, UTILISATION * 2 * 32 / 0.02, 1),
        "cascade, fallback, keyed cache, two machines": (cascade, UTILISATION * 4 * 32 / 0.0105, 2),
    }


def main(requests: int) -> None:
    rng = np.random.default_rng(0)
    print("| plan | simulated requests a second | a minute | busy |")
    print("|---|---|---|---|")
    for name, (machine, rate_rps, machines) in plans(rng).items():
        arrival_s = np.cumsum(rng.exponential(1 / rate_rps, requests))
        keys = (rng.zipf(1.1, requests) % 1_000_000) if machine.cache is not None else None
        began = time.process_time()
        seen = simulate(machine, Traffic(arrival_s, key=keys), machines=machines)
        speed = requests / (time.process_time() - began)
        print(f"| {name} | {speed:,.0f} | {speed * 60 / 1e6:.1f} million | {seen.utilisation:.0%} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
