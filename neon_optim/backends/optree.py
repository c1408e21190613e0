"""Expressions: what arithmetic on tensors and on the symbols of a traced rule builds.

Nothing is computed here. A tree of :class:`Node` is turned into linear form by
:mod:`neon_optim.backends.program` and run by a backend. The class hierarchy follows neon's op-trees
(neon/backends/backend.py); nodes are immutable and may be shared, so a tree is a directed acyclic graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from neon_optim.backends.optree_shapes import normalized_key, resolved, result_shape

__all__ = [
    "ELEMENTWISE",
    "PRODUCTS",
    "REDUCTIONS",
    "STRUCTURAL",
    "Expression",
    "NamedScalar",
    "Node",
    "Symbol",
    "shape_of",
    "slots_of",
    "stated",
    "topological_order",
]

#: Elementwise operations and their number of operands. Everything else that is elementwise is written in these.
ELEMENTWISE = {
    "add": 2,
    "subtract": 2,
    "multiply": 2,
    "divide": 2,
    "power": 2,
    "maximum": 2,
    "minimum": 2,
    "shift": 2,
    "equal": 2,
    "not_equal": 2,
    "less": 2,
    "less_equal": 2,
    "greater": 2,
    "greater_equal": 2,
    "negative": 1,
    "absolute": 1,
    "sgn": 1,
    "sqrt": 1,
    "exp": 1,
    "exp2": 1,
    "log": 1,
    "log2": 1,
    "tanh": 1,
    "rint": 1,
    "where": 3,
}

#: Reductions that a Program can hold: over one tensor, or (total, total_square) over all tensors of a scope. The
#: sums are taken in float64 and in one fixed order; sum_square and total_square square in float64 too.
REDUCTIONS = ("sum", "sum_square", "amax", "amin", "total", "total_square")

#: Operations that change shapes. They run on whole tensors, never inside a Program. Their settings (``attrs``):
STRUCTURAL = (
    "dot",  # (m, k) · (k, n)
    "batched_dot",  # (g, m, k) · (g, k, n): a product for each g
    "transpose",  # axes: their new order; None: axes 0 and 1 exchanged
    "reshape",  # shape: the same elements in C order
    "slice",  # key: (start, stop, step) for each axis
    "place",  # key, shape: zeros of that shape with the operand at the key; the adjoint of slice
    "concatenate",  # axis
    "broadcast",  # shape
    "reduce",  # kind, axis, keepdims
    "take",  # axis: the slices of operand 0 at the indices in operand 1
    "put",  # axis, extent: zeros to which the slices are added at the indices, in order; the adjoint of take
    "onehot",  # axis, extent: 1 at each index; without an extent, the target of the tree says it
    "unfold",  # channels, size, window, strides, padding, dilation: images (C·H·W, n) -> windows (C·R·S, P·Q·n)
    "fold",  # the same: windows are added to images, one after the other; the adjoint of unfold
    "convolve",  # the same: images (C·H·W, n), filters (C·R·S, K) -> (K·P·Q, n): each window times the filters
    "deconvolve",  # the same: errors (K·P·Q, n), filters -> (C·H·W, n); the adjoint of convolve by the images
    "correlate",  # the same: images, errors -> (C·R·S, K); the adjoint of convolve by the filters
)


#: Those of them that are products.
PRODUCTS = ("dot", "batched_dot", "convolve", "deconvolve", "correlate")


class Expression:
    """Anything that can stand in an op-tree: a tensor, a symbol or a node.

    Operators build :class:`Node` objects; comparisons do too (their value is 1 or 0), so an expression has no
    truth value and hashes by identity.
    """

    __slots__ = ()
    _node: type[Node]  #: the class of what operators build
    __array_ufunc__ = None  # NumPy arrays hand their operators over to the reflected ones below

    def __add__(self, other: Any) -> Node:
        return self._node("add", self, other)

    def __radd__(self, other: Any) -> Node:
        return self._node("add", other, self)

    def __sub__(self, other: Any) -> Node:
        return self._node("subtract", self, other)

    def __rsub__(self, other: Any) -> Node:
        return self._node("subtract", other, self)

    def __mul__(self, other: Any) -> Node:
        return self._node("multiply", self, other)

    def __rmul__(self, other: Any) -> Node:
        return self._node("multiply", other, self)

    def __truediv__(self, other: Any) -> Node:
        return self._node("divide", self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return self._node("divide", other, self)

    def __pow__(self, other: Any) -> Node:
        return self._node("power", self, other)

    def __rpow__(self, other: Any) -> Node:
        return self._node("power", other, self)

    def __neg__(self) -> Node:
        return self._node("negative", self)

    def __abs__(self) -> Node:
        return self._node("absolute", self)

    def __eq__(self, other: Any) -> Node:  # type: ignore[override]
        return self._node("equal", self, other)

    def __ne__(self, other: Any) -> Node:  # type: ignore[override]
        return self._node("not_equal", self, other)

    def __lt__(self, other: Any) -> Node:
        return self._node("less", self, other)

    def __le__(self, other: Any) -> Node:
        return self._node("less_equal", self, other)

    def __gt__(self, other: Any) -> Node:
        return self._node("greater", self, other)

    def __ge__(self, other: Any) -> Node:
        return self._node("greater_equal", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value: run it with tensor[:] = expression, then .get()")

    @property
    def T(self) -> Any:  # noqa: N802 (neon's name)
        """The transpose: axes 0 and 1 exchanged."""
        return self._node("transpose", self)


class Node(Expression):
    """An operation on operands (expressions, Python numbers or arrays), not yet run.

    Arguments:
        op: a key of :data:`ELEMENTWISE`, a name from :data:`REDUCTIONS` or :data:`STRUCTURAL`, 'size', or 'stated'.
        args: the operands. A :class:`Symbol` among them is replaced by what it holds at this moment.
        attrs: further settings of structural operations, such as ``axis``.
    """

    __slots__ = ("_shape", "args", "attrs", "op")
    _shape: tuple[int, ...]
    __iter__: Any = None  # by its indices Python would take a node for a sequence without an end

    def __init__(self, op: str, *args: Any, **attrs: Any):
        self.op = op
        self.args = tuple([a.held if type(a) is Symbol else a for a in args])
        self.attrs = attrs

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis; () for numbers.

        Raises:
            BackendError: the operands of an operation do not go together, which is named with their shapes.
            AttributeError: a rule is being traced, and its tensors have no shape.
        """
        if not hasattr(self, "_shape"):
            unknown = [a for a in self.args if isinstance(a, Node) and not hasattr(a, "_shape")]
            for node in topological_order(unknown, lambda node: not hasattr(node, "_shape")):
                node._shape = node._new_shape()
            self._shape = self._new_shape()
        return self._shape

    def _new_shape(self) -> tuple[int, ...]:
        if self.op == "slot":
            raise AttributeError(_no_attribute(self.attrs["name"], "shape"))
        return result_shape(self.op, [shape_of(a) for a in self.args], self.attrs)

    def reshape(self, *shape: Any) -> Node:
        """The same elements in another shape, in C order; one extent may be -1."""
        size = 1
        for extent in self.shape:
            size *= extent
        return self._node("reshape", self, shape=resolved(shape[0] if len(shape) == 1 else shape, size))

    def __getitem__(self, key: Any) -> Node:
        """A part, by integers and slices; all axes stay."""
        return self._node("slice", self, key=normalized_key(self.shape, key))

    def __repr__(self) -> str:
        """
        >>> Symbol("p", 0) - 0.5 * Symbol("g", 1)
        subtract(p, multiply(0.5, g))
        """
        return _text(self, 8)


Expression._node = Node


def _text(a: Any, depth: int) -> str:
    """An expression to so many levels: all of a graph that leads to one node by many ways would never end."""
    if not isinstance(a, Node):
        return repr(a)
    if a.op in ("slot", "scalar"):
        return str(a.attrs["name"])
    op, operands = a.op, a.args
    if op == "stated" and a.attrs["name"]:
        op, operands = a.attrs["name"], a.attrs["operands"]
    return f"{op}({', '.join([_text(x, depth - 1) for x in operands]) if depth else '...'})"


class NamedScalar(Node):
    """A number of a step, by its name; what it is is said at each step.

    It counts as true, so that a rule may ask ``if now.wdecay:``, whether a number is there at all. Everything else that
    a rule makes of it has no truth value.

    >>> Symbol("p", 0) * NamedScalar("beta_1")
    multiply(p, beta_1)
    """

    __slots__ = ()

    def __init__(self, name: str):
        super().__init__("scalar", name=name)

    def __bool__(self) -> bool:
        return True


class Symbol(Expression):
    """A stand-in for one slot of a row while a rule is traced.

    ``symbol[:] = expression`` records what the slot shall hold; from then on the symbol means that expression.

    >>> m, grad = Symbol("m", 0), Symbol("grad", 1)
    >>> m[:] = m * 0.9 + 0.1 * grad
    >>> m.held
    add(multiply(m, 0.9), multiply(0.1, grad))
    """

    __slots__ = ("assigned", "held", "name")

    def __init__(self, name: str, index: int):
        self.name = name
        self.held: Any = Node("slot", name=name, index=index)
        self.assigned = False

    def __setitem__(self, key: Any, value: Any) -> None:
        if key != slice(None):
            raise TypeError(
                f"a rule writes whole tensors: use {self.name}[:] = ..., not {self.name}[{key!r}]"
            )
        self.held = value.held if type(value) is Symbol else value
        self.assigned = True

    def __repr__(self) -> str:
        return self.name

    def _in_place(self, other: Any) -> Any:
        raise TypeError(f"write {self.name}[:] = {self.name} ... instead of an in-place operator")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _in_place

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError(_no_attribute(self.name, attribute))


def _no_attribute(name: str, attribute: str) -> str:
    return (
        f"'{name}' has no {attribute!r} while a rule is traced: the rule is written once for all tensors. "
        "A rule that needs each tensor's shape sets per_tensor = True on its class."
    )


def shape_of(operand: Any) -> tuple[int, ...]:
    """The shape of what may stand in an op-tree: () for numbers.

    >>> shape_of(2.0)
    ()
    """
    return tuple(getattr(operand, "shape", ()))


def stated(
    value: Any,
    operands: Iterable[Any],
    backward: Callable[..., Any],
    *,
    name: str | None = None,
    node: type[Node] = Node,
) -> Node:
    """An expression whose derivative is stated, where a better or an exact one is known.

    Its value is that of the expression: for evaluation a 'stated' node stands for its only operand.

    Arguments:
        value: the expression.
        operands: what it is a function of; derivatives by anything else pass it by.
        backward: called as ``backward(error, value, *operands)`` with the derivative by the value, and the value as it
            is returned here; gives the derivative by each operand, as an op-tree, or None for zeros.
        name: what it is called where the op-tree is shown.
        node: the class of what is returned.

    >>> a = Symbol("a", 0)
    >>> stated(a * a, [a], lambda error, value, a: [error * 2.0 * a])
    stated(multiply(a, a))
    >>> stated(a * a, [a], lambda error, value, a: [error * 2.0 * a], name="square")
    square(a)
    """
    held = tuple(a.held if type(a) is Symbol else a for a in operands)
    return node("stated", value, operands=held, backward=backward, name=name)


def topological_order(
    roots: Iterable[Any],
    entered: Callable[[Any], bool] | None = None,
    operands: Callable[[Any], Sequence[Any]] | None = None,
    kind: type = Node,
) -> list[Any]:
    """The nodes of expressions, each once, after its operands. Not recursive: a graph may be thousands of nodes deep.

    Arguments:
        roots: expressions; what is no node is passed by.
        entered: whether a node, and what is below it, is wanted; None: all are.
        operands: what a node is preceded by; None: its ``args``.
        kind: the class of what counts as a node.

    >>> a = Symbol("a", 0).held
    >>> topological_order([a * a + a])
    [a, multiply(a, a), add(multiply(a, a), a)]
    """
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[Any] = [root for root in roots if isinstance(root, kind)]
    stack.reverse()
    while stack:
        node = stack.pop()
        if node is None:  # what was put above it is done
            order.append(stack.pop())
        elif id(node) not in seen and (entered is None or entered(node)):
            seen.add(id(node))
            stack += (node, None)
            before = node.args if operands is None else operands(node)
            stack.extend([a for a in before[::-1] if isinstance(a, kind) and id(a) not in seen])
    return order


def slots_of(tree: Any) -> set[int]:
    """The indices of the slots that an expression reads.

    >>> slots_of(Symbol("p", 0) - 0.5 * Symbol("m", 2))
    {0, 2}
    """
    root = tree.held if type(tree) is Symbol else tree
    return {node.attrs["index"] for node in topological_order([root]) if node.op == "slot"}
