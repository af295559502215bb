"""Judging candidates, and the order in which they are tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from equipoise.compose.certify import (
    Claim,
    Evidence,
    Judgement,
    certificate,
    fixed_sequence,
    judge,
    order_by_evidence,
    power_on,
    provable,
    run_sequence,
)
from equipoise.core.certificate import Margin, SliceVerdict
from equipoise.stats.metrics import UndefinedMetric, metric_named
from equipoise.stats.paired import paired_drop
from equipoise.stats.predictions import Predictions

N = 2000
ALL = np.arange(N)
BASELINE = np.ones(N, int)
BASELINE[::10] = 0


def evidence(*claims: Claim, main: float = 0.01, **changes: Any) -> Evidence:
    start = Evidence(
        metric=metric_named("accuracy"),
        baseline=Predictions(labels=BASELINE),
        target=np.ones(N, int),
        groups=None,
        claims=(Claim("main", "metric", Margin(drop=main), ALL), *claims),
    )
    return replace(start, **changes)


def part(name: str, start: int, stop: int, drop: float = 0.02) -> Claim:
    return Claim(name, "slice", Margin(drop=drop), ALL[start:stop])


def spoilt(rows: NDArray[np.intp]) -> Predictions:
    labels = BASELINE.copy()
    labels[rows] = 0
    return Predictions(labels=labels)


def verdicts(judgement: Judgement) -> dict[str, SliceVerdict]:
    return {verdict.name: verdict for verdict in judgement.verdicts}


SAME = Predictions(labels=BASELINE)


def test_one_claim_is_the_paired_test() -> None:
    judgement = judge(SAME, evidence())
    alone = paired_drop(metric_named("accuracy"), SAME, SAME, np.ones(N, int), Margin(drop=0.01))
    assert judgement.main == alone
    assert judgement.p_value == alone.p_value
    assert judgement.passed
    assert judgement.blocked_by == ()


def test_p_value_is_the_largest_over_the_claims_that_count() -> None:
    judged = judge(SAME, evidence(part("sex=F", 0, 600), part("sex=M", 600, N)))
    assert judged.p_value == max(test.p_value for test in judged.tests.values()) == judged.tests["sex=F"].p_value
    assert judged.passed
    assert [verdict.verdict for verdict in judged.verdicts] == ["within", "within"]


def test_a_slice_that_is_worse_blocks_and_is_named() -> None:
    candidate = spoilt(np.arange(1, 300, 20))
    assert judge(candidate, evidence(main=0.02)).passed
    judged = judge(candidate, evidence(part("sex=F", 0, 300), part("sex=M", 300, N), main=0.02))
    assert not judged.passed
    assert judged.blocked_by == ("sex=F",)
    assert verdicts(judged)["sex=F"].verdict == "worse"
    assert verdicts(judged)["sex=F"].blocks
    assert verdicts(judged)["sex=F"].needed is None
    assert verdicts(judged)["sex=M"].verdict == "within"


def test_a_slice_with_too_few_rows_blocks_and_says_how_many_it_needs() -> None:
    judged = judge(SAME, evidence(part("race=x", 0, 100, drop=0.01)))
    verdict = verdicts(judged)["race=x"]
    assert (verdict.verdict, verdict.n, verdict.needed, verdict.blocks) == ("too few", 100, 268, True)
    assert judged.blocked_by == ("race=x",)


def test_reported_small_slices_do_not_block_and_do_not_count() -> None:
    claims = (part("race=x", 0, 100), part("race=y", 100, N))
    judged = judge(SAME, evidence(*claims, small_slices="report"))
    assert judged.passed
    assert "race=x" not in judged.tests
    assert verdicts(judged)["race=x"].verdict == "too few"
    assert not verdicts(judged)["race=x"].blocks


def test_a_slice_large_enough_to_pass_still_blocks_when_small_ones_are_reported() -> None:
    judged = judge(spoilt(np.arange(1, 300, 20)), evidence(part("sex=F", 0, 300), main=0.02, small_slices="report"))
    assert judged.blocked_by == ("sex=F",)


def test_a_small_slice_that_is_worse_is_reported_as_worse() -> None:
    judged = judge(spoilt(np.arange(1, 20)), evidence(part("race=x", 0, 100), main=0.03, small_slices="report"))
    assert verdicts(judged)["race=x"].verdict == "worse"
    assert judged.passed


def test_which_slices_are_small_does_not_depend_on_the_candidate() -> None:
    claims = tuple(
        part(f"race={start}", start, start + size) for start, size in ((0, 50), (100, 133), (400, 134), (800, 900))
    )
    for name in ("accuracy", "f1_macro", "balanced_accuracy", "agreement"):
        rows = evidence(*claims, small_slices="report", metric=metric_named(name))
        counted = {frozenset(judge(spoilt(ALL[::step]), rows).tests) for step in (7, 91, 3000)}
        assert len(counted) == 1, name


def test_pooled_small_slices_are_one_claim_a_column() -> None:
    claims = (part("race=x", 0, 80), part("race=y", 80, 180), part("race=z", 180, N), part("age=old", 5, 90))
    judged = judge(SAME, evidence(*claims, small_slices="pool"))
    assert set(judged.tests) == {"main", "race=z", "race=(pooled small)", "age=(pooled small)"}
    assert verdicts(judged)["race=(pooled small)"].n == 180
    assert verdicts(judged)["race=(pooled small)"].verdict == "within"
    assert not verdicts(judged)["race=x"].blocks
    # The pool of one small slice is still too small, and says so.
    assert judged.blocked_by == ("age=(pooled small)",)


def test_an_out_of_distribution_set_has_its_own_margin_and_is_never_spared() -> None:
    far = Claim("foggy", "ood", Margin(drop=0.05), ALL[1500:])
    rows = evidence(far, claims=(Claim("main", "metric", Margin(drop=0.01), ALL[:1500]), far))
    candidate = spoilt(np.arange(1501, N, 8))
    assert judge(SAME, rows).passed
    judged = judge(candidate, rows)
    assert judged.blocked_by == ("foggy",)
    assert verdicts(judged)["foggy"].kind == "ood"
    assert judged.main.n == 1500
    few = Claim("foggy", "ood", Margin(drop=0.05), ALL[1500:1520])
    assert judge(SAME, evidence(few, small_slices="report")).blocked_by == ("foggy",)


def test_groups_change_the_answer() -> None:
    groups = ALL // 20
    candidate = spoilt(np.flatnonzero(groups == 0))
    assert judge(candidate, evidence(main=0.02)).passed
    assert not judge(candidate, evidence(main=0.02, groups=groups)).passed
    few = judge(SAME, evidence(main=0.02, groups=ALL // 100))
    assert few.p_value == 1
    assert "20 groups" in few.main.method


def test_evidence_must_have_one_main_claim_and_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        evidence(claims=(part("a=1", 0, 10),))
    with pytest.raises(ValueError, match="names of their own"):
        evidence(part("a=1", 0, 10), part("a=1", 10, 20))


def test_power_is_the_product_over_claims_and_grows_with_the_split() -> None:
    judged = judge(spoilt(ALL[1::400]), evidence(part("sex=F", 0, 700), part("sex=M", 700, N)))
    assert judged.power == pytest.approx(np.prod([test.power(test.n) for test in judged.tests.values()]))
    assert power_on(judged, 0.5) < judged.power < power_on(judged, 3.0)


def judged_with(p_value: float, chance: float) -> Judgement:
    """A judgement with the p-value and, nearly, the power asked for."""
    start = judge(SAME, evidence())
    outlook = start.main.outlook
    assert outlook is not None
    excess = -0.01 if chance >= 0.9 else 0.01
    test = replace(start.main, p_value=p_value, outlook=replace(outlook, excess=excess, spread=0.01 + chance / 1000))
    return replace(start, p_value=p_value, main=test, tests={"main": test})


def test_surest_first_and_the_unlikely_last() -> None:
    judgements = {
        "c": judged_with(0.001, 0.95),
        "b": judged_with(0.001, 0.95),
        "sure": judged_with(1e-9, 0.95),
        "unlikely": judged_with(1e-12, 0.1),
    }
    assert order_by_evidence(judgements) == ("sure", "b", "c", "unlikely")
    assert order_by_evidence(dict(reversed(judgements.items()))) == ("sure", "b", "c", "unlikely")


def test_order_of_real_candidates_follows_their_harm() -> None:
    rows = evidence(main=0.02)
    judgements = {f"{step}": judge(spoilt(ALL[1::step]), rows) for step in (40, 80, 200, 1000)}
    assert order_by_evidence(judgements) == ("1000", "200", "80", "40")


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.3))
def test_sequence_stops_at_the_first_failure_and_opens_nothing_after_it(p_values: list[float], alpha: float) -> None:
    opened: list[int] = []

    def p_value(name: str) -> float:
        opened.append(int(name))
        return p_values[int(name)]

    passed = run_sequence([str(index) for index in range(len(p_values))], p_value, alpha)
    failures = [index for index, p in enumerate(p_values) if p > alpha]
    first = failures[0] if failures else len(p_values)
    assert [int(name) for name in passed] == list(range(first))
    assert opened == list(range(min(first + 1, len(p_values))))


def test_sequence_can_be_driven_a_step_at_a_time() -> None:
    sequence = fixed_sequence(("a", "b"), 0.05)
    assert next(sequence) == "a"
    assert sequence.send(0.04) == "b"
    with pytest.raises(StopIteration) as end:
        sequence.send(0.05)
    assert end.value.value == ("a", "b")


def test_a_p_value_that_is_not_a_number_fails() -> None:
    assert run_sequence(("a",), lambda _: float("nan"), 0.05) == ()


def test_provable_drop_would_have_passed_and_a_tighter_one_not() -> None:
    candidate = spoilt(ALL[1::200])
    judged = judge(candidate, evidence(main=0.001))
    found = provable("int8", judged, evidence(main=0.001), total_rows=4000)
    assert found.plan == "int8"
    assert found.drop is not None
    assert judge(candidate, evidence(main=found.drop + 1e-6)).passed
    assert not judge(candidate, evidence(main=found.drop - 1e-6)).passed
    # The loss itself, half a point, is past the margin of a tenth.
    assert found.rows_for_margin is None
    assert found.total_rows_for_margin is None


def test_rows_for_the_margin_are_counted_in_the_split_and_in_the_file() -> None:
    rows = evidence(part("race=x", 0, 100, drop=0.01))
    found = provable("same", judge(SAME, rows), rows, total_rows=5000)
    assert found.rows_for_margin == 268 * N // 100
    assert found.total_rows_for_margin == found.rows_for_margin * 5000 // N


def test_certificate_holds_what_was_proved() -> None:
    rows = evidence(part("sex=F", 0, 700))
    candidate = spoilt(ALL[1::500])
    judged = judge(candidate, rows)
    paper = certificate(candidate, judged, rows, candidates_tried=31, candidates_certified=2, reused=1)
    assert paper.passed
    assert paper.baseline.value == pytest.approx(0.9)
    assert paper.baseline.value - paper.chosen.value == pytest.approx(paper.difference.value)
    assert paper.difference.high is not None
    assert paper.difference.high <= 0.01
    assert (paper.n, paper.groups, paper.candidates_tried, paper.candidates_certified, paper.reused) == (
        N,
        None,
        31,
        2,
        1,
    )
    assert [verdict.name for verdict in paper.slices] == ["sex=F"]
    assert type(paper).model_validate_json(paper.model_dump_json()) == paper


def test_certificate_of_agreement_and_of_groups() -> None:
    rows = evidence(metric=metric_named("agreement"), target=None, main=0.02, groups=ALL // 5)
    judged = judge(SAME, rows)
    paper = certificate(SAME, judged, rows, candidates_tried=1, candidates_certified=1)
    assert paper.baseline.value == 1
    assert paper.groups == 400
    assert paper.passed


def test_a_loss_without_a_value_has_no_certificate() -> None:
    rows = evidence(claims=(Claim("main", "metric", Margin(drop=0.01), ALL[:0]),))
    judged = judge(SAME, rows)
    assert not judged.passed
    with pytest.raises(UndefinedMetric, match="no rows"):
        certificate(SAME, judged, rows, candidates_tried=1, candidates_certified=1)


@pytest.mark.parametrize("name", ["log_loss", "auroc", "mae", "mine:score", "f1_weighted"])
def test_other_metrics_are_judged_by_the_same_rules(name: str) -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, N)

    def answers(noise: Callable[[], NDArray[Any]]) -> Predictions:
        positive = np.clip(0.5 + 0.3 * (2 * target - 1) + noise(), 0.01, 0.99)
        return Predictions((positive > 0.5).astype(int), np.stack([1 - positive, positive], 1), positive, positive)

    shared = rng.normal(scale=0.2, size=N)
    baseline, close = answers(lambda: shared), answers(lambda: shared + rng.normal(scale=0.005, size=N))
    bad = answers(lambda: rng.normal(scale=0.6, size=N) - 0.1)
    rows = evidence(
        part("a=1", 0, 900, drop=0.05), main=0.03, baseline=baseline, metric=metric_named(name), target=target
    )
    assert judge(close, rows).passed
    assert set(judge(bad, rows).blocked_by) == {"main", "a=1"}
    assert verdicts(judge(bad, rows))["a=1"].verdict == "worse"
