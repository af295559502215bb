"""Training: short trainings of everything that is worth one, then longer ones of what came out best.

Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): each rung has an equal part of the training time
that is left, shared evenly among those who are still in it, and the third that promises most goes on. A student's speed
does not change with training, so one that is no faster than the best plan that needs no training goes no further,
however good it becomes. Until the last rung each is judged in one form, that in which the model itself came out best:
to build all of them takes longer than a short training.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field

from equipoise.compose.actions import Action, Build, Reply
from equipoise.compose.promise import chance_to_pass
from equipoise.compose.screen import LIKELY_POWER, TRAIN_UNTIL, screen_config
from equipoise.compose.servable import Config
from equipoise.compose.state import Screened, SearchState
from equipoise.core.recipe import Recipe
from equipoise.core.variant import Variant

KEPT_SHARE = 3
"""One of so many goes on to the next rung."""
LEAST_TRAINING_S = 10.0
AROUND_TRAINING_S = 3.0
"""About what each training takes besides: a process, opening the model, saving the student."""
USEFUL_SPEED = 1.05
LEFT_SHARE = 0.5
"""About what one that goes on to the end has of the training time that is left."""


@dataclass
class Contender:
    """A recipe that is trained, and what came of its last training.

    Attributes:
        recipe: Without a time.
        train_s: Seconds its last training had.
        variant: What came of it; null before there was one.
        best: Its fastest form that is likely to pass, else the one that comes nearest; null before one was judged.
        finished: Whether more time would change nothing.
        curve: What it lost after each earlier rung: seconds trained, and the loss.
    """

    recipe: Recipe
    train_s: float = 0.0
    variant: Variant | None = None
    best: Screened | None = None
    finished: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)


def train(state: SearchState) -> Generator[Action, Reply, None]:
    """Train students, have each timed and judged on the search split, and train the most promising for longer."""
    contenders = [Contender(recipe) for recipe in state.facts.trainings]
    waiting: list[Contender] = []  # for time that is left when the others have ended
    while contenders or waiting:
        if not contenders:
            contenders, waiting = waiting, []
        seconds = _seconds_each(state, len(contenders))
        if seconds < LEAST_TRAINING_S and len(contenders) > 1:
            waiting.insert(0, contenders.pop())
            continue
        for contender in contenders:
            left_s = state.facts.train_s - state.trained_s - AROUND_TRAINING_S
            if min(left_s, seconds) < LEAST_TRAINING_S:
                if contender.variant is not None and not state.phase_is_over(TRAIN_UNTIL):
                    yield from _judge(state, contender, contender.variant, all_forms=True)
                _give_up(state, contender, "not tried: the training time ended first; more --train-minutes would")
            elif state.phase_is_over(TRAIN_UNTIL):
                _give_up(state, contender, "not tried: the budget ended first; a larger --budget would try it")
            else:
                last = len(contenders) == 1
                most_s = left_s + (contender.train_s if _resumes(state, contender) else 0.0)
                yield from _train(state, contender, min(most_s, contender.train_s + seconds), last=last)
        contenders = _going_on(state, contenders)


def _resumes(state: SearchState, contender: Contender) -> bool:
    """Whether a longer training of it costs the difference alone."""
    return contender.recipe.steps[-1].technique in state.facts.resuming


def _seconds_each(state: SearchState, count: int) -> float:
    """Seconds of training for each of so many: an equal part of what is left for each rung that is to come."""
    rungs = 1 + math.ceil(math.log(count, KEPT_SHARE)) if count > 1 else 1
    return (state.facts.train_s - state.trained_s) / rungs / count - AROUND_TRAINING_S


def _train(state: SearchState, contender: Contender, seconds: float, *, last: bool) -> Generator[Action, Reply, None]:
    variant = yield from state.ask(Build(recipe=contender.recipe.training_for(seconds)))
    contender.variant, contender.best, contender.train_s = None, None, seconds
    if not isinstance(variant, Variant):
        state.note(variant)
        contender.finished = True
        return
    contender.variant = variant
    contender.finished = variant.training is not None and variant.training.finished
    yield from _judge(state, contender, variant, all_forms=last or contender.finished)


def _judge(
    state: SearchState, contender: Contender, variant: Variant, *, all_forms: bool
) -> Generator[Action, Reply, None]:
    """Time and judge a student on the search split, in one form or in all."""
    forms = yield from (_forms if all_forms else _first_form)(state, variant)
    judged: list[Screened] = []
    for config in forms:
        screened = yield from screen_config(state, config)
        judged += [] if screened is None else [screened]
    if judged:
        contender.best = max(judged, key=lambda each: _promise(state, contender, each))


def _forms(state: SearchState, variant: Variant) -> Generator[Action, Reply, list[Config]]:
    """What a student can be served as: its converted forms; itself where there is none."""
    built: list[Variant] = []
    for recipe in state.facts.next_recipes(variant):
        outcome = yield from state.ask(Build(recipe=recipe))
        if isinstance(outcome, Variant):
            built.append(outcome)
        else:
            state.note(outcome)
    return [config for each in built or [variant] for config in state.facts.configs_of(each)]


def _first_form(state: SearchState, variant: Variant) -> Generator[Action, Reply, list[Config]]:
    """A student as the best that needs no training is served: converted alike where it can be, in the same runtime."""
    model = _best_untrained(state).config.configs[0]
    made = [variant]
    recipe = _most_alike(state.facts.next_recipes(variant), model.variant)
    if recipe is not None:
        outcome = yield from state.ask(Build(recipe=recipe))
        if isinstance(outcome, Variant):
            made.insert(0, outcome)
        else:
            state.note(outcome)
    configs = [config for each in made for config in state.facts.configs_of(each)]
    same = [each for each in configs if (each.runtime, each.precision) == (model.runtime, model.precision)]
    return (same or configs)[:1]


def _most_alike(recipes: tuple[Recipe, ...], model: Variant) -> Recipe | None:
    """The recipe whose last step is most like a model's; null where none is and the model is not quantised."""
    if not recipes or not model.recipe.steps:
        return None
    wanted = model.recipe.steps[-1]

    def unlike(recipe: Recipe) -> tuple[bool, bool]:
        last = recipe.steps[-1]
        return last.technique != wanted.technique, last.parameters.get("target") != wanted.parameters.get("target")

    best = min(recipes, key=unlike)
    return best if best.steps[-1].technique == wanted.technique or model.quantized else None


def _promise(state: SearchState, contender: Contender, screened: Screened) -> float:
    """What a longer training of a student is worth: halvings of the cost, times the chance that it passes by then.

    A short training by itself says little: all lose far more than the margin, the fast ones most.
    """
    faster = state.rows_per_s(screened) / state.rows_per_s(_best_untrained(state))
    chance = state.power(screened)
    if screened.judgement is not None:
        test = screened.judgement.main
        loss = 0.0 if test.difference is None else test.difference.value
        by_then_s = contender.train_s + LEFT_SHARE * (state.facts.train_s - state.trained_s)
        curve = [*contender.curve, (contender.train_s, loss)]
        chance = max(chance, chance_to_pass(test, curve, by_then_s, state.rows_certify) or 0.0)
    return chance * math.log(faster)


def _going_on(state: SearchState, contenders: list[Contender]) -> list[Contender]:
    """Those worth a longer training: unfinished, faster than what needs none, and among the better third."""
    fastest = _best_untrained(state)
    rivals: list[tuple[float, Contender]] = []
    for contender in contenders:
        if contender.best is None or contender.finished:
            continue
        if state.rows_per_s(contender.best) < USEFUL_SPEED * state.rows_per_s(fastest):
            name = fastest.config.name
            _give_up(state, contender, f"not trained longer: no faster than {name}, which needs no training")
            continue
        rivals.append((_promise(state, contender, contender.best), contender))
        judgement = contender.best.judgement
        if judgement is not None and judgement.main.difference is not None:
            contender.curve.append((contender.train_s, judgement.main.difference.value))
    ranked = [contender for _, contender in sorted(rivals, key=lambda pair: pair[0], reverse=True)]
    kept = math.ceil(len(contenders) / KEPT_SHARE) if len(contenders) > 1 else 0
    for contender in ranked[kept:]:
        if len(contenders) > 1:
            _give_up(state, contender, "not trained longer: others promised more after as long")
    return ranked[:kept]


def _best_untrained(state: SearchState) -> Screened:
    """The fastest that needs no training and is likely to pass; the original always is."""
    likely = [
        screened
        for screened in state.screened.values()
        if not state.is_trained(screened.config) and state.power(screened) >= LIKELY_POWER
    ]
    return max(likely, key=state.rows_per_s, default=state.screened[state.facts.baseline.name])


def _give_up(state: SearchState, contender: Contender, reason: str) -> None:
    recipe = contender.recipe.training_for(contender.train_s) if contender.train_s else contender.recipe
    state.give_up(recipe, "build", reason)
