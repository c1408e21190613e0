"""Op-trees on whole tensors: ``tensor[:] = tree``, the part that does not depend on where tensors live.

Structural operations (products, reductions, changes of shape, take, onehot) are done first, each into a temporary or a
view; what is left is elementwise and becomes a Program of one row. A backend's evaluator says how each of these is
done. Its arrays are NumPy arrays, or arrays that describe other memory and that only it may read.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import ELEMENTWISE, Node, topological_order
from neon_optim.backends.optree_shapes import result_shape, window_counts
from neon_optim.errors import BackendError

__all__ = ["Held", "TreeEvaluator"]


class Held:
    """A float64 number that a backend keeps where it computed it, as an array of one element."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray):
        self.array = array


class TreeEvaluator(ABC):
    """Evaluates trees; a subclass does the work on its arrays."""

    # --- what a backend defines ---

    @abstractmethod
    def array_of(self, value: Tensor | np.ndarray) -> np.ndarray | None:
        """The array of a tensor, or of an array that stands in a tree; None for a tensor of another backend."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """A new array of undefined contents."""

    @abstractmethod
    def copy(self, array: np.ndarray) -> np.ndarray:
        """A contiguous copy."""

    @abstractmethod
    def run(self, target: np.ndarray, graph: Any, leaves: Sequence[Any]) -> None:
        """target = graph: a number, or nodes over 'slot' nodes 1, 2, … that stand for the leaves."""

    @abstractmethod
    def product(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        """out = left · right; out overlaps neither."""

    @abstractmethod
    def reduce_all(self, op: str, values: np.ndarray) -> float | Held:
        """'sum', 'sum_square', 'amax' or 'amin' of all elements."""

    @abstractmethod
    def reduce_axis(self, kind: str, values: np.ndarray, axis: int) -> np.ndarray:
        """'sum', 'mean', 'amax', 'amin', 'argmax' or 'argmin' along an axis, which stays with one element."""

    @abstractmethod
    def take(self, values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """The slices at the indices (a vector) along an axis."""

    @abstractmethod
    def put(self, values: np.ndarray, indices: np.ndarray, axis: int, out: np.ndarray) -> None:
        """out = zeros to which the slices of values are added at the indices (a vector) along an axis, in order."""

    @abstractmethod
    def unfold(self, images: np.ndarray, windows: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """windows (C, R, S, P, Q, n) = the windows of images (C, H, W, n), zero where they reach over the border."""

    @abstractmethod
    def fold(self, windows: np.ndarray, images: np.ndarray, attrs: Mapping[str, Any]) -> None:
        """images = zeros to which the windows are added, in the order of their rows and columns (R, S)."""

    def joined(self, node: Node) -> Any:
        """What an elementwise node becomes when its operands are lowered: itself, or a number that is held."""
        return node

    # --- what follows ---

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
            self._store(target, _Lowering(self, [tree], order, [target], target.shape).value(tree))

    def assign_all(self, targets: Sequence[np.ndarray], trees: Sequence[Any]) -> None:
        """Run several trees, whose common parts are done once, into as many arrays that none of the trees reads."""
        lowering = _Lowering(self, trees, topological_order(trees), targets)
        for target, tree in zip(targets, trees, strict=True):
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
        graph, leaves = _with_slots(lowered, order, leaf)
        _check_fits(_common_shape(leaves), target.shape)
        self.run(target, graph, [self._without_overlap(leaf, target) for leaf in leaves])

    def leaf(self, value: Any) -> Any:
        """What stands in a tree beside nodes: an array of this backend, or a number."""
        if isinstance(value, Held):
            return value
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.ndim):
            array = self.array_of(value)
            if array is None:
                raise BackendError(
                    f"{value!r} belongs to another backend; copy it with be.array(tensor.get())"
                )
            return array
        try:
            return float(value)
        except (TypeError, ValueError):
            raise BackendError(
                f"an op-tree holds tensors, arrays and numbers, received {type(value).__name__}: {value!r:.60}"
            ) from None

    def copy_into(self, target: np.ndarray, array: np.ndarray) -> None:
        """target = array, which does not overlap it."""
        self.run(target, Node("slot", name="a0", index=1), [array])

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """The array itself where its elements lie in C order, else a copy."""
        return array if array.flags.c_contiguous else self.copy(array)

    # --- structural operations on arrays; attrs are those of the node ---

    def transpose(self, a: np.ndarray, axes: Sequence[int] | None = None) -> np.ndarray:
        """A view with the axes in another order; None: 0 and 1 exchanged."""
        return a.swapaxes(0, 1) if axes is None else a.transpose(axes)

    def reshape(self, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The same elements in another shape: a view where they lie in order."""
        return self.contiguous(a).reshape(shape)

    def slice(self, a: np.ndarray, key: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """A view on a part."""
        return a[_slices(key)]

    def place(self, a: np.ndarray, key: Sequence[tuple[int, int, int]], shape: tuple[int, ...]) -> np.ndarray:
        """Zeros with a at the key."""
        out = self.empty(shape, a.dtype)
        self.run(out, 0.0, [])
        self.copy_into(out[_slices(key)], a)
        return out

    def concatenate(self, *arrays: np.ndarray, axis: int) -> np.ndarray:
        """The arrays one behind the other."""
        dtypes = {a.dtype for a in arrays}
        shape = result_shape("concatenate", [a.shape for a in arrays], {"axis": axis})
        out = self.empty(shape, dtypes.pop() if len(dtypes) == 1 else compute_type(dtypes))
        moved, start = np.moveaxis(out, axis, 0), 0
        for a in arrays:
            part = np.moveaxis(a, axis, 0)
            self.copy_into(moved[start : start + len(part)], part)
            start += len(part)
        return out

    def broadcast(self, a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A view in which elements stand several times."""
        return np.broadcast_to(a, shape)

    def reduce(self, a: np.ndarray, kind: str, axis: int, keepdims: bool) -> np.ndarray:
        """A reduction along an axis."""
        if not a.shape[axis] and kind not in ("sum", "mean"):
            raise BackendError(f"{kind} along an axis of length 0 of shape {a.shape}")
        reduced = self.reduce_axis(kind, a, axis)
        return reduced if keepdims else reduced.reshape(-1, 1)

    def products(self, left: np.ndarray, right: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        """The product, or one for each index of a first axis; in the target, where that can take it."""
        shape, dtype = (*left.shape[:-1], right.shape[-1]), compute_type([left.dtype, right.dtype])
        out = target
        if out is None or (out.shape, out.dtype) != (shape, dtype) or _overlap(out, left, right):
            out = self.empty(shape, dtype)
        if len(shape) == 2:
            self.product(left, right, out)
        for k in range(shape[0] if len(shape) == 3 else 0):
            self.product(left[k], right[k], out[k])
        return out

    def taken(self, a: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        return self.take(a, self._flat(indices), axis)

    def added(self, a: np.ndarray, indices: np.ndarray, axis: int, extent: int) -> np.ndarray:
        shape = result_shape("put", [a.shape, indices.shape], {"axis": axis, "extent": extent})
        out = self.empty(shape, compute_type([a.dtype]))
        self.put(a, self._flat(indices), axis, out)
        return out

    def unfolded(self, a: np.ndarray, **attrs: Any) -> np.ndarray:
        out = self.empty(result_shape("unfold", [a.shape], attrs), a.dtype)
        images, windows = _image_shapes(a.shape[1], attrs)
        self.unfold(self.contiguous(a).reshape(images), out.reshape(windows), attrs)
        return out

    def folded(self, a: np.ndarray, **attrs: Any) -> np.ndarray:
        out = self.empty(result_shape("fold", [a.shape], attrs), compute_type([a.dtype]))
        images, windows = _image_shapes(out.shape[1], attrs)
        self.fold(self.contiguous(a).reshape(windows), out.reshape(images), attrs)
        return out

    def one_hot(self, indices: np.ndarray, axis: int, extent: int) -> Node:
        across = (1, -1) if axis == 0 else (-1, 1)
        places = self.array_of(np.arange(extent, dtype=np.float32).reshape(across[::-1]))
        return Node("equal", self._flat(indices).reshape(across), places)

    def _flat(self, array: np.ndarray) -> np.ndarray:
        return self.contiguous(array).reshape(-1)

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


class _Lowering:
    """Trees on their way to be run: every node once, after its operands, however deep they are.

    What is not elementwise becomes an array or a number. What is elementwise stays a node; where an operation needs it
    as an array it is run, and the array stands for it from then on, where that changes no rounding.

    Arguments:
        trees: their common parts are done once.
        order: their nodes, each after its operands.
        targets: the arrays that they will be stored in, one for each tree; none if they are not known.
        shape: that of the only target, for a onehot that takes its shape from there.
    """

    def __init__(
        self,
        evaluator: TreeEvaluator,
        trees: Sequence[Any],
        order: Sequence[Node],
        targets: Sequence[np.ndarray] = (),
        shape: tuple[int, ...] | None = None,
    ):
        self._do = evaluator
        self._shape = shape
        self._values: dict[int, Any] = {}
        self._arrays: dict[int, np.ndarray] = {}
        self._shaped_by_target: set[int] = set()
        self._targets = {id(tree): target for tree, target in zip(trees, targets, strict=bool(targets))}
        arrays = list(targets)
        for a in itertools.chain(trees, *[node.args for node in order]):
            if not isinstance(a, Node) and id(a) not in self._values:
                leaf = self._values[id(a)] = evaluator.leaf(a)
                if isinstance(leaf, np.ndarray):
                    arrays.append(leaf)
        self._type = compute_type([a.dtype for a in arrays])
        for node in order:
            self._values[id(node)] = self._lower(node)

    def value(self, tree: Any) -> Any:
        """What a tree has become: an array, a number, or elementwise nodes over such."""
        return self._values[id(tree)]

    def array(self, tree: Any) -> np.ndarray:
        """The value of a tree as an array, without a copy where it is a tensor or a part of one."""
        lowered = self._values[id(tree)]
        if isinstance(lowered, np.ndarray):
            return lowered
        if id(tree) not in self._arrays:
            graph, leaves = _with_slots(lowered)
            arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
            dtype = compute_type([a.dtype for a in arrays]) if arrays else self._type
            out = self._do.empty(_common_shape(leaves) or (1, 1), dtype)
            self._do.run(out, graph, leaves)
            self._arrays[id(tree)] = out
            if (
                arrays and dtype == self._type
            ):  # else the rest may compute in a wider type than this part does
                self._values[id(tree)] = out
        return self._arrays[id(tree)]

    def _lower(self, node: Node) -> Any:
        op, attrs = node.op, node.attrs
        if self._shaped_by_target and any(id(a) in self._shaped_by_target for a in node.args):
            if op not in ELEMENTWISE and op != "stated":
                result_shape("onehot", [()], {})  # raises: nothing says its extent
            self._shaped_by_target.add(id(node))
        if op in ELEMENTWISE:
            return self._do.joined(Node(op, *[self._values[id(a)] for a in node.args]))
        if op == "stated":
            return self._values[id(node.args[0])]
        operands = [self.array(a) for a in node.args]
        if op in _WHOLE:
            return float(operands[0].size) if op == "size" else self._do.reduce_all(op, operands[0])
        if op == "onehot":
            return self._one_hot(node, *operands)
        if op not in _STRUCTURAL:
            raise BackendError(f"'{op}' is for rules that run over all tensors; it has no value in a tree")
        result_shape(op, [a.shape for a in operands], attrs)
        if op in ("dot", "batched_dot"):
            attrs = {"target": self._targets.get(id(node))}
        return _STRUCTURAL[op](self._do, *operands, **attrs)

    def _one_hot(self, node: Node, indices: np.ndarray) -> Node:
        axis, extent = node.attrs["axis"], node.attrs.get("extent")
        if extent is None and self._shape is not None and len(self._shape) == 2:
            self._shaped_by_target.add(id(node))
            extent = self._shape[axis]
        else:
            extent = result_shape("onehot", [indices.shape], node.attrs)[axis]
        return self._do.one_hot(indices, axis, extent)


_WHOLE = ("sum", "sum_square", "amax", "amin", "size")

_STRUCTURAL: dict[str, Callable[..., Any]] = {
    "dot": TreeEvaluator.products,
    "batched_dot": TreeEvaluator.products,
    "transpose": TreeEvaluator.transpose,
    "reshape": TreeEvaluator.reshape,
    "slice": TreeEvaluator.slice,
    "place": TreeEvaluator.place,
    "concatenate": TreeEvaluator.concatenate,
    "broadcast": TreeEvaluator.broadcast,
    "reduce": TreeEvaluator.reduce,
    "take": TreeEvaluator.taken,
    "put": TreeEvaluator.added,
    "unfold": TreeEvaluator.unfolded,
    "fold": TreeEvaluator.folded,
}


def _with_slots(
    tree: Any, order: Sequence[Node] | None = None, leaf: Callable[[Any], Any] | None = None
) -> tuple[Any, list[Any]]:
    """An elementwise tree over 'slot' nodes, from 1 on, and the arrays and held numbers that these stand for.

    Arguments:
        order: its nodes, each after its operands, where they are known.
        leaf: makes arrays and numbers of what stands in the tree, where it is not lowered.
    """
    done: dict[int, Any] = {}
    leaves: list[Any] = []

    def slotted(a: Any) -> Any:
        value = a if leaf is None else leaf(a)
        if isinstance(value, (np.ndarray, Held)):
            leaves.append(value)
            value = Node("slot", name=f"a{len(leaves) - 1}", index=len(leaves))
        done[id(a)] = value
        return value

    for node in topological_order([tree]) if order is None else order:
        done[id(node)] = Node(node.op, *[done[id(a)] if id(a) in done else slotted(a) for a in node.args])
    return done[id(tree)] if id(tree) in done else slotted(tree), leaves


def _overlap(target: np.ndarray, *arrays: np.ndarray) -> bool:
    return any(np.may_share_memory(target, a) for a in arrays)


def _slices(key: Sequence[tuple[int, int, int]]) -> tuple[slice, ...]:
    return tuple([slice(*triple) for triple in key])


def _image_shapes(n: int, attrs: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of images and of their windows: (C, H, W, n) and (C, R, S, P, Q, n)."""
    channels = attrs["channels"]
    return (channels, *attrs["size"], n), (channels, *attrs["window"], *window_counts(attrs), n)


def _common_shape(leaves: Sequence[Any]) -> tuple[int, ...]:
    """The shape that the arrays among the leaves are broadcast to; () if there are none."""
    shapes = [leaf.shape for leaf in leaves if isinstance(leaf, np.ndarray)]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise BackendError(f"the operands have shapes that do not go together: {shapes}") from None


def _check_fits(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise BackendError(f"a value of shape {shape} does not fit into a tensor of shape {target}")
