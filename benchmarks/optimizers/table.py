"""The result of a contest as a table that a person can read, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from contest import OURS, Row

from equipoise.compose.worth import REPLACE_RATIO
from equipoise.core.estimate import Estimate

COLUMNS = ("tool", "settings", "runs as", "cost / ours", "quality", "p-value", "certified", "optimisation", "note")
LONGEST_NOTE = 140


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for row in rows:
        quality, p_value = row.quality, row.p_value
        lines.append(
            _line(
                [
                    row.tool,
                    row.setting,
                    row.runs_as,
                    "" if row.cost_to_ours is None else _interval(row.cost_to_ours),
                    "" if quality is None else f"{quality.value:.4f}",
                    "" if p_value is None else f"{p_value:.2g}",
                    "" if quality is None else "yes" if row.certified else "no",
                    "" if row.optimise_s is None else f"{row.optimise_s:.0f} s",
                    _shortened(row.note),
                ]
            )
        )
    return "\n".join(lines)


def dearer_than(rows: Sequence[Row]) -> list[str]:
    """What breaks the claim that ours is never dearer at equal certified quality; empty where it holds.

    A certified competitor breaks it where the interval of its cost lies below ours and the cost itself is lower by more
    than our own search would call a gain (5%).
    """
    ours = next(row for row in rows if row.tool == OURS)
    if not ours.certified:
        return [f"{OURS} itself is not certified on these rows (p = {ours.p_value:.2g})"]
    return [
        f"{row.tool}, {row.setting}: {_interval(row.cost_to_ours)} of the cost of ours"
        for row in rows
        if row.tool != OURS and row.certified and row.cost_to_ours is not None and _is_cheaper(row.cost_to_ours)
    ]


def verdict(name: str, breaks: Sequence[str]) -> str:
    """The verdict in one line."""
    claim = f"{name}: ours is never dearer at equal certified quality: {'false' if breaks else 'true'}"
    return f"{claim} ({'; '.join(breaks)})" if breaks else claim


def _is_cheaper(cost: Estimate) -> bool:
    return cost.value * REPLACE_RATIO < 1 and (cost.high is None or cost.high < 1)


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_NOTE else f"{text[: LONGEST_NOTE - 3]}..."
