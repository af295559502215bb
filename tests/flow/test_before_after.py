"""Where the time goes before and after, of real artifacts in real children; the search around them is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from equipoise.compose.servable import Composed, Config, Part
from equipoise.core.estimate import Estimate
from equipoise.core.plan import AnswerForm
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe
from equipoise.core.roofline import Peak, Roofline
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.core.variant import Variant
from equipoise.flow import before_after as module
from equipoise.flow.before_after import before_and_after
from equipoise.host.environment import environment
from equipoise.report.before_after import before_after
from equipoise.store.rooflines import keep_roofline

SETTINGS = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=2, batch=256)
SPEC = ModelSpec(
    inputs=(TensorSpec(name="image", dtype="uint8", shape=(None, 2, 2)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 2048)),),
)


@pytest.fixture(autouse=True)
def quick(own_register: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short turns, and a roofline that was measured before."""
    monkeypatch.setattr(module, "TURN_S", 0.02)

    def measured(value: float) -> Estimate:
        return Estimate(value=value, low=None, high=None, n=1, method="")

    peak = Peak(precision="f32", flops_per_s=measured(1e11), runtime="openvino")
    digest = environment().content_digest
    keep_roofline(Roofline(environment=digest, threads=1, peaks=(peak,), bytes_per_s=measured(2e10)))


@pytest.fixture
def config(linear: Any, tmp_path: Path) -> Any:
    def make(name: str, runtime: str) -> Config:
        linear(tmp_path / name, np.ones((4, 2048), np.float32))  # OpenVINO counts whole microseconds
        variant = Variant(
            recipe=Recipe(source=name),
            artifact=name,
            format="onnx",
            quantized=False,
            spec=SPEC,
            artifact_bytes=1,
            build_s=0.0,
            data_use="none",
            tool_versions={},
        )
        return Config(variant=variant, runtime=runtime, precision="f32")

    return make


def ended(tmp_path: Path, original: Config, chosen: Any, budget_s: float = 300.0) -> tuple[Any, Any, Any]:
    """A search that ended with `chosen`; null for nothing."""
    entrants = {"original": SimpleNamespace(config=original, settings=SETTINGS)}
    if chosen is not None:
        entrants["chosen"] = SimpleNamespace(config=chosen, settings=SETTINGS)
    choice = SimpleNamespace(
        entrants=entrants,
        baseline_tuned=SimpleNamespace(name="original"),
        chosen=None if chosen is None else SimpleNamespace(name="chosen"),
    )
    rows = SimpleNamespace(feeds={"image": np.ones((5, 2, 2), np.uint8)})
    prepared = SimpleNamespace(
        brief=SimpleNamespace(
            limits=SimpleNamespace(budget_s=budget_s), data=SimpleNamespace(path="/somewhere/rows.npz")
        ),
        material=SimpleNamespace(splits={"search": rows}),
        environment=environment(),
    )
    workbench = SimpleNamespace(study=SimpleNamespace(artifact=lambda digest: tmp_path / digest))
    return choice, prepared, workbench


def test_layers_of_the_original_and_of_what_was_chosen(tmp_path: Path, config: Any) -> None:
    found = before_and_after(*ended(tmp_path, config("a", "onnxruntime"), config("b", "openvino")))
    assert found.missing == ()
    before, after = found.anatomies
    assert (before.model, before.settings.runtime) == ("before: a @ onnxruntime f32", "onnxruntime")
    assert (after.model, after.settings.runtime) == ("after: b @ openvino f32", "openvino")
    assert "MatMul" in {layer.operator for layer in before.layers}
    for anatomy in found.anatomies:
        assert (anatomy.settings.replicas, anatomy.inputs[0].shape) == (1, (256, 2, 2))
        assert anatomy.rows == "rows.npz"
        assert anatomy.layers_s > 0
        assert any(layer.roof_share for layer in anatomy.layers)
    page = "".join(before_after(found))
    for key in ("time-by-kind", "treemap-0", "roofline-0", "treemap-1", "roofline-1"):
        assert f'id="data-{key}"' in page


def test_each_model_of_a_cascade_is_looked_at_once(tmp_path: Path, config: Any) -> None:
    original, light = config("a", "onnxruntime"), config("b", "onnxruntime")
    cascade = Composed(
        parts=(Part(members=(light,)), Part(members=(original, light), combine="mean")),
        form=AnswerForm(output="logits", kind="logits"),
    )
    found = before_and_after(*ended(tmp_path, original, cascade))
    names = [anatomy.model for anatomy in found.anatomies]
    assert names == [
        "before: a @ onnxruntime f32",
        "after: b @ onnxruntime f32",
        "after: a @ onnxruntime f32",
    ]


@pytest.mark.parametrize(("kept", "label"), [(True, "before and after"), (False, "before")])
def test_one_look_where_nothing_replaces_the_original(tmp_path: Path, config: Any, kept: bool, label: str) -> None:
    original = config("a", "onnxruntime")
    found = before_and_after(*ended(tmp_path, original, original if kept else None))
    assert [anatomy.model for anatomy in found.anatomies] == [f"{label}: a @ onnxruntime f32"]


def test_what_cannot_be_timed_is_named_with_its_reason(tmp_path: Path, config: Any) -> None:
    broken = config("b", "onnxruntime")
    (tmp_path / "b" / "model.onnx").write_bytes(b"no model")
    found = before_and_after(*ended(tmp_path, config("a", "onnxruntime"), broken))
    assert len(found.anatomies) == 1
    assert found.missing[0].startswith("after: b @ onnxruntime f32 (")
    assert "Not shown: after: b @ onnxruntime f32 (" in "".join(before_after(found))


def test_a_short_study_says_that_it_did_not_look(tmp_path: Path, config: Any) -> None:
    original = config("a", "onnxruntime")
    found = before_and_after(*ended(tmp_path, original, original, budget_s=60.0))
    assert found.anatomies == ()
    assert "two minutes" in found.missing[0]
