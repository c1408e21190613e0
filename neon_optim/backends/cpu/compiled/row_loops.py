"""The source of loops with reductions: the elements of a row are gone through once for each phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from neon_optim.backends.cpu.compiled.loop_writer import SIZES, LoopWriter, Scratch, indented
from neon_optim.backends.sums import AXIS_LANES

__all__ = ["ColumnsWriter", "RowsWriter"]


class RowsWriter(LoopWriter):
    """The reduced axis is the innermost one: a unit is a row."""

    n_axes = 1

    def _unit(self) -> Iterator[str]:
        yield from self._hoisted()
        yield f"width = support.lanes_used(along, {AXIS_LANES})"
        for phase, done in self._phases:
            if done:
                yield from self._reduced(phase, done)
            else:
                yield "for i in range(along):"
                yield from indented(self._elements(phase))

    def _reduced(self, phase: int, done: Sequence[int]) -> Iterator[str]:
        for v in done:
            yield "for lane in range(width):"
            yield f"    {self._into(f'lanes_{v}', 'lane', self._start(v))}"
        yield f"for base in range(0, along - {AXIS_LANES - 1}, {AXIS_LANES}):"
        yield f"    for lane in range({AXIS_LANES}):"
        yield "        i = base + lane"
        yield from indented(self._elements(phase, done), 2)
        yield from indented(self._add_parts(done, f"for lane in range({AXIS_LANES}):"))
        yield f"for lane in range(along % {AXIS_LANES}):"
        yield f"    i = along - along % {AXIS_LANES} + lane"
        yield from indented(self._elements(phase, done))
        yield from self._add_parts(done, f"for lane in range(along % {AXIS_LANES}):")
        for v in done:
            yield from self._halved(v, "lane", "lanes")
        for v in self._phases.rows_after(phase):
            yield f"v{v} = {self._row_value(v)}"
            if v in self._written:
                yield self._store(self._written[v], "0", f"v{v}")

    def _row_value(self, v: int) -> str:
        if self._values[v].op == "reduce":
            return self._result(v, self._from(f"lanes_{v}", "0"))
        return self._computed(v, self._name)


class ColumnsWriter(LoopWriter):
    """The innermost axis is another one than the reduced one: a unit is a block of rows that lie side by side."""

    n_axes = 2
    at = "b"
    _part = "row"

    @cached_property
    def scratch(self) -> list[Scratch]:
        """See :func:`scratch_of`."""
        rows = [v for v in self._loop.values if v in self._loop.rows]
        return super().scratch + [Scratch(f"row_{v}", self._values[v].dtype.name, "row") for v in rows]

    def _unit(self) -> Iterator[str]:
        yield f"width = support.lanes_used(along, {AXIS_LANES})"
        for phase, done in self._phases:
            for v in done:
                yield f"for i in range({'width * block' if self._is_sum(v) else 'block'}):"
                yield f"    {self._into(f'lanes_{v}', 'i', self._start(v))}"
            yield "for k in range(along):"
            yield from indented(self._line(done))
            yield "    for i in range(first, stop):"
            yield from indented(self._elements(phase, done), 2)
            yield from indented(self._add_parts(done, "for i in range(first, stop):"))
            for v in done:
                if self._is_sum(v):
                    yield from self._halved(v, "i", "lanes * block")
            yield from self._after(phase)

    def _line(self, done: Sequence[int]) -> Iterator[str]:
        """Where the elements at one place of the reduced axis are."""
        for k in range(len(self._operands)):
            yield f"b{k}_at = a{k}_at + k * a{k}_step_{self._n_outer}"
        for v in self._phases.kept:
            yield f"kept_{v}_at = kept_{v} + k * block * {SIZES[self._values[v].dtype.name]}"
        for v in done:
            yield f"lanes_{v}_at = lanes_{v}" + (
                f" + k % {AXIS_LANES} * block * 8" if self._is_sum(v) else ""
            )
        yield from self._hoisted()

    def _after(self, phase: int) -> Iterator[str]:
        rows = self._phases.rows_after(phase)
        if rows:
            yield "for i in range(first, stop):"
        for v in rows:
            if self._values[v].op == "reduce":
                yield f"    v{v} = {self._result(v, self._from(f'lanes_{v}', 'i - first'))}"
            else:
                yield f"    v{v} = {self._computed(v, self._operand_of_row)}"
            yield f"    {self._into(f'row_{v}', 'i - first', f'v{v}')}"
            if v in self._written:
                yield f"    {self._store(self._written[v], self._index(self._written[v]), f'v{v}', 'a')}"

    def _operand_of_row(self, a: int) -> str:
        if a in self._loop.phase:
            return self._from(f"row_{a}", "i - first")
        return self._load(self._read[a], self._index(self._read[a]), "a")

    def _row_of_element(self, v: int) -> Iterator[str]:
        yield f"v{v} = {self._from(f'row_{v}', 'i - first')}"

    def _lane_place(self) -> str:
        return "i - first"

    def _lane_address(self, v: int) -> str | None:
        return f"lanes_{v}_at"

    def _kept_element(self, v: int) -> str:
        return self._from(f"kept_{v}", "i - first", f"kept_{v}_at")

    def _keep(self, v: int) -> str:
        return self._into(f"kept_{v}", "i - first", f"v{v}", f"kept_{v}_at")
