"""Small models and data files to ingest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

CLASSES = 3
FEATURES = 4


@pytest.fixture
def onnx_model() -> Callable[..., onnx.ModelProto]:
    """Makes a linear classifier, x [batch, 4] to logits [batch, 3]."""

    def make(opset: int = 17, ir_version: int = 8, **changes: Any) -> onnx.ModelProto:
        weights = numpy_helper.from_array(np.ones((FEATURES, CLASSES), np.float32), "w")
        graph = helper.make_graph(
            changes.get("nodes", [helper.make_node("MatMul", ["x", "w"], ["logits"])]),
            "linear",
            changes.get("inputs", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])]),
            changes.get("outputs", [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])]),
            [weights],
        )
        opsets = [helper.make_opsetid("", opset), *changes.get("opsets", [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)

    return make


@pytest.fixture
def files(tmp_path: Path, onnx_model: Callable[..., onnx.ModelProto]) -> Path:
    """A folder with a model, data and a trace that are in order."""
    onnx.save(onnx_model(), tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((60, FEATURES)).astype(np.float32), "label": random.integers(0, CLASSES, 60)}
    np.savez(tmp_path / "data.npz", **arrays)
    np.savez(tmp_path / "more.npz", **arrays)
    (tmp_path / "trace.csv").write_text("timestamp\n0\n1\n")
    return tmp_path
