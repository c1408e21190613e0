"""Expressions: what arithmetic on tensors and on the symbols of a traced rule builds.

Nothing is computed here. A tree of :class:`Node` is turned into linear form by
:mod:`neon_optim.backends.program` and run by a backend. The class hierarchy follows neon's op-trees
(neon/backends/backend.py); nodes are immutable and may be shared, so a tree is a directed acyclic graph.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ELEMENTWISE",
    "REDUCTIONS",
    "STRUCTURAL",
    "Expression",
    "NamedScalar",
    "Node",
    "Symbol",
    "slots_of",
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

#: Operations that change shapes. They run on whole tensors, never inside a Program.
STRUCTURAL = ("dot", "transpose", "reduce", "take", "onehot")


class Expression:
    """Anything that can stand in an op-tree: a tensor, a symbol or a node.

    Operators build :class:`Node` objects; comparisons do too (their value is 1 or 0), so an expression has no
    truth value and hashes by identity.
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy arrays hand their operators over to the reflected ones below

    def __add__(self, other: Any) -> Node:
        return Node("add", self, other)

    def __radd__(self, other: Any) -> Node:
        return Node("add", other, self)

    def __sub__(self, other: Any) -> Node:
        return Node("subtract", self, other)

    def __rsub__(self, other: Any) -> Node:
        return Node("subtract", other, self)

    def __mul__(self, other: Any) -> Node:
        return Node("multiply", self, other)

    def __rmul__(self, other: Any) -> Node:
        return Node("multiply", other, self)

    def __truediv__(self, other: Any) -> Node:
        return Node("divide", self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return Node("divide", other, self)

    def __pow__(self, other: Any) -> Node:
        return Node("power", self, other)

    def __rpow__(self, other: Any) -> Node:
        return Node("power", other, self)

    def __neg__(self) -> Node:
        return Node("negative", self)

    def __abs__(self) -> Node:
        return Node("absolute", self)

    def __eq__(self, other: Any) -> Node:  # type: ignore[override]
        return Node("equal", self, other)

    def __ne__(self, other: Any) -> Node:  # type: ignore[override]
        return Node("not_equal", self, other)

    def __lt__(self, other: Any) -> Node:
        return Node("less", self, other)

    def __le__(self, other: Any) -> Node:
        return Node("less_equal", self, other)

    def __gt__(self, other: Any) -> Node:
        return Node("greater", self, other)

    def __ge__(self, other: Any) -> Node:
        return Node("greater_equal", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("an expression has no truth value: run it with tensor[:] = expression, then .get()")

    @property
    def T(self) -> Any:  # noqa: N802 (neon's name)
        """The transpose: axes 0 and 1 exchanged."""
        return Node("transpose", self)


class Node(Expression):
    """An operation on operands (expressions, Python numbers or arrays), not yet run.

    Arguments:
        op: a key of :data:`ELEMENTWISE`, or a name from :data:`REDUCTIONS` or :data:`STRUCTURAL`.
        args: the operands. A :class:`Symbol` among them is replaced by what it holds at this moment.
        attrs: further settings of structural operations, such as ``axis``.
    """

    __slots__ = ("args", "attrs", "op")

    def __init__(self, op: str, *args: Any, **attrs: Any):
        self.op = op
        self.args = tuple([a.held if type(a) is Symbol else a for a in args])
        self.attrs = attrs

    def __repr__(self) -> str:
        """
        >>> Symbol("p", 0) - 0.5 * Symbol("g", 1)
        subtract(p, multiply(0.5, g))
        """
        if self.op in ("slot", "scalar"):
            return str(self.attrs["name"])
        return f"{self.op}({', '.join(map(repr, self.args))})"


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
        raise AttributeError(
            f"'{self.name}' has no {attribute!r} while a rule is traced: the rule is written once for all tensors. "
            "A rule that needs each tensor's shape sets per_tensor = True on its class."
        )


def slots_of(tree: Any) -> set[int]:
    """The indices of the slots that an expression reads.

    >>> slots_of(Symbol("p", 0) - 0.5 * Symbol("m", 2))
    {0, 2}
    """
    found: set[int] = set()
    done: set[int] = set()
    waiting = [tree.held if type(tree) is Symbol else tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node) and id(node) not in done:
            done.add(id(node))
            waiting.extend(node.args)
            if node.op == "slot":
                found.add(node.attrs["index"])
    return found
