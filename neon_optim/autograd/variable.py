"""Variables: tensors that know how they were computed, so that ``backward()`` finds their gradients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Tensor
from neon_optim.backends.derivatives import gradients
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.optree import Node, shape_of, topological_order
from neon_optim.described.object import NervanaObject
from neon_optim.errors import BackendError

__all__ = ["Variable", "function", "gradient"]

#: Builds the op-tree of a function: called with the backend, the operands as expressions, and settings.
Build = Callable[..., Any]


def function(build: Build) -> Callable[..., Variable]:
    """A function of variables from one of op-trees: ``build(be, *operands, **settings)``.

    Its derivative follows; :func:`neon_optim.backends.optree.stated` in it states another. It is called for the value,
    and again for a derivative, and must give the same tree.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> swish = function(lambda be, x: x * be.sig(x))
    >>> x = Variable([[0.0, 2.0]])
    >>> swish(x).backward()
    >>> print(x.grad.get().round(4))
    [[0.5    1.0908]]
    """

    @functools.wraps(build)
    def of_variables(*operands: Any, **settings: Any) -> Variable:
        return Variable._of(build, operands, settings)

    signature = inspect.signature(build)
    shown = signature.replace(parameters=list(signature.parameters.values())[1:])
    of_variables.__signature__ = shown  # type: ignore[attr-defined]
    return of_variables


class Variable:
    """A tensor to differentiate by, or one that was computed from such.

    Arithmetic, ``@``, slices and the functions of :mod:`neon_optim.autograd` compute at once and give new variables.
    Tensors, arrays and numbers among the operands are constants.

    Arguments:
        data: a tensor, which is used as it is; or an array or numbers, which are copied into a tensor of the current
            backend and its default type (a vector becomes a column).
        name: for people and for the names in checkpoints.

    Attributes:
        grad: a tensor: what :meth:`backward` has added up since the last :meth:`zero_grad`; None before the first.

    References:
        ScalaTion's scalation.modeling.autograd.Variabl.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> w = Variable([[1.0, 2.0]])
    >>> loss = (w * w).sum()
    >>> loss.backward()
    >>> print(loss.item(), w.grad.get())
    5.0 [[2. 4.]]
    """

    __slots__ = (
        "__weakref__",
        "_build",
        "_data",
        "_operands",
        "_retains",
        "_settings",
        "_tree",
        "grad",
        "name",
    )
    __array_ufunc__ = None  # NumPy arrays hand their operators over to the reflected ones below

    def __init__(self, data: Any, name: str | None = None):
        if isinstance(data, Variable):
            raise TypeError("a variable of a variable: use variable.detach() for one that starts anew")
        self._data = data if isinstance(data, Tensor) else _current_backend().array(data)
        self.name = name
        self.grad: Tensor | None = None
        self._build: Build | None = None
        self._operands: tuple[Any, ...] = ()
        self._settings: dict[str, Any] = {}
        self._tree: Any = self._data
        self._retains = False

    @classmethod
    def _of(cls, build: Build, operands: Sequence[Any], settings: dict[str, Any]) -> Variable:
        """The value of a function, whose elements have the operands' type."""
        variable = next((a for a in operands if isinstance(a, Variable)), None)
        be = _current_backend() if variable is None else variable.backend
        taken = [a if isinstance(a, (Variable, Tensor, int, float)) else be.array(a) for a in operands]
        values = [a._data if isinstance(a, Variable) else a for a in taken]
        dtypes = {a.dtype for a in values if isinstance(a, Tensor)}
        if not dtypes:
            raise BackendError(f"{build.__name__} needs a variable or an array, received {operands!r}")
        tree = build(be, *values, **settings)
        data = be.empty(shape_of(tree), dtypes.pop() if len(dtypes) == 1 else compute_type(dtypes))
        data[:] = tree
        made = cls(data)
        made._build, made._settings, made._operands, made._tree = build, settings, tuple(taken), None
        return made

    # --- what it holds ---

    @property
    def data(self) -> Tensor:
        """The value. A parameter's may be written, ``w.data[:] = ...``, but not between a use and its backward."""
        return self._data

    @property
    def backend(self) -> Any:
        """The backend of the value."""
        return self._data.backend

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis; two axes or more."""
        return self._data.shape

    @property
    def is_leaf(self) -> bool:
        """Whether it was made of data, and not computed."""
        return not self._operands

    def numpy(self) -> np.ndarray:
        """A copy of the value as a NumPy array."""
        return self._data.get()

    def item(self) -> float:
        """The value of a variable of one element, as a number."""
        return float(self._data.get().item())

    def detach(self, name: str | None = None) -> Variable:
        """A variable on the same data that was not computed from anything."""
        return Variable(self._data, name)

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"Variable{label}({'x'.join(map(str, self.shape))})"

    def __len__(self) -> int:
        return self.shape[0]

    # --- differentiation ---

    def backward(self, error: Any = None) -> None:
        """Add the derivative of this variable to the ``grad`` of every leaf that it was computed from.

        Arguments:
            error: derivative of what comes after by this variable; None: ones, which for a variable of several elements
                gives the derivative of their sum.
        """
        order = _history(self)
        wanted = [v for v in order if v.is_leaf or v._retains]
        for variable, part in zip(wanted, _derivatives(self, order, wanted, error)[1], strict=True):
            variable.grad = part if variable.grad is None else variable.grad.copy_from(variable.grad + part)

    def zero_grad(self) -> None:
        """Set the gradient to zero, where there is one."""
        if self.grad is not None:
            self.grad.fill(0.0)

    def retain_grad(self) -> Variable:
        """Have :meth:`backward` set the gradient of this variable, though it is no leaf; returns the variable."""
        self._retains = True
        return self

    # --- arithmetic ---

    def __add__(self, other: Any) -> Variable:
        return _add(self, other)

    def __radd__(self, other: Any) -> Variable:
        return _add(other, self)

    def __sub__(self, other: Any) -> Variable:
        return _subtract(self, other)

    def __rsub__(self, other: Any) -> Variable:
        return _subtract(other, self)

    def __mul__(self, other: Any) -> Variable:
        return _multiply(self, other)

    def __rmul__(self, other: Any) -> Variable:
        return _multiply(other, self)

    def __truediv__(self, other: Any) -> Variable:
        return _divide(self, other)

    def __rtruediv__(self, other: Any) -> Variable:
        return _divide(other, self)

    def __pow__(self, other: Any) -> Variable:
        return _power(self, other)

    def __rpow__(self, other: Any) -> Variable:
        return _power(other, self)

    def __matmul__(self, other: Any) -> Variable:
        return _matmul(self, other)

    def __rmatmul__(self, other: Any) -> Variable:
        return _matmul(other, self)

    def __neg__(self) -> Variable:
        return _negative(self)

    def __abs__(self) -> Variable:
        return _absolute(self)

    # --- shapes ---

    def __getitem__(self, key: Any) -> Variable:
        """A part, by integers and slices; all axes stay."""
        return _part(self, key=key)

    __iter__ = None  # by its indices Python would take a variable for a sequence without an end

    @property
    def T(self) -> Variable:  # noqa: N802 (as of tensors)
        """Axes 0 and 1 exchanged."""
        return self.transpose()

    def transpose(self, i: int = 0, j: int = 1) -> Variable:
        """Two axes exchanged."""
        axes = list(range(len(self.shape)))
        axes[i], axes[j] = axes[j], axes[i]
        return self.permute(axes)

    def permute(self, axes: Sequence[int]) -> Variable:
        """The axes in another order."""
        return _permute(self, axes=tuple(axes))

    def reshape(self, *shape: Any) -> Variable:
        """The same elements in another shape, in C order; one extent may be -1."""
        return _reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    # --- reductions: of all elements (axis=None) or along one axis, which stays with one element ---

    def sum(self, axis: int | None = None) -> Variable:
        """The sum."""
        return _reduced(self, kind="sum", axis=axis)

    def mean(self, axis: int | None = None) -> Variable:
        """The mean."""
        return _reduced(self, kind="mean", axis=axis)

    def var(self, axis: int | None = None) -> Variable:
        """The variance: the mean of the squared distances from the mean."""
        return _reduced(self, kind="var", axis=axis)

    def std(self, axis: int | None = None) -> Variable:
        """The standard deviation."""
        return _reduced(self, kind="std", axis=axis)

    def max(self, axis: int | None = None) -> Variable:
        """The largest element; equal ones share the derivative."""
        return _reduced(self, kind="max", axis=axis)

    def min(self, axis: int | None = None) -> Variable:
        """The smallest element; equal ones share the derivative."""
        return _reduced(self, kind="min", axis=axis)


def gradient(output: Variable, wrt: Sequence[Variable], error: Any = None) -> list[Variable]:
    """The derivatives of a variable by others as variables, which may be differentiated again; no ``grad`` changes.

    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu")
    >>> x = Variable([[3.0]])
    >>> (slope,) = gradient(x**3, [x])
    >>> (curvature,) = gradient(slope, [x])
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    order = _history(output)
    trees, parts = _derivatives(output, order, wrt, error)
    results = []
    for tree, part in zip(trees, parts, strict=True):
        result = Variable(part)
        result._operands, result._tree = tuple(order), tree
        results.append(result)
    return results


def _history(variable: Variable) -> list[Variable]:
    """What a variable was computed from, each after its own operands, and itself; every one has its tree."""
    order: list[Variable] = topological_order([variable], operands=lambda v: v._operands, kind=Variable)
    for v in order:
        if v._tree is None:
            operands = [a._tree if isinstance(a, Variable) else a for a in v._operands]
            v._tree = v._build(v.backend, *operands, **v._settings)  # type: ignore[misc]
    return order


def _derivatives(
    output: Variable, order: Sequence[Variable], wrt: Sequence[Variable], error: Any
) -> tuple[list[Any], list[Tensor]]:
    """The derivatives as op-trees and as tensors."""
    be = output.backend
    if error is not None and not isinstance(error, (int, float)):
        error = error.data if isinstance(error, Variable) else error
        error = error if isinstance(error, Tensor) else be.array(error)
        if error.shape != output.shape:
            raise BackendError(
                f"the error of a variable of shape {output.shape} cannot have the shape {error.shape}"
            )
    trees = gradients(output._tree, [v._tree for v in wrt], error)
    results = [be.empty(v.shape, v.data.dtype) for v in wrt]
    values = [(v._tree, v.data) for v in order if isinstance(v._tree, Node)]
    be.assign_all(list(zip(results, trees, strict=True)), values)
    return trees, results


def _current_backend() -> Any:
    if NervanaObject.be is None:
        raise BackendError("no backend: call neon_optim.gen_backend() before variables are made of arrays")
    return NervanaObject.be


_add = function(lambda be, a, b: a + b)
_subtract = function(lambda be, a, b: a - b)
_multiply = function(lambda be, a, b: a * b)
_divide = function(lambda be, a, b: a / b)
_power = function(lambda be, a, b: a**b)
_matmul = function(lambda be, a, b: be.dot(a, b))
_negative = function(lambda be, a: -a)
_absolute = function(lambda be, a: be.absolute(a))
_part = function(lambda be, a, key: a[key])
_permute = function(lambda be, a, axes: be.transpose(a, axes=axes))
_reshape = function(lambda be, a, shape: be.reshape(a, shape))
_reduced = function(lambda be, a, kind, axis: getattr(be, kind)(a, axis=axis))
