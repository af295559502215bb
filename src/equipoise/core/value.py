"""What a plan is worth to the business: what is lost by errors, by waiting and by failures, in money."""

from __future__ import annotations

from typing import Literal

from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun

ValueFigure = Literal["usd_per_error", "usd_per_second_of_latency", "usd_per_failed_request"]


class ErrorLoss(Noun):
    """What the errors of a candidate cost, at the brief's prices.

    Attributes:
        usd: US dollars a request, on average.
        more_usd: The same beyond the original's on the same rows; below 0 where the candidate's errors cost less.
    """

    usd: Estimate
    more_usd: Estimate


class TrafficLoss(Noun):
    """What requests suffer from a candidate under the brief's traffic.

    Attributes:
        excess_s: Seconds of latency beyond the brief's threshold a request, on average, 0 for those below it and those
            that failed.
        failed_share: Share of requests that were not answered, or later than the p99 limit, which a server refuses.
    """

    excess_s: Estimate
    failed_share: Estimate


class Value(Noun):
    """What a million requests to a candidate cost the business, in US dollars, part by part.

    Attributes:
        serving_usd: Of machines: provisioned where there is traffic, packed otherwise.
        errors_usd: Of errors; null where an error has no price.
        latency_usd: Of waiting beyond the threshold; null where waiting has no price.
        failures_usd: Of failed requests; null where a failure has no price.
        net_usd: Net value: minus the sum of all these.
        gain_usd: Net value beyond that of the original at its best settings, errors compared on the same rows, speeds
            timed in turns; null where the original serves no traffic within the limits.
    """

    serving_usd: Estimate
    errors_usd: Estimate | None
    latency_usd: Estimate | None
    failures_usd: Estimate | None
    net_usd: Estimate
    gain_usd: Estimate | None


class PlanValue(Noun):
    """A candidate that was raced, with what it is worth.

    Attributes:
        name: Of the candidate.
        value: What it is worth.
        within_limits: Whether it keeps the p99 and the memory limit.
        proved: Whether it keeps the quality, as the certify rows say; null where they were not opened for it.
    """

    name: str
    value: Value
    within_limits: bool
    proved: bool | None


class BestFrom(Noun):
    """From this figure on, up to the next one's, this candidate is worth the most.

    Attributes:
        figure: US dollars; where errors are priced class by class, times the prices that were given.
        name: Of the candidate.
    """

    figure: float
    name: str


class Sensitivity(Noun):
    """How the choice changes with one figure, the others as they were given.

    Attributes:
        figure: Which.
        given: What was given; 1 where errors are priced class by class, which are then scaled together.
        best: The candidates that are worth the most as measured, from a figure of 0 on: of those within the limits
            whose quality is not disproved. Where one ends and the next begins lies the break-even.
    """

    figure: ValueFigure
    given: float
    best: tuple[BestFrom, ...]


class BusinessValue(Noun):
    """What the plans are worth, and how the choice hangs on the figures that were given.

    Attributes:
        plans: Everything that was raced, worth most first.
        cheapest: Of those that may be chosen, the one that costs least to serve.
        priced_by_class: Whether errors are priced class by class.
        sensitivities: One for each figure that was given.
    """

    plans: tuple[PlanValue, ...]
    cheapest: str
    priced_by_class: bool
    sensitivities: tuple[Sensitivity, ...]
