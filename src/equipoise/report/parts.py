"""What a plan consists of, a line each: its stages, what answers under pressure or in doubt, what is remembered."""

from __future__ import annotations

from equipoise.core.candidate import Candidate
from equipoise.core.certificate import FloorCertificate
from equipoise.core.padding import Padding
from equipoise.core.payback import Payback
from equipoise.core.plan import Distrust
from equipoise.core.result import CacheFigures, DegradedMode
from equipoise.report.naming import composition_of, of_hundred, short_name, spoken_names
from equipoise.report.wording import duration, floor_bound, metric_name, money, percent, quality, significant, size


def composed_text(candidate: Candidate) -> str:
    """Who answers what share of the requests; empty for a single model."""
    found = composition_of(candidate)
    if found is None:
        return ""
    names = spoken_names([stage.name for stage in found.stages])
    if len(names) == 1:
        return f"an {found.kind}: the {names[0]} answers every request"
    shares = [stage.share_answered for stage in found.stages]
    if any(share is None for share in shares):
        return f"a cascade of {', then '.join(names)}"
    said = [
        f"{name} answers {of_hundred(share or 0)} requests by itself"
        if place == 0
        else f"{name} {of_hundred(share or 0)}"
        for place, (name, share) in enumerate(zip(names[:-1], shares[:-1], strict=True))
    ]
    return f"a cascade: {', '.join([*said, f'{names[-1]} the rest'])}"


def padding_line(padding: Padding) -> str:
    """How long rows are, and how much of what is computed is filling."""
    plain, whole = percent(padding.to_longest_of_batch), percent(padding.to_longest_row)
    return (
        f"{significant(padding.tokens_mean)} a row on average, {padding.tokens_longest:,} at most; of those computed "
        f"{percent(padding.as_run)} are filling, in batches of {padding.batch:,} that are divided by length "
        f"({plain} if they were not, {whole} if all rows were filled up to the longest)"
    )


def floor_text(certificate: FloorCertificate) -> str:
    """A degraded mode's quality, how sure that is, and the floor it is held against."""
    found = quality(certificate.metric, certificate.quality.value)
    known = [
        *([bound] if (bound := floor_bound(certificate)) else []),
        f"floor {quality(certificate.metric, certificate.floor)}",
        f"{significant(certificate.confidence * 100)}% confidence",
        f"{certificate.n:,} rows",
    ]
    return f"{metric_name(certificate.metric)} {found} ({', '.join(known)})"


def doubt_text(distrust: Distrust) -> str:
    """What is given where an answer is not trusted."""
    if distrust.answer == "refer":
        return "a person is asked"
    if distrust.answer == "simple":
        return "the simple stage's answer is given"
    return f"the answer {distrust.default} is given"


def fallback_line(mode: DegradedMode) -> str:
    """What answers under pressure, or why nothing does."""
    name = short_name(mode.name)
    if mode.offered:
        return f"{name} answers, {money(mode.usd_per_million_packed)} per million: {floor_text(mode.certificate)}"
    return f"not offered: {name} is {not_shown(mode.certificate)}: {floor_text(mode.certificate)}"


def distrust_line(distrust: Distrust) -> str:
    """What is given where the plan does not trust its answer, how often, and what that is worth."""
    what = "all answers were trusted"
    if distrust.share_answered < 1:
        what = f"{of_hundred(distrust.share_answered)} answers are trusted; for the others {doubt_text(distrust)}"
    shown = "" if distrust.certificate.passed else f", {not_shown(distrust.certificate)}"
    return f"{what}: {floor_text(distrust.certificate)}{shown}"


def cache_line(cache: CacheFigures) -> str:
    """What remembering answers costs and saves."""
    memory = size(cache.rule.max_entries * cache.rule.entry_bytes)
    found = f"{of_hundred(cache.rule.hit_share)} requests find their answer in {memory} of memory"
    if cache.chosen:
        return (
            f"{found}: {money(cache.usd_per_million_with)} per million instead of "
            f"{money(cache.usd_per_million_without)}, memory and look-ups ({duration(cache.lookup_s)} each) paid"
        )
    return f"left out: {found}, but {cache_reason(cache)}"


def cache_reason(cache: CacheFigures) -> str:
    """Why a cache was left out: what its memory costs against what its answers save once look-ups are paid."""
    computed = cache.usd_per_million_with - cache.memory_usd_per_million
    saved = cache.usd_per_million_without - computed
    if saved <= 0:
        return (
            f"looking up costs more than it saves: {money(cache.usd_per_million_with)} per million with it, "
            f"{money(cache.usd_per_million_without)} without"
        )
    return f"its memory would cost {money(cache.memory_usd_per_million)} per million and save {money(saved)}"


def payback_line(payback: Payback) -> str:
    """What training cost, and when the best plan that it brought has earned that back."""
    cost = f"{duration(payback.trained_s)} of training cost {money(payback.training_usd)}"
    if payback.instead_of is None or payback.saved_per_million_usd is None:
        return f"{cost}; no plan without it meets the limits"
    other = short_name(payback.instead_of)
    if payback.requests is None:
        return f"{cost} and never pays for itself: {other}, which needs none, costs no more, so it is not chosen"
    when = f"{payback.requests:,.0f} requests"
    if payback.days is not None:
        when += f", {significant(payback.days)} days at your rate"
    saved = f"each million saves {money(payback.saved_per_million_usd)} against {other}, which needs none"
    if payback.in_time:
        return f"{cost} and has paid for itself after {when}: {saved}"
    return (
        f"{cost} and would pay for itself only after {when} ({payback.within_days:g} days are allowed), so it is not "
        f"chosen: {saved}"
    )


def not_shown(certificate: FloorCertificate) -> str:
    """Why a degraded mode is not offered."""
    return "not proved to reach the floor" if not certificate.passed else "left out, though it reaches the floor"
