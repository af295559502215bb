from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from equipoise.ingest.index_bounds import index_bounds


def test_inputs_that_choose_from_a_table_are_bounded_by_the_smallest(tmp_path: Path) -> None:
    tables = {"words": (11, 4), "few": (4, 7), "codes": (9, 4)}
    nodes = [
        helper.make_node("Cast", ["ids"], ["cast"], to=TensorProto.INT64),
        helper.make_node("Gather", ["words", "cast"], ["a"]),
        helper.make_node("Gather", ["few", "ids"], ["b"], axis=-1),
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["real"]),
        helper.make_node("Gather", ["real", "kind"], ["c"]),
        helper.make_node("Add", ["other", "other"], ["d"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["n", 3]) for name in ("ids", "kind", "other")]
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in tables.items()]
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)], weights
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert index_bounds(tmp_path) == {"ids": 7, "kind": 9}


def test_without_an_onnx_file_nothing_is_known(tmp_path: Path) -> None:
    assert index_bounds(tmp_path) == {}
