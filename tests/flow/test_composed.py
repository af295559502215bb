"""Studies whose answer is made of several models: what is chosen, proved, written and answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def cascade(study: Any) -> Any:
    return study("cascade")


def test_a_cascade_is_found_and_proved(cascade: Any) -> None:
    result = cascade.result
    assert result.decision == "replace"
    assert len(result.chosen.stages) >= 2, f"{result.chosen.name}: {cascade.reasons('cascade')}"
    assert result.chosen.stages[0].name.startswith("rough.onnx")
    assert result.certificate.passed
    assert result.certificate.difference.high <= 0.03
    assert sum(stage.share_answered for stage in result.chosen.stages) == pytest.approx(1)


def test_it_is_cheaper_than_the_best_certified_single_model(cascade: Any) -> None:
    result = cascade.result
    alone = [candidate for candidate in result.frontier if not candidate.stages]
    assert all(candidate.usd_per_million_packed > result.chosen.usd_per_million_packed for candidate in alone)
    without_first = next(s for s in result.chosen.savings if s.part.startswith("stage rough.onnx"))
    assert without_first.usd_per_million_without > result.chosen.usd_per_million_packed


def test_its_degraded_modes_and_cache_are_reported(cascade: Any) -> None:
    result = cascade.result
    assert result.fallback.offered
    assert result.fallback.certificate.quality.low >= 0.6
    assert result.distrust.certificate.passed
    assert 0 < result.distrust.share_answered <= 1
    cache = result.cache
    assert cache.rule.hit_share == 0.3
    assert cache.chosen == (cache.usd_per_million_with < cache.usd_per_million_without)


def test_its_bundle_is_intact_and_holds_each_model_once(cascade: Any) -> None:
    from equipoise.execute.verify import verify_bundle

    bundle = cascade.folder / "bundle"
    assert verify_bundle(bundle).ok
    plan = json.loads((bundle / "plan.json").read_text())
    used = {model["artifact"] for stage in plan["stages"] for model in stage["models"]}
    used |= {model["artifact"] for model in plan["fallback"]["stage"]["models"]}
    assert {path.name for path in (bundle / "artifacts").iterdir()} == used
    assert plan["stages"][-1]["accept"]["at_least"] == 0.5


def test_predict_answers_like_its_stages_run_by_hand(cascade: Any, inputs: Path, tmp_path: Path) -> None:
    import pandas as pd

    from equipoise import predict
    from equipoise.execute.stages import answer_in_batches, open_stages, probabilities
    from equipoise.policy.cascade import calibrated, raw_confidence
    from equipoise.store.bundle import read_bundle

    bundle = read_bundle(cascade.folder / "bundle")
    predict(cascade.folder / "bundle", data=inputs / "test.npz", out=tmp_path / "answers.csv")
    found = pd.read_csv(tmp_path / "answers.csv", keep_default_na=False)
    with np.load(inputs / "test.npz") as data:
        x = data["x"]
    shares = []
    for stage in bundle.plan.stages:
        alone = open_stages([stage.model_copy(update={"accept": None})], bundle.plan.form, bundle.artifacts)
        shares.append(probabilities(answer_in_batches(alone, {"x": x}, stage.rows)["logits"], "logits"))
    rule = bundle.plan.stages[0].accept
    assert rule is not None
    raw = raw_confidence(rule.measure, probabilities=shares[0], temperature=rule.calibration.temperature)
    sure = calibrated(raw, rule.calibration) >= rule.at_least
    assert np.mean((found["stage"] == 1) == sure) > 0.999  # a batch of another make-up rounds differently
    by_hand = np.where(sure, shares[0].argmax(axis=1), shares[-1].argmax(axis=1))
    given = found["trusted"].to_numpy() & (len(bundle.plan.stages) == 2)
    assert np.mean(found["label"].to_numpy()[given].astype(int) == by_hand[given]) > 0.995


def test_a_simulation_forecasts_it(cascade: Any) -> None:
    from equipoise import simulate

    result = simulate(cascade.folder / "bundle", rate=500, seconds=5)
    assert result.fleets[0].stages[0].answered_share > 0.5
