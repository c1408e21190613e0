"""A loop of a graph as the source of a CUDA kernel.

Without reductions a thread computes an element. With reductions a row has a thread for each lane of a sum: these go
through the row once for each phase, and join their lanes after it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from neon_optim.backends.gpu.cuda_source import PRELUDE, expression, storage_type
from neon_optim.backends.gpu.formula_source import formula_functions
from neon_optim.backends.gpu.strided_source import STRIDED, THREADS, offsets
from neon_optim.backends.graph import TOTALS, Value
from neon_optim.backends.local_loop import LocalLoop
from neon_optim.backends.loop_phases import LoopPhases
from neon_optim.backends.sums import AXIS_LANES

__all__ = ["DeviceOperand", "is_on_device", "loop_source"]


@dataclass(frozen=True)
class DeviceOperand:
    """An array of a loop.

    Attributes:
        value: the value that it holds.
        stored: the type of its elements.
        writes: whether it is written.
        by_row: whether it is the same all along the reduced axis.
    """

    value: int
    stored: np.dtype
    writes: bool
    by_row: bool


def is_on_device(number: Value) -> bool:
    """Whether a number that is given to a loop is read where it was computed; the others are passed."""
    return number.op in TOTALS and number.op != "size"


def loop_source(local: LocalLoop, operands: Sequence[DeviceOperand], ndim: int, beside: bool) -> str:
    """The text of a module with the kernel ``loop``.

    Arguments:
        operands: the arrays, in the order of the argument.
        ndim: the axes of the argument: those of the loop but the reduced one.
        beside: the elements of a row are nearer to each other in memory than rows are, so that neighbouring threads
            take neighbouring lanes.
    """
    return _Writer(local, operands).write(ndim, beside)


class _Writer:
    def __init__(self, local: LocalLoop, operands: Sequence[DeviceOperand]):
        self._local = local
        self._values = local.values
        self._loop = local.loop
        self._phases = LoopPhases(local.values, local.loop, keeps=False)
        self._operands = operands
        self._read = {o.value: k for k, o in enumerate(operands) if not o.writes}
        self._written = {o.value: k for k, o in enumerate(operands) if o.writes}

    def write(self, ndim: int, beside: bool) -> str:
        count = len(self._operands)
        n_totals = sum(is_on_device(self._values[a]) for a in self._local.given)
        reduces = self._loop.axis is not None
        fields = [
            f"u64 address[{count}]",
            f"i64 size, extent[{ndim}], stride[{count}][{ndim}], along, step[{count}]",
            f"u64 total[{max(1, n_totals)}]",
            f"double number[{max(1, len(self._local.given) - n_totals)}]",
        ]
        operations = [value.op for value in self._values]
        body = self._rows(ndim, beside) if reduces else self._plain(ndim)
        return f"""{PRELUDE}{formula_functions(operations)}
struct Strided {{ {" ".join(f"{field};" for field in fields)} }};
extern "C" __global__ void __launch_bounds__({THREADS}) loop(const __grid_constant__ Strided {STRIDED}) {{
{chr(10).join(f"  {line}" for line in (*self._number_lines(), *body))}
}}
"""

    def _number_lines(self) -> Iterator[str]:
        """The numbers in double, and what they are in the type that meets them."""
        totals, passed = itertools.count(), itertools.count()
        for a, value in enumerate(self._values):
            if a in self._local.given:
                read = f"*(const double *){STRIDED}.total[{next(totals)}]" if is_on_device(value) else None
                yield f"const double n{a} = {read or f'{STRIDED}.number[{next(passed)}]'};"
            elif value.is_number:
                yield f"const double n{a} = {_operation(value.op, [f'n{b}' for b in value.args])};"
        for a in self._local.used:
            yield f"const float s{a} = (float)n{a};"

    # --- without reductions ---

    def _plain(self, ndim: int) -> Iterator[str]:
        yield f"const i64 threads = gridDim.x * {THREADS}ll;"
        yield f"for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < {STRIDED}.size; i += threads) {{"
        yield offsets(len(self._operands), ndim)
        for k, operand in enumerate(self._operands):
            if not operand.writes:
                yield "  " + self._load(k, f"o{k}")
        for v in self._phases.needed(0):
            if v in self._loop.phase:
                yield f"  {self._computed(v)}"
        for v, k in self._written.items():
            yield "  " + self._store(k, f"o{k}", f"v{v}")
        yield "}"

    # --- with reductions ---

    def _rows(self, ndim: int, beside: bool) -> Iterator[str]:
        columns = THREADS // AXIS_LANES
        yield f"__shared__ double part[{AXIS_LANES}][{columns + 1}];"
        lane, column = f"threadIdx.x % {AXIS_LANES}", f"threadIdx.x / {AXIS_LANES}"
        if not beside:
            lane, column = f"threadIdx.x / {columns}", f"threadIdx.x % {columns}"
        yield f"const int lane = {lane}, column = {column};"
        yield (
            f"for (i64 first = blockIdx.x * {columns}ll; first < {STRIDED}.size; first += gridDim.x * {columns}ll) {{"
        )
        yield f"  const bool inside = first + column < {STRIDED}.size;"
        yield "  const i64 row = inside ? first + column : first;"
        yield offsets(len(self._operands), ndim, "row")
        for k, operand in enumerate(self._operands):
            if operand.by_row and not operand.writes:
                yield "  " + self._load(k, f"o{k}")
        for phase, done in self._phases:
            yield from (f"  {line}" for line in self._phase(phase, done))
        yield "}"

    def _phase(self, phase: int, done: Sequence[int]) -> Iterator[str]:
        for v in done:
            start = {"amax": "-(double)INFINITY", "amin": "(double)INFINITY"}.get(self._kind(v), "0")
            yield f"double lane_{v} = {start};"
        yield f"for (i64 i = lane; i < {STRIDED}.along; i += {AXIS_LANES}) {{"
        for v in self._phases.needed(phase, done):
            if v in self._loop.phase:
                if v not in self._loop.rows:
                    yield f"  {self._computed(v)}"
            elif not self._operands[self._read[v]].by_row:
                yield "  " + self._load(self._read[v], self._along(self._read[v]))
        for v in self._phases.elements(phase):
            if v in self._written:
                k = self._written[v]
                yield f"  if (inside) {self._store(k, self._along(k), f'v{v}')}"
        for v in done:
            (a,) = self._values[v].args
            yield f"  lane_{v} = {self._joined(v, f'lane_{v}', f'(double){self._name(a)}')};"
        yield "}"
        for v in done:
            yield from self._halved(v)
        for v in self._phases.rows_after(phase):
            if v not in done:
                yield self._computed(v)
            if v in self._written:
                k = self._written[v]
                yield f"if (inside && lane == 0) {self._store(k, f'o{k}', f'v{v}')}"

    def _halved(self, v: int) -> Iterator[str]:
        """Lanes joined by halving, and what comes of them, in every thread of the row."""
        joined = self._joined(v, "part[lane][column]", "part[lane + width][column]")
        result = (
            f"part[0][column] / (double){STRIDED}.along" if self._kind(v) == "mean" else "part[0][column]"
        )
        yield f"part[lane][column] = lane_{v};"
        yield "__syncthreads();"
        yield f"for (int width = {AXIS_LANES // 2}; width; width /= 2) {{"
        yield f"  if (lane < width) part[lane][column] = {joined};"
        yield "  __syncthreads();"
        yield "}"
        yield f"const {self._type(v)} v{v} = ({self._type(v)})({result});"
        yield "__syncthreads();"

    def _kind(self, v: int) -> str:
        kind: str = self._values[v].attrs["kind"]
        return kind

    def _joined(self, v: int, one: str, other: str) -> str:
        extreme = {"amax": "maximum", "amin": "minimum"}.get(self._kind(v))
        return f"{extreme}({one}, {other})" if extreme else f"{one} + {other}"

    # --- elements ---

    def _along(self, k: int) -> str:
        return f"o{k} + i * {STRIDED}.step[{k}]"

    def _type(self, v: int) -> str:
        return storage_type(self._values[v].dtype)

    def _load(self, k: int, offset: str) -> str:
        operand = self._operands[k]
        place = f"*(const {storage_type(operand.stored)} *)({STRIDED}.address[{k}] + {offset})"
        return f"const {self._type(operand.value)} x{operand.value} = widen({place});"

    def _store(self, k: int, offset: str, value: str) -> str:
        item = storage_type(self._operands[k].stored)
        return f"narrow(*({item} *)({STRIDED}.address[{k}] + {offset}), {value});"

    def _name(self, a: int) -> str:
        return f"v{a}" if a in self._loop.phase else f"x{a}"

    def _computed(self, v: int) -> str:
        """A value, as an operation on its operands in its type."""
        value, real = self._values[v], self._type(v)
        args = []
        for a in value.args:
            if self._values[a].is_number:
                args.append(f"s{a}" if real == "float" else f"n{a}")
            else:
                args.append(self._name(a) if self._type(a) == real else f"({real}){self._name(a)}")
        return f"const {real} v{v} = {_operation(value.op, args)};"


def _operation(op: str, args: Sequence[str]) -> str:
    return args[0] if op in ("broadcast", "contiguous", "copy") else expression(op, *args)
