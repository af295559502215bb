"""Whether remembering answers saves more than its memory costs, and whether near matches may share them."""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, Answer, Answered, LookedUp, LookUp, NearMatch, NearMatched, Reply
from equipoise.compose.facts import Repeats
from equipoise.compose.near import FACTORS
from equipoise.compose.servable import Entrant
from equipoise.compose.state import SearchState
from equipoise.compose.wording import dollars
from equipoise.core.plan import CacheRule
from equipoise.core.result import CacheFigures
from equipoise.policy.cache import cache_worth, memory_usd_per_hour
from equipoise.policy.cost import machines_needed, usd_per_million_packed

NEAR_SHARE = 0.8
"""Share of the budget that is left that near matches may take: what they take is an estimate."""
OPENING_S = 3.0
"""About what it takes to open the plan and the original once more."""
LEAST_ROWS = 60
"""With fewer rows there are fewer than 30 groups to prove anything with."""
NO_ROWS = "not tried: near matches take a trace with the columns key and row, which says what was asked for"
OVER = "not tried: the budget ended first"


def cache(state: SearchState, chosen: Entrant, *, doubts: bool) -> Generator[Action, Reply, CacheFigures | None]:
    """Find the cache that makes what was chosen cheapest, and take it into the cost where it pays.

    Args:
        state: What the search knows.
        chosen: What was chosen.
        doubts: Whether it will not give every answer: then a near match could be given one that it would not.

    Returns:
        What the cache costs and saves; null where nothing is known of repeats, it could not be timed, or no size of it
        stays within the memory limit.
    """
    repeats, answered = state.facts.repeats, state.search_actions.get(chosen.config.name)
    if repeats is None or answered is None:
        return None
    looked = yield from state.ask(LookUp(answered=answered))
    if not isinstance(looked, LookedUp):
        return None
    best: CacheFigures | None = None
    for max_entries, hit_share in _that_fit(state, chosen, looked.entry_bytes, repeats):
        rule = CacheRule(max_entries=max_entries, entry_bytes=looked.entry_bytes, hit_share=hit_share)
        figures = _figures(state, chosen, rule, looked.lookup_s, repeats.usd_per_gib_hour, repeats.source)
        if best is None or figures.usd_per_million_with < best.usd_per_million_with:
            best = figures
    if best is not None:
        best = yield from _with_near(state, chosen, best, repeats, doubts=doubts)
        if best.chosen:
            _take(state, chosen, best)
    return best


def _that_fit(state: SearchState, chosen: Entrant, entry_bytes: int, repeats: Repeats) -> tuple[tuple[int, float], ...]:
    """The sizes of cache that leave the plan within the memory limit, with their hit shares."""
    limit = state.facts.memory_limit_bytes
    if limit is None:
        return repeats.hit_shares
    room = limit - state.measured[chosen.name].peak_memory_bytes.value
    return tuple((size, share) for size, share in repeats.hit_shares if size * entry_bytes <= room)


def _with_near(
    state: SearchState, chosen: Entrant, exact: CacheFigures, repeats: Repeats, *, doubts: bool
) -> Generator[Action, Reply, CacheFigures]:
    """The cache of near matches where it is proved and cheaper; else that of exact ones, and why."""
    if not repeats.rows:
        return _without_near(exact, NO_ROWS)
    if state.facts.data_use == "none":
        return _without_near(exact, "not tried: what is near is learnt from rows, and data_use = none forbids that")
    if not state.facts.judged:
        return _without_near(exact, "not tried: nothing is proved with the metric none")
    if doubts:
        return _without_near(
            exact, "not tried: of a plan that may doubt its answers, only exact matches are remembered"
        )
    rows = _affordable_rows(state, chosen, exact.lookup_s, repeats.rows)
    if rows < LEAST_ROWS:
        few = repeats.rows < LEAST_ROWS
        found = f"not offered: the trace asks for {repeats.rows:,} rows, {LEAST_ROWS} are needed" if few else OVER
        return _without_near(exact, found)
    matched = yield from _matched(state, chosen, exact, repeats, rows)
    if isinstance(matched, str):
        return _without_near(exact, matched)
    if matched.why_not:
        return _without_near(exact, matched.why_not, matched)
    looked = yield from state.ask(LookUp(answered=state.search_actions[chosen.config.name], near=matched.near))
    if not isinstance(looked, LookedUp):
        return _without_near(exact, "not offered: a look-up could not be timed", matched)
    rule = CacheRule(
        max_entries=matched.max_entries, entry_bytes=looked.entry_bytes, hit_share=matched.hit_share, near=matched.near
    )
    source = f"{repeats.source}; near matches in the later half of the requests"
    near = _figures(state, chosen, rule, looked.lookup_s, repeats.usd_per_gib_hour, source)
    # Exact matches are held against it on the same requests.
    same = exact.rule.model_copy(update={"hit_share": matched.exact_hit_share})
    rival = _figures(state, chosen, same, exact.lookup_s, repeats.usd_per_gib_hour, exact.source)
    least = min(rival.usd_per_million_with, rival.usd_per_million_without)
    if near.usd_per_million_with < least:
        return near.model_copy(update={"near_certificate": matched.certificate})
    with_usd = dollars(near.usd_per_million_with)
    reason = f"proved, but no cheaper: {with_usd} per million with near matches, {dollars(least)} without them"
    return _without_near(exact, reason, matched)


def _matched(
    state: SearchState, chosen: Entrant, exact: CacheFigures, repeats: Repeats, rows: int
) -> Generator[Action, Reply, NearMatched | str]:
    """Have the trace's rows answered, by the plan as it will be served, and near matches tried on them."""
    plan = Answer(config=chosen.config, settings=chosen.settings, split="trace", rows=rows)
    original = plan
    if chosen.config != state.facts.baseline:
        settings = state.fastest_settings(state.screened[state.facts.baseline.name])
        original = Answer(config=state.facts.baseline, settings=settings, split="trace", rows=rows)
    for action in (plan,) if original is plan else (plan, original):
        answered = yield from state.ask(action)
        if not isinstance(answered, Answered):
            return "not offered: the rows of the trace could not be answered"
    matched = yield from state.ask(
        NearMatch(
            plan=plan,
            original=original,
            sizes=tuple(size for size, _ in repeats.hit_shares),
            entry_share=memory_usd_per_hour(1, exact.rule.entry_bytes, repeats.usd_per_gib_hour)
            / state.facts.usd_per_hour,
            exact_entries=exact.rule.max_entries,
        )
    )
    return matched if isinstance(matched, NearMatched) else "not offered: near matches could not be tried"


def _affordable_rows(state: SearchState, chosen: Entrant, lookup_s: float, rows: int) -> int:
    """As many of the trace's rows as can be answered, and their keys made, within the budget that is left."""
    left_s = NEAR_SHARE * (state.remaining_s - state.facts.finish_s) - OPENING_S
    row_s = 1 / state.measured[chosen.name].throughput_rps.value + (len(FACTORS) + 1) * lookup_s
    if chosen.config != state.facts.baseline:
        row_s += 1 / state.screened[state.facts.baseline.name].fastest()[1].rows_per_s
    return max(0, min(rows, int(left_s / row_s)))


def _without_near(exact: CacheFigures, reason: str, matched: NearMatched | None = None) -> CacheFigures:
    proof = None if matched is None else matched.certificate
    return exact.model_copy(update={"near_reason": reason, "near_certificate": proof})


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
        rule=rule.model_copy(update={"lookup_s": lookup_s}),
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
