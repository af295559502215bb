from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from equipoise.compress.base import BuildContext, ModelFacts
from equipoise.compress.conversion import check_conversion
from equipoise.compress.facts import model_facts
from equipoise.compress.fp16 import Fp16
from equipoise.compress.free_batch import FreeBatch
from equipoise.compress.int8_nncf import Int8Nncf
from equipoise.compress.propose import propose_recipes
from equipoise.compress.tools import open_natively
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.preprocess.rows import Rows

FREE = Step(technique="free_batch")


@pytest.fixture(scope="session")
def images() -> Any:
    return np.random.default_rng(0).standard_normal((40, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def convolutions(tmp_path: Path, tflite_writer: Any) -> Path:
    """A TensorFlow Lite network for one image at a time, its batch size in the reshape before the dense layer."""
    rng, writer = np.random.default_rng(1), tflite_writer()
    x = writer.convolution(writer.input("image", (1, 8, 8, 3)), rng.normal(0, 0.3, (8, 3, 3, 3)), np.zeros(8))
    flat = writer.reshape(x, (1, 512))
    logits = writer.dense(flat, rng.normal(0, 0.1, (4, 512)), rng.normal(0, 1, 4), name="logits")
    folder = tmp_path / "tflite"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(writer.content([writer.softmax(logits)]))
    return folder


def _ir(folder: Path, rows: int, output: Callable[[Any], Any]) -> Path:
    x = ops.parameter([rows, 4], np.float32, name="x")
    folder.mkdir()
    openvino.save_model(openvino.Model([output(x)], [x]), folder / "model.xml", compress_to_fp16=False)
    return folder


def _context(folder: Path, feeds: dict[str, Any]) -> BuildContext:
    folder.mkdir()
    return BuildContext(calibration=Rows(feeds, None), output="probabilities", folder=folder, seed=0, threads=1)


def _answers(artifact: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    session = open_natively(artifact)
    n, rows = len(next(iter(feeds.values()))), session.spec.fixed_batch or 16
    parts = [
        session.run(session.prepare({name: array[start : start + rows] for name, array in feeds.items()}))
        for start in range(0, n, rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _facts(artifact: Path) -> ModelFacts:
    return model_facts(artifact, environment())


def test_batches_are_answered_like_single_rows(convolutions: Path, images: Any, tmp_path: Path) -> None:
    feeds = {"image": images}
    context = _context(tmp_path / "free", feeds)
    assert FreeBatch().apply(convolutions, FREE, context) == "openvino"
    assert _facts(convolutions).spec.fixed_batch == 1
    assert _facts(context.folder).spec.fixed_batch is None
    check_conversion(_answers(convolutions, feeds), _answers(context.folder, feeds), "exact")


@pytest.mark.parametrize(
    ("technique", "step"),
    [
        (Int8Nncf(), Step(technique="int8_nncf", parameters={"target": "openvino", "preset": "performance"})),
        (Fp16(), Step(technique="fp16", parameters={"target": "openvino"})),
    ],
    ids=["int8_nncf", "fp16"],
)
@pytest.mark.parametrize("freed", [False, True], ids=["one batch size", "free"])
def test_lossy_forms_start_from_either(
    technique: Any, step: Step, freed: bool, convolutions: Path, images: Any, tmp_path: Path
) -> None:
    feeds = {"image": images}
    source = convolutions
    if freed:
        free = _context(tmp_path / "free", feeds)
        FreeBatch().apply(source, FREE, free)
        source = free.folder
    context = _context(tmp_path / "form", feeds)
    assert technique.apply(source, step, context) == "openvino"
    assert _facts(context.folder).spec.fixed_batch == (None if freed else 1)
    check_conversion(_answers(source, feeds), _answers(context.folder, feeds), "lossy")


def test_nncf_feeds_inputs_whose_tensors_have_other_names(tmp_path: Path) -> None:
    """What came from TensorFlow names its node `x`, and the tensor `serving_default_x:0`."""
    rng = np.random.default_rng(0)
    x = ops.parameter([-1, 4], np.float32, name="x")
    x.output(0).set_names({"serving_default_x:0"})
    source = tmp_path / "ir"
    source.mkdir()
    product = ops.matmul(x, ops.constant(rng.standard_normal((4, 3)).astype(np.float32)), False, False)
    openvino.save_model(openvino.Model([product], [x]), source / "model.xml", compress_to_fp16=False)
    assert [tensor.name for tensor in _facts(source).spec.inputs] == ["x"]
    context = _context(tmp_path / "int8", {"x": rng.standard_normal((50, 4)).astype(np.float32)})
    Int8Nncf().apply(source, Step(technique="int8_nncf", parameters={"target": "openvino"}), context)
    assert "FakeQuantize" in _facts(context.folder).operators


def test_a_graph_that_holds_its_batch_size_elsewhere_is_left_alone(tmp_path: Path) -> None:
    beside = ops.constant(np.ones((1, 2), np.float32))
    source = _ir(tmp_path / "ir", 1, lambda x: ops.concat([x, beside], 1))
    with pytest.raises(TechniqueError, match="batch size 1 is written into its graph"):
        FreeBatch().apply(source, FREE, _context(tmp_path / "free", {"x": np.zeros((1, 4), np.float32)}))


def test_a_batch_of_two_keeps_rows_apart(tmp_path: Path) -> None:
    pairs = ops.constant([2, 2, 2])
    source = _ir(tmp_path / "ir", 2, lambda x: ops.reduce_sum(ops.reshape(x, pairs, False), ops.constant([2])))
    feeds = {"x": np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)}
    context = _context(tmp_path / "free", feeds)
    FreeBatch().apply(source, FREE, context)
    check_conversion(_answers(source, feeds), _answers(context.folder, feeds), "exact")


def test_forms_that_take_any_batch_come_first(convolutions: Path) -> None:
    recipes = propose_recipes(_facts(convolutions), "model")
    names = [tuple(step.technique for step in recipe.steps) for recipe in recipes]
    assert names[:2] == [("free_batch",), ("free_batch", "int8_nncf")]
    assert ("free_batch", "fp16") in names
    later = names[names.index(("int8_nncf",)) :]
    assert all(steps[0] != "free_batch" for steps in later)


def test_nothing_to_free(tmp_path: Path, models: dict[str, Any]) -> None:
    assert FreeBatch().propose(_facts(_ir(tmp_path / "ir", -1, ops.relu)), Recipe()) == []
    assert FreeBatch().propose(_facts(models["cnn"](tmp_path / "cnn")), Recipe()) == []
    fixed = _facts(_ir(tmp_path / "fixed", 1, ops.relu))
    assert FreeBatch().propose(fixed, Recipe()) == [FREE]
    assert FreeBatch().propose(fixed, Recipe().then(FREE)) == []
