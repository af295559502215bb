"""Whether a caller may ask now, or has to wait: a token bucket."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-9
"""Of a token: who waited exactly as long as was said must not be sent away for a rounding error."""


@dataclass(frozen=True)
class Rate:
    """How often a caller may ask.

    Attributes:
        requests: At most so many at once, >= 1, and in each period after that.
        period_s: Seconds of a period, > 0.
    """

    requests: int
    period_s: float


@dataclass(frozen=True)
class Bucket:
    """What is left to a caller.

    Attributes:
        tokens: Requests that were left when it last asked, 0 to `Rate.requests`.
        at_s: When that was.
    """

    tokens: float
    at_s: float


def take(bucket: Bucket | None, rate: Rate, now_s: float) -> tuple[Bucket, float]:
    """Take one request out of a caller's bucket.

    The bucket is full at first, and fills evenly: in any `t` seconds at most `requests + t * requests / period_s` are
    let through. A clock that stands or goes back gives nothing.

    Args:
        bucket: What is left to the caller; null where it never asked.
        rate: How often it may ask.
        now_s: The time, seconds.

    Returns:
        The bucket afterwards, and 0 where the request may pass, or the seconds after which one may; asking too early
        costs nothing.

    Example:
        >>> twice_a_second, bucket = Rate(2, 1.0), None
        >>> waits_s = []
        >>> for now_s in (0.0, 0.0, 0.1, 0.5):
        ...     bucket, wait_s = take(bucket, twice_a_second, now_s)
        ...     waits_s.append(round(wait_s, 3))
        >>> waits_s
        [0.0, 0.0, 0.4, 0.0]
    """
    if bucket is None:
        tokens, at_s = float(rate.requests), now_s
    else:
        at_s = max(bucket.at_s, now_s)
        tokens = min(rate.requests, bucket.tokens + (at_s - bucket.at_s) * rate.requests / rate.period_s)
    if tokens >= 1 - ROUNDING:
        return Bucket(max(0.0, tokens - 1), at_s), 0.0
    return Bucket(tokens, at_s), (1 - tokens) * rate.period_s / rate.requests
