"""Reasons, in words for the person."""

from __future__ import annotations

from equipoise.compose.certify import Judgement

UNTIMED = "too few requests could be timed within the budget"


def quality_reason(judgement: Judgement, on: str = "search") -> str:
    """What a candidate loses on a split, and which claims that blocks, each with what is known of it.

    A slice or a set with too few rows is named with the rows it has on that split and those it would take there.
    """
    difference = judgement.main.difference
    if difference is None or difference.high is None:
        return f"quality: {judgement.main.method}"
    change = "gains" if difference.value < 0 else "loses"
    text = f"quality: {change} {abs(difference.value):.4g} on the {on} rows (loses at most {difference.high:.4g})"
    if judgement.blocked_by:
        text += f"; blocked by {', '.join(_claim(name, judgement) for name in judgement.blocked_by)}"
    return text


def dollars(usd: float) -> str:
    """US dollars, to the cent or to three digits.

    >>> dollars(1234.5), dollars(0.01234)
    ('$1,234.50', '$0.0123')
    """
    return f"${usd:,.2f}" if usd >= 1 else f"${usd:.3g}"


def _claim(name: str, judgement: Judgement) -> str:
    test = judgement.tests[name]
    verdict = next((verdict.verdict for verdict in judgement.verdicts if verdict.name == name), None)
    needed = "no number would do at the loss seen" if test.needed is None else f"{test.needed:,} needed"
    if verdict is None:  # the claim on all rows has no verdict: it is passed or not
        return f"the margin on all rows ({test.n:,} rows, {needed})"
    return f"{name} ({verdict}: {test.n:,} rows{'' if verdict == 'worse' else f', {needed}'})"
