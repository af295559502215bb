"""Whether remembering answers saves more than its memory costs."""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, LookedUp, LookUp, Reply
from equipoise.compose.servable import Entrant
from equipoise.compose.state import SearchState
from equipoise.core.plan import CacheRule
from equipoise.core.result import CacheFigures
from equipoise.policy.cache import cache_worth, memory_usd_per_hour
from equipoise.policy.cost import machines_needed, usd_per_million_packed


def cache(state: SearchState, chosen: Entrant) -> Generator[Action, Reply, CacheFigures | None]:
    """Find the size of cache that makes what was chosen cheapest, and take it into the cost where it pays.

    Args:
        state: What the search knows.
        chosen: What was chosen.

    Returns:
        What the cache costs and saves; null where nothing is known of repeats, or it could not be timed.
    """
    repeats, answered = state.facts.repeats, state.search_actions.get(chosen.config.name)
    if repeats is None or answered is None:
        return None
    looked = yield from state.ask(LookUp(answered=answered))
    if not isinstance(looked, LookedUp):
        return None
    best: CacheFigures | None = None
    for max_entries, hit_share in repeats.hit_shares:
        rule = CacheRule(max_entries=max_entries, entry_bytes=looked.entry_bytes, hit_share=hit_share)
        figures = _figures(state, chosen, rule, looked.lookup_s, repeats.usd_per_gib_hour, repeats.source)
        if best is None or figures.usd_per_million_with < best.usd_per_million_with:
            best = figures
    if best is not None and best.chosen:
        _take(state, chosen, best)
    return best


def _figures(
    state: SearchState, chosen: Entrant, rule: CacheRule, lookup_s: float, usd_per_gib_hour: float, source: str
) -> CacheFigures:
    """The cost with and without, by the basis that decides.

    A machine kept full: `policy.cache.cache_worth` at its own throughput. Whole machines: as many as the requests that
    find nothing need, each with a cache of its own.
    """
    facts, candidate = state.facts, state.measured[chosen.name]
    memory_usd = memory_usd_per_hour(rule.max_entries, rule.entry_bytes, usd_per_gib_hour)
    loaded = state.loaded.get(chosen.name)
    sustained_rps = None if loaded is None else loaded.profile.sustained_rps
    if facts.rate_rps is None or not sustained_rps:
        worth = cache_worth(
            rule.hit_share,
            candidate.usd_per_million_packed,
            lookup_s=lookup_s,
            usd_per_hour=facts.usd_per_hour,
            memory_usd_hour=memory_usd,
            rate_rps=candidate.throughput_rps.value,
        )
        without_usd, with_usd = worth.usd_per_million_without, worth.usd_per_million
        memory_share = worth.memory_usd_per_million
    else:
        mean_rps = facts.mean_rate_rps or facts.rate_rps
        with_rps = 1 / ((1 - rule.hit_share) / sustained_rps + lookup_s)
        machines = machines_needed(facts.rate_rps, with_rps)
        memory_share = usd_per_million_packed(machines * memory_usd, mean_rps) if memory_usd else 0.0
        with_usd = usd_per_million_packed(machines * facts.usd_per_hour, mean_rps) + memory_share
        without_usd = state.cost_key(chosen.name)[0]
    return CacheFigures(
        rule=rule,
        lookup_s=lookup_s,
        usd_per_million_without=without_usd,
        usd_per_million_with=with_usd,
        memory_usd_per_million=memory_share,
        source=source,
        chosen=with_usd < without_usd,
    )


def _take(state: SearchState, chosen: Entrant, figures: CacheFigures) -> None:
    """Let the chosen candidate cost what it costs with the cache."""
    candidate = state.measured[chosen.name]
    by_traffic = state.facts.rate_rps is not None
    field = "usd_per_million_provisioned" if by_traffic else "usd_per_million_packed"
    changes = {
        field: figures.usd_per_million_with,
        "usd_per_million_correct": state.usd_correct(figures.usd_per_million_with, candidate.quality),
    }
    state.measured[chosen.name] = candidate.model_copy(update=changes)
