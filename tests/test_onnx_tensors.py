"""Weights in files of their own, hidden where a careless walk over the model does not look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from equipoise.core.plan import BatchRule, Forecast, Plan, PlanStage, StageModel
from equipoise.core.profile import Settings
from equipoise.core.splits import Duplicates, Splits
from equipoise.errors import BundleError, ModelError
from equipoise.host.environment import environment
from equipoise.ingest.model import import_model
from equipoise.onnx_tensors import external_place, external_tensors, nodes, tensors
from equipoise.registry import runtimes
from equipoise.store.artifacts import artifact_digest
from equipoise.store.bundle import read_bundle, write_bundle

WEIGHTS = np.arange(3, dtype=np.float32)
PLACES = ("initializer", "function", "function default", "sparse initializer", "sparse attribute", "subgraph attribute")


def _outside(tensor: onnx.TensorProto, **place: Any) -> onnx.TensorProto:
    """The tensor with its numbers said to lie in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def hiding(place: str, **external: Any) -> onnx.ModelProto:
    """y = x + weights, the weights external and in one of `PLACES`."""
    weights = _outside(numpy_helper.from_array(WEIGHTS, "hidden"), **external)
    sparse = helper.make_sparse_tensor(weights, numpy_helper.from_array(np.arange(3), "places"), [3])
    sides: list[Any] = [
        helper.make_graph(
            [helper.make_node("Constant", [], [f"out_{side}"], value=value)],
            side,
            [],
            [helper.make_tensor_value_info(f"out_{side}", TensorProto.FLOAT, [3])],
        )
        for side, value in (("then", weights), ("else", numpy_helper.from_array(WEIGHTS)))
    ]
    call = helper.make_node("Own", [], ["w"], domain="own")
    make = {
        "initializer": [],
        "function": [call],
        "function default": [call],
        "sparse initializer": [],
        "sparse attribute": [helper.make_node("Constant", [], ["w"], sparse_value=sparse)],
        "subgraph attribute": [
            helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
            helper.make_node("If", ["yes"], ["w"], then_branch=sides[0], else_branch=sides[1]),
        ],
    }[place]
    graph = helper.make_graph(
        [*make, helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if place == "initializer":
        weights.name = "w"
        model.graph.initializer.append(weights)
    elif place == "sparse initializer":
        sparse.values.name = "w"
        model.graph.sparse_initializer.append(sparse)
    elif place.startswith("function"):
        default = place == "function default"
        constant = helper.make_node("Constant", [], ["inside"])
        constant.attribute.append(helper.make_attribute("value", weights))
        if default:
            constant.attribute[0].CopyFrom(onnx.AttributeProto(name="value", type="TENSOR", ref_attr_name="given"))
        model.functions.append(
            helper.make_function(
                "own", "Own", [], ["inside"], [constant], opsets[:1],
                attribute_protos=[helper.make_attribute("given", weights)] if default else [],
            )
        )  # fmt: skip
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty artifact folder, with a file beside it that is none of the model's business."""
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    made = tmp_path / "artifact"
    made.mkdir()
    return made


@pytest.mark.parametrize("place", PLACES)
def test_every_tensor_is_found(place: str) -> None:
    (found,) = external_tensors(hiding(place, location="w.bin", offset=4, length=8))
    assert external_place(found) == ("w.bin", 4, 8)
    assert found.name in ("hidden", "w")


def test_the_parts_of_a_model_are_found_once() -> None:
    assert sorted(node.op_type for node in nodes(hiding("subgraph attribute", location="w.bin"))) == [
        "Add", "Constant", "Constant", "Constant", "If",
    ]  # fmt: skip
    assert sorted(node.op_type for node in nodes(hiding("function", location="w.bin"))) == ["Add", "Constant", "Own"]
    assert [tensor.name for tensor in tensors(hiding("sparse attribute", location="w.bin"))] == ["hidden", "places"]


@pytest.mark.parametrize("place", [{"offset": "-1"}, {"length": "many"}, {"length": "9" * 5000}, {"offset": "²"}])
def test_a_place_that_is_no_number_of_bytes(place: dict[str, str]) -> None:
    (found,) = external_tensors(hiding("initializer", location="w.bin", **place))
    with pytest.raises(ValueError, match="no number of bytes"):
        external_place(found)


@pytest.mark.parametrize("place", PLACES)
def test_import_refuses_weights_outside_the_folder(place: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "m.onnx"
    onnx.save(hiding(place, location="../secret.bin", offset=0, length=WEIGHTS.nbytes), path)
    with pytest.raises(ModelError, match=r"weights of .* are said to be in '\.\./secret\.bin'"):
        import_model(path, False, folder, None)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("place", PLACES)
def test_no_runtime_opens_weights_outside_the_folder(place: str, name: str, folder: Path) -> None:
    onnx.save(hiding(place, location="../secret.bin", offset=0, length=WEIGHTS.nbytes), folder / "model.onnx")
    settings = Settings(runtime=name, precision="f32", threads=1, replicas=1, batch=1)
    with pytest.raises(ModelError, match=r"weights of .* are said to be in '\.\./secret\.bin'"):
        runtimes()[name].open(folder, settings)


def bundled(target: Path, artifact: Path) -> Path:
    """A bundle of an ONNX artifact; where its weights lie is all that matters."""
    digest = artifact_digest(artifact)
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=1)
    model = StageModel(artifact=digest, format="onnx", settings=settings)
    stage = PlanStage(models=(model,), batch_rule=BatchRule(max_rows=1))
    forecast = Forecast(
        quality=None, p99_s=None, throughput_rps=1, usd_per_million_packed=1, usd_per_million_provisioned=None
    )
    duplicates = Duplicates(exact=0, near=0, in_training=None, conflicting_targets=0)
    write_bundle(
        target,
        Plan(name="n", output="y", output_kind="value", stages=(stage,), usd_per_hour=1, forecast=forecast),
        None,
        environment(),
        Splits(calibrate=1, search=1, certify=1, groups_in_certify=None, data_digest="d", duplicates=duplicates),
        None,
        {"x": np.ones((1, 3), np.float32)},
        {"y": np.ones((1, 3), np.float32)},
        {digest: artifact},
        "# card",
    )
    return target / "artifacts" / digest


@pytest.mark.parametrize("place", PLACES)
def test_a_bundle_takes_the_weights_along_and_nothing_else(place: str, tmp_path: Path, folder: Path) -> None:
    onnx.save(hiding(place, location="w.bin", offset=0, length=WEIGHTS.nbytes), folder / "model.onnx")
    (folder / "w.bin").write_bytes(WEIGHTS.tobytes())
    inside = bundled(tmp_path / "bundle", folder)
    assert sorted(path.name for path in inside.iterdir()) == ["model.onnx", "w.bin"]
    assert read_bundle(tmp_path / "bundle").artifacts == {inside.name: inside}
    (folder / "other.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"other\.bin"):
        bundled(tmp_path / "another", folder)


@pytest.mark.parametrize("place", PLACES)
def test_weights_beside_the_model_are_imported_and_read(place: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    onnx.save(hiding(place, location="w.bin", offset=0, length=WEIGHTS.nbytes), tmp_path / "m.onnx")
    import_model(tmp_path / "m.onnx", False, folder, None)
    assert (folder / "w.bin").read_bytes() == WEIGHTS.tobytes()
    settings = Settings(runtime="onnxruntime", precision="f32", threads=1, replicas=1, batch=1)
    session = runtimes()["onnxruntime"].open(folder, settings)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(session.run(session.prepare({"x": x}))["y"], x + WEIGHTS)
