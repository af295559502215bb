"""The frontier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.compose.pareto import pareto

points_strategy = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=25)


def dominated(point: tuple[float, float], by: tuple[float, float]) -> bool:
    """Whether `by` is no worse in both, and better in one."""
    return by[0] <= point[0] and by[1] <= point[1] and by != point


@given(points_strategy)
def test_front_is_exactly_the_points_that_nothing_dominates(points: list[tuple[float, float]]) -> None:
    by_definition = {i for i, point in enumerate(points) if not any(dominated(point, by=other) for other in points)}
    assert set(pareto(points)) == by_definition


@given(points_strategy)
def test_front_runs_from_cheap_to_dear(points: list[tuple[float, float]]) -> None:
    costs = [points[index][0] for index in pareto(points)]
    assert costs == sorted(costs)


def test_equal_points_all_stay_in_the_order_given() -> None:
    assert pareto([(1.0, 1.0), (2.0, 2.0), (1.0, 1.0)]) == (0, 2)


def test_no_points_have_no_front() -> None:
    assert pareto([]) == ()


def test_a_point_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto([(1.0, float("nan"))])
