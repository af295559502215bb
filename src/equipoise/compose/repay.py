"""Whether training has paid for itself: a trained plan that does not earn back what its training cost is not chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from equipoise.compose.screen import LIKELY_POWER
from equipoise.compose.state import SearchState
from equipoise.compose.wording import dollars
from equipoise.compose.worth import rank
from equipoise.core.payback import Payback
from equipoise.policy.payback import paid_back, training_usd


def repaid(state: SearchState, certified: Sequence[str], keep: str | None) -> tuple[tuple[str, ...], Payback | None]:
    """The certified plans that may be chosen, and the figures of the best trained one.

    The training of the whole study is charged, failed attempts too: without them there would be no such plan.

    Args:
        state: What the search knows.
        certified: Names of what was certified.
        keep: The original, where it meets the limits.

    Returns:
        Those that needed no training, or whose training pays for itself in time; and what the best trained plan earns,
        null where none was certified. Why another may not be chosen is noted.
    """
    trained = [name for name in certified if state.is_trained(state.entrants[name].config)]
    if not trained:
        return tuple(certified), None
    free = [name for name in certified if name not in trained] or ([] if keep is None else [keep])
    reference = min(free, key=lambda name: rank(state, name), default=None)
    figures = {name: _payback(state, name, reference) for name in trained}
    for name, figure in figures.items():
        if not figure.in_time:
            state.give_up(state.entrants[name].config, "choose", _reason(figure))
    best = min(trained, key=lambda name: rank(state, name))
    return tuple(name for name in certified if name not in figures or figures[name].in_time), figures[best]


def best_untrained(state: SearchState, rivals: Sequence[str]) -> str | None:
    """The cheapest likely rival without a trained model, where others are trained; null for none."""
    free = [name for name in rivals if not state.is_trained(state.entrants[name].config)]
    if len(free) == len(rivals):
        return None
    likely = [name for name in free if state.power(state.screened_of(name)) >= LIKELY_POWER]
    return min(likely, key=lambda name: rank(state, name), default=None)


def _payback(state: SearchState, name: str, reference: str | None) -> Payback:
    facts = state.facts
    saved = math.inf if reference is None else rank(state, reference)[0] - rank(state, name)[0]
    if math.isnan(saved):  # neither serves the traffic
        saved = 0.0
    usd = training_usd(facts.usd_per_hour, state.trained_s)
    found = paid_back(usd, saved, facts.mean_rate_rps, facts.payback_days)
    return Payback(
        plan=name,
        instead_of=reference,
        trained_s=state.trained_s,
        training_usd=usd,
        saved_per_million_usd=saved if math.isfinite(saved) else None,
        requests=found.requests,
        days=found.days,
        within_days=facts.payback_days,
        in_time=found.in_time,
    )


def _reason(figure: Payback) -> str:
    cost = f"the training cost {dollars(figure.training_usd)} ({figure.trained_s / 60:.1f} minutes)"
    if figure.requests is None:
        return f"{cost} and never pays for itself: {figure.instead_of} needs none, and costs no more"
    days = "" if figure.days is None else f", {figure.days:,.0f} days at this rate"
    return (
        f"{cost} and pays for itself only after {figure.requests:,.0f} requests{days}, where {figure.within_days:g} "
        f"days are allowed; {figure.instead_of} needs none"
    )
