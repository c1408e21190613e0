"""Runs op-trees on host arrays: each kind of assignment is planned once and found again by its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Captured, Tensor
from neon_optim.backends.cpu.engine import Engine
from neon_optim.backends.cpu.flow import Flow, FlowPlan
from neon_optim.backends.cpu.tensor import CPUTensor
from neon_optim.backends.cpu.whole_arrays import WholeArrays
from neon_optim.backends.dtypes import FLOAT_TYPES
from neon_optim.backends.graph import Flat, Leaf, flatten
from neon_optim.errors import BackendError

__all__ = ["Flows", "Replay", "leaf_of"]

_MOST_PLANS = 2_048
"""Plans that are remembered; a program that has more kinds of assignments than that makes them anew."""

_KEPT_BYTES = 1 << 20
"""Memory that a flow may keep until the next assignment of its kind."""


class Flows:
    """The assignments of a backend.

    Arguments:
        whole: what does operations on whole arrays.
        engine: makes loops.
    """

    def __init__(self, whole: WholeArrays, engine: Engine):
        self._whole = whole
        self._engine = engine
        self._plans: dict[Any, FlowPlan] = {}

    def assign(self, target: np.ndarray | CPUTensor, tree: Any) -> None:
        """Run a tree into an array. What the target held before is what the tree reads of it.

        Raises:
            BackendError: shapes do not fit, or an operand is of another kind.
        """
        flat = flatten([(target, tree)], leaf_of)
        written = target if isinstance(target, np.ndarray) else target.leaf.array
        for leaf in flat.leaves:
            array = leaf.array
            if array is written or (array.base is None and written.base is None):
                continue
            if np.may_share_memory(array, written):
                flat = flatten([(target, tree)], lambda value: _apart(leaf_of(value), written))
                break
        self.run(flat)

    def assign_all(self, assignments: Sequence[tuple[Any, Any]], values: Mapping[int, Any]) -> None:
        """Run several trees, whose common parts are done once, into as many tensors that none of them reads.

        Arguments:
            values: tensors with the values of nodes that are known, by the nodes' ids.
        """
        self.run(flatten(assignments, leaf_of, values))

    def run(self, flat: Flat) -> None:
        """Do assignments that were flattened."""
        key = flat.key
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[key] = FlowPlan(flat)
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

    def flow(self, plan: FlowPlan, flat: Flat) -> Flow:
        """A flow of a plan, for the arrays and numbers of its trees."""
        return Flow(plan, flat, self._whole, self._engine)

    def capture(self, assignments: Sequence[tuple[Any, Any]], inputs: Sequence[Any]) -> Replay:
        """See :meth:`~neon_optim.backends.contract.Backend.capture`."""
        flat = flatten(assignments, leaf_of)
        targets = {id(target.leaf.array) for target, _ in assignments}
        for k, leaf in enumerate(flat.leaves):
            for other in flat.leaves[:k]:
                if {id(leaf.array), id(other.array)} & targets and np.may_share_memory(
                    leaf.array, other.array
                ):
                    raise BackendError(
                        f"a tensor of shape {leaf.array.shape} that is written overlaps another of the assignments"
                    )
        read = {a for _, _, operands in flat.entries for a in operands}
        if read.intersection(target for _, target in flat.stores):
            raise BackendError("a tensor that is written is read by a tree of the same capture")
        return Replay(self.flow(FlowPlan(flat), flat), inputs)

    def close(self) -> None:
        """Forget all plans, and give back their memory."""
        self._plans.clear()


class Replay(Captured):
    """A flow of its own for assignments that were captured."""

    def __init__(self, flow: Flow, inputs: Sequence[CPUTensor]):
        self._flow = flow
        self._places = []
        for tensor in inputs:
            place = flow.place_of(tensor.leaf.array)
            if place is None:
                raise BackendError(
                    f"{tensor!r} is not part of the assignments, and so cannot be an input of them"
                )
            self._places.append((place, tensor.leaf))

    def __call__(self, *inputs: Any) -> None:
        """See :class:`Captured`."""
        if len(inputs) != len(self._places):
            raise BackendError(f"{len(self._places)} inputs were named, received {len(inputs)}")
        for tensor, (_, expected) in zip(inputs, self._places, strict=True):
            array = tensor.leaf.array
            if (array.shape, array.dtype) != (expected.array.shape, expected.array.dtype):
                raise BackendError(
                    f"an input has the shape {array.shape} and the type {array.dtype}; captured were "
                    f"{expected.array.shape} and {expected.array.dtype}"
                )
        copied = []
        for tensor, (place, expected) in zip(inputs, self._places, strict=True):
            leaf = tensor.leaf
            if leaf.entry != expected.entry:  # laid out in another way
                copied.append((leaf.array, own := Leaf(_like(expected.array))))
                np.copyto(own.array, leaf.array)
                leaf = own
            self._flow.put(place, leaf)
        self._flow.run()
        for array, own in copied:
            np.copyto(array, own.array)


def _like(array: np.ndarray) -> np.ndarray:
    """New memory of the layout of an array."""
    size = (
        1
        + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True))
        // array.itemsize
    )
    memory = np.empty(max(0, size), array.dtype)
    return np.lib.stride_tricks.as_strided(memory, array.shape, array.strides)


def leaf_of(value: Any) -> Leaf | None:
    """A tensor, or an array of a float type, as a graph knows it; None for a number.

    Raises:
        BackendError: the tensor belongs to another backend.
    """
    if isinstance(value, CPUTensor):
        return value.leaf
    if isinstance(value, Tensor):
        raise BackendError(f"{value!r} belongs to another backend; copy it with be.array(tensor.get())")
    if isinstance(value, np.ndarray) and value.ndim:
        return Leaf(value if value.dtype.name in FLOAT_TYPES else value.astype(np.float32))
    return None


def _apart(leaf: Leaf | None, target: np.ndarray) -> Leaf | None:
    """The target itself where an array is the same memory, a copy of an array that overlaps it in another way."""
    if leaf is None or not np.may_share_memory(leaf.array, target):
        return leaf
    mine = Leaf(target)
    return mine if (leaf.address, leaf.entry) == (mine.address, mine.entry) else Leaf(leaf.array.copy())
