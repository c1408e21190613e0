"""A loop of a graph as the source of a Numba function.

The source holds structure only: extents, strides and addresses come in a table, numbers in an array. So one function
serves arrays of every size. Rows are independent of each other; threads claim them task by task. The elements of a row
are gone through once for each phase, and what is dear to compute again is kept from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neon_optim.backends.cpu.compiled.loop_writer import LoopWriter, Operand, Scratch, indented
from neon_optim.backends.cpu.compiled.row_loops import ColumnsWriter, RowsWriter
from neon_optim.backends.local_loop import LocalLoop

__all__ = ["ARGUMENTS", "loop_source", "scratch_of"]

ARGUMENTS = ("counter", "table", "numbers", "scratch")
"""Addresses: of the number of the next task, which every thread counts up; of the table; of the numbers of the graph
(float64); of this thread's scratch memory."""


def scratch_of(local: LocalLoop, columns: bool) -> list[Scratch]:
    """The scratch memory that a loop needs, in the order of the table; the arguments are those of `loop_source`."""
    return _writer(local, [], 0, columns).scratch


def loop_source(name: str, local: LocalLoop, operands: Sequence[Operand], n_outer: int, columns: bool) -> str:
    """The text of a module with a function of that name.

    Arguments:
        operands: the arrays, in the order of the table.
        n_outer: the number of outer axes.
        columns: whether the innermost axis is another one than the reduced one, so that rows lie side by side.
    """
    return _writer(local, operands, n_outer, columns).write(name)


def _writer(local: LocalLoop, operands: Sequence[Operand], n_outer: int, columns: bool) -> LoopWriter:
    kind = PlainWriter if local.loop.axis is None else ColumnsWriter if columns else RowsWriter
    return kind(local, operands, n_outer)


class PlainWriter(LoopWriter):
    """No reductions: a unit is a block of a row, gone through once."""

    n_axes = 1

    def _unit(self) -> Iterator[str]:
        yield from self._hoisted()
        yield "for i in range(first, stop):"
        yield from indented(self._elements(0))
