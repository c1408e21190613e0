"""Runs loops of graphs on a device: a launch each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neon_optim.backends.flow_memory import FlowMemory
from neon_optim.backends.fusion import Loop
from neon_optim.backends.gpu.device import Device
from neon_optim.backends.gpu.device_loop_source import DeviceOperand, is_on_device, loop_source
from neon_optim.backends.gpu.strided_source import THREADS
from neon_optim.backends.local_loop import LocalLoop
from neon_optim.backends.loop_layout import LoopLayout, lay_out
from neon_optim.backends.sums import AXIS_LANES

__all__ = ["DeviceLoop"]


class DeviceLoop:
    """One loop of a graph over the arrays of a flow.

    Arguments:
        grid: the blocks for so many threads.
    """

    def __init__(self, device: Device, loop: Loop, memory: FlowMemory, grid: Callable[[int], int]):
        self._memory = memory
        self._values = [*loop.reads, *loop.writes]
        arrays = [memory.arrays[v] for v in self._values]
        extents, strides, steps, along = _axes(lay_out(arrays, loop.shape, loop.axis))
        local = LocalLoop.of(memory.graph, loop)
        on_device = [is_on_device(local.values[a]) for a in local.given]
        self._of_host = [v for v, there in zip(local.places, on_device, strict=True) if not there]
        self._of_device = [v for v, there in zip(local.places, on_device, strict=True) if there]
        size = int(np.prod(extents, dtype=np.int64))
        n_addresses, n_totals = len(arrays), max(1, len(self._of_device))
        fixed = [size, *extents, *(s for row in strides for s in row), along, *steps]
        words = np.zeros(n_addresses + len(fixed) + n_totals + max(1, len(self._of_host)), np.int64)
        words[n_addresses : n_addresses + len(fixed)] = fixed
        self._words = words
        self._addresses = words[:n_addresses]
        self._totals = words[n_addresses + len(fixed) :][:n_totals]
        self._numbers = words[n_addresses + len(fixed) + n_totals :].view(np.float64)
        if "kernel" not in loop.compiled:
            numbered = [*local.loop.reads, *local.loop.writes]
            operands = [
                DeviceOperand(v, array.dtype, k >= len(loop.reads), loop.axis is not None and not step)
                for k, (v, array, step) in enumerate(zip(numbered, arrays, steps, strict=True))
            ]
            nearer = [abs(step) < abs(row[-1]) for step, row in zip(steps, strides, strict=True) if step]
            beside = 2 * sum(nearer) >= len(nearer)
            source = loop_source(local, operands, len(extents), beside)
            loop.compiled["kernel"] = device.kernel(source, "loop", words.nbytes)
        self._kernel = loop.compiled["kernel"]
        self._grid = grid(size * (1 if loop.axis is None else AXIS_LANES)) if size else 0
        self.bind()

    def bind(self) -> None:
        """Take the arrays that are there now."""
        addresses = self._memory.addresses
        self._addresses[:] = [addresses[v] for v in self._values]

    def __call__(self) -> None:
        """Launch the loop."""
        if not self._grid:
            return
        words, addresses = self._memory.words, self._memory.addresses
        for k, a in enumerate(self._of_host):
            self._numbers[k] = words[a]
        for k, a in enumerate(self._of_device):
            self._totals[k] = addresses[a]
        self._kernel(self._grid, THREADS, self._words.tobytes())


def _axes(layout: LoopLayout) -> tuple[list[int], list[list[int]], list[int], int]:
    """The axes that rows are counted by, each array's strides along them and along the reduced axis, and its length."""
    extents, n_outer = list(layout.outer), len(layout.outer)
    if layout.inner is not None:
        extents.append(layout.inner)
    rows = [[*s[:n_outer], *(s[-1:] if layout.inner is not None else ())] for s in layout.strides]
    steps = [0 if layout.along is None else s[n_outer] for s in layout.strides]
    if not extents:
        extents, rows = [1], [[0] for _ in rows]
    return extents, rows, steps, layout.along or 0
