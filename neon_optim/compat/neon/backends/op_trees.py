"""neon's op-trees, an operation and two operands each, and the algebra that builds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from neon_optim.backends.algebra import Algebra
from neon_optim.backends.contract import Tensor
from neon_optim.backends.optree import Expression, Node, shape_of
from neon_optim.errors import BackendError

__all__ = ["OURS", "NeonAlgebra", "OpCollection", "OpTreeNode"]

OURS = {
    "neg": "negative",
    "abs": "absolute",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "pow": "power",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "max": "amax",
    "min": "amin",
}
"""neon's names of operations, where they are not ours."""

_NEONS = {ours: neons for neons, ours in OURS.items()}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}


class OpCollection:
    """neon's names of operations by kind."""

    zero_operand_ops = frozenset({"rand", "onehot"})
    unary_ops = frozenset(
        "finite neg abs sgn sqrt sqr exp log exp2 log2 sig sig2 tanh tanh2 transpose safelog rint binarize".split()
    )
    binary_ops = frozenset("assign add sub mul div eq ne lt le gt ge pow minimum maximum dot shift".split())
    reduction_ops = frozenset({"sum", "max", "min", "argmax", "argmin"})
    float_ops = zero_operand_ops | unary_ops | binary_ops
    ew_ops = float_ops - {"dot", "transpose"}


class OpTreeNode(Node):
    """An operation on operands, not yet run; as in neon also the triple of (operation, left, right).

    ``node[0]`` is a dict with ``op``, by neon's name, and ``shape``; ``node[1]`` and ``node[2]`` are the operands, None
    where there is none. Slices take a part of the value, as in every op-tree here. Like neon's it counts as true.

    Arguments:
        op: a dict with ``op``, neon's name of an operation, followed by two operands; or what
            :class:`~neon_optim.backends.optree.Node` takes.

    References:
        neon/backends/backend.py.

    >>> from neon_optim.compat.neon.backends import gen_backend
    >>> be = gen_backend("cpu")
    >>> tree = be.array([[1.0, 2.0]], name="x") * 3.0 - 1.0
    >>> tree[0], tree.pp(), tree.shape
    ({'op': 'sub', 'shape': (1, 2)}, '((x * (3.0)) - (1.0))', (1, 2))
    >>> tree.asnumpyarray().tolist()
    [[2.0, 5.0]]
    """

    __slots__ = ()

    def __init__(self, op: Any, *args: Any, **attrs: Any):
        if isinstance(op, dict):
            settings = {name: value for name, value in op.items() if name not in ("op", "shape")}
            made = _made(op["op"], *args, **settings)
            op, args, attrs = made.op, made.args, made.attrs
        super().__init__(op, *args, **attrs)

    @classmethod
    def of(cls, node: Any) -> Any:
        """An op-tree as one of neon's; what is none as it is."""
        return cls(node.op, *node.args, **node.attrs) if type(node) is Node else node

    @staticmethod
    def build(op: str, a: Any, b: Any, out: Any = None, **kwargs: Any) -> Any:
        """An op-tree of two operands; run, where ``out`` is given or the operation is 'assign'.

        Arguments:
            op: neon's name of the operation.
            a, b: operands; None where there are fewer.
            out: the tensor for the result.
            kwargs: settings such as ``axis``.

        Raises:
            TypeError: there is no such operation.
        """
        if not all(isinstance(x, (int, float, np.number, Expression, type(None))) for x in (a, b)):
            return NotImplemented
        node = _made(op, a, b, **kwargs)
        if op == "assign":
            return node.execute()
        return node if out is None else OpTreeNode("assign", out, node).execute()

    def execute(self) -> Any:
        """Run an assignment; gives the tensor that was assigned to."""
        if self.op != "assign":
            raise BackendError(
                f"only an assignment can be executed, received {self}; use tensor[:] = op-tree"
            )
        return self.args[0].backend.execute(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis; (1, 1) for numbers."""
        if self.op == "assign":
            return tuple(self.args[0].shape)
        return super().shape or (1, 1)

    # --- as a triple ---

    def _triple(self) -> tuple[dict[str, Any], Any, Any]:
        op, operands, attrs = self.op, self.args, self.attrs
        settings: dict[str, Any] = {}
        if op == "stated":
            op, operands = (attrs["name"], attrs["operands"]) if attrs["name"] else (op, operands)
        elif op == "reduce":
            op, settings = attrs["kind"], {"axis": attrs["axis"]}
        else:
            settings = {name: value for name, value in attrs.items() if name not in ("op", "shape")}
        left, right = (*map(OpTreeNode.of, operands), None, None)[:2]
        shape = (0, 0) if op == "onehot" and "extent" not in settings else self.shape  # the target has it
        return {"op": _NEONS.get(op, op), "shape": shape, **settings}, left, right

    def __getitem__(self, key: Any) -> Any:
        """The operation (0) or an operand (1, 2); for other keys a part of the value."""
        if isinstance(key, int):
            return self._triple()[key]
        return super().__getitem__(key)

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter(self._triple())

    def __bool__(self) -> bool:
        return True

    def traverse(self, stack: list[Any]) -> list[Any]:
        """Operands and operations in postfix order, appended to a list that is returned."""
        waiting: list[Any] = [self]
        while waiting:
            item = waiting.pop()
            if isinstance(item, OpTreeNode):
                op, left, right = item._triple()
                waiting += [op, *[x for x in (right, left) if x is not None]]
            else:
                stack.append(item)
        return stack

    def key(self) -> tuple[Any, ...]:
        """What tells this op-tree from others: its operations and tensors in postfix order."""
        return tuple([_name(item) if isinstance(item, dict) else item for item in self.traverse([])])

    def intrinsic_key_maps(self) -> tuple[tuple[Any, ...], dict[Any, int], dict[int, Any]]:
        """The key with numbers and shapes in the place of tensors, and the tensors' numbers, both ways."""
        numbers: dict[Any, int] = {}
        key = []
        for item in self.traverse([]):
            if isinstance(item, Tensor):
                key.append((numbers.setdefault(item, len(numbers)), item.shape))
            else:
                key.append(_name(item) if isinstance(item, dict) else item)
        return tuple(key), numbers, {number: tensor for tensor, number in numbers.items()}

    @staticmethod
    def optree_to_list(optree: Any) -> Any:
        """The op-tree as nested lists of three."""
        return (
            [OpTreeNode.optree_to_list(item) for item in optree] if isinstance(optree, OpTreeNode) else optree
        )

    @staticmethod
    def list_to_optree(l: Any) -> Any:  # noqa: E741 (neon's name)
        """Nested lists of three as an op-tree."""
        return OpTreeNode(*[OpTreeNode.list_to_optree(item) for item in l]) if isinstance(l, list) else l

    def pp(self) -> str:
        """The op-tree as a formula."""
        return _formula(self)

    # --- values ---

    def transpose(self, out: Any = None) -> Any:
        """The transpose; with ``out``, run into it."""
        return self.T if out is None else OpTreeNode("assign", out, self.T).execute()

    def astensor(self) -> Any:
        """The value as a new tensor.

        Raises:
            ValueError: no tensor stands in the op-tree.
        """
        for item in self.traverse([]):
            if isinstance(item, Tensor):
                value = item.backend.empty(self.shape)
                value[:] = self
                return value
        raise ValueError(f"no tensor stands in {self}, so that there is no backend to compute it")

    def asnumpyarray(self) -> np.ndarray:
        """The value as a new NumPy array."""
        value: np.ndarray = self.astensor().get()
        return value


OpTreeNode._node = OpTreeNode


class NeonAlgebra(Algebra):
    """Functions of tensors, op-trees and numbers, as neon's ``Backend`` has them.

    References:
        neon/backends/backend.py.
    """

    _node = OpTreeNode

    def fabs(self, a: Any, out: Any = None) -> Any:
        """The absolute value."""
        return self.absolute(a, out=out)

    def finite(self, a: Any, out: Any = None) -> Any:
        """1 for what is neither infinite nor NaN, else 0."""
        return self.equal(self.subtract(a, a), 0.0, out=out)

    def shift(self, a: Any, b: Any, value: bool = True, out: Any = None) -> Any:  # type: ignore[override]
        """a times a power of two: the one nearest to b with b's sign, or, without ``value``, 2 to the power b."""
        return super().shift(a, b, out=out) if value else self.multiply(a, self.exp2(b), out=out)

    def argmax(self, a: Any, axis: int = 1, out: Any = None, keepdims: bool = True) -> Any:
        """The index of the largest element along an axis (the first of equal ones)."""
        return super().argmax(a, axis, out, keepdims)

    def argmin(self, a: Any, axis: int = 1, out: Any = None, keepdims: bool = True) -> Any:
        """The index of the smallest element along an axis (the first of equal ones)."""
        return super().argmin(a, axis, out, keepdims)

    def mean(  # type: ignore[override]
        self, a: Any, axis: int | None = None, partial: Any = None, out: Any = None, keepdims: bool = True
    ) -> Any:
        """The mean, as the sum times one over the count; ``partial`` is neon's, and has no effect."""
        if axis is None:
            count = 1
            for extent in shape_of(a):
                count *= extent
            return self.multiply(self.sum(a), 1.0 / count, out=out)
        return self.multiply(self.sum(a, axis=axis, keepdims=keepdims), 1.0 / shape_of(a)[axis], out=out)

    def var(  # type: ignore[override]
        self,
        a: Any,
        axis: int | None = None,
        partial: Any = None,
        out: Any = None,
        keepdims: bool = True,
        binary: bool = False,
    ) -> Any:
        """The mean of the squared distances from the mean; where ``binary``, each shifted by itself for its square."""
        distance = self.subtract(a, self.mean(a, axis=axis))
        square = self.shift(distance, distance) if binary else self.square(distance)
        return self.mean(square, axis=axis, out=out, keepdims=keepdims)

    def std(  # type: ignore[override]
        self, a: Any, axis: int | None = None, partial: Any = None, out: Any = None, keepdims: bool = True
    ) -> Any:
        """The root of the variance."""
        return self.sqrt(self.var(a, axis=axis, keepdims=keepdims), out=out)


_ALGEBRA = NeonAlgebra()


def _made(op: str, a: Any, b: Any, **settings: Any) -> OpTreeNode:
    """The op-tree of one of neon's operations."""
    composed = _COMPOSED.get(op)
    operands = [x for x in (a, b) if x is not None]
    if composed is not None:
        return composed(*operands, **settings)
    if op in OpCollection.reduction_ops:
        return OpTreeNode("reduce", *operands, kind=OURS.get(op, op), axis=settings["axis"], keepdims=True)
    if op not in OpCollection.float_ops:
        raise TypeError(f"{op!r} is no operation of neon's")
    return OpTreeNode(OURS.get(op, op), *operands, **settings)


#: Operations of neon's that are several of ours.
_COMPOSED: dict[str, Callable[..., OpTreeNode]] = {
    "finite": _ALGEBRA.finite,
    "sqr": _ALGEBRA.square,
    "sig": _ALGEBRA.sig,
    "sig2": _ALGEBRA.sig2,
    "tanh2": _ALGEBRA.tanh2,
    "safelog": _ALGEBRA.safelog,
    "shift": _ALGEBRA.shift,
    "onehot": lambda idx, axis: OpTreeNode("onehot", idx, axis=axis),
}


def _name(operation: dict[str, Any]) -> Any:
    return (operation["op"], operation["axis"]) if "axis" in operation else operation["op"]


def _formula(item: Any) -> str:
    if isinstance(item, Tensor):
        return item.name or f"tensor-{id(item):#x}"
    if not isinstance(item, OpTreeNode):
        return f"({item})"
    op, left, right = item
    if right is None:
        return f"({op['op']} {_formula(left)})"
    return f"({_formula(left)} {_INFIX.get(op['op'], op['op'])} {_formula(right)})"
