"""When requests arrive."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Kind = Literal["constant", "poisson", "bursty"]

BURST_RATIO = 6.0
"""Arrival rate within a burst, over the rate between bursts."""
BURST_S = 0.5
"""Mean length of a burst, seconds."""
QUIET_S = 4.5
"""Mean time between bursts, seconds."""


def arrivals(kind: Kind, rate_rps: float, duration_s: float, rng: np.random.Generator) -> Seconds:
    """Draw the times at which requests arrive.

    - `constant`: every `1 / rate_rps` seconds, from 0 on.
    - `poisson`: independent users; gaps are exponential.
    - `bursty`: a Markov-modulated Poisson process of two states. Bursts last 0.5 s in the mean (exponential) and are
      4.5 s apart, so that they take a tenth of the time; within one, requests come 6 times as often as between two,
      which is 4 times the mean rate. Both rates are scaled so that the expected number of arrivals in *this* run is
      `rate_rps * duration_s`: a short run is then not busier than another only by the number of bursts it drew.

    Args:
        kind: How requests arrive around the mean rate.
        rate_rps: Mean requests a second, > 0.
        duration_s: How long they arrive for, seconds, > 0.
        rng: Source of randomness; unused for `constant`.

    Returns:
        Ascending times within [0, duration_s), seconds: float64[n].

    Raises:
        ValueError: The rate or the duration is not a positive number, or the kind is unknown.

    Example:
        >>> arrivals("constant", 4.0, 1.0, np.random.default_rng(0))
        array([0.  , 0.25, 0.5 , 0.75])
    """
    for name, value in (("rate_rps", rate_rps), ("duration_s", duration_s)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be a positive number, found {value}")
    if kind == "constant":
        times = np.arange(int(np.ceil(rate_rps * duration_s))) / rate_rps
        return times[times < duration_s]
    if kind == "poisson":
        return _scattered(rng.poisson(rate_rps * duration_s), duration_s, rng)
    if kind == "bursty":
        return _bursty(rate_rps, duration_s, rng)
    raise ValueError(f"kind must be constant, poisson or bursty, found {kind!r}")


def share_of(arrival_s: Seconds, share: float, rng: np.random.Generator) -> Seconds:
    """What one of several machines gets of some traffic: each request with probability `share`, independently.

    This is how a load balancer divides traffic, and the only way in which a trace is made lighter: its times are never
    stretched or compressed, which would change its bursts.

    Args:
        arrival_s: Ascending times of the whole traffic, seconds: float64[n].
        share: Share of it that this machine gets, 0 to 1.
        rng: Source of randomness.

    Returns:
        The times it gets, ascending, seconds.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, found {share}")
    return arrival_s[rng.random(len(arrival_s)) < share]


def _scattered(n: int, duration_s: float, rng: np.random.Generator) -> Seconds:
    # Given their number, the arrivals of a Poisson process are independent and uniform.
    return np.sort(rng.random(n) * duration_s)


def _bursty(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Seconds:
    in_burst = rng.random() < BURST_S / (BURST_S + QUIET_S)
    changes, relative = [0.0], []
    while changes[-1] < duration_s:
        changes.append(changes[-1] + rng.exponential(BURST_S if in_burst else QUIET_S))
        relative.append(BURST_RATIO if in_burst else 1.0)
        in_burst = not in_burst
    edges = np.minimum(changes, duration_s)
    expected = np.concatenate([[0.0], np.cumsum(np.diff(edges) * relative)])
    # Times that are uniform in the accumulated rate, mapped back to the clock, follow the changing rate.
    uniform = _scattered(rng.poisson(rate_rps * duration_s), float(expected[-1]), rng)
    times: Seconds = np.interp(uniform, expected, edges)
    return times[times < duration_s]
