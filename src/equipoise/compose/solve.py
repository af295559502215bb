"""The search for the cheapest plan: asks for work, is told what came of it, ends with a choice.

It is a generator without input, output or clock: it yields `compose.actions`, is sent a `Reply` with the budget that is
left, and returns a `Choice`. The same replies always lead to the same choice.

Each phase may use the budget up to a share of it (`compose.phases`). Screening costs a fraction of a second a
candidate; only a handful of finalists is timed with care, in turns with the original; only those that the search split
says will pass are shown the certify split.
"""

from __future__ import annotations

from collections.abc import Generator

from equipoise.compose.actions import Action, Reply
from equipoise.compose.choice import Choice
from equipoise.compose.choose import choose
from equipoise.compose.composition import compose
from equipoise.compose.facts import SearchFacts
from equipoise.compose.finals import load, race
from equipoise.compose.screen import measure_baseline, screen
from equipoise.compose.state import SearchState
from equipoise.compose.train import train
from equipoise.compose.tune import tune


def solve(facts: SearchFacts) -> Generator[Action, Reply, Choice]:
    """Search for the cheapest plan within the limits that can be proved to do the job.

    Args:
        facts: What the search starts from.

    Yields:
        What to do next.

    Returns:
        Where it ended.

    Raises:
        BaselineError: The model under study could not be measured.
    """
    state = SearchState(facts, remaining_s=facts.budget_s, failures=list(facts.refused))
    yield from measure_baseline(state)
    yield from screen(state)
    yield from train(state)
    tuned, *singles = yield from tune(state)
    composed = yield from compose(state)
    # Where the budget does not reach for all, the first ones are timed.
    yield from race(state, [tuned, *composed[:1], *singles[:1], *composed[1:], *singles[1:]])
    yield from load(state)
    return (yield from choose(state))
