"""Net value in the search: what a candidate is worth beside the original, where the brief prices more than machines.

The certificate and the p99 limit bind as ever: value decides among what keeps them. Who may win is found on the search
rows; what each is worth in the end, on the certify rows, where the fixed sequence has made choosing free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from equipoise.compose.actions import Answered
from equipoise.compose.state import Screened, SearchState
from equipoise.compose.wording import dollars
from equipoise.core.brief import ValueBrief
from equipoise.core.estimate import Estimate
from equipoise.core.value import BestFrom, BusinessValue, ErrorLoss, PlanValue, Sensitivity, Value, ValueFigure
from equipoise.policy.cost import MILLION, machines_needed, usd_per_million_packed
from equipoise.policy.value import best_from, exactly, negated, per_million, value_of
from equipoise.stats.intervals import sum_of_estimates

REPLACE_RATIO = 1.05
"""What replaces the original must surely cost less by this; with prices, surely be worth more by a like sum."""
USABLE = 0.9
"""Share of a machine's throughput that traffic may use, for a rough count of machines."""
NO_MACHINES = "no number of machines answers the traffic within the limit"


def note_errors(state: SearchState, name: str, answered: Answered) -> None:
    """Keep what an entrant's errors on the certify rows cost, where errors have a price."""
    if answered.errors is not None:
        state.certified_errors[name] = answered.errors


def rank(state: SearchState, name: str) -> tuple[float, float]:
    """What decides between measured entrants, lower first: cost; minus net value where there is more to it."""
    if state.facts.value is None:
        return state.cost_key(name)
    value = net_value(state, name)
    return math.inf if value is None else -value.net_usd.value, state.cost_key(name)[1]


def rough_cost(state: SearchState, screened: Screened) -> float:
    """What screening says of a config's cost, for comparing: serving and errors; how requests wait is not known yet."""
    rows_per_s, rate = state.rows_per_s(screened), state.facts.rate_rps
    if screened.errors is None:
        return 1 / rows_per_s
    usd_per_hour = state.facts.usd_per_hour
    serving = usd_per_million_packed(usd_per_hour, rows_per_s)
    if rate is not None:
        machines = machines_needed(rate, USABLE * rows_per_s)
        serving = usd_per_million_packed(usd_per_hour * machines, state.facts.mean_rate_rps or rate)
    return serving + MILLION * screened.errors.usd.value


def net_value(state: SearchState, name: str, original: str | None = None) -> Value | None:
    """What a million requests to a measured entrant are worth, and how much more than to the original.

    Args:
        state: What the search knows.
        name: Of the entrant.
        original: The original, as deployed or tuned; null for no comparison.

    Returns:
        Null where nothing has a price, or no number of machines serves the traffic.
    """
    prices = state.facts.value
    serving = _serving(state, name)
    if prices is None or serving is None:
        return None
    errors = _errors(state, name)
    waiting, failing = _under_traffic(state, name, prices)
    return value_of(
        serving,
        errors_usd=None if errors is None else per_million(errors.usd, 1.0),
        latency_usd=waiting,
        failures_usd=failing,
        gain_usd=None if original is None else _gain(state, name, original, prices),
    )


def surely_worth_more(state: SearchState, name: str, original: str) -> bool:
    """Whether a finalist is worth more than the original, beyond the noise of speeds, errors and waiting."""
    value = net_value(state, name, original)
    if value is None:
        return False
    if value.gain_usd is None:
        return net_value(state, original) is None  # the original serves no traffic at all
    return value.gain_usd.low is not None and value.gain_usd.low > _least_gain(value)


def no_gain(state: SearchState, name: str, original: str, spoken: str) -> str:
    """Why a finalist is not surely worth more than the original, in words.

    Args:
        state: What the search knows.
        name: Of the finalist.
        original: Of the original.
        spoken: What the original is called.
    """
    value = net_value(state, name, original)
    if value is None or value.gain_usd is None:
        return NO_MACHINES
    gain = value.gain_usd
    if gain.low is None or gain.high is None:
        return f"timed too few rounds to say that it is worth more than the {spoken}"
    return (
        f"not surely worth more than the {spoken}: {_signed(gain.value)} per million requests "
        f"({state.facts.confidence:.0%} interval {_signed(gain.low)} to {_signed(gain.high)}, "
        f"more than {dollars(_least_gain(value))} is required)"
    )


def business_value(
    state: SearchState, original: str, proved: Mapping[str, bool | None], choosable: Sequence[str]
) -> BusinessValue | None:
    """What everything that was raced is worth, and from which price on which plan would be worth the most.

    Each candidate in `state.measured` is given its value too.

    Args:
        state: What the search knows.
        original: The original at its best settings, with which all are compared.
        proved: Who is within the limits, and whether its quality is proved; null where that was not tested.
        choosable: Who may be chosen.

    Returns:
        Null where nothing has a price, or nothing may be chosen.
    """
    prices = state.facts.value
    if prices is None or not choosable:
        return None
    values = {name: value for name in state.measured if (value := net_value(state, name, original)) is not None}
    for name, value in values.items():
        state.measured[name] = state.measured[name].model_copy(update={"value": value})
    ranked = sorted(values, key=lambda name: (-values[name].net_usd.value, name))
    hopeful = {name: values[name] for name in ranked if proved.get(name, False) is not False}
    return BusinessValue(
        plans=tuple(
            PlanValue(name=name, value=values[name], within_limits=name in proved, proved=proved.get(name))
            for name in ranked
        ),
        cheapest=min(choosable, key=state.cost_key),
        priced_by_class=isinstance(prices.usd_per_error, dict),
        sensitivities=_sensitivities(hopeful, prices),
    )


def _serving(state: SearchState, name: str) -> Estimate | None:
    """What a million answers cost to serve: whole machines are counted, a full machine's speed was measured."""
    candidate = state.measured[name]
    if state.facts.rate_rps is not None:
        provisioned = candidate.usd_per_million_provisioned
        return None if provisioned is None else exactly(provisioned, "whole machines at the brief's traffic")
    speed = candidate.throughput_rps
    ends = (
        None if rows_per_s is None else usd_per_million_packed(state.facts.usd_per_hour, rows_per_s)
        for rows_per_s in (speed.high, speed.low)
    )
    low, high = ends
    return Estimate(value=candidate.usd_per_million_packed, low=low, high=high, n=speed.n, method=speed.method)


def _errors(state: SearchState, name: str) -> ErrorLoss | None:
    """On the certify rows where they were opened for it, on the search rows otherwise."""
    return state.certified_errors.get(name) or state.screened_of(name).errors


def _under_traffic(state: SearchState, name: str, prices: ValueBrief) -> tuple[Estimate | None, Estimate | None]:
    """What waiting and failures cost a million requests; null for what has no price."""
    loaded = state.loaded.get(name)
    loss = None if loaded is None else loaded.loss
    waiting, failing = prices.usd_per_second_of_latency, prices.usd_per_failed_request
    if loss is None:
        return None, None
    return (
        None if waiting is None else per_million(loss.excess_s, waiting),
        None if failing is None else per_million(loss.failed_share, failing),
    )


def _gain(state: SearchState, name: str, original: str, prices: ValueBrief) -> Estimate | None:
    """Net value beyond the original's: speeds paired by round, errors by row, waiting compared between two runs."""
    if name == original:
        return exactly(0.0, "the same plan")
    serving = _saved(state, name, original)
    if serving is None:
        return None
    parts = [serving]
    errors, errors_before = _errors(state, name), _errors(state, original)
    if errors is not None and errors_before is not None:
        parts.append(negated(per_million(errors.more_usd, 1.0)))
    for now, before in zip(_under_traffic(state, name, prices), _under_traffic(state, original, prices), strict=True):
        # Where neither failed at all there is no difference, however little a few hundred requests say of either.
        if now is not None and before is not None and (now.value or before.value):
            parts += [negated(now), before]
    return sum_of_estimates(parts)


def _saved(state: SearchState, name: str, original: str) -> Estimate | None:
    """What serving costs less than the original; on full machines by the ratio of speeds, timed in turns."""
    mine, before = _serving(state, name), _serving(state, original)
    if mine is None or before is None:
        return None
    saved = before.value - mine.value
    if state.facts.rate_rps is not None:
        return exactly(saved, mine.method)
    ratio = state.ratio_to(name, original)
    low, high = (None, None) if ratio is None else (ratio.low, ratio.high)
    return Estimate(
        value=saved,
        low=None if low is None else min(saved, before.value * (1 - 1 / low)),
        high=None if high is None else max(saved, before.value * (1 - 1 / high)),
        n=0 if ratio is None else ratio.n,
        method="from the ratio of speeds" if ratio is None else ratio.method,
    )


def _least_gain(value: Value) -> float:
    """What a gain must surely exceed: with no price but that of machines, the same as `REPLACE_RATIO` demands."""
    return (REPLACE_RATIO - 1) * value.serving_usd.value


def _sensitivities(values: dict[str, Value], prices: ValueBrief) -> tuple[Sensitivity, ...]:
    """For each figure that was given, who is worth the most as it grows from 0."""
    given: dict[ValueFigure, tuple[float | None, dict[str, Estimate | None]]] = {
        "usd_per_error": (
            1.0 if isinstance(prices.usd_per_error, dict) else prices.usd_per_error,
            {name: value.errors_usd for name, value in values.items()},
        ),
        "usd_per_second_of_latency": (
            prices.usd_per_second_of_latency,
            {name: value.latency_usd for name, value in values.items()},
        ),
        "usd_per_failed_request": (
            prices.usd_per_failed_request,
            {name: value.failures_usd for name, value in values.items()},
        ),
    }
    found = []
    for figure, (price, parts) in given.items():
        if not price:
            continue  # not given; or nothing, so that it is not known what one of them would cost
        costs = {
            name: (-values[name].net_usd.value - part.value, part.value / price)
            for name, part in parts.items()
            if part is not None
        }
        best = tuple(BestFrom(figure=at_least, name=name) for at_least, name in best_from(costs))
        if best:
            found.append(Sensitivity(figure=figure, given=price, best=best))
    return tuple(found)


def _signed(usd: float) -> str:
    return f"-{dollars(-usd)}" if usd < 0 else dollars(usd)
