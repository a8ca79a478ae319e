"""Fitted scikit-learn trees as flat arrays, and those as one ONNX TreeEnsemble node in double precision.

Source: ONNX-ML operator TreeEnsemble, version 5 (github.com/onnx/onnx, docs/Operators-ml.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BRANCH_LEQ = 0
SUM = 1


class Node(NamedTuple):
    """One node of a tree: a leaf where `left` is negative, else rows with x[feature] <= threshold go left."""

    left: int
    right: int
    feature: int
    threshold: float
    missing_left: bool
    value: float


def of_tree(tree: Any, *, scale: float, positive_class: bool) -> list[Node]:  # Any: sklearn.tree._tree.Tree
    """The nodes of a scikit-learn tree; a leaf's value is P(second class) or the regressed value, times `scale`."""
    missing = getattr(tree, "missing_go_to_left", None)
    nodes: list[Node] = []
    for at in range(tree.node_count):
        values = tree.value[at, 0]
        value = float(values[1] / values.sum()) if positive_class else float(values[0])
        nodes.append(
            Node(
                int(tree.children_left[at]),
                int(tree.children_right[at]),
                max(int(tree.feature[at]), 0),
                float(tree.threshold[at]),
                bool(missing[at]) if missing is not None else False,
                value * scale,
            )
        )
    return nodes


def of_histogram_tree(predictor: Any) -> list[Node]:  # Any: sklearn's private TreePredictor
    """The nodes of one tree of scikit-learn's histogram gradient boosting."""
    return [
        Node(
            -1 if node["is_leaf"] else int(node["left"]),
            -1 if node["is_leaf"] else int(node["right"]),
            0 if node["is_leaf"] else int(node["feature_idx"]),
            float(node["num_threshold"]),
            bool(node["missing_go_to_left"]),
            float(node["value"]),
        )
        for node in predictor.nodes
    ]


@dataclass
class _Arrays:
    features: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    children: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    leafs: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    weights: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)


def ensemble_node(trees: Iterable[list[Node]], *, source: str, target: str) -> Any:  # Any: onnx.NodeProto
    """One TreeEnsemble node that sums the trees: `source` (n, d) double to `target` (n, 1) double."""
    import numpy as np
    from onnx import helper, numpy_helper

    arrays = _Arrays()
    for tree in trees:
        _add(arrays, tree)
    return helper.make_node(
        "TreeEnsemble",
        [source],
        [target],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=SUM,
        post_transform=0,
        tree_roots=arrays.roots,
        nodes_featureids=arrays.features,
        nodes_splits=numpy_helper.from_array(np.array(arrays.splits, dtype=np.float64), "nodes_splits"),
        nodes_modes=numpy_helper.from_array(np.full(len(arrays.splits), BRANCH_LEQ, dtype=np.uint8), "nodes_modes"),
        nodes_truenodeids=arrays.children[0],
        nodes_falsenodeids=arrays.children[1],
        nodes_trueleafs=arrays.leafs[0],
        nodes_falseleafs=arrays.leafs[1],
        nodes_missing_value_tracks_true=arrays.missing,
        leaf_targetids=[0] * len(arrays.weights),
        leaf_weights=numpy_helper.from_array(np.array(arrays.weights, dtype=np.float64), "leaf_weights"),
    )


def _add(arrays: _Arrays, tree: list[Node]) -> None:
    arrays.roots.append(len(arrays.features))
    if tree[0].left < 0:  # the operator has no tree of one leaf: a split whose sides are equal leaves
        _add_split(arrays, Node(0, 0, 0, 0.0, False, 0.0))
        for side in (0, 1):
            arrays.leafs[side].append(1)
            arrays.children[side].append(len(arrays.weights))
            arrays.weights.append(tree[0].value)
        return
    places = dict(_places(tree, len(arrays.features)))
    for at in places:
        node = tree[at]
        _add_split(arrays, node)
        for side, child in enumerate((node.left, node.right)):
            is_leaf = tree[child].left < 0
            arrays.leafs[side].append(int(is_leaf))
            arrays.children[side].append(len(arrays.weights) if is_leaf else places[child])
            if is_leaf:
                arrays.weights.append(tree[child].value)


def _add_split(arrays: _Arrays, node: Node) -> None:
    arrays.features.append(node.feature)
    arrays.splits.append(node.threshold)
    arrays.missing.append(int(node.missing_left))


def _places(tree: list[Node], first: int) -> Iterator[tuple[int, int]]:
    """(index in the tree, index in the ensemble) of each split, the root first."""
    waiting = [0]
    while waiting:
        at = waiting.pop()
        yield at, first
        first += 1
        waiting.extend(child for child in (tree[at].right, tree[at].left) if tree[child].left >= 0)
