"""Fewer or shallower trees."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from equipoise.compress.base import BuildContext, Fidelity, ModelFacts
from equipoise.compress.ensembles import (
    FORESTS,
    HISTOGRAM_BOOSTED,
    ensemble_size,
    is_whole_ensemble,
    with_final_estimator,
)
from equipoise.compress.tools import load_sklearn, save_sklearn, tool
from equipoise.core.recipe import Recipe, Step
from equipoise.core.variant import DataUse, Format
from equipoise.errors import TechniqueError
from equipoise.preprocess.rows import Array
from equipoise.runtimes.sklearn import final_estimator

SIZES = (10, 25, 50, 100, 200)
DEPTH = 10
LEAF = -1
UNDEFINED = -2


class SmallerForest:
    """Keeps the first trees of a forest, or the first rounds of a boosted ensemble, and cuts trees at a depth.

    A forest's error falls about as 1/trees towards a floor, its cost grows with every tree; later boosting rounds
    correct less than earlier ones. A node that becomes a leaf answers with the mean of the leaves that were under it,
    weighted by their training rows: for a forest exactly what the node stood for when it was split. The result is an
    ordinary fitted estimator.
    """

    name: ClassVar[str] = "smaller_forest"
    data_use: ClassVar[DataUse] = "none"
    fidelity: ClassVar[Fidelity] = "lossy"
    reshapes: ClassVar[bool] = True

    def propose(self, model: ModelFacts, recipe: Recipe) -> list[Step]:
        """Usual sizes below the present one, from the middle outwards; then trees cut at a depth."""
        if model.estimators is None or not is_whole_ensemble(model, recipe):
            return []
        sizes = [size for size in reversed(SIZES) if size < model.estimators]
        # From the middle outwards: a budget that ends early has then seen a bold and a careful one.
        middle = len(sizes) // 2
        order = sorted(sizes, key=lambda size: abs(sizes.index(size) - middle))
        steps: list[dict[str, Any]] = [{"estimators": size} for size in order]
        if not any("HistGradientBoosting" in name for name in model.operators):  # their trees are shallow already
            steps.append({"max_depth": DEPTH})
            steps += [{"estimators": size, "max_depth": DEPTH} for size in sizes[-2:-1]]
        return [Step(technique=self.name, parameters=parameters) for parameters in steps]

    def apply(self, source: Path, step: Step, context: BuildContext) -> Format:
        """Write the smaller ensemble.

        Raises:
            TechniqueError: The model is no such ensemble, or is not larger than what is asked for.
        """
        model, spec = load_sklearn(source)
        ensemble = final_estimator(model)
        present = ensemble_size(ensemble)
        if present is None:
            found = type(ensemble).__name__
            raise TechniqueError(f"works on forests and boosted trees; the final estimator is a {found}")
        count = int(str(step.parameters.get("estimators", present)))
        max_depth = step.parameters.get("max_depth")
        if not 1 <= count <= present or (count == present and max_depth is None):
            raise TechniqueError(f"{count} trees or rounds were asked for, there are {present}")
        with tool("scikit-learn"):
            smaller, cut = _first(ensemble, count), 0
            if max_depth is not None:
                cut = _cut(smaller, int(str(max_depth)))
        if max_depth is not None and cut == 0:
            raise TechniqueError(f"no tree is deeper than {max_depth}")
        save_sklearn(with_final_estimator(model, smaller), spec, context.folder)
        return "sklearn"


def _first(ensemble: Any, count: int) -> Any:
    """A copy that holds the first `count` trees or rounds."""
    smaller = copy.copy(ensemble)
    kind = type(ensemble).__name__
    if kind in HISTOGRAM_BOOSTED:
        smaller._predictors = ensemble._predictors[:count]
        smaller.max_iter = count
        return smaller
    smaller.estimators_ = ensemble.estimators_[:count].copy()
    smaller.n_estimators = count
    if kind not in FORESTS:
        smaller.n_estimators_ = count
        smaller.train_score_ = ensemble.train_score_[:count]
    return smaller


def _cut(ensemble: Any, max_depth: int) -> int:
    """Cut every tree at a depth and say how many were deeper."""
    if type(ensemble).__name__ in HISTOGRAM_BOOSTED:
        predictors = [[_cut_predictor(tree, max_depth) for tree in trees] for trees in ensemble._predictors]
        before = [tree for trees in ensemble._predictors for tree in trees]
        after = [tree for trees in predictors for tree in trees]
        ensemble._predictors = predictors
        return sum(new is not old for new, old in zip(after, before, strict=True))
    trees = np.empty(len(np.ravel(ensemble.estimators_)), dtype=object)
    cut = 0
    for position, tree in enumerate(np.ravel(ensemble.estimators_)):
        trees[position] = tree
        if tree.tree_.max_depth > max_depth:
            trees[position] = _cut_tree(tree, max_depth)
            cut += 1
    is_array = isinstance(ensemble.estimators_, np.ndarray)
    ensemble.estimators_ = trees.reshape(ensemble.estimators_.shape) if is_array else list(trees)
    return cut


def _cut_tree(estimator: Any, max_depth: int) -> Any:
    old = estimator.tree_
    state = old.__getstate__()
    nodes, values = state["nodes"].copy(), state["values"].copy()
    left, right = nodes["left_child"].astype(np.int64), nodes["right_child"].astype(np.int64)
    weight = nodes["weighted_n_node_samples"]
    depth = _depths(left, right)
    for node in np.argsort(-depth, kind="stable"):  # children before parents
        if left[node] != LEAF:
            share = weight[[left[node], right[node]]] / (weight[left[node]] + weight[right[node]])
            values[node] = share[0] * values[left[node]] + share[1] * values[right[node]]
    cut = (depth == max_depth) & (left != LEAF)
    at_cut = np.broadcast_to((depth == max_depth).reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    values = np.where(at_cut, values, state["values"])
    nodes["left_child"][cut] = nodes["right_child"][cut] = LEAF
    nodes["feature"][cut] = nodes["threshold"][cut] = UNDEFINED
    kept = depth <= max_depth
    number = np.cumsum(kept) - 1
    for side in ("left_child", "right_child"):
        inner = kept & (nodes[side] != LEAF)
        nodes[side][inner] = number[nodes[side][inner]]
    smaller = copy.copy(estimator)
    smaller.tree_ = type(old)(old.n_features, np.asarray(old.n_classes, dtype=np.intp), old.n_outputs)
    smaller.tree_.__setstate__(
        {
            "max_depth": max_depth,
            "node_count": int(kept.sum()),
            "nodes": np.ascontiguousarray(nodes[kept]),
            "values": np.ascontiguousarray(values[kept]),
        }
    )
    return smaller


def _cut_predictor(tree: Any, max_depth: int) -> Any:
    nodes = tree.nodes.copy()
    if int(nodes["depth"].max()) <= max_depth:
        return tree
    left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    inner = nodes["is_leaf"] == 0
    depth = _depths(np.where(inner, left, LEAF), np.where(inner, right, LEAF))
    for node in np.argsort(-depth, kind="stable"):
        if inner[node] and depth[node] >= max_depth:
            pair = nodes[[left[node], right[node]]]
            nodes["value"][node] = np.average(pair["value"], weights=pair["count"])
    cut = inner & (depth == max_depth)
    nodes["is_leaf"][cut] = 1
    kept = depth <= max_depth
    number = np.cumsum(kept) - 1
    still = kept & (nodes["is_leaf"] == 0)
    for side in ("left", "right"):
        nodes[side][still] = number[nodes[side][still]]
    smaller = copy.copy(tree)
    smaller.nodes = np.ascontiguousarray(nodes[kept])
    return smaller


def _depths(left: Array, right: Array) -> Array:
    """Depth of each node; parents come before their children."""
    depth = np.zeros(len(left), dtype=np.int64)
    for node in range(len(left)):
        if left[node] != LEAF:
            depth[left[node]] = depth[right[node]] = depth[node] + 1
    return depth
