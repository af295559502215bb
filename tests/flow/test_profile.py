"""Profiles of small models through the Python API: real children, random and real rows, both runtimes."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import equipoise
from equipoise.core.anatomy import Anatomy
from equipoise.core.estimate import Estimate
from equipoise.core.roofline import Peak, Roofline
from equipoise.errors import BriefError, ModelError
from equipoise.flow.roofline import machine_roofline
from equipoise.host.environment import environment
from equipoise.ingest.schema import anatomy_schema
from equipoise.store.rooflines import keep_roofline, kept_roofline
from picturing import picture_folder, picture_model
from sentencing import sentence_model, vocabulary

REPOSITORY = Path(__file__).resolve().parents[2]
LENGTH, BATCH, HIDDEN, LAYERS = 16, 2, 32, 2


def example(name: str) -> Any:
    spec = spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small text encoder of BERT's shape."""
    import onnx

    made = example("bert_shape")
    path: Path = tmp_path_factory.mktemp("bert") / "bert.onnx"
    sizes = made.Sizes(layers=LAYERS, hidden=HIDDEN, heads=4, vocabulary=50, positions=32)
    onnx.save(made.bert(np.random.default_rng(0), sizes), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def roofline(own_register: None) -> Roofline:
    """One that was measured before: a test that measures it does so by itself."""

    def measured(value: float) -> Estimate:
        return Estimate(value=value, low=None, high=None, n=1, method="")

    peak = Peak(precision="f32", flops_per_s=measured(1e11), runtime="openvino")
    for threads in range(1, environment().cores + 1):
        found = Roofline(
            environment=environment().content_digest, threads=threads, peaks=(peak,), bytes_per_s=measured(1e10)
        )
        keep_roofline(found)
    return found


def products(length: int, batch: int) -> int:
    """Operations of all matrix products in it: the least that it can take."""
    tokens = length * batch
    linear = 2 * tokens * HIDDEN * HIDDEN * (4 + 8)
    attention = 4 * batch * length * length * HIDDEN
    return LAYERS * (linear + attention) + 2 * batch * HIDDEN * (HIDDEN + 2)


@pytest.fixture(scope="module")
def profiles(bert: Path, roofline: Roofline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Profiles of the encoder in both runtimes, and the folders that they were written into."""
    found = {}
    for runtime in ("onnxruntime", "openvino"):
        out = tmp_path_factory.mktemp(runtime)
        made = equipoise.profile(bert, runtime=runtime, length=LENGTH, batch=BATCH, seconds=0.5, out=out)
        found[runtime] = (made, out)
    return found


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_encoder_with_free_sizes_and_several_inputs(profiles, runtime):
    found, out = profiles[runtime]
    assert [(fed.name, fed.shape) for fed in found.inputs] == [
        (name, (BATCH, LENGTH)) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert found.rows == "random"
    assert (found.settings.runtime, found.settings.batch) == (runtime, BATCH)
    assert found.unknown_share < 0.01
    least = products(LENGTH, BATCH)
    assert found.flops is not None
    assert least < found.flops < 1.3 * least
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    assert found.layers_s == pytest.approx(sum(layer.time_s.value for layer in found.layers))
    assert found.whole_s.low is not None
    assert found.whole_s.low <= found.whole_s.value
    weights = 50 * HIDDEN + 2 * HIDDEN + 32 * HIDDEN
    assert found.parameters is not None
    assert found.parameters > weights + LAYERS * 12 * HIDDEN**2
    assert any(layer.roof_share is not None for layer in found.layers)

    text = (out / "anatomy.json").read_text()
    assert Anatomy.model_validate_json(text) == found
    Draft202012Validator(anatomy_schema()).validate(json.loads(text))
    assert "default-src 'none'" in (out / "anatomy.html").read_text()


def test_both_runtimes_count_the_same_operations(profiles):
    counts = {runtime: found.flops for runtime, (found, _) in profiles.items()}
    assert counts["onnxruntime"] == pytest.approx(counts["openvino"], rel=0.02)


def test_rows_of_a_file_bring_their_own_shapes(bert, tmp_path):
    ids = np.random.default_rng(0).integers(0, 50, (3, 9))
    np.savez(tmp_path / "rows.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    found = equipoise.profile(bert, data=tmp_path / "rows.npz", batch=5, seconds=0.2)
    assert {fed.shape for fed in found.inputs} == {(5, 9)}  # the three rows, and two of them again
    assert found.rows == "rows.npz"


def test_images_and_texts_become_rows_as_in_a_study(tmp_path):
    model = picture_model(tmp_path / "pictures") / "model.onnx"
    photos = picture_folder(tmp_path / "photos", each=2)
    found = equipoise.profile(model, data=photos, batch=8, seconds=0.2)  # six of them, and two again
    assert [fed.shape for fed in found.inputs] == [(8, 8, 8, 3)]
    pytest.importorskip("tokenizers", reason="needs the extra text")
    sentences = tmp_path / "texts"
    reader = sentence_model(sentences) / "model.onnx"
    vocabulary(sentences / "vocab.txt")
    (sentences / "rows.txt").write_text("1 a fine film\n0 dull\n1 a warm and bright and funny film\n")
    asked = {"data": sentences / "rows.txt", "preprocess": sentences / "vocab.txt", "seconds": 0.2}
    found = equipoise.profile(reader, batch=2, **asked)
    assert {fed.shape for fed in found.inputs} == {(2, 5)}  # [CLS] a fine film [SEP]: only these two are read
    assert found.rows == "rows.txt"


def test_a_pipeline_has_steps_and_no_operations(tmp_path):
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame({"age": [20.0, 30.0, 40.0, 50.0], "job": ["clerk", "nurse", "clerk", "smith"]})
    columns = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["job"]))
    skops.io.dump(make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1]), tmp_path / "model.skops")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = equipoise.profile(tmp_path / "model.skops", data=tmp_path / "rows.csv", batch=4, seconds=0.2, out=tmp_path)
    assert {layer.operator for layer in found.layers} >= {"StandardScaler", "OneHotEncoder", "LogisticRegression"}
    assert (found.flops, found.unknown_share, found.roofline) == (None, pytest.approx(1), None)
    assert any("No operations are claimed" in note for note in found.notes)
    assert found.settings.threads == 1
    assert "nothing to hold against a roof" in (tmp_path / "anatomy.html").read_text()


def test_an_operator_without_a_formula_is_said_to_be_unknown(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Det", ["r"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    path = tmp_path / "det.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    found = equipoise.profile(path, batch=64, seconds=0.2)
    kinds = {cost.operator: cost for cost in found.operators}
    assert (kinds["Det"].flops, kinds["Det"].unknown) == (None, 1)
    assert found.flops == kinds["Relu"].flops == 64 * 64
    assert 0 < found.unknown_share < 1
    assert any(re.search(r"No formula for Det \(1 of 2 layers", note) for note in found.notes)


def test_the_roofline_is_measured_once(tmp_path):
    machine = environment()
    said: list[str] = []
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    found = machine_roofline(machine, 1, tmp_path / "first", again=True, size=128, say=said.append)
    precisions = [peak.precision for peak in found.peaks]
    assert {"f32", "int8"} <= set(precisions)
    assert len(precisions) == len(set(precisions))
    assert all(peak.flops_per_s.value > 0 for peak in found.peaks)
    assert kept_roofline(machine.content_digest, 1) == found
    assert machine_roofline(machine, 1, tmp_path / "second", say=said.append) == found
    assert len(said) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "give --length N"),
        ({"length": 64}, "does not run on random rows"),  # longer than any position it knows
        ({"shape": {"ids": (4,)}}, "the model takes input_ids"),
        ({"shape": ["input_ids"]}, "NAME=SIZES"),
        ({"shape": ["input_ids=4", "input_ids=5"]}, "each input once"),
        ({"length": 0}, "above 0"),
        ({"length": 16, "batch": "many"}, "whole number"),
        ({"length": 16, "threads": 10_000}, "the cores that this process may use"),
        ({"length": 16, "runtime": "tensorrt"}, "onnxruntime, openvino"),
        ({"length": 16, "precision": "int4"}, "in f32"),
        ({"length": 16, "data": "rows.npz"}, "rows have shapes"),
        ({"length": 16, "preprocess": {"do_resize": False}}, "give them with data"),
        ({"text_column": "text"}, "give them with data"),
        ({"data": "nowhere.npz"}, "nowhere.npz"),
        ({"speed": 3}, "unknown key"),
        ({"seconds": -1, "length": 16}, "in seconds"),
    ],
)
def test_wrong_options_are_one_clear_error(bert, options, expected):
    with pytest.raises(equipoise.InputError) as caught:
        equipoise.profile(bert, **options)
    assert expected in str(caught.value)


def test_a_fixed_batch_is_kept_to(tmp_path, linear):
    model = linear(tmp_path / "fixed", np.ones((4, 3), np.float32), fixed_batch=4) / "model.onnx"
    assert equipoise.profile(model, seconds=0.1).settings.batch == 4
    with pytest.raises(BriefError, match="batches of 4 alone"):
        equipoise.profile(model, batch=3)


def test_a_model_that_no_runtime_opens_is_named_by_its_own_path(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1, 3])],
    )
    path = tmp_path / "text.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    with pytest.raises(BriefError, match="real ones with --data"):
        equipoise.profile(path)
    np.savez(tmp_path / "rows.npz", x=np.array([["A", "B", "C"]]))
    with pytest.raises(ModelError, match=r"text\.onnx: OpenVINO cannot open it"):
        equipoise.profile(path, data=tmp_path / "rows.npz", runtime="openvino")
