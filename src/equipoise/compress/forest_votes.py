"""Ties in a forest's vote, decided as scikit-learn decides them."""

from __future__ import annotations

from typing import Any

import numpy as np


def exact_votes(model: Any, forest: Any) -> Any:
    """Make a converted forest add up whole votes, as scikit-learn does, and divide at the end.

    skl2onnx divides each tree's vote by the number of trees beforehand. Thirty votes of 1/60 add up to a little less or
    more than one half in floating point, so that a tied vote, frequent in forests of pure leaves, falls on either
    class; thirty whole votes are thirty, and the first class wins a tie.

    Args:
        model: ONNX model with one tree ensemble; changed in place.
        forest: The fitted RandomForestClassifier or ExtraTreesClassifier in it.

    Returns:
        The model; unchanged where its ensemble has another form.
    """
    from onnx import TensorProto, helper, numpy_helper

    ensembles = [node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier"]
    classes = getattr(forest, "classes_", None)
    if len(ensembles) != 1 or not isinstance(classes, np.ndarray) or classes.dtype.kind not in "OUib":
        return model
    node, trees = ensembles[0], len(forest.estimators_)
    if not any(each.name == "class_weights" for each in node.attribute) or len(model.graph.output) != 2:
        return model
    binary = len(set(_attribute(node, "class_ids").ints)) == 1  # then only the second class's votes are counted
    text = classes.dtype.kind in "OU"
    known = [str(name).encode() if text else int(name) for name in classes]
    element = TensorProto.STRING if text else TensorProto.INT64
    one = numpy_helper.from_array(np.asarray([trees], dtype=np.float32), "forest_trees")
    model.graph.initializer.extend([one, helper.make_tensor("forest_classes", element, [len(known)], known)])
    model.graph.node.append(_vote_counter(node, trees, 1 if binary else len(known)))
    if binary:
        model.graph.node.extend(
            [
                helper.make_node("Sub", ["forest_trees", "forest_counts"], ["forest_others"]),
                helper.make_node("Concat", ["forest_others", "forest_counts"], ["forest_votes"], axis=1),
            ]
        )
    votes = "forest_votes" if binary else "forest_counts"
    model.graph.node.extend(
        [
            helper.make_node("Div", [votes, "forest_trees"], ["forest_shares"]),
            helper.make_node("ArgMax", [votes], ["forest_winner"], axis=1, keepdims=0),
            helper.make_node("Gather", ["forest_classes", "forest_winner"], ["forest_label"], axis=0),
        ]
    )
    del model.graph.output[:]
    model.graph.output.extend(
        [
            helper.make_tensor_value_info("forest_label", element, [None]),
            helper.make_tensor_value_info("forest_shares", TensorProto.FLOAT, [None, len(known)]),
        ]
    )
    _prune(model.graph)
    return model


def _vote_counter(node: Any, trees: int, targets: int) -> Any:
    """The same trees as a regressor that adds up each class's whole votes."""
    from onnx import helper

    counter = helper.make_node(
        "TreeEnsembleRegressor", [node.input[0]], ["forest_counts"], domain="ai.onnx.ml", n_targets=targets
    )
    for attribute in node.attribute:
        if attribute.name.startswith("nodes_"):
            counter.attribute.append(attribute)
    # Six decimals undo the rounding of 1/trees: a pure leaf's vote is 1 again.
    weights = np.round(np.asarray(_attribute(node, "class_weights").floats, dtype=np.float64) * trees, 6)
    ids = list(_attribute(node, "class_ids").ints)
    counter.attribute.extend(
        [
            helper.make_attribute("target_weights", weights.astype(np.float32).tolist()),
            helper.make_attribute("target_ids", [0] * len(ids) if targets == 1 else ids),
            helper.make_attribute("target_nodeids", list(_attribute(node, "class_nodeids").ints)),
            helper.make_attribute("target_treeids", list(_attribute(node, "class_treeids").ints)),
        ]
    )
    return counter


def _attribute(node: Any, name: str) -> Any:
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _prune(graph: Any) -> None:
    """Remove nodes that lead to no output."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
