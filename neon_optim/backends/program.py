"""An expression or a traced rule in linear form, cut into stages at its reductions.

A :class:`Program` is structure only: the numbers of a step (learning rate, bias corrections) are its run-time
scalars, so that the same Program, and whatever an engine compiled from it, serves every step. Programs are interned:
equal structure is the same object. This module knows neither NumPy nor CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from neon_optim.backends.optree import ELEMENTWISE, REDUCTIONS, Node, Symbol

__all__ = ["Instruction", "Program", "Stage", "linearize", "trace"]

SET, ROW, ELEMENT = 0, 1, 2
"""Ranks: computed once for a scalar set, once for a tensor, once for an element."""


@dataclass(frozen=True)
class Instruction:
    """One assignment: value number = position in ``Program.code``.

    ``op`` is 'slot' (``index`` says which array of the row), 'scalar' (``index`` of the run-time scalar), 'size' (the
    number of elements of the row's tensors), an elementwise operation, or a reduction; ``args`` are value numbers.
    ``depth`` counts the reductions that must have run before.
    """

    op: str
    args: tuple[int, ...] = ()
    index: int = -1
    rank: int = ELEMENT
    depth: int = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """What runs between two reductions.

    Attributes:
        scalar_code: values of rank SET and ROW to compute first, in float64.
        inputs: those values of rank SET and ROW that element code reads.
        element_code: values of rank ELEMENT, in order ('slot' loads included).
        reductions: reduction values that this stage produces.
        outputs: (slot, value) pairs to store; only the last stage has any.
    """

    scalar_code: tuple[int, ...]
    inputs: tuple[int, ...]
    element_code: tuple[int, ...]
    reductions: tuple[int, ...]
    outputs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A pure function from the old contents of a row's slots to the new ones.

    Attributes:
        name: what it was traced from; for people, not part of its identity.
        slots: names of the arrays of one row.
        scalars: names of the run-time scalars; '' for numbers that stand in the expressions themselves.
        code: the assignments.
        outputs: (slot, value) pairs.
        guard: value of rank SET that must be finite, else nothing is stored; None for no guard.
        results: values of rank SET that are returned to the caller.
        compiled: a place for engines to keep what they made of this Program.
    """

    name: str
    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    code: tuple[Instruction, ...]
    outputs: tuple[tuple[int, int], ...]
    guard: int | None = None
    results: tuple[int, ...] = ()
    compiled: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each value: slots, scalars and simple combinations of scalars by what they are.

        >>> from neon_optim.backends.optree import NamedScalar
        >>> p, beta = Symbol("p", 0), NamedScalar("beta_1")
        >>> print(linearize("decay", ["p"], [(0, (1.0 - beta) * p)])[0])
        program decay(p)
          number_1_minus_beta_1 = subtract(number_1, beta_1)
          v4 = multiply(number_1_minus_beta_1, p)
          p <- v4
        """
        return _names_of(self)

    @cached_property
    def reduces_rows(self) -> bool:
        """Whether it takes sums or extremes over each tensor, which therefore has to be there as a whole."""
        return any(i.op in REDUCTIONS and i.rank == ROW for i in self.code)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The code cut at its reductions; the last stage stores."""
        finals = (
            [v for _, v in self.outputs] + list(self.results) + ([] if self.guard is None else [self.guard])
        )
        last = max((self.code[v].depth for v in finals), default=0)
        return tuple(self._stage(depth, depth == last) for depth in range(last + 1))

    def _stage(self, depth: int, last: bool) -> Stage:
        code = self.code
        reductions = tuple(
            v for v, i in enumerate(code) if i.op in REDUCTIONS and i.depth == depth + 1 and not last
        )
        outputs = self.outputs if last else ()
        wanted = [v for _, v in outputs] + [code[v].args[0] for v in reductions]
        elements: set[int] = set()
        inputs: set[int] = set()
        while wanted:
            v = wanted.pop()
            if code[v].rank != ELEMENT:
                inputs.add(v)
            elif v not in elements:
                elements.add(v)
                wanted.extend(code[v].args)
        scalar_code = tuple(
            v for v, i in enumerate(code) if i.rank != ELEMENT and i.op not in REDUCTIONS and i.depth == depth
        )
        return Stage(scalar_code, tuple(sorted(inputs)), tuple(sorted(elements)), reductions, outputs)

    def __str__(self) -> str:
        """One assignment a line, for people who read what a rule became."""
        names = self.names
        lines = [f"program {self.name}({', '.join(self.slots)})"]
        for v, i in enumerate(self.code):
            if i.op not in ("slot", "scalar"):
                lines.append(f"  {names[v]} = {i.op}({', '.join(names[a] for a in i.args)})")
        lines += [f"  {self.slots[s]} <- {names[v]}" for s, v in self.outputs]
        return "\n".join(lines)


_WORDS = {"add": "plus", "subtract": "minus", "multiply": "times", "divide": "over"}
_LONGEST_NAME = 32


def _names_of(program: Program) -> tuple[str, ...]:
    names: list[str] = []
    for v, i in enumerate(program.code):
        if i.op == "slot":
            name = program.slots[i.index]
        elif i.op == "scalar":
            name = program.scalars[i.index] or f"number_{i.index}"
        else:
            name = f"v{v}"
            if i.rank == SET and i.op in _WORDS:
                joined = f"_{_WORDS[i.op]}_".join(names[a] for a in i.args)
                if len(joined) <= _LONGEST_NAME and joined not in names:
                    name = joined
        names.append(name)
    return tuple(names)


class _Tape:
    """The nodes of a graph, each once, after its operands: what a Program is found by, made at every step.

    Attributes:
        entries: for each node its operation and its operands, those as places of earlier entries or, for the k-th
            number among the operands, as ``~k``; for a slot its index, for a named scalar its name.
        numbers: the numbers among the operands.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.numbers: list[float] = []
        self._places: dict[int, int] = {}

    def place(self, root: Any) -> int:
        """Where an expression's value stands."""
        if not isinstance(root, Node):
            return self._scalar(root)
        places, entries = self._places, self.entries
        stack = [root]
        while stack:  # not recursive: a rule may chain thousands of operations
            node = stack[-1]
            operands: list[Any] = []
            for a in node.args:
                if isinstance(a, Node):
                    known = places.get(id(a))
                    if known is None:
                        stack.append(a)
                        break
                    operands.append(known)
                else:
                    operands.append(None)
            else:
                if None in operands:
                    operands = [
                        self._scalar(a) if k is None else k for k, a in zip(operands, node.args, strict=True)
                    ]
                elif node.op == "slot":
                    operands = [node.attrs["index"]]
                elif node.op == "scalar":
                    operands = [node.attrs["name"]]
                if node.op == "stated":
                    places[id(node)] = operands[0]
                else:
                    places[id(node)] = len(entries)
                    entries.append((node.op, *operands))
                stack.pop()
        return places[id(root)]

    def _scalar(self, value: Any) -> int:
        try:
            self.numbers.append(float(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"a rule mixes tensors and numbers only, received {type(value).__name__}: {value!r}"
            ) from None
        return -len(self.numbers)


class _Code:
    """The entries of a tape as instructions; equal operations on equal values become one."""

    def __init__(self, entries: Sequence[tuple[Any, ...]], n_numbers: int):
        names = dict.fromkeys(operands[0] for op, *operands in entries if op == "scalar")
        self.scalars = (*names, *[""] * n_numbers)
        self._index = {name: index for index, name in enumerate(names)}
        self.instructions: list[Instruction] = []
        self._known: dict[Any, int] = {}
        self._values: list[int] = []
        for op, *operands in entries:
            self._values.append(self._append(op, operands))

    def value(self, place: int) -> int:
        """The number of the value at a place of the tape, or of a scalar."""
        if place >= 0:
            return self._values[place]
        return self._add("scalar", (), len(self._index) + ~place, SET, 0)

    def _append(self, op: str, operands: list[Any]) -> int:
        if op == "slot":
            return self._add(op, (), operands[0], ELEMENT, 0)
        if op == "scalar":
            return self._add(op, (), self._index[operands[0]], SET, 0)
        if op == "size":
            return self._add(op, (), -1, ROW, 0)
        args = tuple([self.value(place) for place in operands])
        rank = max(self.instructions[a].rank for a in args)
        depth = max(self.instructions[a].depth for a in args)
        if op in ELEMENTWISE:
            return self._add(op, args, -1, rank, depth)
        if op in REDUCTIONS:
            if rank != ELEMENT:
                raise TypeError(f"{op} needs a tensor, received a number")
            return self._add(op, args, -1, SET if op.startswith("total") else ROW, depth + 1)
        raise TypeError(
            f"'{op}' cannot be part of one fused pass over all tensors; "
            "a rule that needs it sets per_tensor = True on its class"
        )

    def _add(self, op: str, args: tuple[int, ...], index: int, rank: int, depth: int) -> int:
        content = (op, args, index)
        known = self._known.get(content)
        if known is None:
            known = self._known[content] = len(self.instructions)
            self.instructions.append(Instruction(op, args, index, rank, depth))
        return known


_by_tape: dict[Any, Program] = {}
_interned: dict[Any, Program] = {}


def linearize(
    name: str,
    slots: Sequence[str],
    outputs: Sequence[tuple[int, Any]],
    guard: Any = None,
    results: Sequence[Any] = (),
) -> tuple[Program, list[float]]:
    """Turn expressions into an interned Program and the numbers in them.

    The Program's run-time scalars are its named ones, whose values the caller has, followed by those numbers.

    Arguments:
        name: for people.
        slots: names of the arrays of one row; 'slot' nodes refer to them by index.
        outputs: (slot index, expression or number) pairs.
        guard: expression of rank SET that must be finite for anything to be stored.
        results: expressions of rank SET whose values the caller wants.

    >>> p = Symbol("p", 0)
    >>> program, scalars = linearize("halve", ["p"], [(0, p * 0.5)])
    >>> print(program, scalars)
    program halve(p)
      v2 = multiply(p, number_0)
      p <- v2 [0.5]
    """
    tape = _Tape()
    stores = tuple([(slot, tape.place(value)) for slot, value in outputs])
    guard_place = None if guard is None else tape.place(guard)
    returned = tuple([tape.place(value) for value in results])
    key = (tuple(slots), tuple(tape.entries), stores, guard_place, returned)
    program = _by_tape.get(key)
    if program is None:
        program = _by_tape[key] = _compiled(name, len(tape.numbers), *key)
    return program, tape.numbers


def _compiled(
    name: str,
    n_numbers: int,
    slots: tuple[str, ...],
    entries: Sequence[tuple[Any, ...]],
    stores: Sequence[tuple[int, int]],
    guard: int | None,
    results: Sequence[int],
) -> Program:
    """The Program of a tape; one that was made of another tape, where that says the same."""
    code = _Code(entries, n_numbers)
    outputs = tuple([(slot, code.value(place)) for slot, place in stores])
    guard_value = None if guard is None else code.value(guard)
    returned = tuple([code.value(place) for place in results])
    instructions = tuple(code.instructions)
    for value in returned + (() if guard_value is None else (guard_value,)):
        if instructions[value].rank != SET:
            raise TypeError(f"{name}: a guard or a result must be one number for all tensors")
    program = Program(name, slots, code.scalars, instructions, outputs, guard_value, returned)
    return _interned.setdefault((slots, code.scalars, instructions, outputs, guard_value, returned), program)


def trace(name: str, slots: Sequence[str], rule: Callable[..., Any]) -> tuple[Program, list[float]]:
    """Call a rule once with symbols and linearize what it wrote.

    Arguments:
        rule: called with one :class:`Symbol` for each slot; writes with ``symbol[:] = expression``, and returns None or
            an expression that must be finite for anything to be stored.
    """
    symbols = [Symbol(slot, index) for index, slot in enumerate(slots)]
    guard = rule(*symbols)
    outputs = [(index, symbol.held) for index, symbol in enumerate(symbols) if symbol.assigned]
    return linearize(name, slots, outputs, guard)
