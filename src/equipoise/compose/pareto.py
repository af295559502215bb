"""Which points no other beats in both cost and loss."""

from __future__ import annotations

from collections.abc import Sequence


def pareto(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """Indices of the points that no other dominates, the cheapest first.

    Equal points do not dominate each other: all of them stay, in the order given.

    Args:
        points: Cost and loss of each, both better when smaller.

    Returns:
        Indices into `points`.

    Raises:
        ValueError: A cost or a loss is not a number.

    >>> pareto([(3.0, 0.0), (1.0, 0.2), (2.0, 0.3), (1.0, 0.2)])
    (1, 3, 0)
    """
    if any(cost != cost or loss != loss for cost, loss in points):
        raise ValueError("a point of the frontier must have a cost and a loss, found NaN")
    front: list[int] = []
    best: tuple[float, float] | None = None
    for index in sorted(range(len(points)), key=lambda position: points[position]):
        # Sorted by cost, a point is dominated unless its loss is below every cheaper one's, or it repeats the last.
        if best is None or points[index][1] < best[1] or points[index] == best:
            front.append(index)
            best = points[index]
    return tuple(front)
