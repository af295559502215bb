"""The answer in one plain sentence."""

from __future__ import annotations

from equipoise.compose.wording import UNTIMED
from equipoise.core.brief import Brief
from equipoise.core.candidate import Candidate
from equipoise.core.result import Result
from equipoise.report.naming import of_hundred, said, spoken_names
from equipoise.report.parts import composed_text, doubt_text
from equipoise.report.value import gain_text
from equipoise.report.wording import allowed, duration, floor_bound, metric_name, money, quality, significant, times


def sentence(result: Result, brief: Brief) -> str:
    """Say what to do, what it costs, and what is known of it.

    Args:
        result: All but the sentence.
        brief: The limits.
    """
    chosen, cost = result.chosen, result.cost
    if chosen is None:
        miss = result.nearest_miss
        if miss is None:
            return "Nothing meets these limits, and nothing came near enough to measure."
        if miss.found == UNTIMED:
            return (
                f"Undecided: the budget of {duration(brief.limits.budget_s)} was too short to establish any p99 within "
                f"the limit of {miss.needed}; a larger --budget would."
            )
        return (
            f"Nothing meets these limits; the nearest miss is {said(miss.name)}: the limit that binds is {miss.limit}, "
            f"{miss.found} where {miss.needed} is needed."
        )
    if result.decision == "keep":
        better = "cheaper" if result.value is None else "worth more"
        text = f"Keep your model: nothing that was tried is surely {better} and provably as good."
        if not result.frontier or (all(one.recipe.is_original for one in result.frontier) and _untried(result)):
            text = "Keep your model for now: the budget ended before a cheaper form of it could be timed and proved."
        if cost.ratio is not None and cost.ratio > 1.05:
            text += (
                f" With {_setting(chosen)} it costs {money(cost.usd_per_million_chosen)} instead of "
                f"{money(cost.usd_per_million_baseline)} per million requests{_memory(result)}."
            )
        return text + _degraded(result)
    parts = [_saving(result), _worth(chosen), _speed(chosen, brief)]
    certificate = result.certificate
    if certificate is not None:
        before, after = (
            quality(certificate.metric, value.value) for value in (certificate.baseline, certificate.chosen)
        )
        metric = certificate.metric if ":" in certificate.metric else certificate.metric.replace("_", " ")
        parts.append(
            f"{metric} {before} -> {after}, certified to lose at most "
            f"{allowed(certificate.metric, certificate.margin)} with {certificate.confidence:.0%} confidence"
        )
    else:
        parts.append("speed and cost alone were compared, nothing about quality is proved")
    composed = composed_text(chosen)
    if composed:
        return f"Serve {composed}; {'; '.join(part for part in parts if part)}.{_trained(result)}{_degraded(result)}"
    what = f"{chosen.recipe} on {chosen.runtime} in {chosen.precision}, {_setting(chosen)}"
    what = f"Serve {what}, instead of what you have: {'; '.join(part for part in parts if part)}."
    return what + _trained(result) + _degraded(result)


def _trained(result: Result) -> str:
    """Of what training cost, where the chosen plan has a trained model in it."""
    paid, chosen = result.payback, result.chosen
    if paid is None or chosen is None or paid.plan != chosen.name or paid.requests is None:
        return ""
    days = "" if paid.days is None else f" ({significant(paid.days)} days at your rate)"
    cost = f"{duration(paid.trained_s)} of training, {money(paid.training_usd)}"
    return f" It took {cost}, which {paid.requests:,.0f} requests{days} earn back."


def _untried(result: Result) -> bool:
    return any(failure.reason.startswith("not tried") for failure in result.rejected)


def _saving(result: Result) -> str:
    cost = result.cost
    if cost.usd_per_million_baseline is None:
        return (
            f"{money(cost.usd_per_million_chosen)} per million requests{_memory(result)}, where the original cannot "
            "meet the limits"
        )
    full = " in full batches" if cost.basis == "packed" else ""
    if result.value is not None and cost.ratio_tuned is not None and cost.ratio_tuned <= 1:
        paid, before = money(cost.usd_per_million_chosen), money(cost.usd_per_million_baseline)
        return f"{paid} instead of {before} per million requests{full}{_memory(result)}"
    text = (
        f"{money(cost.usd_per_million_chosen)} instead of {money(cost.usd_per_million_baseline)} per million requests"
        f"{full} ({times(cost.ratio)} cheaper, {times(cost.ratio_tuned)} than the original with its best settings)"
        f"{_memory(result)}"
    )
    if cost.basis == "provisioned" and cost.ratio_tuned is not None and cost.ratio_tuned <= 1 and cost.ratio_interval:
        text = (
            f"the same bill at this traffic ({money(cost.usd_per_million_chosen)} per million requests), and room for "
            f"{times(cost.ratio_interval.value)} as much on the same machines{_memory(result)}"
        )
    return text


def _memory(result: Result) -> str:
    """Of a cache that was chosen."""
    cache = result.cache
    if cache is None or not cache.chosen:
        return ""
    hits, without = of_hundred(cache.rule.hit_share), money(cache.usd_per_million_without)
    return f", {hits} of them answered from memory ({without} without that)"


def _degraded(result: Result) -> str:
    """Of what answers under pressure and in doubt, a sentence each."""
    text = ""
    mode, doubt = result.fallback, result.distrust
    if mode is not None and mode.offered:
        metric, bound = mode.certificate.metric, floor_bound(mode.certificate)
        known = f" ({metric_name(metric)} {bound})" if bound else ""
        text += f" Under pressure {spoken_names([mode.name])[0]} answers alone{known}."
    if doubt is not None and doubt.certificate.passed and doubt.share_answered < 1:
        text += f" Where it is not sure ({of_hundred(1 - doubt.share_answered)} requests), {doubt_text(doubt)}."
    return text


def _worth(chosen: Candidate) -> str:
    """Of net value, where errors, waiting or failures have a price."""
    return "" if chosen.value is None else gain_text(chosen.value.gain_usd)


def _speed(chosen: Candidate, brief: Brief) -> str:
    p99 = chosen.latency_s.p99
    if p99 is None:
        return ""
    limit = "" if brief.limits.p99_s is None else f" (limit {duration(brief.limits.p99_s)})"
    return f"p99 {duration(p99.value)}{limit}"


def _setting(candidate: Candidate) -> str:
    threads = f"{candidate.threads} thread{'s' * (candidate.threads != 1)}"
    replicas = f" x {candidate.replicas} replicas" if candidate.replicas > 1 else ""
    return f"{threads}{replicas} and batches of {candidate.batch}"
