"""Rows of a batch by length: every row once, and never dearer than all together or each alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from equipoise.policy.lengths import length_groups

Lengths = st.lists(st.integers(1, 200), min_size=1, max_size=8)


def cost(lengths: list[int], groups: list[list[int]], run_tokens: int) -> int:
    return sum(run_tokens + len(group) * max(lengths[row] for row in group) for group in groups)


@given(Lengths, st.integers(0, 200))
def test_every_row_once_at_the_least_cost(lengths: list[int], run_tokens: int) -> None:
    groups = [group.tolist() for group in length_groups(lengths, run_tokens)]
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    order = np.argsort(lengths, kind="stable").tolist()
    cuts = range(1, len(lengths))
    every_division = (
        [order[start:end] for start, end in zip((0, *chosen), (*chosen, len(order)), strict=True)]
        for count in range(len(lengths))
        for chosen in combinations(cuts, count)
    )
    assert cost(lengths, groups, run_tokens) == min(cost(lengths, each, run_tokens) for each in every_division)
