"""Runs op-trees: each kind of assignment is planned once, and found again by its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Captured
from neon_optim.backends.executor import Executor
from neon_optim.backends.flow import Flow, FlowInput, FlowPlan
from neon_optim.backends.graph import Flat, Leaf, flatten
from neon_optim.errors import BackendError, shown

__all__ = ["Flows", "Replay"]

_MOST_PLANS = 2_048
_MOST_BYTES = 1 << 26
"""Plans that are remembered, and memory that they may keep in all. A program that has more kinds of assignments than
that plans them anew."""

_KEPT_BYTES = 1 << 20
"""Memory that one plan may keep until the next assignment of its kind."""


class Flows:
    """The assignments of a backend.

    Arguments:
        executor: what does their steps.
    """

    def __init__(self, executor: Executor):
        self._executor = executor
        self.leaf_of = executor.leaf_of
        self._plans: dict[Any, FlowPlan] = {}
        self._kept_bytes = 0

    def assign(self, target: Any, tree: Any) -> None:
        """Run a tree into an array. What the target held before is what the tree reads of it.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        flat = flatten([(target, tree)], self.leaf_of)
        written = target if isinstance(target, np.ndarray) else self.input_leaf(target).array
        for leaf in flat.leaves:
            array = leaf.array
            if array is written or (array.base is None and written.base is None):
                continue
            if np.may_share_memory(array, written):
                flat = flatten([(target, tree)], lambda value: self._apart(self.leaf_of(value), written))
                break
        self.run(flat)

    def input_leaf(self, tensor: Any) -> Leaf:
        """What a graph knows of something that must be a tensor."""
        leaf = self.leaf_of(tensor)
        if leaf is None:
            raise BackendError(f"an input is a tensor, received {shown(tensor)}")
        return leaf

    def _apart(self, leaf: Leaf | None, target: np.ndarray) -> Leaf | None:
        """The target itself where an array is the same memory, a copy of one that overlaps it in another way."""
        if leaf is None or not np.may_share_memory(leaf.array, target):
            return leaf
        mine, array = Leaf(target), leaf.array
        if (leaf.address, leaf.entry) == (mine.address, mine.entry):
            return mine
        copy = self._executor.allocate(array.nbytes).view(array.dtype).reshape(array.shape)
        self.assign(copy, array)
        return Leaf(copy)

    def assign_all(self, assignments: Sequence[tuple[Any, Any]], values: Mapping[int, Any]) -> None:
        """Run several trees, whose common parts are done once, into as many tensors that none of them reads.

        Arguments:
            values: tensors with the values of nodes that are known, by the nodes' ids.
        """
        self.run(flatten(assignments, self.leaf_of, values))

    def run(self, flat: Flat, key: Any = None) -> None:
        """Do assignments that were flattened.

        Arguments:
            key: what their plan is remembered by; None: what they are. The same key must mean equal operations.
        """
        if key is None:
            key = flat.key
        plan = self._plans.get(key)
        if plan is None:
            plan = self._remember(key, self.plan(flat))
        try:
            flow = plan.idle.pop()
        except IndexError:
            flow = self.flow(plan, flat)
        else:
            flow.bind(flat)
        flow.run()
        flow.release()
        if plan.size <= _KEPT_BYTES:
            plan.idle.append(flow)

    def _remember(self, key: Any, plan: FlowPlan) -> FlowPlan:
        if len(self._plans) >= _MOST_PLANS or self._kept_bytes > _MOST_BYTES:
            self.close()
        self._kept_bytes += plan.size if plan.size <= _KEPT_BYTES else 0
        self._plans[key] = plan
        return plan

    def plan(self, flat: Flat) -> FlowPlan:
        """The steps of assignments."""
        return FlowPlan(flat, self._executor)

    def flow(self, plan: FlowPlan, flat: Flat) -> Flow:
        """A flow of a plan, for the arrays and numbers of its trees."""
        return Flow(plan, flat, self._executor)

    def capture(
        self, assignments: Sequence[tuple[Any, Any]], inputs: Sequence[Any], values: Mapping[int, Any]
    ) -> Replay:
        """See :meth:`~neon_optim.backends.contract.Backend.capture`.

        Arguments:
            values: tensors with the values of nodes that are known, by the nodes' ids.
        """
        flat = flatten(assignments, self.leaf_of, values)
        targets = {id(self.input_leaf(target).array) for target, _ in assignments}
        for k, leaf in enumerate(flat.leaves):
            for other in flat.leaves[:k]:
                if {id(leaf.array), id(other.array)} & targets and _overlap(leaf.array, other.array):
                    raise BackendError(
                        f"a tensor of shape {leaf.array.shape} that is written overlaps another of the assignments"
                    )
        read = {a for _, _, operands in flat.entries for a in operands}
        if read.intersection(target for _, target in flat.stores):
            raise BackendError("a tensor that is written is read by a tree of the same capture")
        return Replay(self, flat, inputs)

    def close(self) -> None:
        """Forget all plans, and give back their memory."""
        self._plans.clear()
        self._kept_bytes = 0


class Replay(Captured):
    """Assignments that were captured: a flow of their own for each layout that inputs are given in."""

    def __init__(self, flows: Flows, flat: Flat, inputs: Sequence[Any]):
        self._flows, self._leaf_of = flows, flows.leaf_of
        self._flat = flat
        known = {id(leaf.array): k for k, leaf in enumerate(flat.leaves)}
        leaves = [flows.input_leaf(tensor) for tensor in inputs]
        for tensor, leaf in zip(inputs, leaves, strict=True):
            if id(leaf.array) not in known:
                raise BackendError(
                    f"{tensor!r} is not part of the assignments, and so cannot be an input of them"
                )
        self._inputs = [known[id(leaf.array)] for leaf in leaves]
        self._look_for_conflicts()
        self._by_layout: dict[Any, tuple[Flow, list[FlowInput]]] = {}
        self._layout = [leaf.entry for leaf in leaves]
        self._flow, self._where = self._of_layout(tuple(self._layout), leaves)

    def _look_for_conflicts(self) -> None:
        """Which arrays may not overlap: an input and another leaf, one of them written."""
        leaves, inputs = self._flat.leaves, self._inputs
        written = set(self._flat.written_leaves())
        fixed = [k for k in range(len(leaves)) if k not in inputs]
        beside = [fixed if k in written else [j for j in fixed if j in written] for k in inputs]
        self._beside = [[leaves[j].array for j in others] for others in beside]
        self._owners = [{id(_owner(array)) for array in arrays} for arrays in self._beside]
        self._pairs = [
            (m, n) for n in range(len(inputs)) for m in range(n) if {inputs[m], inputs[n]} & written
        ]

    def _of_layout(self, layout: Any, inputs: Sequence[Leaf]) -> tuple[Flow, list[FlowInput]]:
        found = self._by_layout.get(layout)
        if found is None:
            flat = self._flat.with_leaves(dict(zip(self._inputs, inputs, strict=True)))
            flow = self._flows.flow(self._flows.plan(flat), flat)
            found = self._by_layout[layout] = flow, [flow.input_of(k) for k in self._inputs]
        return found

    def __call__(self, *inputs: Any) -> None:
        """See :class:`Captured`."""
        leaf_of = self._leaf_of
        leaves: list[Any] = [leaf_of(tensor) for tensor in inputs]
        try:
            layout = [leaf.entry for leaf in leaves]
        except AttributeError:
            layout = [self._flows.input_leaf(tensor).entry for tensor in inputs]  # says what is wrong
        if layout != self._layout:
            self._check_kinds(leaves)
            self._flow, self._where = self._of_layout(tuple(layout), leaves)
            self._layout = layout
        self._check_overlap([leaf.array for leaf in leaves])
        for where, leaf in zip(self._where, leaves, strict=True):
            self._flow.put(where, leaf)
        self._flow.run()

    def _check_kinds(self, leaves: Sequence[Leaf]) -> None:
        if len(leaves) != len(self._inputs):
            raise BackendError(f"{len(self._inputs)} inputs were named, received {len(leaves)}")
        for leaf, k in zip(leaves, self._inputs, strict=True):
            array, expected = leaf.array, self._flat.leaves[k].array
            if array.shape != expected.shape or array.dtype != expected.dtype:
                raise BackendError(
                    f"an input has the shape {array.shape} and the type {array.dtype}; captured were "
                    f"{expected.shape} and {expected.dtype}"
                )

    def _check_overlap(self, arrays: Sequence[np.ndarray]) -> None:
        owners = [id(_owner(array)) for array in arrays]
        close = [(arrays[m], arrays[n]) for m, n in self._pairs if owners[m] == owners[n]]
        for array, owner, beside, theirs in zip(arrays, owners, self._beside, self._owners, strict=True):
            if owner in theirs:
                close += [(array, other) for other in beside]
        for array, other in close:
            if _overlap(array, other):
                raise BackendError(
                    f"an input of shape {array.shape} overlaps a tensor that is written, "
                    f"or is written and overlaps another, of shape {other.shape}"
                )


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have an element in common."""
    return np.may_share_memory(a, b) and np.shares_memory(a, b)


def _owner(array: np.ndarray) -> Any:
    """Whose memory an array is a part of: arrays of others may be parts of it, too."""
    base = array.base
    if base is None:
        return array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base
