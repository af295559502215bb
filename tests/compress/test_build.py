"""Building recipes, and proposing them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from equipoise.compress.build import build
from equipoise.compress.facts import model_facts
from equipoise.compress.propose import MOST_RECIPES, propose_recipes
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.host.sandbox import Sandbox
from equipoise.store.artifacts import artifact_bytes, artifact_digest


def test_a_build_in_a_child_says_all_that_a_variant_needs(tmp_path: Path, models: Any, context: Any) -> None:
    source, place = models["cnn"](tmp_path / "cnn"), context("cnn")
    (place.folder / "left-over").write_text("of an attempt that was killed")
    recipe = Recipe(steps=(Step(technique="int8_static", parameters={"per_channel": True}),))
    with Sandbox(tmp_path / "log") as child:
        built = child.call(build, recipe, source, place, timeout_s=120)
    assert built.facts.format == "onnx"
    assert built.quantized
    assert (built.fidelity, built.data_use) == ("lossy", "unlabelled")
    assert built.digest == artifact_digest(place.folder)
    assert built.artifact_bytes == artifact_bytes(place.folder)
    assert [path.name for path in place.folder.iterdir()] == ["model.onnx"]
    assert built.facts.spec.inputs[0].dtype == "uint8"
    assert "onnxruntime" in built.tool_versions
    assert pickle.loads(pickle.dumps(built)) == built


def test_the_data_use_is_the_most_of_all_steps(tmp_path: Path, models: Any, context: Any) -> None:
    source, first, second = models["forest"](tmp_path / "forest"), context("forest"), context("forest")
    student = Recipe(steps=(Step(technique="linear_form"),))
    assert build(student, source, first).data_use == "unlabelled"
    smaller = Recipe(steps=(Step(technique="smaller_forest", parameters={"estimators": 5}),))
    built = build(smaller, source, second)
    assert (built.data_use, built.facts.estimators) == ("none", 5)


def test_an_unknown_technique_and_an_empty_recipe_are_refused(tmp_path: Path, models: Any, context: Any) -> None:
    source = models["mlp"](tmp_path / "mlp")
    with pytest.raises(TechniqueError, match="no technique 'magic'"):
        build(Recipe(steps=(Step(technique="magic"),)), source, context("mlp"))
    with pytest.raises(TechniqueError, match="no step"):
        build(Recipe(), source, context("mlp"))


@pytest.mark.parametrize(
    ("kind", "first", "absent"),
    [
        ("cnn", "int8_nncf(preset=performance, target=openvino)", "int8_dynamic"),
        ("mlp", "int8_nncf(preset=performance, target=openvino)", "onnx_form"),
        (
            "attention",
            "int8_nncf(preset=mixed, smooth_quant_alpha=0.95, target=openvino, transformer=True)",
            "onnx_form",
        ),
        ("forest", "onnx_form", "int8_nncf"),
    ],
)
def test_proposals_fit_the_model(kind: str, first: str, absent: str, tmp_path: Path, models: Any) -> None:
    facts = model_facts(models[kind](tmp_path / kind), environment())
    recipes = propose_recipes(facts, "model")
    names = [str(recipe) for recipe in recipes]
    assert names[0].startswith(first[:-1])
    assert not any(absent in name for name in names)
    assert len(set(names)) == len(names) <= MOST_RECIPES
    assert all(1 <= len(recipe.steps) <= 2 for recipe in recipes)
    assert any(len(recipe.steps) == 2 for recipe in recipes) or kind in ("mlp", "attention")


def test_a_forest_of_500_trees_is_shrunk_and_converted(tmp_path: Path, models: Any) -> None:
    from dataclasses import replace

    facts = replace(model_facts(models["forest"](tmp_path / "forest"), environment()), estimators=500)
    names = [str(recipe) for recipe in propose_recipes(facts, "other.skops")]
    assert "other.skops + smaller_forest(estimators=200) + onnx_form" in names
    assert "other.skops + linear_form(features=binned) + onnx_form" in names
    assert "other.skops + onnx_form" in names


def test_a_cpu_without_dot_products_gets_a_reduced_range(tmp_path: Path, models: Any) -> None:
    old = environment().model_copy(update={"cpu_flags": ("avx2",)})
    facts = model_facts(models["cnn"](tmp_path / "cnn"), old)
    steps = [recipe.steps[-1] for recipe in propose_recipes(facts, "model")]
    for step in steps:
        if step.technique == "int8_static":
            assert step.parameters["reduce_range"] is True
        if step.technique == "int8_nncf":
            assert step.parameters["overflow_fix"] is True


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path, models: Any, context: Any) -> None:
    source, place = models["mlp"](tmp_path / "mlp"), context("mlp")
    recipe = Recipe(steps=(Step(technique="int8_static"),))
    built = build(recipe, source, place)
    names = [str(each) for each in propose_recipes(built.facts, "alternative.onnx")]
    assert not any("int8" in name or "fp16" in name for name in names)
