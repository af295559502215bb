"""When requests come and what they ask: made up, or a real trace."""

from __future__ import annotations

from typing import Any

import numpy as np
from bundles import DATA, real
from numpy.typing import NDArray

from equipoise.ingest.trace import read_trace
from equipoise.measure.arrivals import arrivals, share_of

Array = NDArray[Any]
TRACE = DATA / "traces" / "azure_llm_conv.csv"
REPEATS = 0.8
"""Exponent of the popularity of questions that repeat (Breslau et al. 1999 found 0.64 to 0.83 at web proxies)."""


def poisson(rate_rps: float, seconds: float, seed: int) -> Array:
    """Independent users."""
    return arrivals("poisson", rate_rps, seconds, np.random.default_rng(seed))


def azure(rate_rps: float, seconds: float, seed: int) -> Array:
    """Real requests to a language model in one hour, its stretches laid over one another as if they were users at once.

    A trace is made denser without squeezing it, which would make bunches that never were: every request keeps its
    distance to its neighbours, and as many stretches of `seconds` as give the rate or a little more are laid over one
    another; what is more is left out request by request, at random.
    """
    rng = np.random.default_rng(seed)
    at_s = read_trace(real(TRACE)).start_s
    length_s = float(at_s[-1])
    stretches = int(np.ceil(rate_rps * seconds / (len(at_s) * seconds / length_s) * 1.1))
    starts_s = (rng.random() + np.arange(stretches) / stretches) * length_s
    parts = [np.mod(at_s - start_s, length_s) for start_s in starts_s]
    laid = np.sort(np.concatenate([part[part < seconds] for part in parts]))
    return share_of(laid, min(1.0, rate_rps * seconds / len(laid)), rng)


TRAFFIC = {"poisson": poisson, "azure trace": azure}


def popular(requests: int, questions: int, seed: int) -> Array:
    """Which question each request asks, some far more often than others: int64[requests]."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, questions + 1) ** REPEATS
    return rng.choice(questions, requests, p=weight / weight.sum())


def any_question(requests: int, questions: int, seed: int) -> Array:
    """Which question each request asks, all alike: int64[requests]."""
    return np.random.default_rng(seed).integers(0, questions, requests)
