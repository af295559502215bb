"""When requests arrive."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.measure.arrivals import BURST_S, QUIET_S, arrivals, share_of


@pytest.mark.parametrize("kind", ["constant", "poisson", "bursty"])
def test_arrivals_ascend_within_the_run_keep_the_mean_rate_and_repeat(kind):
    times = arrivals(kind, 500.0, 40.0, np.random.default_rng(1))
    assert times.dtype == np.float64
    assert times[0] >= 0
    assert times[-1] < 40
    assert np.all(np.diff(times) >= 0)
    assert len(times) == pytest.approx(20_000, abs=5 * np.sqrt(20_000))
    assert np.array_equal(times, arrivals(kind, 500.0, 40.0, np.random.default_rng(1)))


def test_constant_arrivals_are_evenly_apart_and_exact_in_number():
    times = arrivals("constant", 30.0, 1.0, np.random.default_rng(0))
    assert len(times) == 30
    assert np.allclose(np.diff(times), 1 / 30)


def test_poisson_gaps_scatter_like_an_exponential():
    gaps = np.diff(arrivals("poisson", 1000.0, 30.0, np.random.default_rng(2)))
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


def test_bursts_are_what_the_model_says():
    times = arrivals("bursty", 200.0, 2000.0, np.random.default_rng(3))
    counts = np.histogram(times, bins=20_000, range=(0, 2000))[0]
    poisson = np.histogram(arrivals("poisson", 200.0, 2000.0, np.random.default_rng(3)), bins=20_000)[0]
    # Rates 4 and 2/3 of the mean, for 10% and 90% of the time.
    in_burst = BURST_S / (BURST_S + QUIET_S)
    assert np.mean(counts > 2 * counts.mean()) == pytest.approx(in_burst, abs=0.03)
    assert np.mean(poisson > 2 * poisson.mean()) < 0.01
    assert np.median(counts) == pytest.approx(200 / 10 * 2 / 3, rel=0.1)


def test_short_bursty_runs_keep_the_mean_rate_too():
    sizes = [len(arrivals("bursty", 100.0, 2.0, np.random.default_rng(seed))) for seed in range(200)]
    assert np.mean(sizes) == pytest.approx(200, abs=5)
    assert np.std(sizes) < 2 * np.sqrt(200)


def test_a_share_of_traffic_keeps_its_times():
    whole = arrivals("poisson", 1000.0, 10.0, np.random.default_rng(4))
    part = share_of(whole, 0.25, np.random.default_rng(5))
    assert np.isin(part, whole).all()
    assert len(part) == pytest.approx(len(whole) / 4, rel=0.1)
    assert len(share_of(whole, 1.0, np.random.default_rng(5))) == len(whole)
    with pytest.raises(ValueError, match=r"found 1\.5"):
        share_of(whole, 1.5, np.random.default_rng(5))


@pytest.mark.parametrize(
    ("rate", "duration"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, float("inf"))]
)
def test_a_rate_or_duration_that_is_no_positive_number_is_refused(rate, duration):
    with pytest.raises(ValueError, match="must be a positive number"):
        arrivals("poisson", rate, duration, np.random.default_rng(0))
