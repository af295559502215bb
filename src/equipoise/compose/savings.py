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
    usd = state.cost_key(chosen.name)[0] if cache is None or not cache.chosen else cache.usd_per_million_without
    parts = chosen.config.parts if isinstance(chosen.config, Composed) else (Part(members=(single_of(chosen),)),)
    with_all = _seconds_per_row(state, parts)
    found: list[Saving] = []
    if with_all is not None:
        for number, part in enumerate(parts):
            without = _without_stage(parts, number)
            seconds = _seconds_per_row(state, without) if without else None
            if seconds is not None:
                last = number == len(parts) - 1
                note = NOT_KEPT if last else FROM_SPEEDS
                found.append(
                    Saving(part=f"stage {part.name}", usd_per_million_without=usd * seconds / with_all, note=note)
                )
            found += _without_compression(state, parts, number, usd, with_all)
        one_by_one = _seconds_per_row(state, parts, largest=1)
        if chosen.settings.batch > 1 and one_by_one is not None:
            found.append(Saving(part="batching", usd_per_million_without=usd * one_by_one / with_all, note=FROM_SPEEDS))
    if cache is not None and cache.chosen:
        found.append(Saving(part="cache", usd_per_million_without=cache.usd_per_million_without))
    return tuple(found)


def single_of(chosen: Entrant) -> Config:
    """The only config of a plan that is not composed."""
    return chosen.config.configs[0]


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


def _without_compression(
    state: SearchState, parts: Sequence[Part], number: int, usd: float, with_all: float
) -> list[Saving]:
    """The stage's model as it was given, in its native runtime, instead of the form that was made of it."""
    part = parts[number]
    if len(part.members) != 1:
        return []
    member = part.members[0]
    given = [
        screened.config
        for screened in state.screened.values()
        if isinstance(screened.config, Config)
        and screened.config.recipe.source == member.recipe.source
        and not screened.config.recipe.steps
        and screened.config != member
    ]
    changed = [
        _seconds_per_row(
            state,
            [
                part.model_copy(update={"members": (config,)}) if place == number else other
                for place, other in enumerate(parts)
            ],
        )
        for config in given[:1]
    ]
    return [
        Saving(
            part=f"compression and runtime of {member.name}",
            usd_per_million_without=usd * seconds / with_all,
            note=f"with {config.name} instead, {FROM_SPEEDS}",
        )
        for config, seconds in zip(given[:1], changed, strict=True)
        if seconds is not None
    ]


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
