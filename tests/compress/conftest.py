"""Small models of every kind, as artifact folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.compress.base import BuildContext
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.preprocess.rows import Rows


def save(
    folder: Path, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any], weights: dict[str, Any]
) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    def values(spec: dict[str, Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in spec.items()
        ]

    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, folder.name, values(inputs), values(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    return folder


def make_cnn(folder: Path) -> Path:
    """Image classifier: uint8 [n, 8, 8, 3] to logits [n, 4]; two convolutions, each with batch normalisation."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    nodes = [
        helper.make_node("Transpose", ["image"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["chw"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "top"], ["x0"]),
        helper.make_node("Identity", ["x0"], ["x1"]),
    ]
    weights = {"top": np.float32(255)}
    for layer, (before, after) in enumerate([(3, 8), (8, 8)], 1):
        x = f"x{layer}"
        nodes += [
            helper.make_node("Conv", [x, f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{layer}", *(f"{k}{layer}" for k in "sbmv")], [f"n{layer}"]),
            helper.make_node("Relu", [f"n{layer}"], [f"x{layer + 1}"]),
        ]
        weights |= {
            f"w{layer}": normal(after, before, 3, 3, scale=0.3),
            f"s{layer}": 1 + normal(after, scale=0.1),
            f"b{layer}": normal(after, scale=0.1),
            f"m{layer}": normal(after, scale=0.1),
            f"v{layer}": 1 + normal(after, scale=0.1) ** 2,
        }
    nodes += [
        helper.make_node("GlobalAveragePool", ["x3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], name="head"),
    ]
    weights |= {"w": normal(8, 4), "b": normal(4)}
    return save(folder, nodes, {"image": ("uint8", ["n", 8, 8, 3])}, {"logits": ("float32", ["n", 4])}, weights)


def make_mlp(folder: Path) -> Path:
    """[n, 16] to logits [n, 4]."""
    from onnx import helper

    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h1"], name="first"),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["h2"], name="second"),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("MatMul", ["r2", "w3"], ["logits"], name="third"),
    ]
    weights = {
        "w1": rng.standard_normal((16, 32)) / 4, "b1": rng.standard_normal(32) / 4,
        "w2": rng.standard_normal((32, 32)) / 6, "w3": rng.standard_normal((32, 4)) / 6,
    }  # fmt: skip
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    return save(folder, nodes, {"x": ("float32", ["n", 16])}, {"logits": ("float32", ["n", 4])}, weights)


def make_attention(folder: Path) -> Path:
    """One head of attention over [n, 6, 16], and a classifier of its mean."""
    from onnx import helper

    rng = np.random.default_rng(2)
    nodes = [helper.make_node("MatMul", ["x", f"w{part}"], [part], name=f"project_{part}") for part in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["mixed"], name="mixing"),
        helper.make_node("ReduceMean", ["mixed"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "wo"], ["logits"], name="head"),
    ]
    weights = {f"w{part}": (rng.standard_normal((16, 16)) / 4).astype(np.float32) for part in "qkv"}
    weights["wo"] = rng.standard_normal((16, 4)).astype(np.float32)
    return save(folder, nodes, {"x": ("float32", ["n", 6, 16])}, {"logits": ("float32", ["n", 4])}, weights)


def table(n: int = 400, seed: int = 0) -> tuple[Any, Any]:
    """A table with integers, floats, booleans and text, and a two-class target."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "pay-rate": rng.gamma(2.0, 500.0, n),
            "job": rng.choice(np.array(["clerk", "nurse", "smith"], dtype=object), n),
            "member": rng.random(n) > 0.5,
        }
    )
    score = frame["age"] + 20 * (frame["job"] == "nurse") + frame["pay-rate"] / 50 + 5 * rng.standard_normal(n)
    return frame, np.where(score > 75, ">50K", "<=50K").astype(object)


TABLE_INPUTS = (
    TensorSpec(name="age", dtype="int64", shape=(None, 1)),
    TensorSpec(name="pay-rate", dtype="float64", shape=(None, 1)),
    TensorSpec(name="job", dtype="string", shape=(None, 1)),
    TensorSpec(name="member", dtype="bool", shape=(None, 1)),
)


def columns(frame: Any) -> dict[str, Any]:
    return {
        name: frame[name].to_numpy(dtype=object if name == "job" else None).reshape(-1, 1) for name in frame.columns
    }


def save_estimator(
    folder: Path, estimator: Any, inputs: tuple[TensorSpec, ...], **outputs: tuple[str, list[int | None]]
) -> Path:
    import skops.io

    folder.mkdir(parents=True)
    skops.io.dump(estimator, folder / "model.skops")
    spec = ModelSpec(
        inputs=inputs,
        outputs=tuple(TensorSpec(name=k, dtype=dtype, shape=tuple(shape)) for k, (dtype, shape) in outputs.items()),
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    return folder


def make_table_model(folder: Path, final: Any, *, encode: str = "onehot", target: Any = None) -> Path:
    """A fitted pipeline over the table of `table()`."""
    from sklearn.base import is_classifier
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    frame, labels = table()
    encoder = (
        OneHotEncoder(handle_unknown="ignore")
        if encode == "onehot"
        else OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    )
    head = make_column_transformer(
        (StandardScaler(), ["age", "pay-rate"]), (encoder, ["job"]), ("passthrough", ["member"])
    )
    model = make_pipeline(head, final).fit(frame, labels if target is None else target(frame))
    if not is_classifier(final):
        return save_estimator(folder, model, TABLE_INPUTS, value=("float64", [None]))
    outputs: dict[str, tuple[str, list[int | None]]] = {"label": ("string", [None])}
    if hasattr(model, "predict_proba"):
        outputs["probabilities"] = ("float64", [None, 2])
    return save_estimator(folder, model, TABLE_INPUTS, **outputs)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Any]:
    """Makers of artifact folders, by kind."""

    def forest(folder: Path) -> Path:
        from sklearn.ensemble import RandomForestClassifier

        return make_table_model(folder, RandomForestClassifier(30, random_state=0))

    return {"cnn": make_cnn, "mlp": make_mlp, "attention": make_attention, "forest": forest}


@pytest.fixture
def table_model() -> Any:
    return make_table_model


@pytest.fixture
def array_model() -> Any:
    return save_estimator


@pytest.fixture
def rows() -> Any:
    """Calibration rows for a kind of model."""

    def make(kind: str, n: int = 96) -> Rows:
        rng = np.random.default_rng(9)
        if kind == "cnn":
            return Rows({"image": rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)}, None)
        if kind == "mlp":
            return Rows({"x": rng.standard_normal((n, 16)).astype(np.float32)}, None)
        if kind == "attention":
            return Rows({"x": rng.standard_normal((n, 6, 16)).astype(np.float32)}, None)
        return Rows(columns(table(n, seed=5)[0]), None)

    return make


@pytest.fixture
def context(tmp_path: Path, rows: Any) -> Any:
    """A build context with an empty folder of its own at each call."""
    made: list[Path] = []

    def make(kind: str, **changes: Any) -> BuildContext:
        folder = tmp_path / f"built{len(made)}"
        made.append(folder)
        folder.mkdir()
        values = {"calibration": rows(kind), "output": "logits", "folder": folder, "seed": 0, "threads": 1}
        return BuildContext(**(values | changes))

    return make
