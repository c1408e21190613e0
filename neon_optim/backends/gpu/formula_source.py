"""CUDA source of formulas: a function for each operation that has one, in float and in double."""

from __future__ import annotations

import math
from collections.abc import Iterable

from neon_optim.backends.elementary import ELEMENTARY, elementary
from neon_optim.backends.formula import Formula, Operation

__all__ = ["formula_functions"]

_TYPES = {"float32": "float", "float64": "double", "uint32": "u32", "uint64": "u64", "truth": "bool"}

_EXPRESSIONS = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "rint": "rint({0})",
    "absolute": "fabs({0})",
    "at_most": "{1} < {0} ? {1} : {0}",
    "at_least": "{1} > {0} ? {1} : {0}",
    "less": "{0} < {1}",
    "equal": "{0} == {1}",
    "widen": "(double){0}",
    "narrow": "(float){0}",
    "plus": "{0} + {1}",
    "minus": "{0} - {1}",
    "and": "{0} & {1}",
    "or": "{0} | {1}",
    "left": "{0} << {1}",
    "right": "{0} >> {1}",
    "both": "{0} && {1}",
    "either": "{0} || {1}",
    "not": "!{0}",
    "select": "{0} ? {1} : {2}",
}

_VIEWS = {
    ("bits", "uint32"): "__float_as_uint({0})",
    ("bits", "uint64"): "(u64)__double_as_longlong({0})",
    ("real", "float32"): "__uint_as_float({0})",
    ("real", "float64"): "__longlong_as_double((i64){0})",
}


def formula_functions(operations: Iterable[str]) -> str:
    """The functions that :func:`~neon_optim.backends.gpu.cuda_source.expression` calls for these operations."""
    wanted = set(operations)
    found = [elementary(op, real) for op in ELEMENTARY if op in wanted for real in ("float32", "float64")]
    return "\n".join(_function(f) for f in found if f is not None)


def _function(formula: Formula) -> str:
    """
    >>> from neon_optim.backends.formula import formula
    >>> print(_function(formula("half_float32", lambda x: x * 0.5, "float32")))
    __device__ __forceinline__ float half_formula(float v0) {
      const float v2 = v0 * 0.5f;
      return v2;
    }
    """
    names = [_number(i) if i.op == "constant" else f"v{k}" for k, i in enumerate(formula.code)]
    parameters = ", ".join(f"{_TYPES[kind]} v{k}" for k, kind in enumerate(formula.parameters))
    result = _TYPES[formula.code[-1].kind]
    operation = formula.name.rpartition("_")[0]
    lines = [f"__device__ __forceinline__ {result} {operation}_formula({parameters}) {{"]
    for k, i in enumerate(formula.code):
        if i.op not in ("parameter", "constant"):
            text = _VIEWS.get((i.op, i.kind)) or _EXPRESSIONS[i.op]
            lines.append(f"  const {_TYPES[i.kind]} v{k} = {text.format(*(names[a] for a in i.args))};")
    return "\n".join([*lines, f"  return v{len(formula.code) - 1};", "}"])


def _number(constant: Operation) -> str:
    number, kind = constant.number, _TYPES[constant.kind]
    assert number is not None
    if kind in ("u32", "u64"):
        return f"{number:#x}{'u' if kind == 'u32' else 'ull'}"
    if math.isnan(number):
        return f"({kind})NAN"
    if math.isinf(number):
        return f"({'-' if number < 0 else ''}({kind})INFINITY)"
    text = f"{float(number)!r}{'f' if kind == 'float' else ''}"
    return f"({text})" if number < 0 else text
