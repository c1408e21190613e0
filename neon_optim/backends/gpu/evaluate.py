"""Op-trees on whole tensors: ``tensor[:] = tree``, tree by tree.

Structural operations (products, reductions, changes of shape, take, onehot) are done first, each into a temporary or a
view; what is left is elementwise and becomes a Program of one row.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.gpu.lowering import Lowering, common_shape, with_slots
from neon_optim.backends.gpu.tree_arrays import Held, TreeArrays
from neon_optim.backends.optree import ELEMENTWISE, Node, topological_order
from neon_optim.backends.optree_shapes import check_fits, result_shape

__all__ = ["Held", "TreeEvaluator"]


class TreeEvaluator(TreeArrays, ABC):
    """Evaluates trees; a subclass does the work on its arrays."""

    def assign(self, target: np.ndarray, tree: Any) -> None:
        """Run a tree into an array.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        order = topological_order([tree])
        if all(node.op in ELEMENTWISE for node in order):
            self._store(target, tree, order, self.leaf)
        elif len(order) == 1 and tree.op == "dot":  # what layers do most
            left, right = (self.leaf(a) for a in tree.args)
            result_shape("dot", [np.shape(left), np.shape(right)], {})
            self._store(target, self.products(left, right, target))
        else:
            self._store(target, Lowering(self, [tree], order, [target], target.shape).value(tree))

    def assign_all(
        self, assignments: Sequence[tuple[np.ndarray, Any]], values: Mapping[int, np.ndarray]
    ) -> None:
        """Run several trees, whose common parts are done once, into as many arrays that none of them reads.

        Arguments:
            values: the values of nodes that are known, by the nodes' ids.
        """
        targets, trees = [target for target, _ in assignments], [tree for _, tree in assignments]
        order = topological_order(trees, lambda node: id(node) not in values)
        lowering = Lowering(self, trees, order, targets, values=values)
        for target, tree in assignments:
            self._store(target, lowering.value(tree))

    def _store(
        self,
        target: np.ndarray,
        lowered: Any,
        order: Sequence[Node] | None = None,
        leaf: Callable[[Any], Any] | None = None,
    ) -> None:
        if lowered is target:
            return
        graph, leaves = with_slots(lowered, order, leaf)
        check_fits(common_shape(leaves), target.shape)
        self.run(target, graph, [self._without_overlap(leaf, target) for leaf in leaves])

    def _without_overlap(self, leaf: Any, target: np.ndarray) -> Any:
        """The leaf, or a copy where writing the target would change elements of the leaf that are read later."""
        if not isinstance(leaf, np.ndarray) or not np.may_share_memory(leaf, target):
            return leaf
        same = (
            leaf.__array_interface__["data"][0] == target.__array_interface__["data"][0]
            and leaf.shape == target.shape
            and leaf.strides == target.strides
            and leaf.dtype == target.dtype
        )
        return leaf if same else self.copy(leaf)
