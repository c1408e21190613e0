"""Derivatives of op-trees in reverse mode: the gradient of an expression is again an expression.

The nodes are gone through once, from the output down; what each hands on to its operands stands in one table. Nothing
is computed here, so a gradient may be differentiated again, run on any backend, or become part of a larger tree.

Where a function has no derivative at a point, the value that is taken is:

- The maximum or minimum of two tensors shares it in halves where they are equal, as in PyTorch. Against a number it is
  the derivative from below: ``maximum(x, 0)`` has 0 at 0 and ``minimum(x, 0)`` has 1, so that a rectifier of any slope
  has that slope at 0, as neon's.
- The largest or smallest element, of all or along an axis, shares it evenly among those that are equal, as amax and
  amin in PyTorch.
- ``absolute`` has 0 at 0; ``a ** b`` has 0 by a where b is 0, and 0 by b where a is 0 and b is not negative.
- ``sgn``, ``rint``, comparisons, ``argmax``, ``argmin``, ``onehot`` and all indices have 0 everywhere; so has ``shift``
  by its second operand, by which it moves in steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from neon_optim.backends.contract import Tensor
from neon_optim.backends.optree import Node, Symbol, shape_of, topological_order
from neon_optim.backends.optree_shapes import broadcast_shape
from neon_optim.errors import BackendError, shown

__all__ = ["DERIVATIVES", "gradients"]


def gradients(output: Any, wrt: Sequence[Any], seed: Any = None) -> list[Any]:
    """The derivatives of an expression by some of what it is made of, as op-trees.

    Arguments:
        output: the expression.
        wrt: tensors, arrays or nodes in it. A tensor that stands there by a view on it (``W.T``, ``W[2:]``) is found,
            and so is a view, if it stands there.
        seed: the derivative of what comes after by the output, of its shape; None: ones, which for an output of several
            elements gives the derivative of their sum.

    Returns:
        One tree for each of ``wrt``, of its shape; zeros where the output does not depend on it.

    Raises:
        BackendError: the seed has another shape; an operation has no derivative; one of ``wrt`` is a view of a tensor
            that does not stand in the expression.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> x = be.array([[1.0, 2.0, 3.0]])
    >>> out = be.empty((1, 3))
    >>> out[:], = gradients(be.sum(x * x * x), [x])
    >>> print(out.get())
    [[ 3. 12. 27.]]
    """
    shape = shape_of(output)
    if seed is not None and shape_of(seed) not in ((), shape):
        raise BackendError(f"the seed has the shape {shape_of(seed)}, the output {shape}")
    return _Pass(output, wrt).run(_broadcast(1.0 if seed is None else seed, shape))


class _Pass:
    """One pass from an output down to what it is differentiated by."""

    def __init__(self, output: Any, wrt: Sequence[Any]):
        self._views: dict[Any, Any] = {}
        self._edges: dict[int, list[tuple[Any, Callable[..., Any]]]] = {}
        self._output = self._expression(output)
        self._wrt = [self._expression(x) for x in wrt]
        self._order = topological_order([self._output], operands=self._below)
        self._wanted = {id(x) for x in self._wrt}
        for node in self._order:  # what leads to one of wrt
            if any(id(a) in self._wanted for a in self._below(node)):
                self._wanted.add(id(node))
        held = {id(node) for node in self._order}
        for given, x in zip(wrt, self._wrt, strict=True):
            if isinstance(x, Node) and x is not given and id(x) not in held:
                raise BackendError(
                    f"{shown(given)} is a view of another tensor, and the expression does not hold it: "
                    "differentiate by that tensor, or by a view that stands in the expression"
                )

    def _expression(self, a: Any) -> Any:
        """A tensor that is a view, as the operation on the tensor that it is a view of: one node for all such views."""
        if type(a) is Symbol:
            return a.held
        origin = a.origin if isinstance(a, Tensor) else None
        if origin is None:
            return a
        base = self._expression(origin.args[0])
        key = (id(base), origin.op, *origin.attrs.values())
        if key not in self._views:
            whole = origin.op != "transpose" and a.shape == shape_of(base)
            self._views[key] = base if whole else Node(origin.op, base, **origin.attrs)
        return self._views[key]

    def _edges_of(self, node: Node) -> list[tuple[Any, Callable[..., Any]]]:
        """The operands that a node depends on smoothly, and what it hands on to each."""
        edges = self._edges.get(id(node))
        if edges is None:
            operands = node.attrs["operands"] if node.op == "stated" else node.args
            pairs = zip(operands, _rules_of(node), strict=True)
            edges = self._edges[id(node)] = [
                (self._expression(a), rule) for a, rule in pairs if rule is not None
            ]
        return edges

    def _below(self, node: Node) -> list[Any]:
        return [a for a, _ in self._edges_of(node)]

    def run(self, seed: Any) -> list[Any]:
        """The derivatives, given that by the output."""
        parts: dict[int, list[Any]] = {id(self._output): [seed]}
        for node in reversed(self._order):
            if id(node) not in parts or id(node) not in self._wanted:
                continue
            error = _total(parts[id(node)])
            parts[id(node)] = [error]
            for a, rule in self._edges_of(node):
                part = rule(error, node, *node.args, **node.attrs) if id(a) in self._wanted else None
                if part is not None:
                    parts.setdefault(id(a), []).append(_summed_to(part, shape_of(a)))
        return [_total(parts[id(x)]) if id(x) in parts else _broadcast(0.0, shape_of(x)) for x in self._wrt]


def _rules_of(node: Node) -> Sequence[Callable[..., Any] | None]:
    try:
        rules = DERIVATIVES[node.op]
    except KeyError:
        raise BackendError(
            f"'{node.op}' is for rules that run over all tensors; it has no derivative"
        ) from None
    return rules(node) if callable(rules) else rules


# --- trees, without what has no effect: factors of 1, and broadcasting where an elementwise operation follows ---


def _apply(op: str, *operands: Any) -> Any:
    """An elementwise operation; it commutes with broadcasting, which is left to the end."""
    bare = [a.args[0] if _is(a, "broadcast") else a for a in operands]
    shape = broadcast_shape([shape_of(a) for a in operands], op)
    others = [a for a in bare if not (isinstance(a, float) and a == 1.0)] if op == "multiply" else bare
    return _broadcast(Node(op, *bare) if len(others) == len(bare) else [*others, 1.0][0], shape)


def _broadcast(a: Any, shape: tuple[int, ...]) -> Any:
    bare = a.args[0] if _is(a, "broadcast") else a
    return bare if shape_of(bare) == shape else Node("broadcast", bare, shape=shape)


def _is(a: Any, op: str) -> bool:
    return isinstance(a, Node) and a.op == op


def _summed_to(error: Any, shape: tuple[int, ...]) -> Any:
    """An error of what an operand was broadcast to, as the error of the operand."""
    wide = shape_of(error)
    if wide == shape:
        return error
    if len(wide) >= 2 and math.prod(shape) == 1:
        return _reshape(Node("sum", error), shape)
    kept = (1,) * (len(wide) - len(shape)) + shape
    for axis, (extent, summed) in enumerate(zip(wide, kept, strict=True)):
        if extent != summed:
            error = Node("reduce", error, kind="sum", axis=axis, keepdims=True)
    return _reshape(error, shape)


def _reshape(a: Any, shape: tuple[int, ...]) -> Any:
    return a if shape_of(a) == shape else Node("reshape", a, shape=shape)


def _total(parts: Sequence[Any]) -> Any:
    """The sum of what an operand is handed. What lies side by side and makes up the whole is put together instead."""
    placed: dict[Any, Any] = {}
    others: list[Any] = []
    for part in parts:
        if not _is(part, "place"):
            others.append(part)
        elif (key := part.attrs["key"]) in placed:
            placed[key] = _apply("add", placed[key], part.args[0])
        else:
            placed[key] = part.args[0]
    if placed:
        shape = shape_of(next(part for part in parts if _is(part, "place")))
        whole = _side_by_side(placed, shape)
        others += (
            [Node("place", a, key=key, shape=shape) for key, a in placed.items()]
            if whole is None
            else [whole]
        )
    total = others[0]
    for part in others[1:]:
        total = _apply("add", total, part)
    return total


def _side_by_side(placed: dict[Any, Any], shape: tuple[int, ...]) -> Any:
    """The whole of which each key has its part; None where it is not cut along one axis, without gaps."""
    keys = sorted(placed)
    differing = [axis for axis, column in enumerate(zip(*keys, strict=True)) if len(set(column)) > 1]
    axis = differing[0] if differing else 0
    end = 0
    for key in keys:
        if any(
            triple != (0, extent, 1)
            for k, (triple, extent) in enumerate(zip(key, shape, strict=True))
            if k != axis
        ):
            return None
        start, stop, step = key[axis]
        if start != end or step != 1:
            return None
        end = stop
    if end != shape[axis]:
        return None
    return (
        Node("concatenate", *[placed[key] for key in keys], axis=axis) if len(keys) > 1 else placed[keys[0]]
    )


def _multiply(a: Any, b: Any) -> Any:
    return _apply("multiply", a, b)


def _divide(a: Any, b: Any) -> Any:
    return _apply("divide", a, b)


def _negative(a: Any) -> Any:
    return _apply("negative", a)


def _transpose(a: Any) -> Any:
    return a.args[0] if _is(a, "transpose") and not a.attrs.get("axes") else Node("transpose", a)


def _transpose_each(a: Any) -> Any:
    return Node("transpose", a, axes=(0, 2, 1))


def _inverse(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axes.index(k) for k in range(len(axes)))


# --- what does not fit into a line of the table ---


def _is_number(a: Any) -> bool:
    return shape_of(a) == ()


def _by_larger(e: Any, a: Any, b: Any) -> Any:
    """The derivative of maximum(a, b) by a."""
    above = Node("greater", a, b)
    return _multiply(e, above if _is_number(b) else 0.5 * (above + Node("greater_equal", a, b)))


def _by_smaller(e: Any, a: Any, b: Any) -> Any:
    """The derivative of minimum(a, b) by a."""
    below = Node("less_equal", a, b)
    return _multiply(e, below if _is_number(b) else 0.5 * (below + Node("less", a, b)))


def _by_base(a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        return 0.0 if b == 0 else float(b) * (a if b == 2 else a ** (b - 1.0))
    return Node("where", Node("equal", b, 0.0), 0.0, b * Node("power", a, Node("subtract", b, 1.0)))


def _by_exponent(y: Any, a: Any, b: Any) -> Any:
    constant = Node("equal", a, 0.0) * Node("greater_equal", b, 0.0)
    return Node("where", constant, 0.0, y * Node("log", a))


def _of_all(error: Any, a: Any) -> Any:
    """The error of a value of shape (1, 1), at each element of a."""
    shape = shape_of(a)
    return _broadcast(error if len(shape) >= 2 else _reshape(error, (1,) * len(shape)), shape)


def _shared(error: Any, equal: Any, count: Any) -> Any:
    return _multiply(_divide(error, count), equal)


def _extremum_of_all(error: Any, y: Any, a: Any) -> Any:
    equal = Node("equal", a, y)
    return _shared(_of_all(error, a), equal, Node("sum", equal))


def _reduced(error: Any, y: Any, a: Any, kind: str, axis: int, keepdims: bool) -> Any:
    shape = shape_of(a)
    axis %= len(shape)
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    error, y = _reshape(error, kept), _reshape(y, kept)
    if kind == "sum":
        return _broadcast(error, shape)
    if kind == "mean":
        return _broadcast(_divide(error, float(shape[axis])), shape)
    equal = Node("equal", a, y)
    return _shared(error, equal, Node("reduce", equal, kind="sum", axis=axis, keepdims=True))


def _rule_of_reduction(node: Node) -> Sequence[Callable[..., Any] | None]:
    return (None,) if node.attrs["kind"] in ("argmax", "argmin") else (_reduced,)


def _rules_of_concatenation(node: Node) -> Sequence[Callable[..., Any]]:
    axis = node.attrs["axis"] % len(node.shape)
    rules, start = [], 0
    for a in node.args:
        stop = start + shape_of(a)[axis]
        key = tuple((start, stop, 1) if k == axis else (0, extent, 1) for k, extent in enumerate(node.shape))
        rules.append(partial(_part, key=key))
        start = stop
    return rules


def _part(error: Any, *operands: Any, key: Any, **attrs: Any) -> Any:
    return Node("slice", error, key=key)


def _rules_of_stated(node: Node) -> Sequence[Callable[..., Any]]:
    operands = node.attrs["operands"]
    parts: list[Any] = []  # of all operands at once, when the first is asked for

    def part(error: Any, y: Any, *args: Any, at: int, **attrs: Any) -> Any:
        if not parts:
            parts.extend(attrs["backward"](error, y, *operands))
            if len(parts) != len(operands):
                raise BackendError(
                    f"a stated backward pass gave {len(parts)} derivatives for {len(operands)} operands"
                )
        return parts[at]

    return [partial(part, at=k) for k in range(len(operands))]


_LOG_2 = math.log(2.0)

#: For each operation the derivative by each operand: functions of the error (the derivative by the value), the value,
#: the operands and the settings. None: zero everywhere. What is larger than its operand is summed to its shape.
DERIVATIVES: dict[str, Any] = {
    "add": (lambda e, y, a, b: e, lambda e, y, a, b: e),
    "subtract": (lambda e, y, a, b: e, lambda e, y, a, b: _negative(e)),
    "multiply": (lambda e, y, a, b: _multiply(e, b), lambda e, y, a, b: _multiply(e, a)),
    "divide": (lambda e, y, a, b: _divide(e, b), lambda e, y, a, b: _negative(_divide(_multiply(e, y), b))),
    "power": (lambda e, y, a, b: _multiply(e, _by_base(a, b)), lambda e, y, a, b: _multiply(e, _by_exponent(y, a, b))),
    "maximum": (lambda e, y, a, b: _by_larger(e, a, b), lambda e, y, a, b: _by_larger(e, b, a)),
    "minimum": (lambda e, y, a, b: _by_smaller(e, a, b), lambda e, y, a, b: _by_smaller(e, b, a)),
    "shift": (lambda e, y, a, b: _apply("shift", e, b), None),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), (None, None)),
    "negative": (lambda e, y, a: _negative(e),),
    "absolute": (lambda e, y, a: _multiply(e, Node("sgn", a)),),
    "sqrt": (lambda e, y, a: _divide(_multiply(e, 0.5), y),),
    "exp": (lambda e, y, a: _multiply(e, y),),
    "exp2": (lambda e, y, a: _multiply(_multiply(e, y), _LOG_2),),
    "log": (lambda e, y, a: _divide(e, a),),
    "log2": (lambda e, y, a: _divide(_divide(e, a), _LOG_2),),
    "tanh": (lambda e, y, a: _multiply(e, 1.0 - y * y),),
    **dict.fromkeys(("sgn", "rint", "size", "onehot"), (None,)),
    "where": (None, lambda e, y, c, a, b: _apply("where", c, e, 0.0), lambda e, y, c, a, b: _apply("where", c, 0.0, e)),
    "sum": (lambda e, y, a: _of_all(e, a),),
    "sum_square": (lambda e, y, a: _multiply(_of_all(e, a), 2.0 * a),),
    "amax": (_extremum_of_all,),
    "amin": (_extremum_of_all,),
    "reduce": _rule_of_reduction,
    "dot": (lambda e, y, a, b: Node("dot", e, _transpose(b)), lambda e, y, a, b: Node("dot", _transpose(a), e)),
    "batched_dot": (
        lambda e, y, a, b: Node("batched_dot", e, _transpose_each(b)),
        lambda e, y, a, b: Node("batched_dot", _transpose_each(a), e),
    ),
    "transpose": (lambda e, y, a, axes=None: Node("transpose", e, axes=axes and _inverse(axes)),),
    "reshape": (lambda e, y, a, shape: _reshape(e, shape_of(a)),),
    "slice": (lambda e, y, a, key: Node("place", e, key=key, shape=shape_of(a)),),
    "place": (lambda e, y, a, key, shape: Node("slice", e, key=key),),
    "concatenate": _rules_of_concatenation,
    "broadcast": (lambda e, y, a, shape: e,),
    "take": (lambda e, y, a, i, axis: Node("put", e, i, axis=axis, extent=shape_of(a)[axis]), None),
    "put": (lambda e, y, a, i, axis, extent: Node("take", e, i, axis=axis), None),
    "unfold": (lambda e, y, a, **windows: Node("fold", e, **windows),),
    "fold": (lambda e, y, a, **windows: Node("unfold", e, **windows),),
    "convolve": (
        lambda e, y, a, w, **windows: Node("deconvolve", e, w, **windows),
        lambda e, y, a, w, **windows: Node("correlate", a, e, **windows),
    ),
    "deconvolve": (
        lambda e, y, a, w, **windows: Node("convolve", e, w, **windows),
        lambda e, y, a, w, **windows: Node("correlate", e, a, **windows),
    ),
    "correlate": (
        lambda e, y, a, b, **windows: Node("deconvolve", b, e, **windows),
        lambda e, y, a, b, **windows: Node("convolve", a, e, **windows),
    ),
    "stated": _rules_of_stated,
}  # fmt: skip
