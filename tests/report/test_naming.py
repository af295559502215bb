from __future__ import annotations

import pytest

from equipoise.core.candidate import Candidate, CandidateStage
from equipoise.core.recipe import Recipe, Step
from equipoise.core.result import Result
from equipoise.report.naming import (
    accepts_text,
    composition,
    composition_of,
    config_name,
    kind_of,
    made_by,
    members,
    of_hundred,
    said,
    setting_of,
    short_name,
    short_names,
    spoken_names,
    with_short_names,
)

LITTLE = "small.onnx + int8_nncf(preset=performance, target=openvino) @ openvino int8"
LARGE = "int8_static(calibration=minmax, per_channel=True) @ openvino int8_bf16"
OTHER = "int8_static(calibration=entropy, per_channel=True) @ openvino int8_bf16"
SETTING = ", 1 thread x 2 replicas, batch 8"


def test_a_cascade_is_read_stage_by_stage() -> None:
    found = composition(f"cascade: {LITTLE} where margin >= 0.77, else mean of ({LARGE} and {OTHER}){SETTING}")
    assert found is not None
    assert found.kind == "cascade"
    assert [stage.name for stage in found.stages] == [LITTLE, f"mean of ({LARGE} and {OTHER})"]
    assert [stage.accepts for stage in found.stages] == ["margin >= 0.77", ""]
    assert found.setting == "1 thread x 2 replicas, batch 8"
    assert [members(stage.name) for stage in found.stages] == [(LITTLE,), (LARGE, OTHER)]


def test_what_is_known_of_stages_wins_over_the_name() -> None:
    stage = CandidateStage(name=LARGE, accepts="", share_reached=0.2, share_answered=0.2)
    found = composition(f"cascade: {LITTLE}, else {LARGE}", (stage,))
    assert found is not None
    assert [(each.name, each.share_reached) for each in found.stages] == [(LARGE, 0.2)]


def test_a_single_model_is_not_composed() -> None:
    assert composition(f"{LARGE}{SETTING}") is None
    assert config_name(f"{LARGE}{SETTING}") == LARGE
    assert config_name("original @ onnxruntime f32 (as deployed)") == "original @ onnxruntime f32 (as deployed)"


@pytest.mark.parametrize("file", ["a, else b.onnx", "this and that.onnx", "x @ y.onnx", "a + b (1).onnx"])
def test_file_names_that_hold_separators(file: str) -> None:
    one, two = f"{file} @ openvino int8", f"{file} + fp16 @ openvino f16"
    found = composition(f"cascade: {one} where margin >= 0.5, else mean of ({two} and {LARGE})")
    assert found is not None
    if " @ " not in file:  # such a name can be read in two ways: it is not cut, or cut elsewhere, but never lost
        assert [stage.name for stage in found.stages] == [one, f"mean of ({two} and {LARGE})"]
        assert members(found.stages[1].name) == (two, LARGE)
    assert file in short_name(one)


@pytest.mark.parametrize("name", ["", "@", " @ ", "cascade: ", "mean of ()", "cascade: , else ", "a @ b", "<b>", "(("])
def test_what_cannot_be_read_stays(name: str) -> None:
    composition(name)
    assert spoken_names([name]) == (name,) or name == "a @ b"
    assert with_short_names("text", [name]) == "text" or not name


def test_short_names_leave_parameters_out_as_far_as_that_tells_apart() -> None:
    assert short_name(f"{LITTLE}{SETTING}") == "small.onnx + int8_nncf (openvino int8)"
    assert short_names([LITTLE, LARGE]) == (
        "small.onnx + int8_nncf (openvino int8)",
        "int8_static (openvino int8_bf16)",
    )
    assert short_names([LITTLE, LARGE, OTHER]) == ("small.onnx + int8_nncf (openvino int8)", LARGE, OTHER)
    assert short_name(f"mean of ({LITTLE} and {LARGE}), 2 threads, batch 4") == (
        "mean of small.onnx + int8_nncf (openvino int8) and int8_static (openvino int8_bf16)"
    )
    assert short_name("graph_cleanup + int8_nncf(a=(1 + 2)) @ openvino int8") == (
        "graph_cleanup + int8_nncf (openvino int8)"
    )


def test_names_as_a_person_says_them() -> None:
    assert spoken_names([LITTLE, LARGE]) == ("small.onnx in int8", "your model in int8")
    assert spoken_names([LARGE, OTHER]) == (LARGE, OTHER)
    assert spoken_names(["original @ openvino f32"]) == ("your model as it is",)
    assert spoken_names(["small.onnx @ openvino f32"]) == ("small.onnx",)
    assert spoken_names(["smaller_forest(trees=10) @ sklearn f64"]) == ("smaller_forest of your model in f64",)
    assert spoken_names([f"vote of ({LITTLE} and {LARGE})"]) == ("vote of small.onnx in int8 and your model in int8",)


def test_said_inside_a_sentence() -> None:
    cascade = f"cascade: {LITTLE} where margin >= 0.77, else {LARGE}"
    short = "the cascade of small.onnx + int8_nncf (openvino int8), then int8_static (openvino int8_bf16)"
    assert said(cascade + SETTING) == short
    assert said(LARGE) == LARGE
    reason = f"certified, but {cascade}{SETTING} is cheaper"
    assert with_short_names(reason, [cascade, cascade + SETTING, LARGE]) == f"certified, but {short} is cheaper"


def test_recipes_in_words() -> None:
    recipe = Recipe(steps=(Step(technique="cascade", parameters={"stages": [LITTLE, LARGE], "plan": "f00"}),))
    assert kind_of(recipe) == "cascade"
    assert made_by(recipe) == f"cascade of {LITTLE}, then {LARGE}"
    assert made_by(Recipe()) == "original"
    assert made_by(Recipe(steps=(Step(technique="cascade"),))) == "cascade"


def test_the_recipe_says_what_a_candidate_is_whatever_its_name(composed: Result) -> None:
    chosen = composed.chosen
    assert chosen is not None
    bare = chosen.model_copy(update={"name": "cheap", "stages": ()})
    found = composition_of(bare)
    assert found is not None
    assert [stage.share_answered for stage in found.stages] == [None, None]
    assert found.kind == "cascade"
    named = composition_of(chosen.model_copy(update={"name": "cheap"}))
    assert named is not None
    assert [stage.share_answered for stage in named.stages] == [0.803, 0.197]
    assert composition_of(composed.baseline) is None


def test_settings_are_those_of_all_stages(composed: Result, together: Result) -> None:
    def setting(candidate: Candidate | None) -> tuple[str, str]:
        assert candidate is not None
        return setting_of(candidate)

    assert setting(composed.chosen) == ("openvino", "int8 and int8_bf16")
    assert setting(together.chosen) == ("openvino and onnxruntime", "int8")
    assert setting(composed.baseline) == ("onnxruntime", "f32")


def test_thresholds_and_shares_in_words() -> None:
    assert accepts_text("max_probability >= 0.5994") == "its likeliest answer has a probability of at least 0.5994"
    assert accepts_text("agreement >= 1") == "the share of its members that agree is at least 1"
    assert accepts_text("unknown >= 3") == "unknown >= 3"
    assert [of_hundred(share) for share in (0.5, 0.001, 0.999)] == [
        "50 of 100",
        "fewer than 1 of 100",
        "more than 99 of 100",
    ]
