"""Weights alone in 8 and 4 bits, on a small transformer with the layers of BERT."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.compress.base import BuildContext
from equipoise.compress.conversion import check_conversion
from equipoise.compress.facts import model_facts
from equipoise.compress.propose import propose_recipes
from equipoise.compress.tools import open_natively
from equipoise.compress.weights_only import LEAST_WEIGHTS, by_rows, in_blocks
from equipoise.core.profile import Settings
from equipoise.core.recipe import Recipe, Step
from equipoise.errors import TechniqueError
from equipoise.host.environment import environment
from equipoise.preprocess.rows import Rows
from equipoise.registry import runtimes, techniques
from equipoise.store.artifacts import artifact_bytes, artifact_digest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LENGTH, VOCABULARY = 12, 2000
CASES: list[tuple[str, dict[str, Any], float]] = [
    ("int8_weights", {"target": "openvino", "scheme": "asymmetric"}, 0.30),
    ("int8_weights", {"target": "onnx", "block": 128}, 0.30),
    ("int4_weights", {"target": "openvino", "scheme": "symmetric", "group": 128}, 0.25),
    ("int4_weights", {"target": "onnx", "block": 32}, 0.25),
]
"""Technique, parameters, and the most of the source's bytes that it may leave."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact folder with a BERT of 2.2 million weights, all but a few in matrices of 65,536 or more."""
    import onnx

    spec = importlib.util.spec_from_file_location("bert_shape", EXAMPLES / "bert_shape.py")
    assert spec is not None
    assert spec.loader is not None
    shape = importlib.util.module_from_spec(spec)
    sys.modules["bert_shape"] = shape
    spec.loader.exec_module(shape)
    folder = tmp_path_factory.mktemp("encoder")
    sizes = shape.Sizes(layers=2, hidden=256, heads=4, vocabulary=VOCABULARY, positions=LENGTH)
    model = shape.bert(np.random.default_rng(0), sizes)
    onnx.save(model, folder / "model.onnx")
    return folder


def texts(n: int = 64) -> Rows:
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (n, LENGTH))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return Rows(feeds, None)


def context(folder: Path) -> BuildContext:
    folder.mkdir()
    return BuildContext(calibration=texts(), output="logits", folder=folder, seed=0, threads=1)


@pytest.mark.parametrize(("name", "parameters", "share"), CASES, ids=lambda case: str(case))
def test_weights_become_smaller_and_the_answers_stay(
    name: str, parameters: dict[str, Any], share: float, encoder: Path, tmp_path: Path
) -> None:
    before, technique, step = artifact_digest(encoder), techniques()[name], Step(technique=name, parameters=parameters)
    built = context(tmp_path / "built")
    form = technique.apply(encoder, step, built)
    assert artifact_digest(encoder) == before
    facts = model_facts(built.folder, environment())
    assert facts.format == form
    assert artifact_bytes(built.folder) < share * artifact_bytes(encoder)
    assert techniques()[name].propose(facts, Recipe()) == []  # there is nothing left to make smaller
    native = open_natively(encoder)
    feeds = texts().feeds
    expected = native.run(native.prepare(feeds))
    for runtime in runtimes().values():
        if form in runtime.formats:
            settings = Settings(runtime=runtime.name, precision="f32", threads=1, replicas=1, batch=8)
            session = runtime.open(built.folder, settings)
            found = session.run(session.prepare(feeds))
            check_conversion(expected, found, technique.fidelity)
            error = found["logits"] - expected["logits"]
            limit = 0.05 if name == "int8_weights" else 0.5
            assert np.sqrt((error**2).mean()) < limit * expected["logits"].std()


def test_the_same_model_is_the_same_file(encoder: Path, tmp_path: Path) -> None:
    for name in ("int8_weights", "int4_weights"):
        digests = set()
        for copy in "ab":
            built = context(tmp_path / f"{name}-{copy}")
            techniques()[name].apply(encoder, Step(technique=name, parameters={"target": "onnx"}), built)
            digests.add(artifact_digest(built.folder))
        assert len(digests) == 1


def test_they_are_offered_where_large_matrices_hold_a_million_weights(encoder: Path) -> None:
    facts = model_facts(encoder, environment())
    assert facts.matrix_weights >= LEAST_WEIGHTS
    offered = {step.technique for recipe in propose_recipes(facts, "model") for step in recipe.steps}
    assert {"int8_weights", "int4_weights"} <= offered


@pytest.mark.parametrize("kind", ["cnn", "mlp", "attention", "forest"])
def test_small_models_are_not_offered_them_and_refused(kind: str, tmp_path: Path, models: Any) -> None:
    source = models[kind](tmp_path / kind)
    for number, name in enumerate(("int8_weights", "int4_weights")):
        assert techniques()[name].propose(model_facts(source, environment()), Recipe()) == []
        step, built = Step(technique=name, parameters={"target": "onnx"}), context(tmp_path / f"none-{number}")
        with pytest.raises(TechniqueError):
            techniques()[name].apply(source, step, built)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(512, 160), (300, 220)])
def test_a_product_in_blocks_is_what_the_runtime_computes(bits: int, shape: tuple[int, int]) -> None:
    """The numbers and scales written here mean to ONNX Runtime what they mean here, padding and all."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(bits)
    weights, x = rng.standard_normal(shape).astype(np.float32), rng.standard_normal((5, shape[0])).astype(np.float32)
    codes, scales = in_blocks(weights, bits, block=32)
    numbers = codes if bits == 8 else np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], -1)
    read = (numbers.astype(np.float32) - (1 << (bits - 1))) * scales.reshape(shape[1], -1, 1)
    back = read.reshape(shape[1], -1)[:, : shape[0]].T
    step = np.abs(scales).reshape(shape[1], -1).repeat(32, axis=1)[:, : shape[0]].T
    assert (np.abs(back - weights) <= 1.01 * step).all()

    node = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", K=shape[0], N=shape[1], bits=bits,
        block_size=32,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", shape[1]])],
        [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0] == pytest.approx(x @ back, abs=1e-3)


def test_a_table_by_rows_is_off_by_half_a_step_at_most() -> None:
    table = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    table[3] = 0
    codes, scales = by_rows(table)
    assert (np.abs(codes * scales - table) <= 0.501 * scales).all()
    assert not codes[3].any()


def test_layers_with_a_bias_a_transposed_matrix_and_a_shared_one_keep_their_answers(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(4)
    weights = {
        "table": rng.standard_normal((400, 256)), "up": rng.standard_normal((256, 300)) / 16,
        "down": rng.standard_normal((256, 300)) / 17, "b": rng.standard_normal(256),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "up"], ["h"]),
        helper.make_node("Gemm", ["h", "down", "b"], ["z"], transB=1),
        helper.make_node("Gemm", ["z", "table"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 400])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )  # fmt: skip
    source = tmp_path / "tied"
    source.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, source / "model.onnx")
    built = context(tmp_path / "built")
    techniques()["int8_weights"].apply(source, Step(technique="int8_weights", parameters={"target": "onnx"}), built)
    kept = {tensor.name for tensor in onnx.load(built.folder / "model.onnx").graph.initializer}
    assert kept.isdisjoint({"table", "up", "down"})
    feeds = {"ids": np.arange(0, 400, 7)}
    before, after = (open_natively(folder) for folder in (source, built.folder))
    expected = before.run(before.prepare(feeds))["logits"]
    found = after.run(after.prepare(feeds))["logits"]
    assert np.sqrt(((found - expected) ** 2).mean()) < 0.05 * expected.std()
