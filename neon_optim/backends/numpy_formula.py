"""Formulas in NumPy: a call for each instruction, block by block, in scratch that is used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from neon_optim.backends.elementary import ELEMENTARY, elementary
from neon_optim.backends.formula import Formula
from neon_optim.backends.functions import FUNCTIONS

__all__ = ["SHARED_FUNCTIONS", "NumpyFormula"]

_BLOCK_BYTES = 131_072
"""Of each value that are worked on at a time: few enough for the cache, so many that calls cost little."""

_DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "uint32", "uint64")} | {
    "truth": np.dtype(bool)
}


def _select(condition: np.ndarray, one: Any, other: Any, out: np.ndarray) -> None:
    if out is not other:
        np.copyto(out, other)
    np.copyto(out, one, where=condition)


def _cast(value: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, value, casting="same_kind")


_CALLS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "rint": np.rint,
    "absolute": np.absolute,
    "at_most": np.minimum,
    "at_least": np.maximum,
    "less": np.less,
    "equal": np.equal,
    "widen": _cast,
    "narrow": _cast,
    "plus": np.add,
    "minus": np.subtract,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "left": np.left_shift,
    "right": np.right_shift,
    "both": np.logical_and,
    "either": np.logical_or,
    "not": np.logical_not,
    "select": _select,
}


class _Step(NamedTuple):
    """A call, or a view of other bits where there is none."""

    call: Callable[..., Any] | None
    args: tuple[int, ...]
    result: int
    dtype: np.dtype


class NumpyFormula:
    """A formula, called as ``f(*operands, out)``. An operand may be a number, or the output itself.

    >>> from neon_optim.backends.formula import formula
    >>> square = NumpyFormula(formula("square", lambda x: x * x, "float64"))
    >>> out = np.empty(3)
    >>> square(np.arange(3.0), out=out)
    >>> out
    array([0., 1., 4.])
    """

    def __init__(self, formula: Formula):
        code = formula.code
        self._dtypes = [_DTYPES[i.kind] for i in code]
        self._numbers = [
            None if i.number is None else d.type(i.number) for i, d in zip(code, self._dtypes, strict=True)
        ]
        # A view has the memory of what it is a view of; memory is free again after the last reader of any of them.
        owner = list(range(len(code)))
        for k, i in enumerate(code):
            if i.op in ("bits", "real"):
                owner[k] = owner[i.args[0]]
        last_use = [0] * len(code)
        for k, i in enumerate(code):
            for a in i.args:
                last_use[owner[a]] = k
        self._memory: list[np.dtype] = []
        self._memory_of: dict[int, int] = {}
        self._steps: list[_Step] = []
        free: list[int] = []
        for k, i in enumerate(code):
            if i.op in ("parameter", "constant"):
                continue
            if i.op in ("bits", "real"):
                self._steps.append(_Step(None, i.args, k, self._dtypes[k]))
                continue
            reusable = i.args[-1:] if i.op == "select" else i.args
            dying = {owner[a] for a in i.args if last_use[owner[a]] == k and owner[a] in self._memory_of}
            first = [o for o in dying if o in {owner[a] for a in reusable}]
            free.extend(self._memory_of[o] for o in first)
            self._memory_of[k] = self._take(self._dtypes[k], free)
            free.extend(self._memory_of[o] for o in dying if o not in first)
            self._steps.append(_Step(_CALLS[i.op], i.args, k, self._dtypes[k]))

    def _take(self, dtype: np.dtype, free: list[int]) -> int:
        for place, number in enumerate(free):
            if self._memory[number].itemsize == dtype.itemsize:
                return free.pop(place)
        self._memory.append(dtype)
        return len(self._memory) - 1

    def __call__(self, *operands: Any, out: np.ndarray) -> None:
        """Compute the formula for every element."""
        flat_out = out.reshape(-1) if out.flags.c_contiguous else np.empty(out.size, out.dtype)
        flat = [self._flat(a, k, out.shape) for k, a in enumerate(operands)]
        block = _BLOCK_BYTES // max(dtype.itemsize for dtype in self._memory)
        size = min(block, out.size)
        memory = [np.empty(size, dtype) for dtype in self._memory]
        for start in range(0, out.size, block):
            stop = min(start + block, out.size)
            if stop - start < size:
                memory = [m[: stop - start] for m in memory]
            blocks = [a[start:stop] if a.ndim else a for a in flat]
            flat_out[start:stop] = self._block(blocks, memory)
        if not out.flags.c_contiguous:
            out[...] = flat_out.reshape(out.shape)

    def _flat(self, operand: Any, k: int, shape: tuple[int, ...]) -> np.ndarray:
        array: np.ndarray = np.asarray(operand, self._dtypes[k])
        return np.broadcast_to(array, shape).reshape(-1) if array.ndim else array

    def _block(self, parameters: Sequence[np.ndarray], memory: Sequence[np.ndarray]) -> np.ndarray:
        values: list[Any] = self._numbers.copy()
        values[: len(parameters)] = parameters
        for call, args, result, dtype in self._steps:
            if call is None:
                values[result] = values[args[0]].view(dtype)
            else:
                values[result] = place = memory[self._memory_of[result]].view(dtype)
                call(*[values[a] for a in args], out=place)
        last: np.ndarray = values[-1]
        return last


@cache
def _numpy_formula(op: str, real: str) -> Callable[..., Any]:
    found = elementary(op, real)
    return FUNCTIONS[op] if found is None else NumpyFormula(found)


def _shared(op: str) -> Callable[..., Any]:
    def of_one(a: Any, out: np.ndarray) -> None:
        _numpy_formula(op, out.dtype.name)(a, out=out)

    def of_two(a: Any, b: Any, out: np.ndarray) -> None:
        _numpy_formula(op, out.dtype.name)(a, b, out=out)

    return of_two if op == "power" else of_one


#: The operations as :data:`FUNCTIONS` has them, but those of :mod:`neon_optim.backends.elementary` as defined there.
SHARED_FUNCTIONS: dict[str, Callable[..., Any]] = FUNCTIONS | {op: _shared(op) for op in ELEMENTARY}
