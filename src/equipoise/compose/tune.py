"""Tuning: the finalists, each in its own best threads, replicas and batch."""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, Reply
from equipoise.compose.screen import HOPELESS_POWER, LIKELY_POWER
from equipoise.compose.servable import Entrant
from equipoise.compose.state import Screened, SearchState
from equipoise.compose.worth import rough_cost

TUNE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TUNE_SECONDS = 0.2
FINALISTS = 4


def tune(state: SearchState) -> Generator[Action, Reply, list[Entrant]]:
    """Choose the finalists and tune their settings; the first that is returned is the tuned original."""
    keep_name = state.facts.baseline.name
    hopeful = [name for name in _hopeful(state) if name != keep_name]
    # The most promising finalist before the original, which was timed at several batch sizes already.
    for name in [*hopeful[:1], keep_name, *hopeful[1:]]:
        if not state.phase_is_over(state.phases.tune):
            yield from tune_settings(state, state.screened[name])
    return [state.entrant(state.screened[name]) for name in (keep_name, *hopeful)]


def _hopeful(state: SearchState) -> list[str]:
    """The finalists: what no other beats in both cost and evidence, the surest always among them."""
    names = [name for name, screened in state.screened.items() if state.power(screened) >= HOPELESS_POWER]
    names += _surest_of_the_hopeless(state, names)
    costs = {name: rough_cost(state, state.screened[name]) for name in names}
    doubts = {name: state.doubt(state.screened[name]) for name in names}
    keep_cost = costs.get(state.facts.baseline.name, min(costs.values(), default=0.0))
    cheaper = [name for name in names if costs[name] <= 1.2 * keep_cost and name != state.facts.baseline.name]
    # Screened speeds are rough: what is within 30% of the front may yet be on it.
    near_front = [
        name
        for name in cheaper
        if not any(costs[other] * 1.3 < costs[name] and doubts[other] <= doubts[name] for other in cheaper)
    ]
    for name in cheaper:
        if name not in near_front:
            better = min((o for o in cheaper if doubts[o] <= doubts[name]), key=lambda other: costs[other])
            what = "costs less, errors counted," if state.errors_priced else "is cheaper"
            state.give_up(state.screened[name].config, "choose", f"{better} {what} and loses no more")
    for name in names:
        if name not in cheaper and name != state.facts.baseline.name:
            counted = ", errors counted" if state.errors_priced else ""
            state.give_up(state.screened[name].config, "choose", f"no cheaper than the tuned original{counted}")
    ranked = sorted(near_front, key=lambda name: costs[name])
    likely = [name for name in ranked if state.power(state.screened[name]) >= LIKELY_POWER]
    chosen = (likely or ranked)[: FINALISTS - 1]
    surest = sorted((name for name in ranked if name not in chosen), key=lambda name: (doubts[name], costs[name]))
    chosen += surest[: FINALISTS - len(chosen)]
    untrained = _best_untrained(state, names, chosen)
    if untrained is not None and untrained not in chosen:
        chosen = [*chosen[: FINALISTS - 1], untrained]
        state.failures[:] = [failure for failure in state.failures if failure.name != untrained]
    for name in ranked:
        if name not in chosen:
            state.give_up(state.screened[name].config, "choose", f"the {FINALISTS} finalists are cheaper or surer")
    return chosen


def _best_untrained(state: SearchState, names: list[str], chosen: list[str]) -> str | None:
    """The cheapest likely one without training, where trained ones are finalists: theirs is held against it."""
    if not any(state.is_trained(state.screened[name].config) for name in chosen):
        return None
    free = [
        name
        for name in names
        if name != state.facts.baseline.name
        and not state.is_trained(state.screened[name].config)
        and state.power(state.screened[name]) >= LIKELY_POWER
    ]
    return min(free, key=lambda name: rough_cost(state, state.screened[name]), default=None)


def _surest_of_the_hopeless(state: SearchState, hopeful: list[str]) -> list[str]:
    """Where nothing is likely to pass, the one that comes nearest: to say what these data prove, and what they lack."""
    keep = state.screened[state.facts.baseline.name]
    if any(name != keep.config.name for name in hopeful):
        return []
    cheaper = [
        screened
        for name, screened in state.screened.items()
        if name not in hopeful and state.rows_per_s(screened) > state.rows_per_s(keep)
    ]
    if not cheaper:
        return []
    surest = min(cheaper, key=lambda screened: (state.doubt(screened), -state.rows_per_s(screened)))
    name = surest.config.name
    state.failures[:] = [failure for failure in state.failures if failure.name != name]
    return [name]


def tune_settings(state: SearchState, screened: Screened) -> Generator[Action, Reply, None]:
    """Time a config with all cores for one batch, half of them for each of two, and one for each of as many."""
    cores = state.facts.cores
    lanes = sorted({(cores // replicas, replicas) for replicas in (1, 2, cores) if cores % replicas == 0})
    for threads, replicas in lanes:
        points = yield from state.speed(
            screened.config, replicas, threads=threads, batches=TUNE_BATCHES, seconds=TUNE_SECONDS, fatal=False
        )
        if points is not None:
            screened.points[threads, replicas] = points
