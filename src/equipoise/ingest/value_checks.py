"""Whether what the brief says of business value fits the rest of it."""

from __future__ import annotations

from collections.abc import Mapping

from equipoise.core.brief import Brief
from equipoise.errors import BriefError

NO_ERRORS = {
    "none": "nothing is judged, so that no errors are counted",
    "agreement": "there are no true answers to err from",
    "mae": "a predicted number is never just wrong",
    "rmse": "a predicted number is never just wrong",
    "r2": "a predicted number is never just wrong",
    "person": "your own metric does not say which answers are wrong",
}
"""Metric to why its answers have no errors that could be counted."""


def check_value(brief: Brief, where: Mapping[str, str]) -> None:
    """Refuse prices of what cannot be counted under this brief.

    Args:
        brief: All of it.
        where: Field to where it was, or would be, given.

    Raises:
        BriefError: An error has a price and the metric counts none, or waiting has one and there is no traffic.
    """
    value, metric = brief.value, brief.quality.metric
    if value.usd_per_error is not None and metric is not None:
        refuse_price_of_errors(metric, where["value.usd_per_error"])
    for name in ("usd_per_second_of_latency", "usd_per_failed_request"):
        if getattr(value, name) is not None and brief.workload.rate_rps is None and brief.workload.trace is None:
            raise BriefError(
                where[f"value.{name}"],
                f"found {getattr(value, name):g} US dollars and no traffic",
                f"needed {where['workload.rate_rps']} or {where['workload.trace']}: "
                "how long a request waits, and whether it fails, depends on the others",
            )
    if value.latency_threshold_s and value.usd_per_second_of_latency is None:
        raise BriefError(
            where["value.latency_threshold_s"],
            f"found {value.latency_threshold_s * 1e3:g} ms and no price of a second beyond it",
            f"needed {where['value.usd_per_second_of_latency']}",
        )


def refuse_price_of_errors(metric: str, where: str) -> None:
    """Refuse a price of errors where the metric has none that could be counted.

    Raises:
        BriefError: It says why.
    """
    reason = NO_ERRORS.get("person" if ":" in metric else metric)
    if reason is not None:
        raise BriefError(
            where,
            f"found a price of an error with the metric {metric}",
            f"{reason}; needed a metric of classes with true answers, such as accuracy, or no price of errors",
        )
