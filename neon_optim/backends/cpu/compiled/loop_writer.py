"""What the source of all loops of graphs has in common: the table, the tasks, the elements of a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from neon_optim.backends.cpu.compiled.element_source import expression, load, store
from neon_optim.backends.local_loop import LocalLoop
from neon_optim.backends.loop_phases import LoopPhases

__all__ = ["SIZES", "TABLE", "LoopWriter", "Operand", "Scratch", "cast", "indented"]

TABLE = ("n_tasks", "units", "units_per_task", "n_blocks", "block", "inner", "along")
"""What the table begins with. After these come the extents of the outer axes, then for each array its address and its
strides (bytes), then the places of the numbers that are given, then for each piece of scratch memory where it begins. A
unit is a row, or a block of one."""

SIZES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Operand:
    """An array of a loop.

    Attributes:
        value: the value that it holds.
        stored: the name of the type of its elements.
        inner: how far neighbours on the innermost axis are apart: 'one' element, 'none' (they are the same), or 'any'.
        writes: whether it is written.
        pointer: for an array that is written over one that is read, the number of that one: addressed by the same
            variable, so that the compiler sees that no other element is meant; else its own number. Arrays of other
            pointers never overlap one that is written.
    """

    value: int
    stored: str
    inner: str
    writes: bool
    pointer: int


@dataclass(frozen=True)
class Scratch:
    """A piece of scratch memory.

    Attributes:
        name: what it is called.
        kind: the name of the type of its elements.
        per: what it has elements for: 'lane', 'row' or 'element'; with columns side by side, in each column.
    """

    name: str
    kind: str
    per: str


_HEAD = '''"""{title}

Made by neon_optim.backends.cpu.compiled.loop_source.
"""

import numpy as np
from numba import float32, float64, njit

from neon_optim.backends.cpu.compiled import support


@njit("void(int64, int64, int64, int64)", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def {name}(counter, table, numbers, scratch):
'''


class LoopWriter(ABC):
    """What all loops have in common: the table, the tasks, the elements."""

    n_axes: int
    """Axes of the table's strides, beside the outer ones."""

    def __init__(self, local: LocalLoop, operands: Sequence[Operand], n_outer: int):
        self._local = local
        self._values = local.values
        self._loop = local.loop
        self._phases = LoopPhases(local.values, local.loop)
        self._operands = operands
        self._n_outer = n_outer
        self._read = {o.value: k for k, o in enumerate(operands) if not o.writes}
        self._written = {o.value: k for k, o in enumerate(operands) if o.writes}

    # --- the function ---

    def write(self, name: str) -> str:
        """The module."""
        kinds = dict.fromkeys(
            self._values[v].attrs.get("kind", self._values[v].op) for v in self._loop.values
        )
        what = ", ".join(kinds)
        along = "" if self._loop.axis is None else ", along an axis"
        title = f"{what if len(what) < 90 else what[:90] + ' …'}{along}."
        lines = [
            *self._table(),
            *self._numbers(),
            "task = support.claim(counter)",
            "while task < n_tasks:",
            "    for unit in range(task * units_per_task, min(units, (task + 1) * units_per_task)):",
            *indented([*self._place(), *self._unit()], 2),
            "    task = support.claim(counter)",
        ]
        return _HEAD.format(title=title, name=name) + "\n".join(indented(lines)) + "\n"

    def _table(self) -> Iterator[str]:
        names = [*TABLE, *(f"extent_{k}" for k in range(self._n_outer))]
        for k in range(len(self._operands)):
            names += [f"a{k}_base", *(f"a{k}_step_{axis}" for axis in range(self._n_outer + self.n_axes))]
        names += [*(f"place_{a}" for a in self._local.given), *(piece.name for piece in self.scratch)]
        pieces = {piece.name for piece in self.scratch}
        for k, name in enumerate(names):
            yield f"{name} = {'scratch + ' if name in pieces else ''}support.read_int64(table, {k})"
        for k, operand in enumerate(self._operands):
            if operand.inner == "any":
                inner = self._n_outer + self.n_axes - 1
                yield f"a{k}_inner = a{k}_step_{inner} // {SIZES[operand.stored]}"

    def _numbers(self) -> Iterator[str]:
        """The numbers that the loop uses, in float64, and what they are in the types that meet them."""
        local = self._local
        for a, value in enumerate(local.values):
            if a in local.given:
                yield f"n{a} = support.read_float64(numbers, place_{a})"
            elif value.is_number:
                yield f"n{a} = {expression(value.op, [f'n{b}' for b in value.args], 'float64')}"
        for a in local.used:
            yield f"s{a} = float32(n{a})"

    def _place(self) -> Iterator[str]:
        """Where the unit's row begins in each array."""
        yield "row = unit // n_blocks"
        yield "first = (unit - row * n_blocks) * block"
        yield "stop = min(first + block, inner)"
        for k in reversed(range(self._n_outer)):
            yield f"at_{k} = row % extent_{k}" if k else "at_0 = row"
            if k:
                yield f"row = row // extent_{k}"
        for k in range(len(self._operands)):
            offsets = "".join(f" + at_{axis} * a{k}_step_{axis}" for axis in range(self._n_outer))
            yield f"a{k}_at = a{k}_base{offsets}"

    @abstractmethod
    def _unit(self) -> Iterator[str]:
        """What is done for one unit."""

    # --- scratch memory ---

    @cached_property
    def scratch(self) -> list[Scratch]:
        """See :func:`scratch_of`."""
        lanes = [Scratch(f"lanes_{v}", self._lane_type(v), "lane") for v in self._phases.reductions]
        parts = [Scratch(f"part_{v}", self._values[v].dtype.name, self._part) for v in self._apart]
        kept = [Scratch(f"kept_{v}", self._values[v].dtype.name, "element") for v in self._phases.kept]
        return lanes + parts + kept

    # --- elements ---

    def _elements(self, phase: int, done: Sequence[int] = ()) -> Iterator[str]:
        """One element in one phase: loads, values, stores, and what is added to lanes."""
        needed = self._phases.needed(phase, done)
        for a in needed:
            if a not in self._loop.phase and self._operands[self._read[a]].inner != "none":
                yield f"x{a} = {self._load(self._read[a], self._index(self._read[a]))}"
        for v in needed:
            if v in self._loop.rows:
                yield from self._row_of_element(v)
            elif v in self._loop.phase:
                kept = self._phases.is_kept(v, phase)
                yield f"v{v} = {self._kept_element(v) if kept else self._computed(v, self._name)}"
        for v in self._phases.elements(phase):
            if v in self._written:
                yield self._store(self._written[v], self._index(self._written[v]), f"v{v}")
            if v in self._phases.kept:
                yield self._keep(v)
        for v in done:
            yield from self._add_to_lane(v)

    def _name(self, a: int) -> str:
        return f"v{a}" if a in self._loop.phase else f"x{a}"

    def _computed(self, v: int, name: Callable[[int], str]) -> str:
        """The operation of a value on its operands, each in the type of the value."""
        value = self._values[v]
        real = value.dtype.name
        args = []
        for a in value.args:
            operand = self._values[a]
            if operand.is_number:
                args.append(f"s{a}" if real == "float32" else f"n{a}")
            else:
                args.append(cast(name(a), operand.dtype.name, real))
        return expression(value.op, args, real)

    def _hoisted(self) -> Iterator[str]:
        """Loads of what is the same for all elements of the innermost axis."""
        for k, operand in enumerate(self._operands):
            if not operand.writes and operand.inner == "none":
                yield f"x{operand.value} = {self._load(k, '0')}"

    def _row_of_element(self, v: int) -> Iterator[str]:
        """What an element reads of its row: a variable already."""
        return iter(())

    # --- reductions ---

    def _is_sum(self, v: int) -> bool:
        return self._values[v].attrs["kind"] in ("sum", "mean")

    def _lane_type(self, v: int) -> str:
        return "float64" if self._is_sum(v) else self._values[v].dtype.name

    def _start(self, v: int) -> str:
        start = {"amax": "-np.inf", "amin": "np.inf"}.get(self._values[v].attrs["kind"], "0.0")
        return f"{self._lane_type(v)}({start})"

    def _join(self, v: int, one: str, other: str) -> str:
        if self._is_sum(v):
            return f"{one} + {other}"
        return (
            f"support.{'maximum' if self._values[v].attrs['kind'] == 'amax' else 'minimum'}({one}, {other})"
        )

    def _result(self, v: int, lane: str) -> str:
        if self._values[v].attrs["kind"] == "mean":
            lane = f"{lane} / float64(along)"
        return cast(lane, self._lane_type(v), self._values[v].dtype.name)

    @cached_property
    def _apart(self) -> list[int]:
        """Sums of what is computed in a narrower type than they are: elements and lanes have a loop each, since a loop
        that holds both types is computed as slowly as the wider one."""
        narrow = [v for v in self._phases.reductions if self._values[v].dtype.name != self._lane_type(v)]
        return [v for v in narrow if self._values[v].args[0] in self._loop.phase]

    def _add_to_lane(self, v: int) -> Iterator[str]:
        (a,) = self._values[v].args
        if v in self._apart:
            yield self._into(f"part_{v}", self._lane_place(), self._name(a))
        else:
            yield self._added(v, cast(self._name(a), self._values[a].dtype.name, self._lane_type(v)))

    def _add_parts(self, done: Sequence[int], each: str) -> Iterator[str]:
        """What was left for a loop of its own."""
        apart = [v for v in done if v in self._apart]
        if apart:
            yield each
        for v in apart:
            part = self._from(f"part_{v}", self._lane_place())
            yield f"    {self._added(v, cast(part, self._values[v].dtype.name, self._lane_type(v)))}"

    def _added(self, v: int, value: str) -> str:
        place, address = self._lane_place(), self._lane_address(v)
        joined = self._join(v, self._from(f"lanes_{v}", place, address), value)
        return self._into(f"lanes_{v}", place, joined, address)

    def _halved(self, v: int, each: str, count: str) -> Iterator[str]:
        """Lanes joined by halving; ``count`` is how many elements half of the lanes have."""
        yield "lanes = width"
        yield "while lanes > 1:"
        yield "    lanes //= 2"
        yield f"    for {each} in range({count}):"
        name = f"lanes_{v}"
        joined = self._join(v, self._from(name, each), self._from(name, f"{each} + {count}"))
        yield f"        {self._into(name, each, joined)}"

    def _lane_place(self) -> str:
        return "lane"

    def _lane_address(self, v: int) -> str | None:
        return None

    # --- memory ---

    at = "a"
    """What the addresses of elements are called."""

    _part = "lane"
    """What the elements are for that are added to lanes at a time."""

    def _index(self, k: int) -> str:
        return {"one": "i", "none": "0", "any": f"i * a{k}_inner"}[self._operands[k].inner]

    def _load(self, k: int, index: str, at: str | None = None) -> str:
        operand = self._operands[k]
        real = self._values[operand.value].dtype.name
        return load(operand.stored, f"{at or self.at}{operand.pointer}_at", index, operand.pointer, real)

    def _store(self, k: int, index: str, value: str, at: str | None = None) -> str:
        operand = self._operands[k]
        real = self._values[operand.value].dtype.name
        return store(
            operand.stored, f"{at or self.at}{operand.pointer}_at", index, operand.pointer, value, real
        )

    @cached_property
    def _pieces(self) -> dict[str, tuple[str, int]]:
        """The type of each piece of scratch memory, and its scope."""
        first = len(self._operands)
        return {piece.name: (piece.kind, first + k) for k, piece in enumerate(self.scratch)}

    def _from(self, name: str, index: str, at: str | None = None) -> str:
        kind, scope = self._pieces[name]
        return load(kind, at or name, index, scope, kind)

    def _into(self, name: str, index: str, value: str, at: str | None = None) -> str:
        kind, scope = self._pieces[name]
        return store(kind, at or name, index, scope, value, kind)

    def _kept_element(self, v: int) -> str:
        return self._from(f"kept_{v}", "i")

    def _keep(self, v: int) -> str:
        return self._into(f"kept_{v}", "i", f"v{v}")


def cast(text: str, have: str, want: str) -> str:
    """A value of the type ``have`` as one of the type ``want``."""
    return text if have == want else f"{want}({text})"


def indented(lines: Iterable[str], levels: int = 1) -> Iterator[str]:
    """Lines, further to the right."""
    return ("    " * levels + line for line in lines)
