"""Screening: what each form of the model costs, roughly, and what the search split says of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence

from equipoise.compose.actions import Action, Build, Reply
from equipoise.compose.servable import Config
from equipoise.compose.state import Screened, SearchState
from equipoise.compose.wording import quality_reason
from equipoise.core.recipe import Recipe
from equipoise.core.variant import Variant
from equipoise.errors import BaselineError

SCREEN_BATCHES = (1, 8, 32, 128)
UNTRAINED_SHARE, TRAIN_UNTIL = 0.5, 0.58
"""Where others are trained: the part of that for forms that need no training, and the share of the budget after which
no student is begun."""
SEARCH_SHARE, CERTIFY_SHARE = 0.06, 0.12
"""Shares of the budget that one pass of the baseline over a split may take; a split is cut to so many rows."""
HOPELESS_SPEED = 0.7
"""A candidate below this share of the tuned baseline's screened speed is given up: tuning does not make up for it."""
HOPELESS_POWER = 0.02
LIKELY_POWER = 0.5
LAYER_REVERTS = (2, 4, 8, 16)


def measure_baseline(state: SearchState) -> Generator[Action, Reply, None]:
    """Time and answer with the model as it is deployed, and decide how many rows the budget allows.

    Raises:
        BaselineError: It does not run.
    """
    config = state.facts.baseline
    deployed = yield from state.speed(config, 1, default=True, batches=(1,))
    tuned = yield from state.speed(config, 1, batches=SCREEN_BATCHES)
    if deployed is None or tuned is None:
        raise BaselineError(state.failures[-1].reason)
    state.screened[config.name] = Screened(config, {(state.facts.cores, 1): tuned})
    rows_per_s = max(point.rows_per_s for point in tuned)
    state.rows_search = min(state.facts.n_search, max(1, int(SEARCH_SHARE * state.facts.budget_s * rows_per_s)))
    state.rows_certify = min(state.facts.n_certify, max(1, int(CERTIFY_SHARE * state.facts.budget_s * rows_per_s)))
    if not (yield from state.answer(state.screened[config.name])):
        raise BaselineError(state.failures[-1].reason)
    yield from state.tell_best(config.name, proved=False)


def screen(state: SearchState) -> Generator[Action, Reply, None]:
    """Build what is worth building, time it, and have it judged on the search split."""
    waiting: deque[Config | Recipe] = deque(state.facts.recipes)
    _line_up(state, waiting, state.facts.originals)
    artifacts = {state.facts.baseline.variant.artifact: state.facts.baseline.variant.recipe}
    closed: set[tuple[str, str]] = set()
    while waiting:
        item = waiting.popleft()
        # What was built at some cost is at least timed, even where the time for building is over.
        until = state.phases.build if isinstance(item, Recipe) else state.phases.screen
        if state.phase_is_over(until * (UNTRAINED_SHARE if state.facts.trainings else 1.0)):
            state.give_up(item, "screen", "not tried: the budget ended first; a larger --budget would try it")
            continue
        if isinstance(item, Recipe):
            variant = yield from state.ask(Build(recipe=item))
            if not isinstance(variant, Variant):
                state.note(variant)
            elif variant.artifact in artifacts:
                state.give_up(item, "build", f"the same file as {artifacts[variant.artifact]}")
            else:
                artifacts[variant.artifact] = item
                _line_up(state, waiting, state.facts.configs_of(variant))
            continue
        if (item.variant.artifact, item.runtime) in closed:
            state.give_up(item, "screen", f"{item.runtime} could not run it in another precision")
            continue
        screened = yield from screen_config(state, item)
        if screened is None and item.name not in state.timed:
            closed.add((item.variant.artifact, item.runtime))
        if screened is not None:
            again = _revert_layers(state, screened)
            if again is not None:
                waiting.appendleft(again)


def _line_up(state: SearchState, waiting: deque[Config | Recipe], configs: Sequence[Config]) -> None:
    """Put configs in front of all that waits, in their order; those that compile for long behind it."""
    slow = [config for config in configs if config.runtime in state.facts.compiling]
    waiting.extendleft(config for config in reversed(configs) if config not in slow)
    waiting.extend(slow)


def screen_config(state: SearchState, config: Config) -> Generator[Action, Reply, Screened | None]:
    """Time a config and have it judged on the search split; null, and noted, where it could not be or is hopeless."""
    points = yield from state.speed(config, 1, batches=SCREEN_BATCHES)
    if points is None:
        return None
    state.timed.add(config.name)
    screened = Screened(config, {(state.facts.cores, 1): points})
    keep = state.rows_per_s(state.screened[state.facts.baseline.name])
    speed = state.rows_per_s(screened)
    # Where errors have a price a slower model may be worth more, which its answers tell.
    if speed < HOPELESS_SPEED * keep and not state.errors_priced:
        state.give_up(config, "screen", f"slower: {speed:,.0f} rows/s where the tuned original does {keep:,.0f} rows/s")
        return None
    if not (yield from state.answer(screened)):
        return None
    state.screened[config.name] = screened
    judgement = screened.judgement
    if judgement is not None and state.power(screened) < HOPELESS_POWER:
        state.give_up(config, "screen", quality_reason(judgement))
    elif _is_cheapest(state, config.name):
        yield from state.tell_best(config.name, proved=False)
    return screened


def _revert_layers(state: SearchState, screened: Screened) -> Recipe | None:
    """The same quantisation with more of its worst layers left in floating point, while quality is short."""
    recipe = screened.config.recipe
    if not recipe.steps or state.power(screened) >= LIKELY_POWER:
        return None
    last = recipe.steps[-1]
    reverted = last.parameters.get("ignore_worst", 0)
    more = next((count for count in LAYER_REVERTS if isinstance(reverted, int) and count > reverted), None)
    if last.technique not in state.facts.reverting or more is None:
        return None
    step = last.model_copy(update={"parameters": {**last.parameters, "ignore_worst": more}})
    return recipe.model_copy(update={"steps": (*recipe.steps[:-1], step)})


def _is_cheapest(state: SearchState, name: str) -> bool:
    likely = [screened for screened in state.screened.values() if state.power(screened) >= LIKELY_POWER]
    mine = state.screened[name]
    return mine in likely and state.rows_per_s(mine) == max(map(state.rows_per_s, likely))
