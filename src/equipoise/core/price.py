"""What an hour of a machine costs, and who says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from equipoise.core.noun import Noun


class Price(Noun):
    """A price of one machine for one hour.

    Attributes:
        usd_per_hour: US dollars an hour.
        kind: `given` on the command line, looked up for an `instance`, derived for an `owned` machine, or `assumed`.
        source: Where it comes from, for the report.
        dated: Day it was true, ISO 8601; null for a figure the person gave.
        instance: Name such as `aws:c7i.large`; null where the price names no instance type.
        vcpus: Virtual CPUs of that instance type.
        memory_mib: Memory of that instance type.
    """

    usd_per_hour: float = Field(gt=0)
    kind: Literal["given", "instance", "owned", "assumed"]
    source: str
    dated: str | None = None
    instance: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
