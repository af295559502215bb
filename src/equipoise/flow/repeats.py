"""What is known of requests that repeat earlier ones."""

from __future__ import annotations

from equipoise.compose.facts import Repeats
from equipoise.core.brief import WorkloadBrief
from equipoise.flow.near import MOST_REQUESTS
from equipoise.ingest.memory_price import memory_usd_per_gib_hour
from equipoise.ingest.trace import Trace
from equipoise.policy.cache import lru_hit_shares, repeat_hit_share

CAPACITIES = tuple(4**power for power in range(3, 12))
"""Sizes of cache that a trace with keys is tried on: 64 to 4 million answers."""
REMEMBERED_S = 3600.0
LEAST_REMEMBERED, MOST_REMEMBERED = 1_000, 1_000_000
UNKNOWN_RATE_REMEMBERED = 100_000


def known_repeats(workload: WorkloadBrief, trace: Trace | None, rate_rps: float | None) -> Repeats | None:
    """Hit shares by size of cache, from a trace's keys or the share of repeats that the person gives.

    A share of repeats says nothing of how far apart they are. A cache is then taken that holds an hour of different
    requests (100,000 where the rate is not known), and is taken to find all of them.

    Args:
        workload: The brief's traffic.
        trace: Its trace, read; null where there is none.
        rate_rps: Mean requests a second; null where it is not known.
    """
    usd_per_gib_hour, price = memory_usd_per_gib_hour()
    if trace is not None and trace.key is not None:
        different = len(set(trace.key.tolist()))
        sizes = [size for size in CAPACITIES if size < different] + [different]
        shares = lru_hit_shares(trace.key.astype(str), sizes)
        source = f"the keys of {workload.trace}, replayed through caches of {len(sizes)} sizes; {price}"
        rows = 0 if trace.row is None else len(set(trace.row[-MOST_REQUESTS:].tolist()))
        return Repeats(tuple(zip(sizes, map(float, shares), strict=True)), usd_per_gib_hour, source, rows)
    if workload.repeat_share is None:
        return None
    remembered = UNKNOWN_RATE_REMEMBERED
    if rate_rps is not None:
        remembered = round(rate_rps * (1 - workload.repeat_share) * REMEMBERED_S)
    size = max(LEAST_REMEMBERED, min(MOST_REMEMBERED, remembered))
    source = f"the given share of repeats, all found by a cache of {size:,} answers; {price}"
    return Repeats(((size, repeat_hit_share(workload.repeat_share)),), usd_per_gib_hour, source)
