"""Proof and choice: the certify split is opened, surest first, and the cheapest that passed is chosen."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import partial
from typing import Any

from equipoise.compose.actions import Action, Answered, Reply
from equipoise.compose.caching import cache
from equipoise.compose.certify import fixed_sequence, surest_first
from equipoise.compose.choice import Choice, Screening
from equipoise.compose.degrade import distrust, fallback
from equipoise.compose.pareto import pareto
from equipoise.compose.repay import best_untrained, repaid
from equipoise.compose.savings import savings_of
from equipoise.compose.screen import LIKELY_POWER
from equipoise.compose.servable import Config
from equipoise.compose.state import Screened, SearchState
from equipoise.compose.wording import UNTIMED, dollars, quality_reason
from equipoise.compose.worth import REPLACE_RATIO, business_value, no_gain, note_errors, rank, surely_worth_more
from equipoise.core.candidate import Candidate
from equipoise.core.result import NearestMiss
from equipoise.errors import BaselineError
from equipoise.policy.cost import usd_per_million_packed


def choose(state: SearchState) -> Generator[Action, Reply, Choice]:
    """Prove what can be proved, and choose the cheapest that was.

    Raises:
        BaselineError: The original could not answer the certify split.
    """
    deployed, tuned = list(state.entrants)[:2]
    misses = {name: _misses(state, candidate) for name, candidate in state.measured.items()}
    keep = min((name for name in (tuned, deployed) if misses[name] is None), key=partial(rank, state), default=None)
    rivals = _rivals(state, misses, keep)
    order, certified = yield from _open_certify(state, tuned, rivals)
    eligible, payback = repaid(state, certified, keep)
    # With prices of errors the original may turn out to be worth the most, on rows that did not choose its rivals.
    stays = (keep,) if keep is not None and (state.facts.value is not None or not eligible) else ()
    chosen = min((*eligible, *stays), key=partial(rank, state), default=None)
    _explain_losers(state, rivals, order, certified, chosen)
    extras: dict[str, Any] = {}
    if chosen is not None:
        entrant = state.entrants[chosen]
        extras = {
            "fallback": (yield from fallback(state, entrant)),
            "doubting": (yield from distrust(state, entrant, plans=state.planned + 1)),
        }
        doubts = isinstance(extras["doubting"], tuple)
        extras["cache"] = yield from cache(state, entrant, doubts=doubts)
        savings = savings_of(state, entrant, extras["cache"])
        state.measured[chosen] = state.measured[chosen].model_copy(update={"savings": savings})
        yield from state.tell_best(chosen, proved=True)
    value = business_value(state, tuned, _proved(state, misses, order, certified), (*stays, *eligible))
    return Choice(
        decision="infeasible" if chosen is None else "keep" if chosen == keep else "replace",
        baseline=state.measured[deployed],
        baseline_tuned=state.measured[tuned],
        chosen=None if chosen is None else state.measured[chosen],
        measured=state.measured,
        entrants=state.entrants,
        frontier=_frontier(state),
        failures=tuple(state.failures),
        order=order,
        certified=certified,
        tried=state.tried,
        ratio=None if chosen is None or state.raced is None else state.raced.ratio_to_tuned.get(chosen),
        rows_certify=state.rows_certify,
        certify_actions=state.certify_actions,
        search_actions=state.search_actions,
        sustained_rps={
            name: loaded.profile.sustained_rps
            for name, loaded in state.loaded.items()
            if loaded.profile.sustained_rps is not None
        },
        batch_rules={name: loaded.batch_rule for name, loaded in state.loaded.items()},
        screened=tuple(_screening(state, screened) for screened in state.screened.values()),
        race_samples="" if state.raced is None else state.raced.samples,
        nearest_miss=_nearest_miss(state) if chosen is None else None,
        value=value,
        payback=payback,
        **extras,
    )


def _rivals(state: SearchState, misses: dict[str, str | None], keep: str | None) -> list[str]:
    """Finalists within the limits that are surely cheaper than the original; any, where that misses a limit itself."""
    rivals = []
    for name, miss in list(misses.items())[2:]:
        if miss is not None:
            state.give_up(state.entrants[name].config, "choose", miss)
        elif keep is not None and not _beats(state, name, keep):
            state.give_up(state.entrants[name].config, "choose", _no_gain(state, name, keep))
        else:
            rivals.append(name)
    return rivals


def _open_certify(
    state: SearchState, tuned: str, rivals: list[str]
) -> Generator[Action, Reply, tuple[tuple[str, ...], tuple[str, ...]]]:
    if not state.facts.judged:
        return (), tuple(rivals)
    answered = yield from state.answer_certify(tuned, state.fastest_settings(state.screened_of(tuned)))
    if not isinstance(answered, Answered):
        state.note(answered)
        raise BaselineError(state.failures[-1].reason)
    for name in list(state.entrants)[:2]:
        state.set_quality(name, answered.quality)
        note_errors(state, name, answered)
    points = [(rank(state, name)[0], state.doubt(state.screened_of(name))) for name in rivals]
    front = [rivals[index] for index in pareto(points)]
    compared = [_best_alone(state, rivals), best_untrained(state, rivals)]
    for name in rivals:
        if name not in (*front, *compared):
            state.give_up(state.entrants[name].config, "choose", "another finalist is cheaper and surer")
    screened = {name: state.screened_of(name) for name in front}
    order = surest_first({name: (state.doubt(each), state.power(each)) for name, each in screened.items()})
    # Behind all others, a test can cost none of them its place: it is for what composing, or training, saves over it.
    order = (*order, *dict.fromkeys(name for name in compared if name is not None and name not in order))
    state.planned = len(order)
    sequence = fixed_sequence(order, alpha=1 - state.facts.confidence)
    opened: list[str] = []
    try:
        name = next(sequence)
        while True:
            opened.append(name)
            answered = yield from state.answer_certify(name, state.entrants[name].settings)
            p_value = 1.0
            if isinstance(answered, Answered) and answered.judgement is not None:
                p_value = answered.judgement.p_value
                state.certified[name] = answered.judgement
                state.set_quality(name, answered.quality)
                note_errors(state, name, answered)
                if p_value > 1 - state.facts.confidence:
                    reason = quality_reason(answered.judgement, on="certify")
                    state.give_up(state.entrants[name].config, "certify", reason)
            else:
                state.note(answered)
            name = sequence.send(p_value)
    except StopIteration as stop:
        return tuple(opened), tuple(stop.value)


def _best_alone(state: SearchState, rivals: list[str]) -> str | None:
    """The cheapest single config that is likely to pass, where a composition is among the rivals; null for none."""
    alone = [name for name in rivals if isinstance(state.entrants[name].config, Config)]
    if len(alone) == len(rivals):
        return None
    likely = [name for name in alone if state.power(state.screened_of(name)) >= LIKELY_POWER]
    return min(likely, key=partial(rank, state), default=None)


def _explain_losers(
    state: SearchState, rivals: list[str], order: tuple[str, ...], certified: tuple[str, ...], chosen: str | None
) -> None:
    explained = {failure.name for failure in state.failures}
    for name in rivals:
        config = state.entrants[name].config
        if name == chosen or config.name in explained:
            continue
        if name in certified:
            better = "is cheaper" if state.facts.value is None else "is worth more"
            state.give_up(config, "choose", f"certified, but {chosen} {better}")
        elif name not in order:
            state.give_up(config, "certify", "not tested: an earlier one in the fixed sequence did not pass")


def _beats(state: SearchState, name: str, keep: str) -> bool:
    """Whether a finalist is cheaper (or, with prices, worth more) than the original, beyond the noise of measuring."""
    if state.facts.value is not None:
        return surely_worth_more(state, name, keep)
    mine, other = state.cost_key(name), state.cost_key(keep)
    if mine[0] != other[0] and state.facts.rate_rps is not None:
        return mine[0] * REPLACE_RATIO < other[0]
    ratio = state.ratio_to(name, keep)
    return ratio is not None and ratio.low is not None and ratio.low > REPLACE_RATIO


def _no_gain(state: SearchState, name: str, keep: str) -> str:
    original = "original as deployed" if state.entrants[keep].settings.default else "tuned original"
    if state.facts.value is not None:
        return no_gain(state, name, keep, original)
    mine, other = state.cost_key(name)[0], state.cost_key(keep)[0]
    if mine != other and state.facts.rate_rps is not None:
        if math.isinf(mine):
            return "no number of machines answers the traffic within the limit"
        return (
            f"not surely cheaper than the {original} at this traffic: {dollars(mine)} per million requests, where that "
            f"costs {dollars(other)} and less than {dollars(other / REPLACE_RATIO)} is required"
        )
    ratio = state.ratio_to(name, keep)
    if ratio is None or ratio.low is None:
        return f"timed too few rounds to say that it is cheaper than the {original}"
    return (
        f"not surely cheaper than the {original}: {ratio.value:.2f} times as fast "
        f"(95% interval {ratio.low:.2f} to {ratio.high or ratio.value:.2f}, more than {REPLACE_RATIO} is required)"
    )


def _proved(
    state: SearchState, misses: dict[str, str | None], order: tuple[str, ...], certified: tuple[str, ...]
) -> dict[str, bool | None]:
    """Of all within the limits, whether quality is proved; null where it was not tested. The original loses nothing."""
    found: dict[str, bool | None] = {}
    for name in (name for name, miss in misses.items() if miss is None):
        proved = name in certified or state.entrants[name].config == state.facts.baseline
        found[name] = True if proved else False if name in order else None
    return found


def _misses(state: SearchState, candidate: Candidate) -> str | None:
    """The limit that a candidate passes, in words; null where it passes none."""
    limit = state.facts.p99_limit_s
    if limit is not None:
        p99 = candidate.latency_s.p99
        if p99 is None or p99.high is None:
            return f"no p99 could be established within the budget (limit {limit * 1e3:g} ms)"
        if p99.high > limit:
            return f"p99 {p99.value * 1e3:.3g} ms, at most {p99.high * 1e3:.3g} ms; the limit is {limit * 1e3:g} ms"
    memory = state.facts.memory_limit_bytes
    if memory is not None and candidate.peak_memory_bytes.value > memory:
        return f"memory {candidate.peak_memory_bytes.value / 1e6:,.1f} MB; the limit is {memory / 1e6:,.1f} MB"
    return None


def _nearest_miss(state: SearchState) -> NearestMiss | None:
    """What came closest to the limits, measured by how far it passes the one it misses, as a share of it."""
    misses: list[tuple[float, NearestMiss]] = []
    limit_s, memory = state.facts.p99_limit_s, state.facts.memory_limit_bytes
    for name, candidate in state.measured.items():
        p99, judgement = candidate.latency_s.p99, state.certified.get(name)
        if limit_s is not None and p99 is not None and p99.high is not None and p99.high > limit_s:
            found, needed = f"{p99.value * 1e3:.3g} ms", f"{limit_s * 1e3:g} ms"
            miss = NearestMiss(name=name, limit="p99", found=found, needed=needed)
            misses.append((p99.high / limit_s - 1, miss))
        elif memory is not None and candidate.peak_memory_bytes.value > memory:
            found = f"{candidate.peak_memory_bytes.value / 1e6:,.1f} MB"
            miss = NearestMiss(name=name, limit="memory", found=found, needed=f"{memory / 1e6:,.1f} MB")
            misses.append((candidate.peak_memory_bytes.value / memory - 1, miss))
        elif judgement is not None:
            found = quality_reason(judgement, on="certify")
            miss = NearestMiss(name=name, limit="quality", found=found, needed=f"p <= {1 - state.facts.confidence:g}")
            misses.append((judgement.p_value, miss))
        elif limit_s is not None and (p99 is None or p99.high is None):
            miss = NearestMiss(name=name, limit="p99", found=UNTIMED, needed=f"{limit_s * 1e3:g} ms")
            misses.append((math.inf, miss))
    return min(misses, key=lambda pair: pair[0], default=(0.0, None))[1]


def _screening(state: SearchState, screened: Screened) -> Screening:
    entrant = state.entrant(screened)
    settings = entrant.settings
    difference = None if screened.judgement is None else screened.judgement.main.difference
    return Screening(
        name=entrant.name,
        config_name=screened.config.name,
        settings=settings.lanes,
        usd_per_million=usd_per_million_packed(state.facts.usd_per_hour, state.rows_per_s(screened)),
        quality=screened.quality,
        drop_high=None if difference is None else difference.high,
    )


def _frontier(state: SearchState) -> tuple[str, ...]:
    deployed = next(iter(state.entrants))
    names = [name for name in state.measured if name != deployed]
    front = pareto([(state.cost_key(name)[0], state.doubt(state.screened_of(name))) for name in names])
    return tuple(sorted((names[index] for index in front), key=state.cost_key))
