"""What a bundle's certificate is worth on new rows."""

from __future__ import annotations

from typing import Literal

from equipoise.core.certificate import Margin, SliceVerdictName
from equipoise.core.estimate import Estimate
from equipoise.core.noun import Noun

Outcome = Literal["holds", "fails", "not tested"]
Basis = Literal["paired", "floor"]


class CheckedClaim(Noun):
    """One thing that was claimed of a bundle, looked at again.

    Attributes:
        name: `files`, `golden answers`, or the certificate's own: `main`, `sex=Female`, the name of an
            out-of-distribution set.
        kind: What is claimed: that no file changed, that golden answers are the same here, or a loss within a margin on
            the rows of the metric, of a slice, of an out-of-distribution set, or of corrupted rows.
        outcome: `fails` where it is not proved again, for whatever reason; `not tested` where what it takes was not
            given.
        verdict: Of a loss: `within` the margin, `worse` (evidence of harm), or `too few` rows to say.
        margin: The loss that is allowed; null for files and golden answers.
        floor: What the figure itself must be above (for metrics where lower is better: below), where there is no
            original to compare with.
        quality: The bundle's own figure on the new rows.
        difference: Loss from the original to the bundle, positive is a loss; null without an original.
        p_value: Of the hypothesis that the claim is false.
        n: New rows that it was tested on.
        needed: Rows that a proof would take at the loss seen; null where no number would do, or it is not known.
        details: What changed, one line each; or why it was not tested.
    """

    name: str
    kind: Literal["files", "answers", "metric", "slice", "ood", "corruption"]
    outcome: Outcome
    verdict: SliceVerdictName | None = None
    margin: Margin | None = None
    floor: float | None = None
    quality: Estimate | None = None
    difference: Estimate | None = None
    p_value: float | None = None
    n: int = 0
    needed: int | None = None
    details: tuple[str, ...] = ()


class Check(Noun):
    """What `equipoise check` found.

    Attributes:
        schema_version: Of this layout.
        bundle: Its folder.
        plan: Name of the plan it serves; null, like the three below, where files changed, so that none was opened.
        data: The file of new rows.
        metric: What is compared.
        confidence: Of each claim, and so of all of them together.
        basis: `paired` with the original's answers to the same rows; `floor` without an original.
        claims: Files and golden answers first, then the certificate's own.
        notes: What the person should know besides.
    """

    schema_version: Literal[1] = 1
    bundle: str
    plan: str | None
    data: str
    metric: str | None = None
    confidence: float | None = None
    basis: Basis | None = None
    claims: tuple[CheckedClaim, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no claim fails."""
        return all(claim.outcome != "fails" for claim in self.claims)
