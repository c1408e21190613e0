"""A stage of a Program as the source of a Numba function: one pass over all chunks of all rows.

The source is meant to be read; it is named after the rule and its slots. It holds structure only: the numbers of a
step come in as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np

from neon_optim.backends.cpu.compiled.element_source import expression, identifier, load, store
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.program import ROW, SET, Program, Stage
from neon_optim.backends.rounding import SLOTS_OF_A_ROW, StoreRounding, store_rounding
from neon_optim.backends.sums import LANES
from neon_optim.errors import BackendError

__all__ = ["ARGUMENTS", "LANES_SCOPE", "MOST_SCOPES", "WORDS_BLOCK", "WORDS_SCOPE", "bounds", "kernel_source"]

LANES_SCOPE, WORDS_SCOPE = SLOTS_OF_A_ROW, SLOTS_OF_A_ROW + 1
"""What accesses to the lanes and to the random words name as their slot."""

MOST_SCOPES = SLOTS_OF_A_ROW + 2
"""Slots, and other pieces of memory, that can be told apart."""

WORDS_BLOCK = 1024
"""Elements whose random words are computed at a time; a divisor of a chunk."""

ARGUMENTS = (
    *("counter", "n_tasks", "tasks", "chunks", "sets", "pointers", "of_sets", "of_rows"),
    *("lanes", "partial", "words", "seed", "step", "first_row"),
)
"""The arguments of every kernel, all int64. Those without a number in their meaning are addresses:

counter: the number of the next task (int64), counted up by every thread.
tasks, chunks: those of a :class:`~neon_optim.backends.cpu.table.RowGroup` (int64).
sets: the scalar set of each row (int64).
pointers: the address of each array of each row.
of_sets, of_rows: the stage's inputs of each scalar set and of each row (float64).
lanes: scratch for the lanes of each reduction (float64).
partial: for each chunk the result of each reduction (float64).
words: scratch for the random words of each slot (uint32).
"""

_LOCALS = {
    *ARGUMENTS,
    *(
        "task",
        "end",
        "chunk",
        "row",
        "first",
        "n",
        "next_row",
        "next_first",
        "inputs_of_sets",
        "inputs_of_rows",
    ),
    *("i", "start", "stop", "width", "base", "lane", "support", "np", "njit", "float32", "float64"),
    *("abs", "min", "range"),
}
_GENERATED = re.compile(r"[svx]\d+|(lanes|sum)_\d+|\w+_(at|0|words)")
"""What else a kernel may call its own."""

_HEAD = '''"""{title}

Made by neon_optim.backends.cpu.compiled.source.
"""

import numpy as np
from numba import float32, float64, njit

from neon_optim.backends.cpu.compiled import support


@njit("void({types})", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def {function}(
    {arguments}
):
    task = support.claim(counter)
    while task < n_tasks:
        end = support.read_int64(tasks, task + 1)
        for chunk in range(support.read_int64(tasks, task), end):
            row = support.read_int64(chunks, 3 * chunk)
            first = support.read_int64(chunks, 3 * chunk + 1)
            n = support.read_int64(chunks, 3 * chunk + 2)
'''


@cache
def bounds(program: Program, stage: Stage) -> list[int]:
    """The inputs of a stage that elements are limited to, by maximum and minimum."""
    code = program.code
    limits = {a for v in stage.element_code if code[v].op in ("maximum", "minimum") for a in code[v].args}
    return [v for v in stage.inputs if v in limits]


def kernel_source(
    program: Program,
    stage: Stage,
    dtypes: Sequence[np.dtype],
    rounding_bits: int | None = None,
    plain_bounds: bool = False,
) -> tuple[str, str]:
    """The name of the function for a stage, and the text of a module that holds it.

    Arguments:
        dtypes: of the arrays of a row.
        rounding_bits: mantissa bits that stochastic rounding keeps, 0 for what each array has; None: round to nearest.
        plain_bounds: whether all :func:`bounds` are numbers other than zero and NaN, so that limits are cheap.
    """
    if len(program.slots) > SLOTS_OF_A_ROW:
        raise BackendError(
            f"{program.name} has {len(program.slots)} slots; at most {SLOTS_OF_A_ROW} are possible"
        )
    return _Writer(program, stage, dtypes, rounding_bits, plain_bounds).write()


class _Writer:
    def __init__(
        self,
        program: Program,
        stage: Stage,
        dtypes: Sequence[np.dtype],
        rounding_bits: int | None,
        plain_bounds: bool,
    ):
        self._bounds = set(bounds(program, stage)) if plain_bounds else set()
        self._program = program
        self._stage = stage
        self._dtypes = dtypes
        self._real = compute_type(dtypes).name
        self._slots = [identifier(slot, f"slot_{k}") for k, slot in enumerate(program.slots)]
        self._names: dict[int, str] = {}
        self._rounded: dict[int, StoreRounding] = {}
        if rounding_bits is not None:
            for slot, _ in stage.outputs:
                how = store_rounding(compute_type(dtypes), dtypes[slot], rounding_bits)
                if how is not None:
                    self._rounded[slot] = how

    def write(self) -> tuple[str, str]:
        program, stage = self._program, self._stage
        function = f"{identifier(program.name, 'rule')}_{program.stages.index(stage)}"
        arrays = ", ".join(f"{s}: {d}" for s, d in zip(self._slots, self._dtypes, strict=True))
        title = f"{function}({arrays}), computed in {self._real}."
        head = _HEAD.rstrip().format(
            title=title,
            function=function,
            types=", ".join(["int64"] * len(ARGUMENTS)),
            arguments=", ".join(ARGUMENTS),
        )
        lines = [
            head,
            *(" " * 12 + line for line in self._chunk()),
            " " * 8 + "task = support.claim(counter)",
        ]
        return function, "\n".join(lines) + "\n"

    def _chunk(self) -> Iterator[str]:
        """What is done for one chunk."""
        code, stage = self._program.code, self._stage
        used = {code[v].index for v in stage.element_code if code[v].op == "slot"}
        for slot in sorted(used | {slot for slot, _ in stage.outputs}):
            yield f"{self._slots[slot]}_at = {self._address(slot, 'row', 'first')}"
        if used:
            yield "if chunk + 1 < end:"
            yield "    next_row = support.read_int64(chunks, 3 * (chunk + 1))"
            yield "    next_first = support.read_int64(chunks, 3 * (chunk + 1) + 1)"
            for slot in sorted(used):
                yield f"    support.prefetch({self._address(slot, 'next_row', 'next_first')})"
        yield from self._inputs()
        if stage.reductions:
            yield from self._reduce()
        elif self._rounded:
            yield from self._update_in_blocks()
        else:
            yield "for i in range(n):"
            yield from _indented(self._update())

    def _address(self, slot: int, row: str, first: str) -> str:
        place = f"{len(self._slots)} * {row} + {slot}"
        return f"support.read_int64(pointers, {place}) + {self._dtypes[slot].itemsize} * {first}"

    def _inputs(self) -> Iterator[str]:
        code, inputs = self._program.code, self._stage.inputs
        for rank, table, row in ((SET, "of_sets", "support.read_int64(sets, row)"), (ROW, "of_rows", "row")):
            values = [v for v in inputs if code[v].rank == rank]
            if values:
                yield f"inputs_{table} = {table} + {8 * len(values)} * {row}"
            for column, v in enumerate(values):
                self._names[v] = self._number_name(v)
                yield f"{self._names[v]} = {self._real}(support.read_float64(inputs_{table}, {column}))"

    def _number_name(self, v: int) -> str:
        """What a number of the step is called in the source: by its own name, where that means nothing else there."""
        name = identifier(self._program.names[v], f"s{v}")
        taken = name in _LOCALS or name in self._names.values() or _GENERATED.fullmatch(name) is not None
        return f"s{v}" if taken else name

    def _update(self) -> Iterator[str]:
        yield from self._elements()
        for slot, value in self._stage.outputs:
            yield self._store(slot, self._names[value])

    def _update_in_blocks(self) -> Iterator[str]:
        """Block by block, each after its random words."""
        yield f"for start in range(0, n, {WORDS_BLOCK}):"
        yield f"    stop = min(start + {WORDS_BLOCK}, n)"
        for k, slot in enumerate(self._rounded):
            name = self._slots[slot]
            yield f"    {name}_words = words + {k * WORDS_BLOCK * 4}"
            stream = f"(first_row + row) * {SLOTS_OF_A_ROW} + {slot}"
            yield f"    support.fill_words({name}_words, first + start, stop - start, seed, {stream}, step)"
        yield "    for i in range(start, stop):"
        yield from _indented(self._update(), 2)

    def _elements(self) -> Iterator[str]:
        """One line for each value of an element; all loads first."""
        code = self._program.code
        loads = [v for v in self._stage.element_code if code[v].op == "slot"]
        for v in loads:
            slot = code[v].index
            self._names[v] = f"{self._slots[slot]}_0"
            yield f"{self._names[v]} = {self._load(slot)}"
        for v in self._stage.element_code:
            if code[v].op == "slot":
                continue
            self._names[v] = f"v{v}"
            yield f"v{v} = {self._expression(code[v].op, code[v].args)}"

    def _expression(self, op: str, operands: Sequence[int]) -> str:
        args = [self._names[a] for a in operands]
        if op in ("maximum", "minimum") and self._bounds & set(operands):
            a, bound = sorted(operands, key=self._bounds.__contains__)
            function = "at_least" if op == "maximum" else "at_most"
            return f"support.{function}({self._names[a]}, {self._names[bound]})"
        return expression(op, args, self._real)

    def _load(self, slot: int) -> str:
        return load(self._dtypes[slot].name, f"{self._slots[slot]}_at", "i", slot, self._real)

    def _store(self, slot: int, value: str) -> str:
        if slot in self._rounded:
            how = self._rounded[slot]
            word = f"support.load_uint32({self._slots[slot]}_words, i - start, {WORDS_SCOPE})"
            if how.smallest:
                arguments = f"{value}, {word}, {how.drop}, {how.smallest!r}, {how.quantum!r}"
                value = f"support.round_coarsely_{self._real}({arguments})"
            else:
                value = f"support.drop_bits_{self._real}({value}, {word}, {how.drop})"
        return store(self._dtypes[slot].name, f"{self._slots[slot]}_at", "i", slot, value, self._real)

    def _reduce(self) -> Iterator[str]:
        """Lanes over the chunk, then joined: the fixed order of a sum."""
        code, reductions = self._program.code, self._stage.reductions
        yield f"width = support.lanes_used(n, {LANES})"
        for k, reduction in enumerate(reductions):
            yield f"lanes_{k} = lanes + {k * LANES * 8}"
            start = {"amax": "-np.inf", "amin": "np.inf"}.get(code[reduction].op, "0.0")
            yield f"support.fill_lanes(lanes_{k}, width, {start})"
        yield f"for base in range(0, n - {LANES - 1}, {LANES}):"
        yield f"    for lane in range({LANES}):"
        yield from _indented(self._add_to_lane("base + lane"), 2)
        yield f"for lane in range(n % {LANES}):"
        yield from _indented(self._add_to_lane(f"n - n % {LANES} + lane"))
        for k, reduction in enumerate(reductions):
            kind = {"amax": "max", "amin": "min"}.get(code[reduction].op, "sum")
            joined = f"support.{kind}_of_lanes(lanes_{k}, width)"
            yield f"support.write_float64(partial, {len(reductions)} * chunk + {k}, {joined})"

    def _add_to_lane(self, element: str) -> Iterator[str]:
        """One element, added to the lane of each reduction."""
        code = self._program.code
        yield f"i = {element}"
        yield from self._elements()
        for k, reduction in enumerate(self._stage.reductions):
            op = code[reduction].op
            yield f"sum_{k} = support.load_float64(lanes_{k}, lane, {LANES_SCOPE})"
            yield f"x{k} = float64({self._names[code[reduction].args[0]]})"
            if op.endswith("square"):
                yield f"x{k} = x{k} * x{k}"
            yield f"support.store_float64(lanes_{k}, lane, {LANES_SCOPE}, {_joined(op, f'sum_{k}', f'x{k}')})"


def _indented(lines: Iterable[str], levels: int = 1) -> Iterator[str]:
    return ("    " * levels + line for line in lines)


def _joined(op: str, one: str, other: str) -> str:
    if op in ("amax", "amin"):
        return f"support.{'maximum' if op == 'amax' else 'minimum'}({one}, {other})"
    return f"{one} + {other}"
