"""Training in the search, and whether it pays: worlds in which it is known what each second of training brings."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from compose.test_solve import World, facts, name_of, reasons, step, variant
from equipoise.compose.actions import Action, Answered, Build, Outcome, Reply
from equipoise.compose.choice import Choice
from equipoise.compose.facts import SearchFacts
from equipoise.compose.solve import solve
from equipoise.core.recipe import Recipe, Step
from equipoise.core.training import TrainingRecord
from equipoise.core.variant import Variant

A, SMALL, TINY, WIDE = step("a"), step("small"), step("tiny"), step("wide")


def untimed(name: str) -> str:
    """`small(train_s=4.5)` to `small`."""
    return name.partition("(")[0]


@dataclass
class School(World):
    """A world in which a recipe's loss falls with the seconds that it was trained."""

    done_after: dict[str, float] = field(default_factory=dict)
    trained: list[tuple[str, float]] = field(default_factory=list)
    trained_s: float = 0.0
    resuming: frozenset[str] = frozenset()
    kept_s: dict[str, float] = field(default_factory=dict)

    def run(self, facts: SearchFacts) -> Choice:
        search = solve(facts)
        remaining_s = facts.budget_s
        try:
            action = next(search)
            while True:
                self.asked.append(action)
                remaining_s -= self.action_s
                action = search.send(Reply(self.outcome(action), remaining_s, self.trained_s))
        except StopIteration as stop:
            choice: Choice = stop.value
            return choice

    def outcome(self, action: Action) -> Outcome | Answered:
        if isinstance(action, Build) and action.recipe.last_train_s:
            recipe = action.recipe
            name = untimed(str(recipe))
            self.trained.append((name, recipe.last_train_s))
            spent_s = min(recipe.last_train_s, self.done_after.get(name, recipe.last_train_s))
            resumed_s = self.kept_s.get(name, 0.0) if name in self.resuming else 0.0
            self.trained_s += spent_s - resumed_s
            self.kept_s[name] = spent_s
            self.speed[str(recipe)] = self.speed[name]
            self.loss[str(recipe)] = self.loss.get(name, 0.0) / spent_s
            record = TrainingRecord(
                train_s=recipe.last_train_s, elapsed_s=spent_s, finished=spent_s < recipe.last_train_s
            )
            return variant(recipe).model_copy(update={"training": record})
        return super().outcome(action)


def seconds_of(world: School, name: str) -> list[float]:
    return [seconds for trained, seconds in world.trained if trained == name]


def test_without_a_training_budget_nothing_is_trained() -> None:
    world = School({"original": 100, "a": 200})
    assert name_of(world.run(facts(A))) == "a"
    assert not world.trained


def test_the_better_ones_are_trained_for_longer_and_all_within_the_budget() -> None:
    world = School(
        {"original": 100, "small": 900, "tiny": 2000, "wide": 300}, loss={"small": 0.2, "tiny": 5, "wide": 0.1}
    )
    choice = world.run(facts(train_s=120, trainings=(SMALL, TINY, WIDE)))
    assert [len(seconds_of(world, name)) for name in ("small", "tiny", "wide")] == [2, 1, 1]
    assert max(world.trained, key=lambda pair: pair[1])[0] == "small"
    assert world.trained_s <= 120
    assert untimed(name_of(choice)) == "small"


def test_the_last_one_has_all_the_time_that_is_left_where_it_goes_on_from_a_shorter_training() -> None:
    resuming = frozenset({"small", "wide"})
    world = School({"original": 100, "small": 900, "wide": 300}, loss={"small": 0.5, "wide": 0.6}, resuming=resuming)
    world.run(facts(train_s=120, trainings=(SMALL, WIDE), resuming=resuming))
    assert 110 < world.trained_s <= 120


def test_what_is_done_is_not_trained_again() -> None:
    world = School({"original": 100, "small": 900, "wide": 500}, done_after={"small": 2, "wide": 2})
    world.run(facts(train_s=120, trainings=(SMALL, WIDE)))
    assert [len(seconds_of(world, name)) for name in ("small", "wide")] == [1, 1]


def test_what_is_no_faster_than_a_plan_without_training_goes_no_further() -> None:
    world = School({"original": 100, "a": 1000, "small": 900, "tiny": 990})
    choice = world.run(facts(A, train_s=120, trainings=(SMALL, TINY)))
    assert len(world.trained) == 2
    said = [failure.reason for failure in choice.failures]
    assert any("no faster than a @" in reason and "needs no training" in reason for reason in said)
    assert name_of(choice) == "a"


def test_too_little_time_for_all_tries_the_first_and_says_so() -> None:
    world = School({"original": 100, "small": 900, "tiny": 990, "wide": 700})
    choice = world.run(facts(train_s=16, trainings=(SMALL, TINY, WIDE)))
    assert {name for name, _ in world.trained} == {"small"}
    assert reasons(choice)["wide"] == "not tried: the training time ended first; more --train-minutes would"


def test_time_that_others_leave_is_for_those_that_it_did_not_reach_for() -> None:
    done_after = {"small": 2.0, "tiny": 2.0, "wide": 2.0}
    world = School({"original": 100, "small": 700, "tiny": 800, "wide": 990}, done_after=done_after)
    choice = world.run(facts(train_s=45, trainings=(SMALL, TINY, WIDE)))
    assert [name for name, _ in world.trained] == ["small", "tiny", "wide"]
    assert untimed(name_of(choice)) == "wide"


def test_a_training_that_fails_is_recorded_and_the_search_goes_on() -> None:
    class Diverging(School):
        def outcome(self, action: Action) -> Outcome | Answered:
            if isinstance(action, Build) and "small" in str(action.recipe):
                self.trained_s += 3
                self.broken.add(str(action.recipe))
                return World.outcome(self, action)
            return super().outcome(action)

    choice = Diverging({"original": 100, "tiny": 990}).run(facts(train_s=60, trainings=(SMALL, TINY)))
    assert untimed(name_of(choice)) == "tiny"
    assert "it fell over" in reasons(choice).values()


def test_forms_of_a_student_are_built_and_judged_in_its_place() -> None:
    def as_onnx(made: Variant) -> tuple[Recipe, ...]:
        return (made.recipe.then(Step(technique="onnx")),)

    class Converting(School):
        def outcome(self, action: Action) -> Outcome | Answered:
            if isinstance(action, Build) and str(action.recipe).endswith("onnx"):
                self.speed[str(action.recipe)] = 5000
            return super().outcome(action)

    world = Converting({"original": 100, "small": 120})
    choice = world.run(facts(train_s=60, trainings=(SMALL,), next_recipes=as_onnx))
    assert name_of(choice).startswith("small(")
    assert name_of(choice).endswith("+ onnx")


class Forming(School):
    """A world in which each form of a student is twice as fast as the student, and loses as much."""

    def outcome(self, action: Action) -> Outcome | Answered:
        if isinstance(action, Build) and len(action.recipe.steps) == 2:
            taught = str(Recipe(steps=action.recipe.steps[:1]))
            self.speed[str(action.recipe)] = 2 * self.speed[taught]
            self.loss[str(action.recipe)] = self.loss[taught]
        return super().outcome(action)


def test_early_rungs_build_one_form_and_the_last_all() -> None:
    def forms(made: Variant) -> tuple[Recipe, ...]:
        return tuple(made.recipe.then(Step(technique=name)) for name in ("b", "a"))

    world = Forming({"original": 100, "a": 200, "small": 900, "wide": 500}, loss={"small": 0.2, "wide": 0.3})
    choice = world.run(facts(A, train_s=120, trainings=(SMALL, WIDE), next_recipes=forms))
    built = [action.recipe for action in world.asked if isinstance(action, Build) and len(action.recipe.steps) == 2]
    assert [(untimed(str(recipe)), recipe.steps[-1].technique) for recipe in built] == [
        ("small", "a"), ("wide", "a"), ("small", "b"), ("small", "a"),
    ]  # fmt: skip
    assert untimed(name_of(choice)) == "small"


def test_a_fast_one_that_may_come_to_pass_goes_on_before_a_slow_one_that_nearly_does() -> None:
    speed = {"fast": 5000, "faster": 6000, "slow": 900, "slower": 800, "slowest": 700}
    loss = {"fast": 0.8, "faster": 8.0, "slow": 0.5, "slower": 0.7, "slowest": 0.7}
    world = School({"original": 100, **speed}, loss=loss)
    world.run(facts(train_s=360, trainings=tuple(map(step, speed))))
    assert {name for name in speed if len(seconds_of(world, name)) > 1} == {"slow", "fast"}


SPEEDS = {"original": 100.0, "a": 1000.0, "small": 3000.0}


class TestPayback:
    def study(self) -> Choice:
        return School(dict(SPEEDS)).run(facts(A, train_s=60, trainings=(SMALL,)))

    def test_it_is_reckoned_against_the_best_plan_without_training(self) -> None:
        choice = self.study()
        payback = choice.payback
        assert payback is not None
        assert choice.chosen is not None
        assert (payback.plan, payback.in_time, payback.days) == (choice.chosen.name, True, None)
        assert payback.instead_of is not None
        assert payback.instead_of.startswith("a @")
        assert payback.training_usd == pytest.approx(0.1 * payback.trained_s / 3600)
        saved = 0.1 / 3600 * 1e6 * (1 / 1000 - 1 / 3000)
        assert payback.saved_per_million_usd == pytest.approx(saved)
        assert payback.requests == pytest.approx(payback.training_usd / saved * 1e6)

    def test_what_pays_too_late_is_not_chosen_and_says_after_how_long(self) -> None:
        class Busy(School):
            def outcome(self, action: Action) -> Outcome | Answered:
                result = super().outcome(action)
                self.sustained |= {name: rate * 0.01 for name, rate in self.speed.items()}
                return result

        def decide(days: float) -> Choice:
            return Busy(dict(SPEEDS)).run(
                facts(A, train_s=60, trainings=(SMALL,), rate_rps=11.0, mean_rate_rps=11.0, payback_days=days)
            )

        in_time = decide(90.0)
        assert untimed(name_of(in_time)) == "small"
        assert in_time.payback is not None
        assert in_time.payback.days == pytest.approx(in_time.payback.requests / (11 * 86_400))  # type: ignore[operator]
        late = decide(in_time.payback.days / 2)  # type: ignore[operator]
        assert name_of(late) == "a"
        assert late.payback is not None
        assert not late.payback.in_time
        assert any(
            "pays for itself only after" in reason and "days at this rate" in reason
            for reason in reasons(late).values()
        )

    def test_what_saves_nothing_never_pays(self) -> None:
        class Idle(School):
            def outcome(self, action: Action) -> Outcome | Answered:
                result = super().outcome(action)
                self.sustained |= self.speed | {"original": 2.0}
                return result

        choice = Idle(dict(SPEEDS)).run(facts(A, train_s=60, trainings=(SMALL,), rate_rps=10.0, mean_rate_rps=10.0))
        assert name_of(choice) == "a"
        assert choice.payback is not None
        assert (choice.payback.requests, choice.payback.in_time) == (None, False)
        assert any("never pays for itself" in reason for reason in reasons(choice).values())
