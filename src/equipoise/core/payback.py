"""What training cost, and when it has paid for itself."""

from __future__ import annotations

from equipoise.core.noun import Noun


class Payback(Noun):
    """What all training of a study cost, and when the best plan that it brought has earned that back.

    Attributes:
        plan: The certified plan with a trained model in it that costs the least.
        instead_of: The best plan of the study without one, with which it is compared; null where none meets the limits.
        trained_s: Seconds that all training of the study took, failed attempts among them.
        training_usd: What that cost: the machine's price times the time.
        saved_per_million_usd: What a million answers cost less than with `instead_of`; null where there is none.
        requests: Answers after which the training has paid for itself; null for never.
        days: Days of the brief's traffic after which it has; null for never, and without a rate.
        within_days: Days within which it must have.
        in_time: Whether it has by then; without a rate, whether it ever has. A plan that has not is not chosen.
    """

    plan: str
    instead_of: str | None
    trained_s: float
    training_usd: float
    saved_per_million_usd: float | None
    requests: float | None
    days: float | None
    within_days: float
    in_time: bool
