"""Which cache is taken: of exact matches, or of near ones where they are proved and cheaper; and why not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from equipoise.compose.actions import Action, Answer, Answered, LookedUp, LookUp, NearMatch, NearMatched, Reply
from equipoise.compose.caching import cache
from equipoise.compose.facts import Repeats, SearchFacts
from equipoise.compose.servable import Config, Entrant
from equipoise.compose.state import Screened, SearchState
from equipoise.core.candidate import Candidate
from equipoise.core.estimate import Estimate
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.result import CacheFigures
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import Failure, Variant

SETTINGS = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=8)
PROVED = NearMatched(near={"x": 0.1}, max_entries=500, hit_share=0.8, exact_hit_share=0.3)


def config(source: str) -> Config:
    recipe = Recipe(source=source)
    tensors = (TensorSpec(name="x", dtype="float32", shape=(None, 4)),)
    made = Variant(
        recipe=recipe, artifact=recipe.content_digest, format="onnx", quantized=False,
        spec=ModelSpec(inputs=tensors, outputs=tensors), artifact_bytes=1000, build_s=1.0, data_use="none",
        tool_versions={},
    )  # fmt: skip
    return Config(variant=made, runtime="onnxruntime", precision="f32")


ORIGINAL, SMALL = config("model"), config("small")


class Search:
    """A search that has chosen, with what its actions bring."""

    def __init__(
        self,
        plan: Config = SMALL,
        *,
        rows: int = 1000,
        judged: bool = True,
        left_s: float = 100.0,
        data_use: str = "labelled",
    ) -> None:
        facts = SimpleNamespace(
            repeats=Repeats(((100, 0.2), (1000, 0.3)), 0.004, "a trace", rows), judged=judged, baseline=ORIGINAL,
            rate_rps=None, memory_limit_bytes=None, mean_rate_rps=None, usd_per_hour=0.1, finish_s=5.0,
            counts_correct=False, data_use=data_use,
        )  # fmt: skip
        self.state = SearchState(cast(SearchFacts, facts), remaining_s=left_s)
        self.chosen = Entrant(name="chosen", config=plan, settings=SETTINGS)
        self.state.measured["chosen"] = Candidate.model_construct(
            usd_per_million_packed=1.0, throughput_rps=Estimate(value=100.0, low=99.0, high=101.0, n=9, method=""),
            quality=None,
        )  # fmt: skip
        point = SimpleNamespace(batch=8, rows_per_s=50.0, batch_s=0.1)
        self.state.screened[ORIGINAL.name] = Screened(ORIGINAL, {(1, 1): (cast(Any, point),)})
        self.state.search_actions[plan.name] = Answer(config=plan, settings=SETTINGS, split="search", rows=9)
        self.asked: list[Action] = []

    def run(
        self, matched: Any = PROVED, *, doubts: bool = False, lookup_s: Callable[[LookUp], float] = lambda _: 1e-6
    ) -> CacheFigures:
        steps = cache(self.state, self.chosen, doubts=doubts)
        outcome: Any = None
        try:
            action = next(steps)
            while True:
                self.asked.append(action)
                match action:
                    case LookUp():
                        outcome = LookedUp(lookup_s=lookup_s(action), entry_bytes=500)
                    case Answer():
                        outcome = Answered(None, None)
                    case NearMatch():
                        outcome = matched
                action = steps.send(Reply(outcome, self.state.remaining_s))
        except StopIteration as stop:
            found: CacheFigures = stop.value
            return found


def test_near_matches_that_are_proved_and_cheaper_are_taken() -> None:
    search = Search()
    found = search.run()
    assert found.chosen
    assert found.rule.near == {"x": 0.1}
    assert (found.rule.max_entries, found.rule.hit_share, found.rule.lookup_s) == (500, 0.8, 1e-6)
    assert found.near_reason == ""
    assert search.state.measured["chosen"].usd_per_million_packed == found.usd_per_million_with
    assert found.usd_per_million_with == pytest.approx(0.2, rel=0.01)
    answers = [action for action in search.asked if isinstance(action, Answer)]
    assert [action.config for action in answers] == [SMALL, ORIGINAL]
    assert answers[0].settings == SETTINGS  # as it will be served
    assert all((action.split, action.rows) == ("trace", 1000) for action in answers)


def test_a_look_up_that_rounds_is_timed_and_paid() -> None:
    found = Search().run(lookup_s=lambda action: 0.03 if action.near else 1e-6)
    assert found.rule.near == {}
    assert "no cheaper" in found.near_reason
    assert found.chosen


def test_exact_matches_are_held_against_near_ones_on_the_same_requests() -> None:
    found = Search().run(PROVED.model_copy(update={"exact_hit_share": 0.9}))
    assert found.rule.near == {}
    assert found.rule.hit_share == 0.3
    assert "no cheaper" in found.near_reason


@pytest.mark.parametrize(
    ("search", "matched", "doubts", "why"),
    [
        (Search(rows=0), PROVED, False, "columns key and row"),
        (Search(judged=False), PROVED, False, "metric none"),
        (Search(data_use="none"), PROVED, False, "data_use = none forbids that"),
        (Search(), PROVED, True, "may doubt"),
        (Search(left_s=6.0), PROVED, False, "the budget ended first"),
        (Search(rows=30), PROVED, False, "30 rows, 60 are needed"),
        (Search(), NearMatched(why_not="not offered: so it is"), False, "so it is"),
        (Search(), Failure(name="n", recipe=Recipe(), stage="choose", reason="r"), False, "could not be tried"),
    ],
    ids=["no rows", "nothing judged", "no data", "doubts", "no time", "few rows", "not proved", "failed"],
)
def test_without_near_matches_the_exact_cache_stays_and_says_why(
    search: Search, matched: Any, doubts: bool, why: str
) -> None:
    found = search.run(matched, doubts=doubts)
    assert found.chosen
    assert found.rule.near == {}
    assert found.rule.hit_share == 0.3
    assert why in found.near_reason
    assert not any(isinstance(action, LookUp) and action.near for action in search.asked)


def test_where_time_is_short_the_first_rows_are_asked_for() -> None:
    search = Search(left_s=25.0)
    search.run()
    (matched,) = [action for action in search.asked if isinstance(action, NearMatch)]
    assert 60 < matched.plan.rows < 1000
    assert matched.plan.rows == matched.original.rows


def test_the_original_answers_once_where_it_is_kept() -> None:
    search = Search(ORIGINAL)
    search.run()
    assert sum(isinstance(action, Answer) for action in search.asked) == 1
    (matched,) = [action for action in search.asked if isinstance(action, NearMatch)]
    assert matched.plan == matched.original
