"""What each part of the chosen plan saves: its cost with that part removed, one at a time, all else the same."""

from __future__ import annotations

from collections.abc import Sequence

from equipoise.compose.cascade import batch_for
from equipoise.compose.servable import Composed, Config, Entrant, Part
from equipoise.compose.state import SearchState
from equipoise.core.candidate import Saving
from equipoise.core.result import CacheFigures
from equipoise.policy.batch import ServiceModel

FROM_SPEEDS = "from the measured speeds of its stages"
Removed = tuple[str, float, str]
"""What, the seconds that a row takes without it, and what is to be said of that."""
NOT_KEPT = "cheaper without it, but then the quality is not kept"


def savings_of(state: SearchState, chosen: Entrant, cache: CacheFigures | None) -> tuple[Saving, ...]:
    """Cost of the chosen plan without each of its parts: stages, compression, batching, cache.

    Every figure is the plan's own measured cost times a ratio of costs forecast from the measured speeds of its stages,
    so that what the forecast leaves out falls out of the ratio.

    Args:
        state: What the search knows.
        chosen: What was chosen.
        cache: What a cache costs and saves; null for nothing known.

    Returns:
        One entry a part; parts whose absence was not measured are left out.
    """
    kept = None if cache is None or not cache.chosen else cache
    computed = state.cost_key(chosen.name)[0] if kept is None else kept.usd_per_million_without

    def usd(times_computed: float) -> float:
        """Cost of the plan where computing an answer takes so many times as long; what is remembered stays free."""
        if kept is None:
            return computed * times_computed
        missed = 1 - kept.rule.hit_share
        return kept.usd_per_million_with + missed * computed * (times_computed - 1)

    parts = chosen.config.parts if isinstance(chosen.config, Composed) else (Part(members=chosen.config.configs),)
    with_all = _seconds_per_row(state, parts)
    found: list[Saving] = []
    if with_all is not None:
        found = [
            Saving(part=what, usd_per_million_without=usd(seconds / with_all), note=note)
            for what, seconds, note in _removed(state, parts, with_all, batched=chosen.settings.batch > 1)
        ]
    if kept is not None:
        found.append(Saving(part="cache", usd_per_million_without=kept.usd_per_million_without))
    return tuple(found)


def _removed(state: SearchState, parts: Sequence[Part], with_all: float, *, batched: bool) -> list[Removed]:
    """Every part that can be removed, with the seconds that a row then takes."""
    found: list[Removed] = []
    for number, part in enumerate(parts):
        without = _without_stage(parts, number)
        seconds = _seconds_per_row(state, without) if without else None
        if seconds is not None:
            found.append((f"stage {part.name}", seconds, NOT_KEPT if seconds < with_all else FROM_SPEEDS))
        found += _without_compression(state, parts, number)
    one_by_one = _seconds_per_row(state, parts, largest=1)
    if batched and one_by_one is not None:
        found.append(("batching", one_by_one, FROM_SPEEDS))
    return found


def _without_stage(parts: Sequence[Part], number: int) -> tuple[Part, ...]:
    """The other stages: the next one is asked what this one was asked, the one before the last answers what is left."""
    if len(parts) == 1:
        return ()
    kept = [part for place, part in enumerate(parts) if place != number]
    if number < len(parts) - 1:
        kept[number] = kept[number].model_copy(update={"share": parts[number].share})
    else:
        kept[-1] = kept[-1].model_copy(update={"accept": None})
    return tuple(kept)


def _without_compression(state: SearchState, parts: Sequence[Part], number: int) -> list[Removed]:
    """The stage's model as it was given instead of the form that was made of it: what, seconds of a row, note."""
    part = parts[number]
    if len(part.members) != 1:
        return []
    member = part.members[0]
    for screened in state.screened.values():
        given = screened.config
        same = isinstance(given, Config) and given.recipe.source == member.recipe.source and not given.recipe.steps
        if not isinstance(given, Config) or not same or given == member:
            continue
        changed = [*parts]
        changed[number] = part.model_copy(update={"members": (given,)})
        seconds = _seconds_per_row(state, changed)
        if seconds is not None:
            what = f"compression and runtime of {member.name}"
            return [(what, seconds, f"with {given.name} instead, {FROM_SPEEDS}")]
    return []


def _seconds_per_row(state: SearchState, parts: Sequence[Part], largest: int | None = None) -> float | None:
    """Forecast of the seconds that a row takes; null where a stage was not timed with all cores for one batch."""
    lanes = (state.facts.cores, 1)
    services: list[ServiceModel] = []
    for part in parts:
        timed = [state.screened.get(member.name) for member in part.members]
        points = [{} if each is None else {p.batch: p.batch_s for p in each.points.get(lanes, ())} for each in timed]
        sizes = [size for size in points[0] if all(size in each for each in points)]
        if not sizes:
            return None
        services.append(ServiceModel([(size, sum(each[size] for each in points)) for size in sizes]))
    shares = [part.share for part in parts]
    if largest == 1:
        return sum(service.seconds(1) * share for service, share in zip(services, shares, strict=True))
    rows, seconds = batch_for(services, shares, float("inf"))
    return seconds / rows
