"""Histogram boosting compared in float64, as scikit-learn compares."""

from __future__ import annotations

from typing import Any

import numpy as np


def exact_thresholds(model: Any, boosting: Any) -> Any:
    """Give a converted ensemble its float64 thresholds: skl2onnx rounds them to float32 whatever the input is.

    Features that float32 cannot tell apart (times in seconds, identifiers) would fall on either side of a threshold.

    Args:
        model: ONNX model that takes float64, with one tree ensemble; changed in place.
        boosting: The fitted HistGradientBoosting estimator in it.

    Returns:
        The model.
    """
    from onnx import TensorProto, helper, numpy_helper

    node = next(node for node in model.graph.node if node.op_type.startswith("TreeEnsemble"))
    trees = [tree.nodes for group in boosting._predictors for tree in group]
    kept = [attribute for attribute in node.attribute if attribute.type != attribute.FLOATS]
    exact = {
        attribute.name: np.asarray(attribute.floats, dtype=np.float64)
        for attribute in node.attribute
        if attribute.type == attribute.FLOATS and attribute.name != "nodes_hitrates"
    }
    exact["nodes_values"] = np.concatenate([np.where(tree["is_leaf"], 0.0, tree["num_threshold"]) for tree in trees])
    tensors = [
        helper.make_attribute(f"{name}_as_tensor", numpy_helper.from_array(values, name))
        for name, values in exact.items()
    ]
    kept = [type(attribute).FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend([*kept, *tensors])
    for opset in model.opset_import:
        if opset.domain == "ai.onnx.ml":
            opset.version = max(opset.version, 3)
    for output in model.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.DOUBLE:  # the operator answers in float32
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return model
