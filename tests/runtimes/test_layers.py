"""What each runtime says of the layers of small models whose every figure is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.profile import Settings
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.measure.anatomy import flops_of
from equipoise.registry import runtimes
from equipoise.runtimes.layers import LayerRuntime, TimedLayers

TURNS = [(0, 1), (1, 3)]
ROWS = 8
ONNX_RUNTIMES = ("onnxruntime", "openvino")


def timed(settings: Settings, artifact: Path, feeds: dict[str, Any], scratch: Path) -> TimedLayers:
    runtime = runtimes()[settings.runtime]
    assert isinstance(runtime, LayerRuntime)
    scratch.mkdir()
    session = runtime.open_layers(artifact, settings, scratch)
    prepared = session.prepare(feeds)
    assert all(session.run(prepared) > 0 for _ in range(3))
    found = session.layers(TURNS)
    assert all(layer.seconds.shape == (2,) and (layer.seconds >= 0).all() for layer in found.layers)
    return found


def write_onnx(folder: Path, nodes: Any, inputs: Any, outputs: Any, weights: Any, external: bool = False) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    folder.mkdir(exist_ok=True)
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx", save_as_external_data=external, location="weights.bin", size_threshold=0)
    return folder


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_products_are_counted_whatever_the_runtime_makes_of_them(runtime, mlp, setting, tmp_path):
    """logits = relu(x W) V; its nodes have no names."""
    feeds = {"x": np.random.default_rng(0).standard_normal((ROWS, 6), dtype=np.float32)}
    found = timed(setting(runtime, threads=2), mlp, feeds, tmp_path / "scratch")
    counts = [flops_of(layer) for layer in found.layers]
    assert None not in counts
    assert sum(counts) == ROWS * (2 * 6 * 16 + 16 + 2 * 16 * 3)
    assert found.parameters == 6 * 16 + 16 * 3
    assert sum(layer.parameters or 0 for layer in found.layers) == 6 * 16 + 16 * 3
    assert len({layer.name for layer in found.layers}) == len(found.layers)
    # Each product reads its input and weights and writes its output, 4 bytes a number.
    products = {flops_of(layer): layer for layer in found.layers if (flops_of(layer) or 0) > ROWS * 16}
    last = products[ROWS * 2 * 16 * 3]
    assert last.precision == "f32"
    assert last.bytes_moved == 4 * (ROWS * 16 + 16 * 3 + ROWS * 3)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_a_convolution_with_what_is_fused_into_it(runtime, setting, tmp_path):
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "b": np.ones(16, np.float32),
        "table": rng.standard_normal((16, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="same", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="same"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "table"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])]
    artifact = write_onnx(tmp_path / "conv", nodes, inputs, outputs, weights, external=True)
    feeds = {"x": rng.standard_normal((2, 3, 8, 8)).astype(np.float32)}
    found = timed(setting(runtime), artifact, feeds, tmp_path / "scratch")
    pixels = 2 * 64
    convolution, pooling, product = pixels * 16 * (2 * 27 + 1 + 1), pixels * 16, 2 * 2 * 16 * 5
    assert sum(flops_of(layer) or 0 for layer in found.layers) == pytest.approx(convolution + pooling + product, abs=2)
    assert None not in [flops_of(layer) for layer in found.layers]
    assert any(flops_of(layer) == convolution for layer in found.layers)


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_quantised_products_compute_in_integers(runtime, setting, tmp_path):
    from equipoise.measure.roofline import product_rows, write_product

    artifact = tmp_path / "product"
    artifact.mkdir()
    write_product(artifact, 64, "int8")
    found = timed(setting(runtime, precision="int8"), artifact, product_rows(64), tmp_path / "scratch")
    dearest = max(found.layers, key=lambda layer: flops_of(layer) or 0)
    assert (flops_of(dearest) or 0) >= 2 * 64**3
    assert dearest.precision == "int8"
    assert 64 * 64 <= (dearest.parameters or 0) < 64 * 64 + 70
    assert (dearest.bytes_moved or 0) < 4 * 3 * 64 * 64  # less than with real numbers


@pytest.mark.parametrize("runtime", ONNX_RUNTIMES)
def test_control_flow_is_one_layer_of_which_nothing_is_claimed(runtime, setting, tmp_path):
    from onnx import TensorProto, helper

    branches = {
        name: helper.make_graph(
            [helper.make_node(operator, ["x", "x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )
        for name, operator in (("sum", "Add"), ("product", "Mul"))
    }
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branches["sum"], else_branch=branches["product"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])]
    artifact = write_onnx(tmp_path / "if", nodes, inputs, outputs, {"zero": np.float32(0)})
    found = timed(setting(runtime), artifact, {"x": np.ones((512, 64), np.float32)}, tmp_path / "scratch")
    chosen = next(layer for layer in found.layers if layer.operator == "If")
    assert (flops_of(chosen), chosen.parameters, chosen.bytes_moved) == (None, None, None)
    assert not any(layer.operator in ("Add", "Mul") for layer in found.layers)


def test_a_table_is_not_read_as_a_whole(setting, tmp_path):
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], name="look up")]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8])]
    artifact = write_onnx(tmp_path / "table", nodes, inputs, outputs, {"table": np.ones((1000, 8), np.float32)})
    found = timed(setting("onnxruntime"), artifact, {"ids": np.ones((2, 3), np.int64)}, tmp_path / "scratch")
    (layer,) = found.layers
    assert (layer.name, flops_of(layer), layer.parameters) == ("look up", 0, 8000)
    assert layer.bytes_moved == 8 * 6 + 2 * 4 * 6 * 8


def test_steps_take_their_own_time_and_the_rest_is_between_them(table, save_sklearn, table_spec, setting, tmp_path):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame, target = table
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["job"]),
        ("passthrough", ["member"]),
    )
    artifact = save_sklearn(make_pipeline(columns, LogisticRegression()).fit(frame, target), table_spec)
    feeds = {
        "age": np.array([[30.0], [40.0]]),
        "job": np.array([["nurse"], ["clerk"]], dtype=object),
        "member": np.array([[True], [False]]),
    }
    for threads in (1, 2):
        found = timed(setting("sklearn", precision="f64", threads=threads), artifact, feeds, tmp_path / f"s{threads}")
        assert [(layer.name, layer.operator) for layer in found.layers] == [
            ("columntransformer", "ColumnTransformer"),
            ("columntransformer / pipeline", "Pipeline"),
            ("columntransformer / pipeline / simpleimputer", "SimpleImputer"),
            ("columntransformer / pipeline / standardscaler", "StandardScaler"),
            ("columntransformer / onehotencoder", "OneHotEncoder"),
            ("columntransformer / passthrough", "FunctionTransformer"),
            ("logisticregression", "LogisticRegression"),
            ("between the steps", "Pipeline"),
        ]
        assert all(flops_of(layer) is None for layer in found.layers)
        assert all((layer.seconds > 0).all() for layer in found.layers)


def test_an_estimator_alone_is_one_step(save_sklearn, setting, tmp_path):
    from sklearn.linear_model import LinearRegression

    x = np.random.default_rng(0).random((20, 2))
    spec = ModelSpec(
        inputs=(TensorSpec(name="x", dtype="float64", shape=(None, 2)),),
        outputs=(TensorSpec(name="value", dtype="float64", shape=(None,)),),
    )
    artifact = save_sklearn(LinearRegression().fit(x, x.sum(axis=1)), spec)
    found = timed(setting("sklearn", precision="f64"), artifact, {"x": x}, tmp_path / "scratch")
    assert [layer.name for layer in found.layers] == ["model", "between the steps"]
