"""A measured figure with its interval."""

from __future__ import annotations

from equipoise.core.noun import Noun


class Estimate(Noun):
    """A measured figure, the interval it is known to, and how it was found.

    Attributes:
        value: The point estimate, in the units of the field that holds it.
        low: Lower end of the interval; null where the samples allow none.
        high: Upper end of the interval; null where the samples allow none.
        n: Number of samples behind it.
        method: How value and interval were found, in a few words.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    method: str

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in other units: value and interval times `factor` (> 0)."""
        return self.model_copy(
            update={
                "value": self.value * factor,
                "low": None if self.low is None else self.low * factor,
                "high": None if self.high is None else self.high * factor,
            }
        )
