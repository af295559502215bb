"""How a race divides its time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.flow.race import _shares

seconds = st.floats(0.01, 100.0)


@given(st.lists(seconds, min_size=1, max_size=8), seconds)
def test_no_turn_is_longer_than_it_needs_and_all_fit(needs: list[float], total: float) -> None:
    shares = _shares(needs, total)
    assert len(shares) == len(needs)
    assert all(0 <= share <= need for share, need in zip(shares, needs, strict=True))
    assert sum(shares) == pytest.approx(min(total, sum(needs)))


@given(st.lists(seconds, min_size=2, max_size=8), seconds)
def test_whoever_gets_less_than_needed_gets_as_much_as_anyone(needs: list[float], total: float) -> None:
    shares = _shares(needs, total)
    for share, need in zip(shares, needs, strict=True):
        if share < 0.999 * need:
            assert share == pytest.approx(max(shares))


@given(st.permutations([0.5, 1.0, 2.0, 8.0]))
def test_the_order_does_not_matter(needs: list[float]) -> None:
    wanted = {0.5: 0.5, 1.0: 1.0, 2.0: 2.0, 8.0: 2.5}
    assert _shares(needs, 6.0) == pytest.approx([wanted[need] for need in needs])
