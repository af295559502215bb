"""Small artifacts in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.core.profile import Settings
from equipoise.core.tensor import ModelSpec, TensorSpec


@pytest.fixture
def setting() -> Any:
    def make(runtime: str, **changes: Any) -> Settings:
        values = {"runtime": runtime, "precision": "f32", "threads": 1, "replicas": 1, "batch": 8} | changes
        return Settings(**values)

    return make


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """An artifact folder with logits = relu(x W) V and a second output, h = x W."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [("W", rng.standard_normal((6, 16))), ("V", rng.standard_normal((16, 3)))]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "W"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "V"], ["logits"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", 16]),
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights],
    )
    folder = tmp_path / "mlp"
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


@pytest.fixture
def table() -> Any:
    """A table with numbers, text and missing values of both, and its target."""
    import pandas as pd

    rng = np.random.default_rng(1)
    n = 120
    age = rng.integers(18, 90, n).astype(float)
    age[::11] = np.nan
    job = np.array(["clerk", "nurse", "smith"], dtype=object)[rng.integers(0, 3, n)]
    job[::7] = None
    frame = pd.DataFrame({"age": age, "job": pd.Series(job).astype("str"), "member": rng.integers(0, 2, n) == 1})
    target = np.where(np.nan_to_num(age, nan=40) + 20 * (job == "nurse") > 55, ">50K", "<=50K")
    return frame, target


@pytest.fixture
def save_sklearn(tmp_path: Path) -> Any:
    def save(estimator: Any, spec: ModelSpec) -> Path:
        import skops.io

        folder = tmp_path / type(estimator).__name__
        folder.mkdir(parents=True)
        skops.io.dump(estimator, folder / "model.skops")
        (folder / "spec.json").write_text(spec.model_dump_json())
        return folder

    return save


@pytest.fixture
def table_spec() -> ModelSpec:
    return ModelSpec(
        inputs=(
            TensorSpec(name="age", dtype="float64", shape=(None, 1)),
            TensorSpec(name="job", dtype="string", shape=(None, 1)),
            TensorSpec(name="member", dtype="bool", shape=(None, 1)),
        ),
        outputs=(
            TensorSpec(name="label", dtype="string", shape=(None,)),
            TensorSpec(name="probabilities", dtype="float64", shape=(None, 2)),
        ),
    )
