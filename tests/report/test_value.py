from __future__ import annotations

from typing import Any

import pytest

from equipoise.core.estimate import Estimate
from equipoise.core.result import Result
from equipoise.core.value import BestFrom, BusinessValue, PlanValue, Sensitivity
from equipoise.policy.value import negated, value_of
from equipoise.report.details import ReportDetails
from equipoise.report.study import report_page
from equipoise.report.value import gain_text, value_line, value_pictures
from equipoise.stats.intervals import sum_of_estimates


def around(value: float, spread: float = 0.05) -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=500, method="known")


def plan(name: str, serving: float, errors: float, gain: float, **changes: Any) -> PlanValue:
    value = value_of(around(serving), errors_usd=around(errors), gain_usd=around(gain))
    return PlanValue(name=name, value=value, **({"within_limits": True, "proved": True} | changes))


@pytest.fixture
def priced(replaced: Result, details: ReportDetails) -> tuple[Result, Any]:
    """The original, the chosen plan, one that was not proved and one past a limit, an error at half a dollar."""
    result = replaced
    assert result.chosen is not None
    chosen, tuned = result.chosen.name, result.baseline_tuned.name
    plans = (
        plan(chosen, 2.0, 6.0, 3.0),
        plan("dear <b>&", 9.0, 1.0, 1.0, proved=None),
        plan(tuned, 5.0, 6.0, 0.0),
        plan("too slow", 0.1, 0.1, 9.0, within_limits=False, proved=None),
    )
    steps = (BestFrom(figure=0.0, name=chosen), BestFrom(figure=0.7, name="dear <b>&"))
    worth = BusinessValue(
        plans=plans,
        cheapest=chosen,
        priced_by_class=False,
        sensitivities=(Sensitivity(figure="usd_per_error", given=0.5, best=steps),),
    )
    changed = result.chosen.model_copy(update={"value": plans[0].value})
    return result.model_copy(update={"value": worth, "chosen": changed}), details


def test_without_prices_there_is_nothing_to_draw(replaced: Result) -> None:
    assert value_pictures(replaced) == []
    assert value_line(replaced) == ""


def test_every_plan_is_in_the_table_with_what_became_of_it(priced: tuple[Result, Any]) -> None:
    against_cost, by_price = value_pictures(priced[0])
    assert [row[-1] for row in against_cost.rows] == ["chosen", "not proved", "proved", "misses a limit"]
    assert against_cost.plot is not None
    assert len(against_cost.plot["data"]) == 4
    assert by_price.rows == (
        ("$0.00", "$0.7", priced[0].value.plans[0].name),
        ("$0.7", "any more", "dear <b>&"),
    )
    assert "Below $0.7" in by_price.caption


def test_lines_of_a_price_cross_at_the_break_even_and_leave_out_what_misses_a_limit(priced: tuple[Result, Any]) -> None:
    by_price = value_pictures(priced[0])[1]
    assert by_price.plot is not None
    lines = by_price.plot["data"]
    assert len(lines) == 3
    ends = {line["name"]: line["y"] for line in lines}
    at_the_price = {name: low + (high - low) * 0.5 / lines[0]["x"][1] for name, (low, high) in ends.items()}
    assert sorted(at_the_price.values()) == pytest.approx([8.0, 10.0, 11.0])


def test_the_page_shows_names_as_text(priced: tuple[Result, Any]) -> None:
    page = report_page(*priced)
    assert "What each plan is worth" in page
    assert "dear <b>&" not in page
    assert "worth more to you" in page
    assert "Net value of a million requests" in page


def test_gains_and_losses_are_told_apart() -> None:
    assert "$2.00 more" in gain_text(around(2.0))
    assert "$2.00 less" in gain_text(negated(around(2.0)))
    assert "serves no such traffic" in gain_text(None)
    same = sum_of_estimates([Estimate(value=0.0, low=0.0, high=0.0, n=1, method="")])
    assert gain_text(same).startswith("worth as much")
