"""What memory costs by itself, from two instance types that differ in nothing else."""

from __future__ import annotations

from equipoise.ingest.prices import known_prices

LEAN, AMPLE = "aws:c7i.large", "aws:r7i.large"
MIB_PER_GIB = 1024


def memory_usd_per_gib_hour() -> tuple[float, str]:
    """The price of a GiB of memory for an hour, and where it comes from.

    `(price of r7i.large - price of c7i.large) / difference of their memory`: the same processors, so that what differs
    is paid for memory. It is a price of the reference table, whatever machine is used.

    Returns:
        US dollars per GiB and hour, and its source in words.
    """
    rows = {row.name: row for row in known_prices()}
    lean, ample = rows[LEAN], rows[AMPLE]
    gib = ((ample.memory_mib or 0) - (lean.memory_mib or 0)) / MIB_PER_GIB
    usd = (ample.usd_per_hour - lean.usd_per_hour) / gib
    return usd, f"memory at ${usd:.4f} per GiB and hour ({AMPLE} less {LEAN}, {ample.dated})"
