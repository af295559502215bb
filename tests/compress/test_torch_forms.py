"""PyTorch programs in other forms: ONNX and OpenVINO, and what follows from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from equipoise.compress.base import BuildContext
from equipoise.compress.build import build
from equipoise.compress.conversion import check_conversion
from equipoise.compress.facts import model_facts
from equipoise.compress.propose import propose_recipes
from equipoise.compress.tools import open_natively
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.preprocess.rows import Rows
from equipoise.runtimes.torch_program import export_program, save_program
from torch_nets import exported

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    save_program(exported(), folder, "net")
    return folder


@pytest.fixture(scope="module")
def onnx_form(net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    made(Recipe().then(Step(technique="torch_onnx")), net, folder)
    return folder


def made(recipe: Recipe, source: Path, folder: Path, feeds: dict[str, Any] | None = None) -> Any:
    rows = Rows(feeds or {"image": IMAGES}, None)
    return build(recipe, source, BuildContext(rows, "logits", folder, seed=0, threads=1))


def answers(folder: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    session = open_natively(folder)
    found: dict[str, Any] = session.run(session.prepare(feeds))
    return found


@pytest.mark.parametrize(("technique", "form"), [("torch_onnx", "onnx"), ("torch_openvino", "openvino")])
def test_a_form_answers_like_the_program(technique: str, form: str, net: Path, tmp_path: Path) -> None:
    recipe = Recipe().then(Step(technique=technique))
    built = made(recipe, net, tmp_path / "first")
    assert (built.facts.format, built.fidelity, built.data_use) == (form, "exact", "none")
    assert built.facts.spec == model_facts(net, environment()).spec
    for rows in (1, 40):
        feeds = {"image": IMAGES[:rows]}
        check_conversion(answers(net, feeds), answers(tmp_path / "first", feeds), "exact")
    assert made(recipe, net, tmp_path / "second").digest == built.digest


def test_inputs_and_outputs_of_the_same_names_stay_apart(tmp_path: Path) -> None:
    """A module whose parameters are called like what the exporter makes inside."""

    class Add(torch.nn.Module):
        def forward(self, add: torch.Tensor, output: torch.Tensor) -> dict[str, torch.Tensor]:
            total = torch.relu(add + output) + 1
            return {"relu": total, "mul": total * 2}

    (tmp_path / "net").mkdir()
    example = {"add": torch.rand(3, 2), "output": torch.rand(3, 2)}
    save_program(export_program(Add().eval(), example, "net"), tmp_path / "net", "net")
    feeds = {name: np.random.default_rng(0).random((40, 2), dtype=np.float32) for name in example}
    for technique in ("torch_onnx", "torch_openvino"):
        made(Recipe().then(Step(technique=technique)), tmp_path / "net", tmp_path / technique, feeds)
        check_conversion(answers(tmp_path / "net", feeds), answers(tmp_path / technique, feeds), "exact")


def test_the_onnx_form_quotes_no_source(onnx_form: Path) -> None:
    assert b"torch_nets" not in (onnx_form / "model.onnx").read_bytes()
    assert not onnx.load(onnx_form / "model.onnx").metadata_props


def test_the_forms_come_first_and_every_technique_for_onnx_follows(net: Path) -> None:
    recipes = [str(recipe) for recipe in propose_recipes(model_facts(net, environment()), "model")]
    assert recipes[:2] == ["torch_openvino", "torch_onnx"]
    assert all(recipe.startswith("torch_onnx + ") for recipe in recipes[2:])
    assert {recipe.split(" + ")[1].partition("(")[0] for recipe in recipes[2:]} >= {"int8_nncf", "int8_static", "fp16"}


def test_int8_is_made_from_the_onnx_form(net: Path, onnx_form: Path, tmp_path: Path) -> None:
    first = Recipe().then(Step(technique="torch_onnx"))
    int8 = first.then(Step(technique="int8_static", parameters={"calibration": "minmax", "per_channel": True}))
    built = made(int8, onnx_form, tmp_path / "int8")
    assert built.quantized
    assert built.data_use == "unlabelled"
    check_conversion(answers(net, {"image": IMAGES}), answers(tmp_path / "int8", {"image": IMAGES}), "lossy")


def test_other_models_are_refused(onnx_form: Path, tmp_path: Path) -> None:
    with pytest.raises(TechniqueError, match="works on PyTorch programs"):
        made(Recipe().then(Step(technique="torch_openvino")), onnx_form, tmp_path / "again")
