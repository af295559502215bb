"""The search, against worlds whose every speed and quality is known: it does no input or output, so nor do these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from equipoise.compose.actions import (
    Action,
    Answer,
    Answered,
    Best,
    Build,
    Load,
    Loaded,
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
from equipoise.compose.facts import SearchFacts
from equipoise.compose.servable import Config
from equipoise.compose.solve import solve
from equipoise.core.certificate import Margin
from equipoise.core.estimate import Estimate
from equipoise.core.plan import BatchRule
from equipoise.core.profile import LatencyQuantiles, Profile
from equipoise.core.recipe import Recipe, Step
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import Failure, Variant
from equipoise.stats.metrics import metric_named
from equipoise.stats.predictions import Predictions

SPEC = ModelSpec(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(None, 2)),),
)
ROWS = 3000


def variant(recipe: Recipe, artifact: str | None = None) -> Variant:
    return Variant(
        recipe=recipe, artifact=artifact or recipe.content_digest, format="onnx", quantized=False, spec=SPEC,
        artifact_bytes=1000, build_s=1.0, data_use="none", tool_versions={},
    )  # fmt: skip


def step(name: str, **parameters: int) -> Recipe:
    return Recipe(steps=(Step(technique=name, parameters=dict(parameters)),))


def config(recipe: Recipe) -> Config:
    return Config(variant=variant(recipe), runtime="onnxruntime", precision="f32")


@dataclass
class World:
    """Answers actions: speed (rows/s at batch 1 and kept full) and loss (share of rows turned wrong) by recipe."""

    speed: dict[str, float]
    loss: dict[str, float] = field(default_factory=dict)
    p99_s: dict[str, float] = field(default_factory=dict)
    sustained: dict[str, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    action_s: float = 0.5
    asked: list[Action] = field(default_factory=list)

    def run(self, facts: SearchFacts) -> Choice:
        search = solve(facts)
        remaining_s = facts.budget_s
        try:
            action = next(search)
            while True:
                self.asked.append(action)
                remaining_s -= self.action_s
                action = search.send(Reply(self.outcome(action), remaining_s))
        except StopIteration as stop:
            choice: Choice = stop.value
            return choice

    def outcome(self, action: Action) -> Outcome | Answered:
        match action:
            case Build(recipe=recipe):
                if str(recipe) in self.broken:
                    return Failure(name=str(recipe), recipe=recipe, stage="build", reason="it fell over")
                return variant(recipe)
            case Speed(config=asked):
                rate = self.speed[str(asked.variant.recipe)]
                return Sped(
                    points=tuple(
                        SpeedPoint(batch=batch, rows_per_s=rate * batch / (batch + 1), batch_s=(batch + 1) / rate)
                        for batch in action.batches
                    )
                )
            case Answer(config=asked):
                return Answered(*self.judged(str(asked.variant.recipe), action.rows))
            case Race():
                return self.raced(action)
            case Load(entrant=entrant):
                name = str(entrant.config.variant.recipe)
                profile = self.profile(name).model_copy(update={"sustained_rps": self.sustained[name]})
                return Loaded(profile=profile, batch_rule=BatchRule(max_rows=8))
            case Best():
                return None

    def judged(self, name: str, rows: int) -> tuple[object, Estimate]:
        wrong = round(self.loss.get(name, 0.0) * rows)
        labels = np.zeros(rows, dtype=np.int64)
        labels[:wrong] = 1
        evidence = Evidence(
            metric=metric_named("accuracy"),
            baseline=Predictions(labels=np.zeros(rows, dtype=np.int64)),
            target=np.zeros(rows, dtype=np.int64),
            groups=None,
            claims=(Claim("main", "metric", Margin(drop=0.02), np.arange(rows)),),
        )
        return judge(Predictions(labels=labels), evidence), estimate(1 - wrong / rows)

    def profile(self, name: str) -> Profile:
        p99 = estimate(self.p99_s.get(name, 0.001))
        return Profile(
            latency_s=LatencyQuantiles(p50=p99, p95=p99, p99=p99),
            throughput_rps=estimate(self.speed[name]),
            peak_memory_bytes=estimate(1e8),
            cold_start_s=estimate(1.0),
            environment="e",
        )

    def raced(self, action: Race) -> Raced:
        names = {entrant.name: str(entrant.config.variant.recipe) for entrant in action.entrants}
        ratios = {name: estimate(self.speed[recipe] / self.speed["original"]) for name, recipe in names.items()}
        return Raced(
            profiles={name: self.profile(recipe) for name, recipe in names.items()},
            failures={}, ratio_to_tuned=ratios, ratio_to_baseline=ratios, samples="race",
        )  # fmt: skip


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value * 0.99, high=value * 1.01, n=400, method="known")


def facts(*recipes: Recipe, **changes: object) -> SearchFacts:
    base = SearchFacts(
        budget_s=300, finish_s=5, n_search=ROWS, n_certify=ROWS, cores=2, confidence=0.95, p99_limit_s=None,
        memory_limit_bytes=None, rate_rps=None, mean_rate_rps=None, usd_per_hour=0.1, judged=True, counts_correct=True,
        baseline=config(Recipe()), originals=(), recipes=recipes,
        configs_of=lambda made: (Config(variant=made, runtime="onnxruntime", precision="f32"),),
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def name_of(choice: Choice) -> str:
    assert choice.chosen is not None
    return str(choice.chosen.recipe)


def reasons(choice: Choice) -> dict[str, str]:
    return {str(failure.recipe): failure.reason for failure in choice.failures}


A, B, C = step("a"), step("b"), step("c")


def test_the_cheapest_that_is_good_enough_is_chosen() -> None:
    world = World({"original": 100, "a": 300, "b": 500, "c": 200}, loss={"a": 0.001, "b": 0.1})
    choice = world.run(facts(A, B, C))
    assert (choice.decision, name_of(choice)) == ("replace", "a")
    assert "quality" in reasons(choice)["b"]
    assert choice.tried == 4


def test_slower_forms_are_never_chosen() -> None:
    choice = World({"original": 100, "a": 60, "b": 99}).run(facts(A, B))
    assert choice.decision == "keep"
    assert choice.chosen == choice.baseline_tuned
    assert "slower" in reasons(choice)["a"]


def test_a_gain_within_the_noise_is_no_reason_to_replace() -> None:
    choice = World({"original": 100, "a": 104}).run(facts(A))
    assert choice.decision == "keep"
    assert "not surely cheaper" in reasons(choice)["a"]


def test_what_cannot_be_built_is_recorded_and_the_search_goes_on() -> None:
    choice = World({"original": 100, "b": 300}, broken={"a"}).run(facts(A, B))
    assert name_of(choice) == "b"
    assert reasons(choice)["a"] == "it fell over"


def test_nothing_meets_the_limit_and_the_nearest_miss_is_named() -> None:
    world = World({"original": 100, "a": 300}, p99_s={"original": 0.5, "a": 0.2})
    choice = world.run(facts(A, p99_limit_s=0.1))
    assert (choice.decision, choice.chosen) == ("infeasible", None)
    assert choice.nearest_miss is not None
    assert choice.nearest_miss.limit == "p99"
    assert choice.nearest_miss.name.startswith("a @")


def test_an_original_that_misses_the_limit_is_replaced_by_one_that_does_not() -> None:
    world = World({"original": 100, "a": 101}, p99_s={"original": 0.5, "a": 0.01})
    choice = world.run(facts(A, p99_limit_s=0.1))
    assert (choice.decision, name_of(choice)) == ("replace", "a")


def test_certify_is_opened_surest_first_and_no_further_than_the_first_failure() -> None:
    class Unlucky(World):
        def outcome(self, action: Action) -> Outcome | Answered:
            if isinstance(action, Answer) and action.split == "certify" and str(action.config.variant.recipe) == "a":
                return Answered(*self.judged("hopeless", action.rows))
            return super().outcome(action)

    world = Unlucky({"original": 100, "a": 200, "b": 300}, loss={"a": 0.0005, "b": 0.003, "hopeless": 0.3})
    choice = world.run(facts(A, B))
    assert choice.decision == "keep"
    opened = [str(a.config.variant.recipe) for a in world.asked if isinstance(a, Answer) and a.split == "certify"]
    assert opened == ["original", "a"]
    assert "earlier one in the fixed sequence" in reasons(choice)["b"]


def test_with_traffic_whole_machines_decide_and_ties_break_on_the_packed_cost() -> None:
    world = World({"original": 100, "a": 150, "b": 300}, sustained={"original": 40, "a": 90, "b": 95})
    choice = world.run(facts(A, B, rate_rps=80))
    assert name_of(choice) == "b"
    assert choice.chosen is not None
    assert choice.chosen.usd_per_million_provisioned == pytest.approx(0.1 / (80 * 3600) * 1e6)
    assert choice.baseline_tuned.usd_per_million_provisioned == pytest.approx(2 * 0.1 / (80 * 3600) * 1e6)


def test_machines_for_the_peak_are_paid_by_the_mean_traffic() -> None:
    world = World({"original": 100, "a": 150}, sustained={"original": 40, "a": 90})
    choice = world.run(facts(A, rate_rps=80, mean_rate_rps=20))
    assert choice.chosen is not None
    assert choice.chosen.usd_per_million_provisioned == pytest.approx(0.1 / (20 * 3600) * 1e6)
    assert choice.baseline_tuned.usd_per_million_provisioned == pytest.approx(2 * 0.1 / (20 * 3600) * 1e6)


def test_layers_are_reverted_while_quality_is_short() -> None:
    speed = {"original": 100.0} | {f"q(ignore_worst={count})": 300.0 - count for count in (0, 2, 4, 8, 16)}
    loss = {"q(ignore_worst=0)": 0.05, "q(ignore_worst=2)": 0.03, "q(ignore_worst=4)": 0.001}
    choice = World(speed, loss).run(facts(step("q", ignore_worst=0), reverting=frozenset({"q"})))
    assert name_of(choice) == "q(ignore_worst=4)"


@pytest.mark.parametrize("action_s", [0.5, 15.0, 80.0])
def test_a_budget_that_ends_early_still_brings_an_answer(action_s: float) -> None:
    many = [step("t", index=index) for index in range(30)]
    speed = {"original": 100.0} | {str(recipe): 300.0 for recipe in many}
    world = World(speed, action_s=action_s)
    choice = world.run(facts(*many))
    assert choice.decision in ("replace", "keep")
    if action_s > 1:
        assert any("budget ended first" in reason for reason in reasons(choice).values())


def test_speed_alone_is_compared_without_a_metric() -> None:
    world = World({"original": 100, "a": 300}, loss={"a": 0.9})
    choice = world.run(facts(A, judged=False))
    assert name_of(choice) == "a"
    assert not any(isinstance(action, Answer) for action in world.asked)


def test_where_nothing_is_judged_the_time_of_a_proof_is_for_building() -> None:
    many = [step(f"r{number}") for number in range(60)]
    speed = {"original": 100.0} | {str(recipe): 300.0 for recipe in many}

    def built_until(judged: bool) -> float:
        world = World(speed, action_s=2.0)
        wanted = facts(*many, judged=judged)
        world.run(wanted)
        last = max(place for place, action in enumerate(world.asked) if isinstance(action, Build))
        return last * world.action_s / wanted.budget_s

    assert built_until(judged=True) < 0.46
    assert 0.5 < built_until(judged=False) < 0.56


def test_the_same_replies_lead_to_the_same_choice() -> None:
    def asked() -> list[str]:
        world = World({"original": 100, "a": 300, "b": 500, "c": 200}, loss={"b": 0.1})
        world.run(facts(A, B, C))
        return [action.content_digest for action in world.asked]

    assert asked() == asked()


def test_every_candidate_is_either_chosen_or_rejected_with_a_reason() -> None:
    world = World({"original": 100, "a": 300, "b": 500, "c": 310}, loss={"a": 0.001, "c": 0.002})
    choice = world.run(facts(A, B, C))
    explained = reasons(choice).keys() | {name_of(choice)}
    assert {"a", "b", "c"} <= explained
