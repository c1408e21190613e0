"""Runs Programs over device tables: a launch for each stage and each group of dtypes, no wait for the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_optim.backends.contract import Outcome, Rounding
from neon_optim.backends.evaluate import compute_type
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
from neon_optim.backends.optree import Node
from neon_optim.backends.program import SET, Program, linearize
from neon_optim.backends.scalars import ScalarValues

__all__ = ["CudaEngine", "DeviceOutcome"]

BLOCKS_PER_MULTIPROCESSOR = 8
_SMALLEST_CAPACITY = 16
_MOST_HANDLERS = 1000
_SCALAR = np.dtype(np.float64)


class DeviceOutcome(Outcome):
    """An outcome that is still on the device: reading an attribute waits for the work before it."""

    def __init__(self, engine: CudaEngine, number: int, download: Callable[[], Outcome]):
        self._engine = engine
        self._number = number
        self._download = download
        self._known: Outcome | None = None

    def _values(self) -> Outcome:
        if self._known is None:
            self._known = self._download()
            self._engine.settle(self._number)
        return self._known

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

    def when_refused(self, handler: Callable[[], object]) -> None:
        """See :meth:`Outcome.when_refused`; waits for nothing."""
        self._engine.expect(self._number, handler)


class _Scratch:
    """Device memory for what a Program computes between its stages over one table."""

    def __init__(self, device: Device, program: Program, table: DeviceTable):
        places = ScalarLayout.of(program)
        n_reductions = max((len(stage.reductions) for stage in program.stages), default=0)
        n_rows, n_sets = len(table.sizes), len(table.scopes)
        counts = {
            "partials": n_reductions * int(table.row_chunks[-1]),
            "row_sums": n_reductions * n_rows,
            "set_values": n_sets * len(places.on_device),
            "row_values": n_rows * len(places.by_row),
            "ticket": 1,
        }
        self.memory = device.allocate(sum(counts.values()) * _SCALAR.itemsize)
        ends = np.cumsum(list(counts.values())) * _SCALAR.itemsize + int(self.memory)
        starts = dict(zip(counts, [int(self.memory), *ends[:-1].tolist()], strict=True))
        device.zero(starts["ticket"], _SCALAR.itemsize)
        self.fields = starts | table.fields
        self.launches: dict[Any, list[tuple[Callable[..., None], int, int, bytes]]] = {}


class CudaEngine:
    """The engine of the GPU backend."""

    def __init__(self, device: Device):
        self._device = device
        self._kernels: dict[Any, Callable[..., None]] = {}
        self._halted = device.constant(np.zeros(1, np.uint64))
        self._halted_on_host, mirror = device.mirror()
        self._fields = {"halted": int(self._halted), "halted_on_host": mirror}
        self._executions = 0
        self._handlers: dict[int, Callable[[], object]] = {}

    def execute(
        self,
        program: Program,
        table: DeviceTable,
        scalars: Sequence[Sequence[float]],
        rounding: Rounding | None = None,
    ) -> Outcome:
        """See :meth:`neon_optim.backends.contract.Backend.execute`; the arrays are contiguous."""
        self.check()
        self._executions += 1
        arguments, host = self._arguments(program, table, scalars)
        if len(program.stages) == 1:  # nothing depends on the device: neither guard nor results
            outcome = self._host_outcome(program, host)
            if outcome.stored:
                self._launch(program, table, 0, arguments, rounding)
            return outcome
        scratch = self._scratch(program, table)
        for number, stage in enumerate(program.stages):
            if stage.element_code or stage.outputs:
                self._launch(program, table, number, arguments, rounding)
        if program.guard is None and not program.results:
            return Outcome()
        return DeviceOutcome(self, self._executions, lambda: self._read(program, table, scratch, host))

    # --- guards: a refused execution halts the device until the host has been told ---

    def expect(self, number: int, handler: Callable[[], object]) -> None:
        """Call a handler when the host learns that an execution was refused."""
        self._handlers[number] = handler
        if len(self._handlers) >= _MOST_HANDLERS:
            self._device.synchronize()
            self.check(finished=True)

    def check(self, finished: bool = False) -> None:
        """Call the handler of a refused execution, if the host knows of one; without waiting for the device.

        Arguments:
            finished: the device has done all work so far, so that what has not been refused never will be.
        """
        number = int(self._halted_on_host[0])
        handlers = self._handlers
        if number or finished:
            self._handlers = {}
        if number:
            self._resume()
            if number in handlers:
                handlers[number]()

    def settle(self, number: int) -> None:
        """The host has waited for an execution and knows its outcome."""
        if int(self._halted_on_host[0]) == number:
            self._resume()
        self.check(finished=True)

    def _resume(self) -> None:
        self._halted_on_host[0] = 0
        self._device.zero(int(self._halted), 8)

    # ---

    def reduce(self, op: str, array: np.ndarray) -> np.ndarray:
        """A reduction over one contiguous array, as a float64 array of one element that is still on the device."""
        slot = Node("slot", name="a", index=0)
        program, _ = linearize(op, ("a",), [(0, Node(op, slot))])
        table = DeviceTable(self._device, [[array]])
        self._launch(program, table, 0, np.empty(0), None)
        scratch = self._scratch(program, table)
        return layout(scratch.fields["row_values"], (1, 1), _SCALAR, (table, scratch))

    # --- scalars ---

    @staticmethod
    def _arguments(
        program: Program, table: DeviceTable, scalars: Sequence[Sequence[float]]
    ) -> tuple[np.ndarray, ScalarValues]:
        """What the host computes: the scalar arguments of every launch, and all values of depth 0."""
        code = program.code
        host = ScalarValues(program, scalars, table.sets, table.sizes, table.scopes)
        host.run([v for v in program.stages[0].scalar_code if code[v].rank == SET])
        passed = ScalarLayout.of(program).arguments
        return np.array([values[v] for values in host.of_sets for v in passed]), host

    @staticmethod
    def _host_outcome(program: Program, host: ScalarValues) -> Outcome:
        guard = None if program.guard is None else host.of_set(program.guard)
        stored = guard is None or bool(np.isfinite(guard).all())
        return Outcome(stored, [host.of_set(v) for v in program.results], guard)

    def _read(self, program: Program, table: DeviceTable, scratch: _Scratch, host: ScalarValues) -> Outcome:
        on_device = ScalarLayout.of(program).on_device
        values = np.empty((len(table.scopes), len(on_device)))
        self._device.download(values, scratch.fields["set_values"])

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
        capacity = _SMALLEST_CAPACITY
        while capacity < len(arguments):
            capacity *= 2
        scalars = np.zeros(capacity)
        scalars[: len(arguments)] = arguments
        noise = (rounding.seed, rounding.step, rounding.first_row) if rounding else (0, 0, 0)
        changing = np.array([self._executions, *noise], np.int64).tobytes() + scalars.tobytes()
        bits = rounding.bits if rounding else None
        scratch = self._scratch(program, table)
        launches = scratch.launches.get((number, capacity, bits))
        if launches is None:
            launches = scratch.launches[number, capacity, bits] = self._prepare(
                program, table, number, capacity, bits
            )
        for kernel, grid, threads, fixed in launches:
            kernel(grid, threads, fixed + changing)

    def _prepare(
        self, program: Program, table: DeviceTable, number: int, capacity: int, bits: int | None
    ) -> list[tuple[Callable[..., None], int, int, bytes]]:
        """For each group: kernel, blocks, threads, and the part of the arguments that does not change."""
        reduces = bool(program.stages[number].reductions)
        threads = REDUCE_THREADS if reduces else UPDATE_THREADS
        most = self._device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR * (UPDATE_THREADS // threads)
        work = [(g.chunks, g.n_chunks) if reduces else (g.pieces, g.n_pieces) for g in table.groups]
        grids = [max(1, min(n, most)) for _, n in work]  # one also where all is empty: a block joins the sums
        fields = self._scratch(program, table).fields | self._fields | {"n_blocks": sum(grids)}
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
            size = 8 * (len(TABLE_FIELDS) + len(CHANGING_FIELDS) + capacity)
            kernel = self._kernels[key] = self._device.kernel(source, kernel_name(program, number), size)
        return kernel
