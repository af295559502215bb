"""Composition: several models that answer together, cheaper than any of them that is good enough alone."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence

from equipoise.compose.actions import Action, Answer, Asked, Composable, Compose, Option, Reply
from equipoise.compose.certify import WANTED_POWER
from equipoise.compose.screen import LIKELY_POWER
from equipoise.compose.servable import Entrant
from equipoise.compose.state import Screened, SearchState
from equipoise.compose.wording import dollars
from equipoise.core.plan import Combine
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import Failure
from equipoise.policy.cost import usd_per_million_packed

COMPOSE_UNTIL, FIRST_UNTIL = 0.78, 0.85
"""Shares of the budget after which nothing more is composed, but for timing the most promising composition."""
FIRST_FASTER = 1.25
"""How much faster than the last stage a first stage must be to be worth asking."""
MOST_FIRSTS, MOST_LASTS, MOST_LIGHT = 4, 4, 3
FORMS_OF_EACH = 2
"""Forms of one model that may come first: the fastest may answer too badly."""
MOST_OPTIONS = 2
COMPOSED_BATCHES, COMPOSED_SECONDS = (1, 8, 32, 64, 128, 256), 0.4
"""Fewer sizes than of a single config, each for longer: how long a batch takes depends on its rows."""
LEAST_GAIN = 1.1
"""How much cheaper than the best single config a composition must look to be timed."""


def compose(state: SearchState) -> Generator[Action, Reply, list[Entrant]]:
    """Find cascades and ensembles on the search rows, time the most promising, and return them as finalists."""
    single = _best_single(state)
    if single is None or state.facts.form is None:
        return []
    pool = [screened for screened in state.screened.values() if _may_be_part(state, screened)]
    options: list[Option] = []
    for stages in (*_ensembles(state, pool, single), *_cascades(state, pool, single)):
        if state.phase_is_over(COMPOSE_UNTIL):
            _reject(state, stages, "not tried: the budget ended first; a larger --budget would try it")
            continue
        options += yield from _options(state, stages, single)
    worth = [option for option in options if option.rows_per_s > LEAST_GAIN * state.rows_per_s(single)]
    for option in options:
        if option not in worth:
            _give_up(state, option, single)
    finalists: list[Entrant] = []
    for option in _varied(worth):
        if state.phase_is_over(COMPOSE_UNTIL if finalists else FIRST_UNTIL):
            state.give_up(option.composed, "screen", "not timed: the budget ended first; a larger --budget would")
            continue
        screened = yield from _timed(state, option)
        if screened is not None:
            finalists.append(state.entrant(screened))
    return finalists


def _best_single(state: SearchState) -> Screened | None:
    """The cheapest config that is likely to pass alone; the original always is."""
    likely = [each for each in state.screened.values() if state.power(each) >= LIKELY_POWER]
    return max(likely, key=state.rows_per_s, default=None)


def _may_be_part(state: SearchState, screened: Screened) -> bool:
    lanes = (state.facts.cores, 1)
    return screened.judgement is not None and screened.config.fixed_batch is None and lanes in screened.points


def _cascades(state: SearchState, pool: list[Screened], single: Screened) -> list[tuple[Asked, ...]]:
    """Pairs, and the triples that they make: each stage clearly faster than the next."""
    keep = state.screened[state.facts.baseline.name]
    likely = sorted((each for each in pool if state.power(each) >= LIKELY_POWER), key=_speed, reverse=True)
    same = next((each for each in likely if _family(state, each) == _family(state, keep)), keep)
    lasts = [single, *(each for each in likely if each is not single)][:MOST_LASTS]
    lasts += [] if same in lasts else [same]  # the model under study itself stands behind a light one, in its best form
    firsts = _fastest_of_each(state, pool, FORMS_OF_EACH)
    pairs = [(first, last) for last in lasts for first in firsts[:MOST_FIRSTS] if _clearly_faster(first, last)]
    triples = [
        (first, middle, last)
        for last in lasts[:1]
        for first, middle in itertools.permutations(firsts[:MOST_FIRSTS], 2)
        if _clearly_faster(first, middle) and _clearly_faster(middle, last)
    ]
    asked = [tuple(_alone(state, each) for each in stages) for stages in (*pairs, *triples[:2])]
    light = _light(state, pool, single)
    if len(light) > 1:
        together = _together(state, light[:2])
        if together.points[-1][1] < single.points[state.facts.cores, 1][-1].batch_s:
            asked.append((together, _alone(state, single)))
    return asked


def _ensembles(state: SearchState, pool: list[Screened], single: Screened) -> list[tuple[Asked, ...]]:
    """Pairs and triples of light models with errors of their own."""
    light = _light(state, pool, single)
    groups = [group for size in (2, 3) for group in itertools.combinations(light, size)]
    return [(_together(state, group),) for group in groups]


def _light(state: SearchState, pool: list[Screened], single: Screened) -> list[Screened]:
    """The fastest forms of a few other models than the best single one's."""
    others = [each for each in _fastest_of_each(state, pool) if _family(state, each) != _family(state, single)]
    return others[:MOST_LIGHT]


def _fastest_of_each(state: SearchState, pool: list[Screened], forms: int = 1) -> list[Screened]:
    """The fastest forms of each model: precision and runtime make it faster, and leave it the same model."""
    fastest: dict[str, list[Screened]] = {}
    for screened in sorted(pool, key=_speed, reverse=True):
        of_model = fastest.setdefault(_family(state, screened), [])
        # The same artifact in another precision answers nearly the same.
        if len(of_model) < forms and all(screened.config.digest != other.config.digest for other in of_model):
            of_model.append(screened)
    return sorted((each for of_model in fastest.values() for each in of_model), key=_speed, reverse=True)


def _family(state: SearchState, screened: Screened) -> str:
    """Which model it is a form of: the recipe without the steps that leave a model the same."""
    recipe = screened.config.recipe
    reshaped = tuple(step for step in recipe.steps if step.technique in state.facts.reshaping)
    return str(recipe.model_copy(update={"steps": reshaped}))


def _speed(screened: Screened) -> float:
    return max(point.rows_per_s for points in screened.points.values() for point in points)


def _clearly_faster(first: Screened, second: Screened) -> bool:
    return _speed(first) > FIRST_FASTER * _speed(second)


def _alone(state: SearchState, screened: Screened) -> Asked:
    points = tuple((point.batch, point.batch_s) for point in screened.points[state.facts.cores, 1])
    return Asked(answers=(_answered(state, screened),), points=points)


def _together(state: SearchState, members: Sequence[Screened]) -> Asked:
    """An ensemble; its members are asked one after the other."""
    by_batch = [dict(_alone(state, member).points) for member in members]
    shared = [batch for batch in by_batch[0] if all(batch in points for points in by_batch)]
    combine: Combine = "vote" if state.facts.form is not None and state.facts.form.kind == "labels" else "mean"
    return Asked(
        answers=tuple(_answered(state, member) for member in members),
        combine=combine,
        points=tuple((batch, sum(points[batch] for points in by_batch)) for batch in shared),
    )


def _answered(state: SearchState, screened: Screened) -> Answer:
    return state.search_actions[screened.config.name]


def _options(
    state: SearchState, stages: tuple[Asked, ...], single: Screened
) -> Generator[Action, Reply, tuple[Option, ...]]:
    most_rows_per_s = max(batch / seconds for batch, seconds in stages[0].points)
    if most_rows_per_s <= LEAST_GAIN * state.rows_per_s(single):
        reason = f"no cheaper: its first stage alone costs as much as {single.config.name}"
        if len(stages) == 1:
            mine, other = (_usd(state, rate) for rate in (most_rows_per_s, state.rows_per_s(single)))
            reason = f"asking all of them costs {mine} per million answers, and {single.config.name} alone {other}"
        _reject(state, stages, reason)
        return ()
    outcome = yield from state.ask(
        Compose(
            stages=stages,
            replicas=1,
            longest_s=round(state.longest_batch_s(single), 6),
            scale=state.split_scale,
            most=2,
        )
    )
    if not isinstance(outcome, Composable):
        state.note(outcome)
        return ()
    state.tried += outcome.tried
    if not outcome.options:
        _reject(state, stages, outcome.best or "its stages say nothing of how sure they are")
    return outcome.options


def _varied(options: list[Option]) -> list[Option]:
    """The cheapest of those that are likely to pass, the surest, and then by cost."""
    ranked = sorted(options, key=lambda option: (option.power < WANTED_POWER, -option.rows_per_s))
    surest = sorted(ranked, key=lambda option: (-round(option.power, 2), -option.rows_per_s))
    first = [*ranked[:1], *surest[:1]]
    unique = [option for place, option in enumerate(first) if option not in first[:place]]
    return [*unique, *(option for option in ranked if option not in unique)][:MOST_OPTIONS]


def _timed(state: SearchState, option: Option) -> Generator[Action, Reply, Screened | None]:
    """Time a composition as a whole, and have it answer the search rows as it would be served."""
    composed = option.composed
    points = yield from state.speed(composed, 1, batches=COMPOSED_BATCHES, seconds=COMPOSED_SECONDS)
    if points is None:
        return None
    screened = Screened(composed, {(state.facts.cores, 1): points}, unflattered=(option.p_value, option.power))
    if state.facts.cores > 1 and not state.phase_is_over(COMPOSE_UNTIL):
        more = yield from state.speed(
            composed, state.facts.cores, threads=1, batches=COMPOSED_BATCHES, seconds=COMPOSED_SECONDS, fatal=False
        )
        if more is not None:
            screened.points[1, state.facts.cores] = more
    if not (yield from state.answer(screened)):
        return None
    state.screened[composed.name] = screened
    return screened


def _give_up(state: SearchState, option: Option, single: Screened) -> None:
    mine, other = _usd(state, option.rows_per_s), _usd(state, state.rows_per_s(single))
    reason = f"it would cost {mine} per million answers, and {single.config.name} alone {other}"
    if len(option.composed.parts) > 1:
        reason += f"; its first stage would answer {1 - option.composed.parts[1].share:.0%} of them"
    state.give_up(option.composed, "screen", reason)


def _reject(state: SearchState, stages: tuple[Asked, ...], reason: str) -> None:
    kind = "cascade" if len(stages) > 1 else "ensemble"
    names = [asked.part.name for asked in stages]
    name = names[0] if len(names) == 1 else f"cascade: {', else '.join(names)}"
    recipe = Recipe(steps=(Step(technique=kind, parameters={"stages": list(names)}),))
    state.failures.append(Failure(name=name, recipe=recipe, stage="screen", reason=reason))


def _usd(state: SearchState, rows_per_s: float) -> str:
    return dollars(usd_per_million_packed(state.facts.usd_per_hour, rows_per_s))
