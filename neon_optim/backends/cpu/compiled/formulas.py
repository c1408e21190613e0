"""Formulas as functions for compiled code: the LLVM instructions of each, in place, so that loops vectorize.

Importing this module imports Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from neon_optim.backends.elementary import elementary
from neon_optim.backends.formula import Formula

__all__ = [
    *("exp2_float32", "exp2_float64", "exp_float32", "exp_float64", "log2_float32", "log2_float64"),
    *("log_float32", "log_float64", "power_float32", "power_float64", "tanh_float32", "tanh_float64"),
]

_TYPES = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "uint32": ir.IntType(32),
    "uint64": ir.IntType(64),
}


def _select_less(builder: Any, a: Any, b: Any, value: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), value, b if value is a else a)


def _call(name: str) -> Callable[..., Any]:
    def call(builder: Any, kind: Any, a: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic(name, [a.type]), [a])

    return call


_WRITERS: dict[str, Callable[..., Any]] = {
    "add": lambda builder, kind, a, b: builder.fadd(a, b),
    "subtract": lambda builder, kind, a, b: builder.fsub(a, b),
    "multiply": lambda builder, kind, a, b: builder.fmul(a, b),
    "divide": lambda builder, kind, a, b: builder.fdiv(a, b),
    "rint": _call("llvm.rint"),
    "absolute": _call("llvm.fabs"),
    "at_most": lambda builder, kind, a, b: builder.select(builder.fcmp_ordered("<", b, a), b, a),
    "at_least": lambda builder, kind, a, b: builder.select(builder.fcmp_ordered(">", b, a), b, a),
    "less": lambda builder, kind, a, b: builder.fcmp_ordered("<", a, b),
    "equal": lambda builder, kind, a, b: builder.fcmp_ordered("==", a, b),
    "bits": lambda builder, kind, a: builder.bitcast(a, kind),
    "real": lambda builder, kind, a: builder.bitcast(a, kind),
    "widen": lambda builder, kind, a: builder.fpext(a, kind),
    "narrow": lambda builder, kind, a: builder.fptrunc(a, kind),
    "plus": lambda builder, kind, a, b: builder.add(a, b),
    "minus": lambda builder, kind, a, b: builder.sub(a, b),
    "and": lambda builder, kind, a, b: builder.and_(a, b),
    "or": lambda builder, kind, a, b: builder.or_(a, b),
    "left": lambda builder, kind, a, b: builder.shl(a, b),
    "right": lambda builder, kind, a, b: builder.lshr(a, b),
    "both": lambda builder, kind, a, b: builder.and_(a, b),
    "either": lambda builder, kind, a, b: builder.or_(a, b),
    "not": lambda builder, kind, a: builder.not_(a),
    "select": lambda builder, kind, condition, a, b: builder.select(condition, a, b),
}


def _written(builder: Any, formula: Formula, parameters: tuple[Any, ...]) -> Any:
    values: list[Any] = []
    for i in formula.code:
        kind = _TYPES.get(i.kind)
        if i.op == "parameter":
            values.append(parameters[len(values)])
        elif i.op == "constant":
            values.append(ir.Constant(kind, i.number))
        else:
            values.append(_WRITERS[i.op](builder, kind, *(values[a] for a in i.args)))
    return values[-1]


def _function(op: str, real: str) -> Any:
    formula = elementary(op, real)
    assert formula is not None
    number = getattr(types, real)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _written(builder, formula, args)

    if len(formula.parameters) == 2:

        @intrinsic
        def function(typing_context: Any, a: Any, b: Any) -> Any:
            return number(number, number), generate
    else:

        @intrinsic
        def function(typing_context: Any, a: Any) -> Any:
            return number(number), generate

    return function


exp_float32, exp_float64 = _function("exp", "float32"), _function("exp", "float64")
exp2_float32, exp2_float64 = _function("exp2", "float32"), _function("exp2", "float64")
log_float32, log_float64 = _function("log", "float32"), _function("log", "float64")
log2_float32, log2_float64 = _function("log2", "float32"), _function("log2", "float64")
tanh_float32, tanh_float64 = _function("tanh", "float32"), _function("tanh", "float64")
power_float32, power_float64 = _function("power", "float32"), _function("power", "float64")
