"""Formulas: straight-line code of IEEE arithmetic, operations on bits and selections, recorded once for all engines.

A formula has no branch, no table and calls nothing, so that each engine writes it in its own way and all get the same
bits: every instruction has one result, whatever does it. A Python function on :class:`Recorded` records it:

>>> def hypotenuse(x, y):
...     return x * x + y * y
>>> print(formula("hypotenuse", hypotenuse, "float32", "float32"))
v2 = multiply(v0, v0)
v3 = multiply(v1, v1)
v4 = add(v2, v3)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["WORD_OF", "Formula", "Operation", "Recorded", "formula", "select"]

WORD_OF = {"float32": "uint32", "float64": "uint64"}
"""The unsigned integers that hold the bits of a float."""

_REAL_OF = {word: real for real, word in WORD_OF.items()}


class Operation(NamedTuple):
    """One assignment.

    Attributes:
        op: 'parameter', 'constant'; on floats 'add', 'subtract', 'multiply', 'divide', 'rint', 'absolute',
            'at_most', 'at_least' (the second operand is a constant other than zero; NaN stays NaN), 'less', 'equal',
            'bits', 'widen', 'narrow'; on unsigned words 'plus', 'minus' (both wrap around), 'and', 'or', 'left',
            'right' (the second operand is a constant), 'real'; on truth values 'both', 'either', 'not'; 'select'.
        args: the numbers of the instructions whose values it takes.
        kind: of its value: 'float32', 'float64', 'uint32', 'uint64' or 'truth'.
        number: a constant's.
    """

    op: str
    args: tuple[int, ...]
    kind: str
    number: float | int | None = None


class Formula(NamedTuple):
    """A recorded formula. Formulas of one name and one kind of parameters are the same.

    Attributes:
        name: what it computes and in which type, such as 'exp_float32'.
        parameters: their kinds; the first instructions.
        code: the instructions, each after those whose values it takes; the last one is the result.
    """

    name: str
    parameters: tuple[str, ...]
    code: tuple[Operation, ...]

    def __str__(self) -> str:
        lines = []
        for k, i in enumerate(self.code):
            if i.op not in ("parameter", "constant"):
                operands = (
                    repr(self.code[a].number) if self.code[a].op == "constant" else f"v{a}" for a in i.args
                )
                lines.append(f"v{k} = {i.op}({', '.join(operands)})")
        return "\n".join(lines)


class Recorded:
    """The value of an instruction that is being recorded. Its operators record further ones."""

    __slots__ = ("_code", "kind", "place")

    def __init__(self, code: list[Operation], instruction: Operation):
        self._code = code
        self.kind = instruction.kind
        try:
            self.place = code.index(instruction)  # the same once more is no work
        except ValueError:
            self.place = len(code)
            code.append(instruction)

    def _with(self, op: str, *others: Any, kind: str | None = None) -> Recorded:
        operands = [self, *(self.constant(other, self.kind) for other in others)]
        return Recorded(self._code, Operation(op, tuple(v.place for v in operands), kind or self.kind))

    def constant(self, number: Any, kind: str) -> Recorded:
        """A number as a value, rounded to its kind; a value as it is."""
        if isinstance(number, Recorded):
            return number
        if kind == "float32":
            (number,) = struct.unpack("f", struct.pack("f", number))
        return Recorded(self._code, Operation("constant", (), kind, number))

    def __add__(self, other: Any) -> Recorded:
        return self._with("plus" if self.kind in _REAL_OF else "add", other)

    def __sub__(self, other: Any) -> Recorded:
        return self._with("minus" if self.kind in _REAL_OF else "subtract", other)

    def __rsub__(self, other: float) -> Recorded:
        return self.constant(other, self.kind) - self

    def __mul__(self, other: Any) -> Recorded:
        return self._with("multiply", other)

    def __truediv__(self, other: Any) -> Recorded:
        return self._with("divide", other)

    def __rtruediv__(self, other: float) -> Recorded:
        return self.constant(other, self.kind) / self

    def __lt__(self, other: Any) -> Recorded:
        return self._with("less", other, kind="truth")

    def __gt__(self, other: Any) -> Recorded:
        return self.constant(other, self.kind) < self

    def equals(self, other: Any) -> Recorded:
        """Whether two floats are equal."""
        return self._with("equal", other, kind="truth")

    def __and__(self, other: Any) -> Recorded:
        return self._with("both" if self.kind == "truth" else "and", other)

    def __or__(self, other: Any) -> Recorded:
        return self._with("either" if self.kind == "truth" else "or", other)

    def __invert__(self) -> Recorded:
        return self._with("not")

    def __lshift__(self, places: int) -> Recorded:
        return self._with("left", places)

    def __rshift__(self, places: int) -> Recorded:
        return self._with("right", places)

    def __abs__(self) -> Recorded:
        return self._with("absolute")

    def rint(self) -> Recorded:
        """The nearest integer, ties to even."""
        return self._with("rint")

    def at_most(self, bound: float) -> Recorded:
        """The smaller of a value and a number other than zero; NaN stays NaN."""
        return self._with("at_most", bound)

    def between(self, low: float, high: float) -> Recorded:
        """Limited to a range that does not end at zero; NaN stays NaN."""
        return self._with("at_least", low).at_most(high)

    def bits(self) -> Recorded:
        """The bits of a float."""
        return self._with("bits", kind=WORD_OF[self.kind])

    def real(self) -> Recorded:
        """The float with these bits."""
        return self._with("real", kind=_REAL_OF[self.kind])

    def widen(self) -> Recorded:
        """A float32 as float64."""
        return self._with("widen", kind="float64")

    def narrow(self) -> Recorded:
        """A float64 as float32, rounded to the nearest, ties to even."""
        return self._with("narrow", kind="float32")


def select(condition: Recorded, one: Recorded | float, other: Recorded | float) -> Recorded:
    """One value where a condition holds, else the other; at least one of the two is a :class:`Recorded`."""
    kind = one.kind if isinstance(one, Recorded) else other.kind  # type: ignore[union-attr]
    values = [condition, *(condition.constant(v, kind) for v in (one, other))]
    return Recorded(condition._code, Operation("select", tuple(v.place for v in values), kind))


def formula(name: str, function: Callable[..., Recorded], *parameters: str) -> Formula:
    """Record what a function does to parameters of these kinds."""
    code = [Operation("parameter", (), kind, k) for k, kind in enumerate(parameters)]
    result = function(*(Recorded(code, parameter) for parameter in list(code)))
    return Formula(name, parameters, tuple(code[: result.place + 1]))
