"""The finals: finalists timed in turns with the original, and under the brief's traffic."""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, Load, Loaded, Race, Raced, Reply, SpeedPoint
from equipoise.compose.servable import Entrant
from equipoise.compose.state import P99_SAMPLES, SearchState
from equipoise.core.profile import Settings
from equipoise.errors import BaselineError

RACE_UNTIL = 0.88
"""Share of the budget after which the race, and the traffic, end."""
NEAR_SHARE = 0.1
"""Share of the budget that the race and the traffic leave to near matches, where a trace says what was asked for."""
RACE_ROUNDS = 9
FEW_SAMPLES = 45
OPENING_S, TURN_S = 2.5, 1.3
"""About what it takes to open a finalist in a process of its own, and seconds a turn for each second of its batches."""


def race(state: SearchState, finalists: list[Entrant]) -> Generator[Action, Reply, None]:
    """Time the finalists in turns; the first of them is the tuned original.

    Raises:
        BaselineError: The original could not be timed.
    """
    config = state.facts.baseline
    deployed = Entrant(
        name=f"{config.name} (as deployed)",
        config=config,
        settings=Settings(
            runtime=config.runtime,
            precision=config.precision,
            threads=state.facts.cores,
            replicas=1,
            batch=config.fixed_batch or 1,
            default=True,
        ),
    )
    seconds = max(state.remaining_s - (1 - _race_until(state)) * state.facts.budget_s, 0.1 * state.facts.budget_s)
    if state.facts.p99_limit_s is not None and state.facts.rate_rps is None:
        finalists = _timeable(state, finalists, seconds)
    entrants = (deployed, *finalists)
    state.entrants = {entrant.name: entrant for entrant in entrants}
    samples = P99_SAMPLES
    if state.facts.rate_rps is not None:  # the traffic says how long an answer takes, and is given most of the time
        seconds, samples = seconds / 3, FEW_SAMPLES
    raced = yield from state.ask(
        Race(entrants=entrants, samples=samples, rounds=RACE_ROUNDS, seconds=round(seconds, 1))
    )
    if not isinstance(raced, Raced):
        state.note(raced)
        raise BaselineError(state.failures[-1].reason)
    state.raced = raced
    for failure in raced.failures.values():
        state.failures.append(failure)
    for name, profile in raced.profiles.items():
        state.measured[name] = state.candidate(state.entrants[name], profile)


def _race_until(state: SearchState) -> float:
    """Share of the budget after which the race, and the traffic, end."""
    repeats = state.facts.repeats
    return RACE_UNTIL - (NEAR_SHARE if repeats is not None and repeats.rows and state.facts.judged else 0.0)


def _timeable(state: SearchState, finalists: list[Entrant], seconds: float) -> list[Entrant]:
    """The tuned original and as many finalists, the most promising first, as can be timed often enough for a p99."""
    kept: list[Entrant] = []
    for position, entrant in enumerate(finalists):
        points = state.screened[entrant.config.name].points[entrant.settings.threads, entrant.settings.replicas]
        batch_s = next(point.batch_s for point in points if point.batch == entrant.settings.batch)
        need_s = OPENING_S + TURN_S * P99_SAMPLES * batch_s / entrant.settings.replicas
        if position < 2 or need_s < seconds:
            seconds -= need_s
            kept.append(entrant)
        else:
            reason = "not timed: the budget does not reach for the p99 of so many finalists; a larger --budget would"
            state.give_up(entrant.config, "time", reason)
    return kept


def load(state: SearchState) -> Generator[Action, Reply, None]:
    """Put the brief's traffic, if there is any, on everything that came through the race."""
    if state.facts.rate_rps is None or state.raced is None:
        return
    for position, name in enumerate(list(state.measured)):
        if position > 2 and state.phase_is_over(_race_until(state)):  # both originals and the best finalist always are
            reason = "not put under the traffic: the budget ended first; a larger --budget would"
            state.give_up(state.entrants[name].config, "load", reason)
            del state.measured[name]
            continue
        left = len(state.measured) - position
        seconds = max(2.0, (state.remaining_s - (1 - _race_until(state)) * state.facts.budget_s) / left)
        entrant = state.entrants[name]
        loaded = yield from state.ask(
            Load(entrant=entrant, points=_service_points(state, entrant), seconds=round(seconds, 1))
        )
        if isinstance(loaded, Loaded):
            state.loaded[name] = loaded
            raced = state.raced.profiles[name]
            profile = loaded.profile.model_copy(update={"throughput_rps": raced.throughput_rps})
            state.measured[name] = state.candidate(entrant, profile)
        else:
            state.note(loaded)
            if position >= 2:  # the original stays, as one that no machine can serve under this traffic
                del state.measured[name]


def _service_points(state: SearchState, entrant: Entrant) -> tuple[SpeedPoint, ...]:
    points = state.screened[entrant.config.name].points
    lanes = (entrant.settings.threads, entrant.settings.replicas)
    if not entrant.settings.default:
        return points[lanes]
    return tuple(point for point in points[state.facts.cores, 1] if point.batch <= entrant.settings.batch)
