"""Composed answers in one sentence, without a study."""

from __future__ import annotations

from typing import Any

import pytest

from equipoise.core.brief import Brief
from equipoise.core.candidate import Candidate, CandidateStage
from equipoise.core.certificate import FloorCertificate
from equipoise.core.estimate import Estimate
from equipoise.core.payback import Payback
from equipoise.core.plan import CacheRule, Distrust
from equipoise.core.price import Price
from equipoise.core.profile import LatencyQuantiles
from equipoise.core.recipe import Recipe, Step
from equipoise.core.result import CacheFigures, Cost, DegradedMode, NearestMiss, Result
from equipoise.flow.sentence import sentence

LITTLE = "small.onnx + int8_nncf(preset=mixed) @ openvino int8"
LARGE = "int8_static(calibration=minmax) @ openvino int8_bf16"
BRIEF = Brief.model_validate({"model": {"path": "model.onnx"}, "data": {"path": "data.npz"}, "limits": {"p99_s": 0.1}})


def known(value: float) -> Estimate:
    return Estimate(value=value, low=value * 0.98, high=value * 1.02, n=1000, method="")


def candidate(name: str, recipe: Recipe, *stages: tuple[str, float, float]) -> Candidate:
    return Candidate(
        name=name, digest="a" * 64, recipe=recipe, runtime="openvino", precision="int8", threads=1, replicas=2, batch=8,
        quality=known(0.8), latency_s=LatencyQuantiles(p99=known(0.0148)), throughput_rps=known(2800),
        peak_memory_bytes=known(1e8), artifact_bytes=1000, cold_start_s=known(0.3), usd_per_million_packed=0.0088,
        usd_per_million_provisioned=None, usd_per_million_correct=0.011,
        stages=tuple(
            CandidateStage(name=stage, accepts="", share_reached=reached, share_answered=answered)
            for stage, reached, answered in stages
        ),
    )  # fmt: skip


def cascade(*stages: tuple[str, float, float]) -> Candidate:
    names = [stage for stage, _, _ in stages]
    recipe = Recipe(steps=(Step(technique="cascade", parameters={"stages": list(names), "plan": "f00"}),))
    return candidate(f"cascade: {', else '.join(names)}, 1 thread x 2 replicas, batch 8", recipe, *stages)


def result(chosen: Candidate | None, **update: Any) -> Result:
    original = candidate("original @ onnxruntime f32", Recipe())
    cost = Cost(
        usd_per_million_baseline=0.0419, usd_per_million_baseline_tuned=0.0295, usd_per_million_chosen=0.0088,
        ratio=4.78, ratio_tuned=3.37, ratio_interval=known(3.37), basis="packed",
        price=Price(usd_per_hour=0.0892, kind="assumed", source="a table"),
    )  # fmt: skip
    told = {"decision": "replace", "sentence": "", "baseline": original, "baseline_tuned": original, "chosen": chosen,
            "frontier": (), "rejected": (), "certificate": None, "provable": None, "cost": cost}  # fmt: skip
    return Result.model_construct(**{**told, **update})


def floor(value: float, passed: bool = True, metric: str = "accuracy", least: float = 0.75) -> FloorCertificate:
    return FloorCertificate(
        metric=metric, floor=least, confidence=0.95, n=3000, quality=known(value), p_value=0.001, method="",
        passed=passed,
    )  # fmt: skip


def test_a_cascade_says_who_answers_what_share() -> None:
    text = sentence(result(cascade((LITTLE, 1.0, 0.803), (LARGE, 0.197, 0.197))), BRIEF)
    assert text == (
        "Serve a cascade: small.onnx in int8 answers 80 of 100 requests by itself, your model in int8 the rest; "
        "$0.0088 instead of $0.0419 per million requests in full batches (4.78× cheaper, 3.37× than the original with "
        "its best settings); p99 14.8 ms (limit 100 ms); speed and cost alone were compared, nothing about quality is "
        "proved."
    )


def test_three_stages_and_unknown_shares() -> None:
    middle = "int8_static(calibration=minmax) @ onnxruntime int8"
    text = sentence(result(cascade((LITTLE, 1.0, 0.6), (middle, 0.4, 0.15), (LARGE, 0.25, 0.25))), BRIEF)
    assert text.startswith(
        "Serve a cascade: small.onnx in int8 answers 60 of 100 requests by itself, int8_static (onnxruntime int8) 15 "
        "of 100, int8_static (openvino int8_bf16) the rest;"
    )
    unknown = cascade((LITTLE, 1.0, 0.6), (LARGE, 0.4, 0.4)).model_copy(update={"stages": ()})
    assert sentence(result(unknown), BRIEF).startswith(
        "Serve a cascade of small.onnx in int8, then your model in int8;"
    )


def test_an_ensemble() -> None:
    name = f"mean of ({LITTLE} and {LARGE})"
    recipe = Recipe(steps=(Step(technique="ensemble", parameters={"stages": [name], "plan": "f00"}),))
    text = sentence(result(candidate(f"{name}, 2 threads, batch 8", recipe, (name, 1.0, 1.0))), BRIEF)
    assert text.startswith(
        "Serve an ensemble: the mean of small.onnx in int8 and your model in int8 answers every request; $0.0088"
    )


def test_what_answers_under_pressure_in_doubt_and_from_memory() -> None:
    chosen = cascade((LITTLE, 1.0, 0.8), (LARGE, 0.2, 0.2))
    mode = DegradedMode(name=LITTLE, usd_per_million_packed=0.005, certificate=floor(0.8), offered=True)
    doubt = Distrust(answer="refer", share_answered=0.96, certificate=floor(0.85))
    cache = CacheFigures(
        rule=CacheRule(max_entries=10, entry_bytes=100, hit_share=0.3), lookup_s=1e-5, usd_per_million_without=0.0121,
        usd_per_million_with=0.0088, memory_usd_per_million=0.0001, source="", chosen=True,
    )  # fmt: skip
    text = sentence(result(chosen, fallback=mode, distrust=doubt, cache=cache), BRIEF)
    assert "its best settings), 30 of 100 of them answered from memory ($0.0121 without that); p99" in text
    assert text.endswith(
        " Under pressure small.onnx in int8 answers alone (accuracy surely at least 78.40%). Where it is not sure "
        "(4 of 100 requests), a person is asked."
    )
    nothing = sentence(result(chosen), BRIEF)
    assert sentence(result(chosen, distrust=doubt.model_copy(update={"share_answered": 1.0})), BRIEF) == nothing
    rejected = {
        "fallback": mode.model_copy(update={"offered": False, "certificate": floor(0.7, passed=False)}),
        "distrust": doubt.model_copy(update={"certificate": floor(0.7, passed=False)}),
        "cache": cache.model_copy(update={"chosen": False}),
    }
    assert sentence(result(chosen, **rejected), BRIEF) == nothing


@pytest.mark.parametrize(
    ("answer", "words"),
    [("simple", "the simple stage's answer is given"), ("default", "the answer 3 is given")],
)
def test_other_answers_in_doubt(answer: Any, words: str) -> None:
    doubt = Distrust(answer=answer, default="3", share_answered=0.5, certificate=floor(0.85))
    text = sentence(result(candidate(LARGE, Recipe(source="a.onnx")), distrust=doubt), BRIEF)
    assert text.endswith(f"Where it is not sure (50 of 100 requests), {words}.")


def test_a_floor_of_a_metric_where_lower_is_better() -> None:
    mode = DegradedMode(
        name=LITTLE, usd_per_million_packed=0.005, certificate=floor(0.4, metric="mae", least=0.5), offered=True
    )
    text = sentence(result(candidate(LARGE, Recipe(source="a.onnx")), fallback=mode), BRIEF)
    assert text.endswith("answers alone (mean absolute error surely at most 0.408).")


def test_keeping_the_model_can_have_a_fallback_too() -> None:
    mode = DegradedMode(name=LITTLE, usd_per_million_packed=0.005, certificate=floor(0.8), offered=True)
    kept = candidate("original @ onnxruntime f32", Recipe())
    text = sentence(result(kept, decision="keep", fallback=mode), BRIEF)
    assert text.startswith("Keep your model")
    assert "Under pressure small.onnx in int8 answers alone" in text


def test_the_nearest_miss_is_told_in_short() -> None:
    name = f"cascade: {LITTLE} where margin >= 0.5, else {LARGE}"
    miss = NearestMiss(name=name, limit="p99", found="43 ms", needed="5 ms")
    text = sentence(result(None, decision="infeasible", nearest_miss=miss), BRIEF)
    assert "the nearest miss is the cascade of small.onnx + int8_nncf (openvino int8), then int8_static" in text


def test_what_training_cost_is_said_of_a_plan_that_needed_it() -> None:
    chosen = candidate("tree @ onnxruntime f32, 1 thread", Recipe(steps=(Step(technique="tree"),)))
    paid = Payback(
        plan=chosen.name, instead_of="a", trained_s=720.0, training_usd=0.0178, saved_per_million_usd=0.05,
        requests=356_800.0, days=4.13, within_days=90.0, in_time=True,
    )  # fmt: skip
    said = sentence(result(chosen, payback=paid), BRIEF)
    assert "It took 12 min 0 s of training, $0.0178, which 356,800 requests (4.13 days at your rate) earn back." in said
    other = paid.model_copy(update={"plan": "another"})
    assert "training" not in sentence(result(chosen, payback=other), BRIEF)
