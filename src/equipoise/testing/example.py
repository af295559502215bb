"""Small models with rows, on which a plug-in is tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.compress.tools import ONNX_FILE, read_ir, save_ir, save_onnx, save_sklearn
from equipoise.core.tensor import ModelSpec, TensorSpec
from equipoise.preprocess.rows import Array, Rows

ROWS, SEARCH_ROWS = 600, 200


@dataclass(frozen=True)
class Example:
    """A model, and rows that it answers.

    Attributes:
        name: Of the example.
        artifact: The model's artifact folder.
        rows: Rows to calibrate with and to train on, with true answers.
        search: Rows to look at progress on, with true answers.
        output: Name of the output that is judged.
    """

    name: str
    artifact: Path
    rows: Rows
    search: Rows
    output: str


def forest(folder: Path) -> Example:
    """A scikit-learn pipeline over a table of numbers and text: one-hot columns, a forest of 24 trees, two classes."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows, search = _table(ROWS, 0), _table(SEARCH_ROWS, 1)
    spec = ModelSpec(
        inputs=(
            TensorSpec(name="age", dtype="int64", shape=(None, 1)),
            TensorSpec(name="pay", dtype="float64", shape=(None, 1)),
            TensorSpec(name="job", dtype="string", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name="label", dtype="string", shape=(None,)),
            TensorSpec(name="probabilities", dtype="float64", shape=(None, 2)),
        ),
    )
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, ["job"]), remainder="passthrough")
    model = make_pipeline(columns, RandomForestClassifier(24, min_samples_leaf=5, random_state=0))
    artifact = _new(folder / "forest")
    save_sklearn(model.fit(_frame(rows), rows.target), spec, artifact)
    return Example("forest", artifact, rows, search, "label")


def network(folder: Path) -> Example:
    """An ONNX classifier of uint8 images of 8 x 8 x 3: two convolutions, each with batch normalisation, and a head."""
    artifact = _new(folder / "network")
    save_onnx(_onnx(*_convolutions(), "image", ("UINT8", ["n", 8, 8, 3])), artifact)
    return Example("network", artifact, _images(ROWS, 1), _images(SEARCH_ROWS, 2), "logits")


def network_of_one_row(folder: Path) -> Example:
    """The same network as OpenVINO IR that takes one row at a time."""
    artifact = _new(folder / "network of one row")
    save_onnx(_onnx(*_convolutions(), "image", ("UINT8", [1, 8, 8, 3])), artifact)
    model = read_ir(artifact)
    (artifact / ONNX_FILE).unlink()
    save_ir(model, artifact, half=False)
    return Example("network of one row", artifact, _images(ROWS, 1), _images(SEARCH_ROWS, 2), "logits")


def dense_network(folder: Path) -> Example:
    """An ONNX classifier of 16 numbers: three matrix products with ReLU between them."""
    artifact = _new(folder / "dense network")
    save_onnx(_onnx(*_products(), "x", ("FLOAT", ["n", 16])), artifact)
    return Example("dense network", artifact, _numbers(ROWS, 1), _numbers(SEARCH_ROWS, 2), "logits")


def nothing(folder: Path) -> Path:
    """An artifact folder with no model in it, which every technique must refuse with a reason."""
    empty = _new(folder / "nothing")
    (empty / "README").write_text("no model\n")
    return empty


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _table(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    age, pay = rng.integers(18, 90, n), rng.gamma(2.0, 500.0, n)
    job = rng.choice(np.array(["clerk", "nurse", "smith"], dtype=object), n)
    score = age + 20 * (job == "nurse") + pay / 50 + 5 * rng.standard_normal(n)
    feeds: dict[str, Array] = {"age": age, "pay": pay, "job": job}
    return Rows(
        feeds={name: array.reshape(-1, 1) for name, array in feeds.items()},
        target=np.where(score > 75, "above", "below").astype(object),
        population=np.full(n, "main", dtype=object),
    )


def _frame(rows: Rows) -> Any:
    import pandas

    return pandas.DataFrame({name: array.reshape(-1) for name, array in rows.feeds.items()})


def _images(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, n)
    bright = np.zeros((4, 8, 8, 3))
    for quarter in range(4):
        bright[quarter, 4 * (quarter // 2) :, 4 * (quarter % 2) :] = 90.0
    image = np.clip(bright[label] + rng.normal(80.0, 40.0, (n, 8, 8, 3)), 0, 255).astype(np.uint8)
    return Rows(feeds={"image": image}, target=label, population=np.full(n, "main", dtype=object))


def _numbers(n: int, seed: int) -> Rows:
    x = np.random.default_rng(seed).standard_normal((n, 16)).astype(np.float32)
    return Rows(feeds={"x": x}, target=x[:, :4].argmax(axis=1), population=np.full(n, "main", dtype=object))


def _convolutions() -> tuple[list[Any], dict[str, Array]]:
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["image"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["chw"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "top"], ["x0"]),
        helper.make_node("Identity", ["x0"], ["x1"]),
    ]
    weights: dict[str, Array] = {"top": np.array(255, dtype=np.float32)}
    for layer, (before, after) in enumerate([(3, 8), (8, 8)], 1):
        normal = {"s": 1.0, "b": 0.0, "m": 0.0, "v": 1.0}
        nodes += [
            helper.make_node("Conv", [f"x{layer}", f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{layer}", *(f"{k}{layer}" for k in normal)], [f"n{layer}"]),
            helper.make_node("Relu", [f"n{layer}"], [f"x{layer + 1}"]),
        ]
        weights[f"w{layer}"] = (rng.standard_normal((after, before, 3, 3)) * 0.3).astype(np.float32)
        weights |= {f"{k}{layer}": np.full(after, value, dtype=np.float32) for k, value in normal.items()}
    nodes += [
        helper.make_node("Flatten", ["x3"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], name="head"),
    ]
    weights |= {"w": (rng.standard_normal((8 * 64, 4)) / 20).astype(np.float32), "b": np.zeros(4, dtype=np.float32)}
    return nodes, weights


def _products() -> tuple[list[Any], dict[str, Array]]:
    from onnx import helper

    rng = np.random.default_rng(1)
    nodes, last, sizes = [], "x", (16, 32, 32, 4)
    for layer in (1, 2, 3):
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], ["logits" if layer == 3 else f"h{layer}"]))
        if layer < 3:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
            last = f"r{layer}"
    shapes = zip((1, 2, 3), sizes, sizes[1:], strict=False)
    return nodes, {f"w{layer}": (rng.standard_normal((n, m)) / n**0.5).astype(np.float32) for layer, n, m in shapes}


def _onnx(nodes: list[Any], weights: dict[str, Array], name: str, kind: tuple[str, list[str | int]]) -> Any:
    """The model of these nodes, from an input of that name, type and shape to `logits` [n, 4]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    element, shape = kind
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.DataType.Value(element), shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], 4])],
        [numpy_helper.from_array(value, weight) for weight, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
