"""Runs Programs over device tables: a launch for each stage and each group of dtypes, no wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from neon_optim.backends.contract import Outcome, Rounding
from neon_optim.backends.dtypes import compute_type
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.device_table import DeviceTable, Group
from neon_optim.backends.gpu.kernel_arguments import (
    CHANGING_FIELDS,
    REDUCE_THREADS,
    TABLE_FIELDS,
    UPDATE_THREADS,
    ScalarLayout,
    kernel_name,
)
from neon_optim.backends.gpu.memory import layout
from neon_optim.backends.gpu.program_source import program_source
from neon_optim.backends.gpu.refusals import Refusals
from neon_optim.backends.optree import Node
from neon_optim.backends.program import Program, linearize
from neon_optim.backends.scalars import ScalarValues

__all__ = ["CudaEngine", "DeviceOutcome", "Reduction"]

BLOCKS_PER_MULTIPROCESSOR = 8
_SMALLEST_CAPACITY = 16
_LARGEST_CAPACITY = 2048
"""Scalars that fit in the arguments of a launch, of which CUDA allows 32,764 bytes; more lie in device memory."""
_SCALAR = np.dtype(np.float64)


class DeviceOutcome(Outcome):
    """An outcome that is still on the device: reading an attribute waits for the work before it."""

    def __init__(
        self,
        refusals: Refusals,
        number: int,
        wait: Callable[[], Outcome],
        bad_rows: Callable[[], Sequence[int]] | None,
    ):
        self._refusals = refusals
        self._number = number
        self._wait = wait
        self._bad_rows = bad_rows
        self._known: Outcome | None = None
        refusals.unasked = self

    def _values(self) -> Outcome:
        if self._known is None:
            found = self._wait()
            self._refusals.settle(self._number)
            self._known = found
            self._refusals.unasked = None
        return self._known

    def settle(self) -> None:
        """Wait for the outcome, as nobody has asked for it."""
        self._values()

    @property
    def stored(self) -> bool:  # type: ignore[override]
        """False where the guard was not finite."""
        return self._values().stored

    @property
    def results(self) -> list[np.ndarray]:  # type: ignore[override]
        """The values that the Program returns."""
        return self._values().results

    @property
    def guard(self) -> np.ndarray | None:  # type: ignore[override]
        """The guard's value for each scalar set."""
        return self._values().guard

    def when_refused(self, counting: Any, report: Callable[[Sequence[int] | None], object]) -> None:
        """See :meth:`Outcome.when_refused`; waits for nothing."""
        if self._known is not None:
            super().when_refused(counting, report)
            return
        undo = partial(counting.set_counters, counting.get_counters())
        self._refusals.expect(self._number, self._bad_rows, undo, report)
        self._refusals.unasked = None


class _Scratch:
    """Device memory for what a Program computes between its stages over one table."""

    def __init__(self, device: Device, program: Program, table: DeviceTable):
        self._device = device
        places = ScalarLayout.of(program)
        n_reductions = max((len(stage.reductions) for stage in program.stages), default=0)
        n_rows, n_sets = len(table.sizes), len(table.scopes)
        counts = {
            "partials": n_reductions * int(table.row_chunks[-1]),
            "row_sums": n_reductions * n_rows,
            "set_values": n_sets * len(places.on_device),
            "row_values": n_rows * len(places.by_row),
            "ticket": 1,
            "scalars": 0 if _capacity(n_sets * len(places.arguments)) else n_sets * len(places.arguments),
        }
        self.memory = device.allocate(sum(counts.values()) * _SCALAR.itemsize)
        ends = np.cumsum(list(counts.values())) * _SCALAR.itemsize + int(self.memory)
        starts = dict(zip(counts, [int(self.memory), *ends[:-1].tolist()], strict=True))
        self.ticket_is_zero = False
        self._sums = (n_reductions, n_rows)
        last = program.stages[-2].reductions if len(program.stages) > 1 else ()
        self._shown = [k for k, v in enumerate(last) if program.code[v].op not in ("amax", "amin")]
        self.fields = starts | table.fields
        self.launches: dict[Any, list[tuple[Callable[..., None], int, int, bytes]]] = {}

    def bad_rows(self) -> list[int]:
        """The rows whose sums are not finite, after an execution that was refused."""
        sums = np.empty(self._sums)
        self._device.download(sums, self.fields["row_sums"])
        return np.flatnonzero(~np.isfinite(sums[self._shown]).all(axis=0)).tolist()


def _capacity(n_scalars: int) -> int:
    """The scalars that a launch has room for, one of few numbers as each is a kernel; 0: they go by device memory."""
    capacity = _SMALLEST_CAPACITY
    while capacity < n_scalars:
        capacity *= 2
    return capacity if capacity <= _LARGEST_CAPACITY else 0


class Reduction:
    """A reduction of one array after the other, to a float64 number that stays on the device.

    Attributes:
        address: where the number is.
    """

    def __init__(self, table: DeviceTable, launch: Callable[[], None], address: int):
        self._table = table
        self._launch = launch
        self._source = 0
        self.address = address

    def run(self, source: int) -> None:
        """Reduce the array that begins at an address."""
        if source != self._source:
            self._table.readdress(0, np.array([source]), list)
            self._source = source
        self._launch()


class CudaEngine:
    """The engine of the GPU backend."""

    def __init__(self, device: Device):
        self._device = device
        self._kernels: dict[Any, Callable[..., None]] = {}
        self._refusals = Refusals(device)
        self._executions = 0

    def execute(
        self,
        program: Program,
        table: DeviceTable,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """See :meth:`neon_optim.backends.contract.Backend.execute`; the arrays are contiguous."""
        undecided = self._refusals.undecided()
        self._executions += 1
        arguments, host = self._arguments(program, table, scalars)
        alone = len(program.stages) == 1  # nothing depends on the device: neither guard nor results
        outcome = host.outcome() if alone else Outcome()
        if not outcome.stored:
            return outcome
        if undecided or (not alone and (program.guard is not None or program.results)):
            scratch = self._scratch(program, table)
            read = partial(self._read, program, len(table.scopes), scratch, host)
            bad_rows = None if alone or program.guard is None else scratch.bad_rows
            outcome = DeviceOutcome(self._refusals, self._executions, read, bad_rows)
        for number, stage in enumerate(program.stages):
            if stage.element_code or stage.outputs:
                self._launch(program, table, number, arguments, rounding)
        return outcome

    def check(self) -> None:
        """Tell of a refused execution, if the host knows of one; without waiting for the device."""
        self._refusals.check()

    def undecided(self) -> bool:
        """Whether an execution so far may have been refused, as far as the host knows."""
        return self._refusals.undecided()

    def close(self) -> None:
        """Give back what the device does not need any more."""
        self._refusals.close()

    # ---

    def reduction(self, op: str, size: int, dtype: np.dtype) -> Reduction:
        """A reduction of contiguous arrays of so many elements."""
        program, _ = linearize(op, ("a",), [(0, Node(op, Node("slot", name="a", index=0)))])
        table = DeviceTable(self._device, [[layout(0, (size,), dtype, None)]])
        launch = partial(self._launch, program, table, 0, np.empty(0), None)
        return Reduction(table, launch, self._scratch(program, table).fields["row_values"])

    # --- scalars ---

    @staticmethod
    def _arguments(
        program: Program, table: DeviceTable, scalars: Sequence[Sequence[float]]
    ) -> tuple[np.ndarray, ScalarValues]:
        """What the host computes: the scalar arguments of every launch, and all values of depth 0."""
        host = ScalarValues(program, scalars, table.sets, table.sizes, table.scopes)
        host.run(program.stages[0])
        passed = ScalarLayout.of(program).arguments
        return np.array([values[v] for values in host.of_sets for v in passed]), host

    def _read(self, program: Program, n_sets: int, scratch: _Scratch, host: ScalarValues) -> Outcome:
        on_device = ScalarLayout.of(program).on_device
        values = np.empty((n_sets, len(on_device)))
        self._device.download(values, scratch.fields["set_values"])  # waits, also where there are none

        def of_set(v: int) -> np.ndarray:
            return values[:, on_device.index(v)] if v in on_device else host.of_set(v)

        guard = None if program.guard is None else of_set(program.guard)
        stored = guard is None or bool(np.isfinite(guard).all())
        return Outcome(stored, [of_set(v) for v in program.results], guard)

    # --- launches ---

    def _scratch(self, program: Program, table: DeviceTable) -> _Scratch:
        scratch = table.scratch.get(program)
        if scratch is None:
            scratch = table.scratch[program] = _Scratch(self._device, program, table)
        return scratch

    def _launch(
        self,
        program: Program,
        table: DeviceTable,
        number: int,
        arguments: np.ndarray,
        rounding: Rounding | None,
    ) -> None:
        scratch = self._scratch(program, table)
        capacity = _capacity(len(arguments))
        if capacity:
            scalars = np.zeros(capacity)
            scalars[: len(arguments)] = arguments
        else:
            scalars = np.array([scratch.fields["scalars"]])
            self._device.upload(int(scalars[0]), arguments)
        noise = (rounding.seed, rounding.step, rounding.first_row) if rounding else (0, 0, 0)
        changing = np.array([self._executions, *noise], np.int64).tobytes() + scalars.tobytes()
        bits = rounding.bits if rounding else None
        launches = scratch.launches.get((number, capacity, bits))
        if launches is None:
            launches = scratch.launches[number, capacity, bits] = self._prepare(
                program, table, number, capacity, bits
            )
        if not scratch.ticket_is_zero:
            self._device.zero(scratch.fields["ticket"], _SCALAR.itemsize)
        scratch.ticket_is_zero = False  # as an interrupt may come between the launches of two groups
        for kernel, grid, threads, fixed in launches:
            kernel(grid, threads, fixed + changing)
        scratch.ticket_is_zero = True

    def _prepare(
        self, program: Program, table: DeviceTable, number: int, capacity: int, bits: int | None
    ) -> list[tuple[Callable[..., None], int, int, bytes]]:
        """For each group: kernel, blocks, threads, and the part of the arguments that does not change."""
        reduces = bool(program.stages[number].reductions)
        threads = REDUCE_THREADS if reduces else UPDATE_THREADS
        most = self._device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR * (UPDATE_THREADS // threads)
        work = [(g.chunks, g.n_chunks) if reduces else (g.pieces, g.n_pieces) for g in table.groups]
        grids = [max(1, min(n, most)) for _, n in work]  # one also where all is empty: a block joins the sums
        fields = self._scratch(program, table).fields | self._refusals.fields | {"n_blocks": sum(grids)}
        launches = []
        for group, grid, (pieces, n_pieces) in zip(table.groups, grids, work, strict=True):
            values = fields | {"work": int(pieces), "n_work": n_pieces}
            fixed = np.array([values[name] for name, _ in TABLE_FIELDS], np.int64).tobytes()
            launches.append((self._kernel(program, group, number, capacity, bits), grid, threads, fixed))
        return launches

    def _kernel(
        self, program: Program, group: Group, number: int, capacity: int, bits: int | None
    ) -> Callable[..., None]:
        key = (program, group.dtypes, number, capacity, bits)
        kernel = self._kernels.get(key)
        if kernel is None:
            source = program_source(program, group.dtypes, compute_type(group.dtypes), capacity, bits)
            size = 8 * (len(TABLE_FIELDS) + len(CHANGING_FIELDS) + (capacity or 1))
            kernel = self._kernels[key] = self._device.kernel(source, kernel_name(program, number), size)
        return kernel
