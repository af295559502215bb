"""The score test for paired proportions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from equipoise.stats.tango import null_variance, tango_bounds, tango_z

Z95 = 1.6448536269514722
tables = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400)).filter(lambda t: sum(t) > 0)


@given(tables, st.floats(-0.9, 0.9).filter(lambda drop: abs(drop) > 1e-3))
def test_variance_maximises_the_constrained_likelihood(table: tuple[int, int, int], drop: float) -> None:
    harmed, helped, same = table
    n = harmed + helped + same

    def minus_log_likelihood(p: float) -> float:
        shares = np.array([p + drop, p, 1 - 2 * p - drop])
        seen = np.array([harmed, helped, same])
        return float(-(seen * np.log(np.maximum(shares, 1e-300))).sum())

    p = (float(null_variance(harmed, helped, n, drop)) - drop * (1 - drop)) / 2
    low, high = max(0.0, -drop), (1 - drop) / 2
    assert low - 1e-9 <= p <= high + 1e-9
    best = minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    assert minus_log_likelihood(min(max(p, low), high)) <= best.fun + 1e-6 * (1 + abs(best.fun))


@given(tables)
def test_statistic_falls_as_the_supposed_drop_grows(table: tuple[int, int, int]) -> None:
    harmed, helped, _ = table
    z = tango_z(harmed, helped, sum(table), np.linspace(-0.99, 0.99, 199))
    assert (np.diff(z) <= 1e-9).all()


@given(tables, st.floats(0.001, 0.5))
def test_swapping_the_models_turns_the_statistic_round(table: tuple[int, int, int], drop: float) -> None:
    harmed, helped, _ = table
    n = sum(table)
    assert float(tango_z(harmed, helped, n, drop)) == pytest.approx(-float(tango_z(helped, harmed, n, -drop)), abs=1e-6)


@given(tables)
def test_bounds_are_where_the_statistic_crosses(table: tuple[int, int, int]) -> None:
    harmed, helped, _ = table
    n = sum(table)
    low, high = tango_bounds(harmed, helped, n, Z95)
    assert low <= (harmed - helped) / n <= high
    if high < 0.999:
        assert float(tango_z(harmed, helped, n, high)) <= -Z95 + 1e-6
        assert float(tango_z(harmed, helped, n, high - 1e-6)) > -Z95
    if low > -0.999:
        assert float(tango_z(harmed, helped, n, low)) >= Z95 - 1e-6


def test_without_loss_one_point_takes_268_rows() -> None:
    z = tango_z(0, 0, np.array([267, 268]), 0.01)
    assert z[0] > -Z95 >= z[1]


def test_many_tables_at_once() -> None:
    harmed, helped = np.array([1, 5, 9]), np.array([0, 5, 3])
    together = tango_z(harmed[:, None], helped[:, None], 100, np.array([0.01, 0.05]))
    one_by_one = [[float(tango_z(b, c, 100, d)) for d in (0.01, 0.05)] for b, c in zip(harmed, helped, strict=True)]
    assert together == pytest.approx(np.array(one_by_one))


def test_nothing_seen_and_no_margin_says_nothing() -> None:
    assert float(tango_z(0, 0, 10, 0.0)) == 0
