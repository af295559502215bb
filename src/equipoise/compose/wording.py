"""Reasons, in words for the person."""

from __future__ import annotations

from equipoise.compose.certify import Judgement


def quality_reason(judgement: Judgement, on: str = "search") -> str:
    """What a candidate loses on a split, and which claims that blocks."""
    difference = judgement.main.difference
    if difference is None or difference.high is None:
        return f"quality: {judgement.main.method}"
    text = f"quality: loses {difference.value:.4g} on the {on} rows (at most {difference.high:.4g})"
    if judgement.blocked_by:
        text += f"; blocked by {', '.join(judgement.blocked_by)}"
    return text
