"""The elements of generated Numba source: an operation on values, a load from an array, a store to one."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence

from neon_optim.backends.elementary import elementary

__all__ = ["expression", "identifier", "load", "store"]

_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_COMPARISONS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_FUNCTIONS = {
    "absolute": "abs",
    "sqrt": "np.sqrt",
    "rint": "np.rint",
    "maximum": "support.maximum",
    "minimum": "support.minimum",
    "sgn": "support.sgn",
}


def expression(op: str, args: Sequence[str], real: str) -> str:
    """An elementwise operation on operands of the type ``real``, 'float32' or 'float64'."""
    if op in _INFIX:
        return f"{args[0]} {_INFIX[op]} {args[1]}"
    if op in _COMPARISONS:
        return f"{real}(1) if {args[0]} {_COMPARISONS[op]} {args[1]} else {real}(0)"
    if op == "shift" or elementary(op, real) is not None:
        return f"support.{op}_{real}({', '.join(args)})"
    if op == "negative":
        return f"-{args[0]}"
    if op == "where":
        return f"{args[1]} if {args[0]} != 0 else {args[2]}"
    if op in ("broadcast", "contiguous", "copy"):
        return args[0]
    return f"{_FUNCTIONS[op]}({', '.join(args)})"


def load(kind: str, at: str, index: str, scope: int | str, real: str) -> str:
    """An element of an array of the type ``kind`` at an address, widened to the type ``real``."""
    place = f"({at}, {index}, {scope})"
    if kind in ("float16", "bfloat16"):
        loaded = f"support.widen_{kind}(support.load_uint16{place})"
        kind = "float32"
    else:
        loaded = f"support.load_{'uint8' if kind == 'bool' else kind}{place}"
    return loaded if kind == real else f"{real}({loaded})"


def store(kind: str, at: str, index: str, scope: int | str, value: str, real: str) -> str:
    """A value of the type ``real`` into an element of an array of the type ``kind``, rounded to nearest.

    Integers take the part before the point, truth values whether it is not 0.
    """
    place = f"{at}, {index}, {scope}"
    if kind in ("float16", "bfloat16"):
        near = value if real == "float32" else f"support.odd_float32({value})"
        return f"support.store_uint16({place}, support.narrow_{kind}({near}))"
    if kind == "bool":
        return f"support.store_uint8({place}, support.uint8({value} != 0))"
    if "int" in kind:
        return f"support.store_{kind}({place}, support.{kind}({value}))"
    return f"support.store_{kind}({place}, {value if kind == real else f'{kind}({value})'})"


def identifier(name: str, otherwise: str) -> str:
    """A name that is safe in source, whatever a class called its slots."""
    fits = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None and not keyword.iskeyword(name)
    return name if fits else otherwise
