"""The search over compositions, degraded modes and caches, in worlds whose every speed and quality is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from equipoise.compose.actions import (
    Action,
    Answer,
    Answered,
    Best,
    Build,
    Composable,
    Compose,
    Doubt,
    Doubted,
    Load,
    LookedUp,
    LookUp,
    Option,
    Outcome,
    Race,
    Raced,
    Reply,
    Sped,
    Speed,
    SpeedPoint,
)
from equipoise.compose.certify import Claim, Evidence, judge
from equipoise.compose.choice import Choice
from equipoise.compose.facts import Repeats, SearchFacts, WantedDistrust
from equipoise.compose.servable import Composed, Config, Servable
from equipoise.compose.solve import solve
from equipoise.core.certificate import FloorCertificate, Margin
from equipoise.core.estimate import Estimate
from equipoise.core.plan import AcceptRule, AnswerForm
from equipoise.core.profile import LatencyQuantiles, Profile
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import Variant
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

ROWS = 3000
FORM = AnswerForm(output="y", kind="logits")
RULE = AcceptRule(measure="max_probability", at_least=0.8)


def config(source: str, batch: int | None = None, *steps: str, **parameters: int) -> Config:
    recipe = Recipe(source=source, steps=tuple(Step(technique=step, parameters=dict(parameters)) for step in steps))
    tensors = (TensorSpec(name="x", dtype="float32", shape=(batch, 4)),)
    made = Variant(
        recipe=recipe, artifact=recipe.content_digest, format="onnx", quantized=False,
        spec=ModelSpec(inputs=tensors, outputs=tensors), artifact_bytes=1000, build_s=1.0, data_use="none",
        tool_versions={},
    )  # fmt: skip
    return Config(variant=made, runtime="onnxruntime", precision="f32")


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value * 0.99, high=value * 1.01, n=400, method="known")


def short(servable: Servable) -> str:
    """`big`, `small`, or `small > big`."""
    if isinstance(servable, Config):
        return "big" if servable.recipe.source == "model" else servable.recipe.source
    return " > ".join("+".join(short(member) for member in part.members) for part in servable.parts)


@dataclass
class World:
    """Rows a second and share of rows turned wrong, by `short` name; compositions that a `Compose` finds, by name."""

    speed: dict[str, float]
    loss: dict[str, float] = field(default_factory=dict)
    escalated: float = 0.2
    floor: float | None = None
    trusted: float = 0.95
    power: float = 0.95
    unlucky: set[str] = field(default_factory=set)
    entry_bytes: int = 500
    lookup_s: float = 1e-6
    sustained: dict[str, float] = field(default_factory=dict)
    asked: list[Action] = field(default_factory=list)

    def run(self, facts: SearchFacts) -> Choice:
        search = solve(facts)
        remaining_s = facts.budget_s
        try:
            action = next(search)
            while True:
                self.asked.append(action)
                remaining_s -= 0.3
                action = search.send(Reply(self.outcome(action), remaining_s))
        except StopIteration as stop:
            choice: Choice = stop.value
            return choice

    def outcome(self, action: Action) -> Outcome | Answered:
        match action:
            case Speed(config=asked):
                rate = self.speed[short(asked)]
                return Sped(
                    points=tuple(
                        SpeedPoint(batch=batch, rows_per_s=rate * batch / (batch + 1), batch_s=(batch + 1) / rate)
                        for batch in action.batches
                    )
                )
            case Answer():
                return self.answered(action)
            case Compose():
                return self.composed(action)
            case Doubt():
                return Doubted(accept=AcceptRule(measure="max_probability", at_least=action.below))
            case LookUp():
                return LookedUp(lookup_s=self.lookup_s, entry_bytes=self.entry_bytes)
            case Race():
                return self.raced(action)
            case Best():
                return None
        raise AssertionError(f"{action} was not expected")

    def composed(self, action: Compose) -> Composable:
        parts = [asked.part for asked in action.stages]
        parts = [
            part.model_copy(
                update={
                    "accept": RULE if number < len(parts) - 1 else None,
                    "share": 1.0 if number == 0 else self.escalated,
                }
            )
            for number, part in enumerate(parts)
        ]
        composed = Composed(parts=tuple(parts), form=FORM)
        if short(composed) not in self.speed:
            return Composable(options=(), tried=5, best="none of its thresholds is likely to pass")
        rate = self.speed[short(composed)]
        return Composable(
            options=(Option(composed=composed, rows_per_s=rate, p_value=1e-12, power=self.power),), tried=5
        )

    def answered(self, action: Answer) -> Answered:
        name = short(action.config)
        loss = self.loss.get(name, 0.0)
        if action.split == "certify" and name in self.unlucky:
            loss = 0.2
        wrong = round(loss * action.rows)
        labels = np.zeros(action.rows, dtype=np.int64)
        labels[:wrong] = 1
        evidence = Evidence(
            metric=metric_named("accuracy"),
            baseline=Predictions(labels=np.zeros(action.rows, dtype=np.int64)),
            target=np.zeros(action.rows, dtype=np.int64),
            groups=None,
            claims=(Claim("main", "metric", Margin(drop=0.02), np.arange(action.rows)),),
        )
        floor = None
        if self.floor is not None:
            floor = FloorCertificate(
                metric="accuracy", floor=self.floor, confidence=0.95, n=action.rows, quality=estimate(1 - loss),
                p_value=0.001 if 1 - loss > self.floor else 0.8, method="known", passed=1 - loss > self.floor,
            )  # fmt: skip
        doubting = action.config.untrusted is not None
        judgement = judge(Predictions(labels=labels), evidence)
        return Answered(judgement, estimate(1 - loss), floor, self.trusted if doubting else None)

    def raced(self, action: Race) -> Raced:
        speeds = {entrant.name: self.speed[short(entrant.config)] for entrant in action.entrants}
        return Raced(
            profiles={
                name: Profile(
                    latency_s=LatencyQuantiles(p50=estimate(0.001), p95=estimate(0.001), p99=estimate(0.001)),
                    throughput_rps=estimate(rate), peak_memory_bytes=estimate(1e8), cold_start_s=estimate(1.0),
                    environment="e",
                )
                for name, rate in speeds.items()
            },
            failures={},
            ratio_to_tuned={name: estimate(rate / self.speed["big"]) for name, rate in speeds.items()},
            ratio_to_baseline={name: estimate(rate / self.speed["big"]) for name, rate in speeds.items()},
            samples="race",
        )  # fmt: skip


def facts(*alternatives: Config, **changes: Any) -> SearchFacts:
    base = SearchFacts(
        budget_s=300, finish_s=5, n_search=ROWS, n_certify=ROWS, cores=2, confidence=0.95, p99_limit_s=None,
        memory_limit_bytes=None, rate_rps=None, mean_rate_rps=None, usd_per_hour=0.1, judged=True, counts_correct=True,
        baseline=config("model"), originals=alternatives, recipes=(), configs_of=lambda made: (), form=FORM,
    )  # fmt: skip
    return replace(base, **changes)


def chosen(choice: Choice) -> str:
    assert choice.chosen is not None
    return short(choice.entrants[choice.chosen.name].config)


def reasons(choice: Choice, kind: str) -> str:
    found = [f for f in choice.failures if f.recipe.steps and f.recipe.steps[-1].technique == kind]
    return "\n".join(failure.reason for failure in found)


SMALL, TINY = config("small"), config("tiny")
SPEEDS = {"big": 100.0, "small": 400.0, "small > big": 220.0}
LOSSES = {"small": 0.1, "small > big": 0.002}


def test_a_cascade_that_is_cheaper_and_good_enough_is_chosen() -> None:
    choice = World(SPEEDS, LOSSES).run(facts(SMALL))
    assert (choice.decision, chosen(choice)) == ("replace", "small > big")
    assert choice.chosen is not None
    assert [round(stage.share_answered, 3) for stage in choice.chosen.stages] == [0.8, 0.2]
    assert choice.chosen.stages[0].accepts == "max_probability >= 0.8"
    assert choice.chosen.artifact_bytes == 2000
    assert choice.chosen.recipe.steps[-1].technique == "cascade"


def test_a_cascade_that_fails_its_proof_leaves_the_single_model() -> None:
    choice = World(SPEEDS, LOSSES, unlucky={"small > big"}).run(facts(SMALL))
    assert choice.decision == "keep"
    assert "certify rows" in reasons(choice, "cascade")


def test_the_best_single_model_is_certified_behind_a_cascade_that_beats_it() -> None:
    better = config("better")
    world = World(
        SPEEDS | {"better": 150.0, "small > better": 300.0}, LOSSES | {"better": 0.008, "small > better": 0.001}
    )
    choice = world.run(facts(SMALL, better))
    assert chosen(choice) == "small > better"
    assert [short(choice.entrants[name].config) for name in choice.certified][-1] == "better"


@pytest.mark.parametrize(("share", "wanted"), [(1.0, "no"), (1.5, "yes")])
def test_a_cascade_must_look_clearly_cheaper_to_be_timed(share: float, wanted: str) -> None:
    world = World(SPEEDS | {"small > big": 100 * share}, LOSSES)
    world.run(facts(SMALL))
    timed = any(isinstance(action, Speed) and isinstance(action.config, Composed) for action in world.asked)
    assert timed == (wanted == "yes")


def test_an_ensemble_dearer_than_the_model_it_replaces_is_rejected_and_says_so() -> None:
    choice = World({"big": 100.0, "small": 130.0, "tiny": 140.0}, {"small": 0.1, "tiny": 0.1}).run(facts(SMALL, TINY))
    assert "asking all of them costs $" in reasons(choice, "ensemble")
    assert "alone $" in reasons(choice, "ensemble")


def test_an_ensemble_of_light_models_can_win() -> None:
    speeds = {"big": 100.0, "small": 400.0, "tiny": 500.0, "small+tiny": 220.0, "tiny+small": 220.0}
    losses = {"small": 0.1, "tiny": 0.1, "small+tiny": 0.001, "tiny+small": 0.001}
    choice = World(speeds, losses).run(facts(SMALL, TINY))
    assert set(chosen(choice).split("+")) == {"small", "tiny"}
    assert choice.chosen is not None
    assert len(choice.chosen.stages) == 1


def test_models_of_one_batch_size_are_not_composed() -> None:
    world = World(SPEEDS, LOSSES)
    world.run(facts(config("small", 8)))
    assert not any(isinstance(action, Compose) for action in world.asked)


def test_answers_without_a_common_form_are_not_composed() -> None:
    world = World(SPEEDS, LOSSES)
    assert world.run(facts(SMALL, form=None)).decision == "keep"
    assert not any(isinstance(action, Compose) for action in world.asked)


# --- degraded modes ---


def test_without_a_floor_no_fallback_is_offered() -> None:
    assert World(SPEEDS, LOSSES).run(facts(SMALL)).fallback is None


@pytest.mark.parametrize(("floor", "offered"), [(0.85, True), (0.95, False)])
def test_a_fallback_is_offered_only_where_it_reaches_the_floor_by_itself(floor: float, offered: bool) -> None:
    choice = World(SPEEDS, LOSSES, floor=floor).run(facts(SMALL))
    assert choice.fallback is not None
    picked, mode = choice.fallback
    assert short(picked) == "small"
    assert mode.offered == offered
    assert mode.certificate.floor == floor


def test_the_plans_own_first_stage_goes_before_a_faster_fallback() -> None:
    world = World(SPEEDS | {"tiny": 900.0}, LOSSES | {"tiny": 0.12}, floor=0.8)
    choice = world.run(facts(SMALL, TINY))
    assert choice.fallback is not None
    assert short(choice.fallback[0]) == "small"


def test_under_a_memory_limit_only_what_is_loaded_anyway_may_be_the_fallback() -> None:
    limited = {"memory_limit_bytes": 10**9}
    cascade = World(SPEEDS | {"tiny": 900.0}, LOSSES | {"tiny": 0.12}, floor=0.8).run(facts(SMALL, TINY, **limited))
    assert cascade.fallback is not None
    assert short(cascade.fallback[0]) == "small"
    alone = World({"big": 100.0, "small": 400.0}, {"small": 0.1}, floor=0.8)
    assert alone.run(facts(SMALL)).fallback is not None
    assert alone.run(facts(SMALL, **limited)).fallback is None


def test_exactly_one_fallback_is_tested_on_the_certify_rows() -> None:
    def opened(floor: float | None) -> int:
        world = World(SPEEDS | {"tiny": 900.0}, LOSSES | {"tiny": 0.3}, floor=floor)
        world.run(facts(SMALL, TINY))
        return sum(isinstance(action, Answer) and action.split == "certify" for action in world.asked)

    assert opened(0.95) == opened(None) + 1


def test_distrust_is_tested_by_itself_and_reported() -> None:
    world = World(SPEEDS, LOSSES, floor=0.9)
    choice = world.run(facts(SMALL, distrust=WantedDistrust("refer", 0.6, None)))
    assert isinstance(choice.doubting, tuple)
    served, proved = choice.doubting
    assert served.parts[-1].accept == AcceptRule(measure="max_probability", at_least=0.6)
    assert (proved.answer, proved.share_answered) == ("refer", 0.95)
    assert proved.certificate.passed


def test_distrust_is_held_to_alpha_shared_by_the_plans_that_the_same_rows_chose_among() -> None:
    class Marginal(World):
        def answered(self, action: Answer) -> Answered:
            found = super().answered(action)
            proved = found.floor and found.floor.model_copy(update={"p_value": 0.03, "passed": True})
            return replace(found, floor=proved)

    choice = Marginal(SPEEDS, LOSSES, floor=0.9).run(facts(SMALL, distrust=WantedDistrust("refer", 0.6, None)))
    assert choice.doubting == "its quality, 0.998, is not proved to reach the floor of 0.9"


@pytest.mark.parametrize(
    ("wanted", "floor", "why"),
    [
        (WantedDistrust("refer", 0.6, None), 0.999, "not proved to reach the floor"),
        (WantedDistrust("simple", 0.6, None), 0.9, "no simpler stage"),
    ],
)
def test_distrust_that_cannot_be_given_says_why(wanted: WantedDistrust, floor: float, why: str) -> None:
    alone = {"big": 100.0, "small": 300.0}
    choice = World(alone, {"small": 0.004}, floor=floor).run(facts(SMALL, distrust=wanted))
    assert isinstance(choice.doubting, str)
    assert why in choice.doubting


# --- cache and savings ---


def test_a_cache_that_saves_is_taken_into_the_cost() -> None:
    repeats = Repeats(((1000, 0.2), (10_000, 0.5)), usd_per_gib_hour=0.004, source="a trace")
    choice = World(SPEEDS, LOSSES).run(facts(SMALL, repeats=repeats))
    assert choice.cache is not None
    assert choice.cache.chosen
    assert choice.cache.rule.max_entries == 10_000
    assert choice.chosen is not None
    assert choice.chosen.usd_per_million_packed == pytest.approx(choice.cache.usd_per_million_with)
    assert choice.cache.usd_per_million_with == pytest.approx(0.5 * choice.cache.usd_per_million_without, rel=0.01)
    assert {saving.part for saving in choice.chosen.savings} >= {"cache", "batching"}


@pytest.mark.parametrize("dear", [{"lookup_s": 0.01}, {"entry_bytes": 10**9}])
def test_a_cache_that_costs_more_than_it_saves_is_left_out(dear: dict[str, Any]) -> None:
    repeats = Repeats(((10_000, 0.5),), usd_per_gib_hour=0.004, source="a trace")
    choice = World(SPEEDS, LOSSES, **dear).run(facts(SMALL, repeats=repeats))
    assert choice.cache is not None
    assert not choice.cache.chosen
    assert choice.chosen is not None
    assert choice.chosen.usd_per_million_packed == pytest.approx(choice.cache.usd_per_million_without)


def test_a_cache_stays_within_the_memory_limit() -> None:
    repeats = Repeats(((1000, 0.2), (10_000_000, 0.5)), usd_per_gib_hour=0.0, source="a trace")
    for limit, expected in ((2 * 10**8, 1000), (10**10, 10_000_000), (10**8 + 1000, None)):
        choice = World(SPEEDS, LOSSES).run(facts(SMALL, repeats=repeats, memory_limit_bytes=limit))
        assert (choice.cache and choice.cache.rule.max_entries) == expected


def test_what_each_part_saves() -> None:
    choice = World(SPEEDS, LOSSES).run(facts(SMALL))
    assert choice.chosen is not None
    without = {saving.part: saving.usd_per_million_without for saving in choice.chosen.savings}
    usd = choice.chosen.usd_per_million_packed
    first, last = (without[part] for part in without if part.startswith("stage "))
    assert first > usd > last  # the first stage saves money; the last one is there for the quality
    assert without["batching"] > usd
    # Every row to the big model: (1 / 100) against (1 / 400 + 0.2 / 100), as the stages' own speeds say.
    assert first / usd == pytest.approx((1 / 100) / (1 / 400 + 0.2 / 100), rel=0.1)


def test_the_same_replies_lead_to_the_same_choice() -> None:
    def asked() -> list[str]:
        world = World(SPEEDS, LOSSES, floor=0.8)
        world.run(facts(SMALL, repeats=Repeats(((100, 0.5),), 0.004, "given")))
        return [action.content_digest for action in world.asked]

    assert asked() == asked()


def test_actions_and_outcomes_survive_the_journal() -> None:
    world = World(SPEEDS, LOSSES, floor=0.8)
    world.run(facts(SMALL, distrust=WantedDistrust("refer", 0.6, None)))
    for action in world.asked:
        again = type(action).model_validate_json(action.model_dump_json())
        assert again.content_digest == action.content_digest
    assert {Build, Load}.isdisjoint({type(action) for action in world.asked})


def test_an_ensemble_has_no_two_forms_of_one_model_and_reshaped_ones_are_models_of_their_own() -> None:
    forms = [config("model", None, "int8"), config("model", None, "fewer", trees=10), config("small", None, "int8")]
    world = World({"big": 100.0, "small": 400.0, "tiny": 300.0}, {"small": 0.1, "tiny": 0.1})
    choice = world.run(facts(SMALL, TINY, *forms, reshaping=frozenset({"fewer"})))
    together = [action.stages[0].answers for action in world.asked if isinstance(action, Compose)]
    ensembles = [{answer.config.recipe.source for answer in answers} for answers in together if len(answers) > 1]
    rejected = [f.name for f in choice.failures if f.recipe.steps and f.recipe.steps[-1].technique == "ensemble"]
    assert ensembles or rejected
    assert all(len(sources) > 1 for sources in ensembles)
    assert not any("small @" in name and "small + int8" in name for name in rejected)


def test_with_a_cache_each_part_saves_on_what_is_computed() -> None:
    repeats = Repeats(((10_000, 0.5),), usd_per_gib_hour=0.0, source="a trace")
    plain = World(SPEEDS, LOSSES).run(facts(SMALL)).chosen
    cached = World(SPEEDS, LOSSES, lookup_s=0.0).run(facts(SMALL, repeats=repeats)).chosen
    assert plain is not None
    assert cached is not None
    saved = [saving for saving in cached.savings if saving.part != "cache"]
    assert saved
    for alone, with_cache in zip(plain.savings, saved, strict=True):
        assert with_cache.part == alone.part
        assert with_cache.usd_per_million_without == pytest.approx(0.5 * alone.usd_per_million_without)
