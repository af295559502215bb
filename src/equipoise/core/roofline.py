"""How fast one machine can compute and move bytes at most."""

from __future__ import annotations

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun
from equipoise.core.profile import Precision


class Peak(Noun):
    """The most that a machine computes in one precision.

    Attributes:
        precision: Arithmetic.
        flops_per_s: Operations a second, a multiplication and an addition being two.
        runtime: Registered name of the runtime that reached it.
    """

    precision: Precision
    flops_per_s: Estimate
    runtime: str


class Roofline(Noun):
    """The roofs over what a machine can do (Williams, Waterman and Patterson 2009), as measured on it.

    An operator that does `f` operations for each byte that it moves reaches at most `min(peak, f x bandwidth)`.

    Attributes:
        environment: Digest of the environment that it is bound to.
        threads: Threads that it was measured with.
        peaks: The most operations a second, by precision.
        bytes_per_s: The most bytes a second between memory and processor, reads and writes together.
    """

    environment: str
    threads: int
    peaks: tuple[Peak, ...]
    bytes_per_s: Estimate

    def peak(self, precision: Precision | None) -> Peak | None:
        """The peak in a precision; null where there is none."""
        return next((peak for peak in self.peaks if peak.precision == precision), None)
