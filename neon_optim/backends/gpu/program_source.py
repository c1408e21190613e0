"""A Program → CUDA source: one kernel for each stage, over all tensors of a call.

A kernel takes a ``Table`` (where the rows, the work list and the intermediate values lie on the device) and the
``Scalars`` of the step. Work is cut into pieces of one row; blocks stride over the list of pieces. Reductions keep the
fixed order of :mod:`neon_optim.backends.sums`; the block that finishes last joins the chunks, then computes in
float64 what the next stage needs, so that nothing goes back to the host between stages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neon_optim.backends.gpu.cuda_source import PRELUDE, expression, storage_type
from neon_optim.backends.gpu.formula_source import formula_functions
from neon_optim.backends.gpu.identifiers import identifiers
from neon_optim.backends.gpu.kernel_arguments import (
    CHANGING_FIELDS,
    PIECE,
    REDUCE_THREADS,
    TABLE_FIELDS,
    UPDATE_THREADS,
    ScalarLayout,
    kernel_name,
)
from neon_optim.backends.gpu.rounding_source import PHILOX_PRELUDE, STOCHASTIC_PRELUDE, rounded, stream
from neon_optim.backends.philox import ROUNDING
from neon_optim.backends.program import ROW, SET, Program, Stage
from neon_optim.backends.rounding import StoreRounding, store_rounding
from neon_optim.backends.sums import CHUNK, LANES

__all__ = ["program_source"]


def program_source(
    program: Program, dtypes: Sequence[np.dtype], compute: np.dtype, capacity: int, bits: int | None = None
) -> str:
    """The CUDA source of a Program for slots of the given dtypes.

    Arguments:
        compute: the compute type.
        capacity: scalars that the launch arguments have room for; 0: they hold the address of the scalars.
        bits: mantissa bits that stochastic rounding keeps (0: all of the storage); None: round to nearest.
    """
    return _Writer(program, dtypes, compute, bits).source(capacity)


_SHORT = 8
"""Operations on an element up to which a reduction is unrolled: longer code hides the latency of loads by itself."""


class _Writer:
    def __init__(self, program: Program, dtypes: Sequence[np.dtype], compute: np.dtype, bits: int | None):
        self.program = program
        self.code = program.code
        self.storage = [storage_type(d) for d in dtypes]
        self.vector = 16 // min((d.itemsize for d in dtypes), default=16)
        self.compute = storage_type(compute)
        self.layout = ScalarLayout.of(program)
        self.names = [f"v{v}" for v in range(len(self.code))]
        self.roundings: dict[int, StoreRounding] = {}
        if bits is not None:
            self.vector = max(self.vector, 4)  # words come in fours
            hows = {slot: store_rounding(compute, dtypes[slot], bits) for slot, _ in program.outputs}
            self.roundings = {slot: how for slot, how in hows.items() if how}

    def source(self, capacity: int) -> str:
        """The source, in which numbers that element code reads have the names that people gave them."""
        given = self.program.names
        inputs = sorted(
            {v for stage in self.program.stages for v in stage.inputs if given[v] != self.names[v]}
        )
        plain = self._text(capacity)
        for v, name in zip(inputs, identifiers([given[v] for v in inputs], plain), strict=True):
            self.names[v] = name
        comments = [f"// {line}".rstrip("\\") for line in str(self.program).splitlines()]
        return "\n".join([*comments, self._text(capacity)])

    def _text(self, capacity: int) -> str:
        fields = "\n".join(
            f"  {kind}{'' if kind.endswith('*') else ' '}{name};"
            for name, kind in TABLE_FIELDS + CHANGING_FIELDS
        )
        held = f"double v[{capacity}];" if capacity else "const double *v;"
        parts = [
            PRELUDE,
            formula_functions(i.op for i in self.code),
            *([PHILOX_PRELUDE, STOCHASTIC_PRELUDE] if self.roundings else []),
            f"typedef {self.compute} T;",
        ]
        parts += [f"struct Table {{\n{fields}\n}};", f"struct Scalars {{ {held} }};"]
        for number, stage in enumerate(self.program.stages):
            if stage.element_code or stage.outputs:
                parts += [self._element_function(number, stage), self._kernel(number, stage)]
        return "\n".join(parts) + "\n"

    # --- elements ---

    def _element_function(self, number: int, stage: Stage) -> str:
        """What happens to one element: slots in, reduction operands and new slot contents out."""
        lines = []
        for v in stage.element_code:
            i = self.code[v]
            operands = [self.names[a] for a in i.args]
            value = f"widen(x{i.index})" if i.op == "slot" else expression(i.op, *operands)
            lines.append(f"  const T {self.names[v]} = {value};")
        lines += [f"  r{k} = {self.names[self.code[v].args[0]]};" for k, v in enumerate(stage.reductions)]
        for slot, v in stage.outputs:
            how, value = self.roundings.get(slot), self.names[v]
            lines.append(f"  narrow(y{slot}, {rounded(value, f'w{slot}', how) if how else value});")
        parameters = [f"T {self.names[v]}" for v in stage.inputs]
        parameters += [f"{self.storage[s]} x{s}" for s in self._read(stage)]
        parameters += [f"T &r{k}" for k in range(len(stage.reductions))]
        parameters += [f"{self.storage[s]} &y{s}" for s, _ in stage.outputs]
        parameters += [f"u32 w{s}" for s in self._noisy(stage)]
        head = f"__device__ __forceinline__ void element{number}({', '.join(parameters)}) {{"
        return "\n".join([head, *lines, "}"])

    def _read(self, stage: Stage) -> list[int]:
        return sorted({self.code[v].index for v in stage.element_code if self.code[v].op == "slot"})

    def _noisy(self, stage: Stage) -> list[int]:
        return [s for s, _ in stage.outputs if s in self.roundings]

    def _call(self, number: int, stage: Stage, slot: str, reduced: str, out: str, word: str = "") -> str:
        arguments = [self.names[v] for v in stage.inputs]
        arguments += [slot.format(s) for s in self._read(stage)]
        arguments += [reduced.format(k) for k in range(len(stage.reductions))]
        arguments += [out.format(s) for s, _ in stage.outputs]
        arguments += [word.format(stream(s), s=s) for s in self._noisy(stage)]
        return f"element{number}({', '.join(arguments)})"

    def _row_setup(self, stage: Stage, piece: int) -> list[str]:
        """Addresses and scalar inputs of the piece's row."""
        slots = len(self.program.slots)
        written = {s for s, _ in stage.outputs}
        used = sorted({*self._read(stage), *written})
        lines = [
            "    const int row = table.work[p].x;",
            f"    const i64 *entry = table.rows + row * {slots + 2}ll;",
            f"    const i64 base = table.work[p].y * {piece}ll, left = entry[{slots}] - base;",
            f"    const int count = left < {piece} ? (int)left : {piece};",
            f"    const i64 set = entry[{slots + 1}];",
        ]
        for s in used:
            const = "" if s in written else "const "
            lines.append(
                f"    {const}{self.storage[s]} *s{s} = ({const}{self.storage[s]} *)entry[{s}] + base;"
            )
            lines.append(
                f"    __builtin_assume(__isGlobal(s{s}));  // else nvcc accesses it through generic addresses"
            )
        lines += [f"    const T {self.names[v]} = (T){self._scalar(v)};" for v in stage.inputs]
        addresses = " | ".join(f"(u64)s{s}" for s in used) or "0"
        return [*lines, f"    const bool aligned = (({addresses}) & 15) == 0;"]

    # --- scalars, in float64 ---

    def _scalar(self, v: int) -> str:
        """C++ for a value of rank SET or ROW, where ``set`` and ``row`` are defined."""
        layout, i = self.layout, self.code[v]
        if v in layout.arguments:
            return f"scalars.v[set * {len(layout.arguments)} + {layout.arguments.index(v)}]"
        if v in layout.on_device:
            return f"table.set_values[set * {len(layout.on_device)} + {layout.on_device.index(v)}]"
        if v in layout.by_row:
            return f"table.row_values[row * {len(layout.by_row)}ll + {layout.by_row.index(v)}]"
        if i.op == "size":
            return f"(double)table.rows[row * {len(self.program.slots) + 2}ll + {len(self.program.slots)}]"
        return f"({self._operation(v)})"

    def _operation(self, v: int) -> str:
        i = self.code[v]
        return expression(i.op, *(f"(double){self._scalar(a)}" for a in i.args))

    # --- kernels ---

    def _kernel(self, number: int, stage: Stage) -> str:
        # The blocks a multiprocessor shall hold at least: with fewer registers than this leaves, ptxas spills some.
        bounds = f"{REDUCE_THREADS}, 8" if stage.reductions else f"{UPDATE_THREADS}, 2"
        body = self._reduce_body(number, stage) if stage.reductions else self._update_body(number, stage)
        return "\n".join(
            [
                f'extern "C" __global__ void __launch_bounds__({bounds})',
                f"{kernel_name(self.program, number)}(const __grid_constant__ Table table,"
                " const __grid_constant__ Scalars scalars) {",
                *body,
                "}",
            ]
        )

    def _update_body(self, number: int, stage: Stage) -> list[str]:
        vector, written = self.vector, [s for s, _ in stage.outputs]
        packs = [f"      Pack<{self.storage[s]}, {vector}> y{s};" for s in written]
        packs += [
            f"      const Pack<{self.storage[s]}, {vector}> x{s} ="
            f" *(const Pack<{self.storage[s]}, {vector}> *)(s{s} + i);"
            for s in self._read(stage)
        ]
        noise = [f"      u32 w{s}[{vector}];" for s in self._noisy(stage)]
        noise += [
            f"      for (int k = 0; k < {vector}; k += 4)"
            f" philox((u32)((base + i + k) / 4), {stream(s)}, table.noise_step, (u32)table.seed, {ROUNDING}, w{s} + k);"
            for s in self._noisy(stage)
        ]
        word = f"random_word(base + i, {{}}, table.noise_step, (u32)table.seed, {ROUNDING})"
        return [
            "  if (*table.halted) return;",
            "  for (i64 p = blockIdx.x; p < table.n_work; p += gridDim.x) {",
            *self._row_setup(stage, PIECE),
            f"    const int whole = aligned ? count / {vector} * {vector} : 0;",
            f"    for (int i = threadIdx.x * {vector}; i < whole; i += {UPDATE_THREADS * vector}) {{",
            *packs,
            *noise,
            "#pragma unroll",
            f"      for (int k = 0; k < {vector}; k++)"
            f" {self._call(number, stage, 'x{}.x[k]', '', 'y{}.x[k]', 'w{s}[k]')};",
            *(f"      *(Pack<{self.storage[s]}, {vector}> *)(s{s} + i) = y{s};" for s in written),
            "    }",
            "#pragma unroll 1",
            f"    for (int i = whole + threadIdx.x; i < count; i += {UPDATE_THREADS})",
            f"      {self._call(number, stage, 's{}[i]', '', 's{}[i]', word)};",
            "  }",
        ]

    def _reduce_body(self, number: int, stage: Stage) -> list[str]:
        ops = [self.code[v].op for v in stage.reductions]
        starts = ["-INFINITY" if op == "amax" else "INFINITY" if op == "amin" else "0" for op in ops]
        reads = self._read(stage)
        names = [f"r{k}" for k in range(len(ops))]

        def step(slot: str) -> list[str]:
            """One element, added to its lane."""
            joined = [_joined(op, f"sum{k}[k]", _widened(op, f"r{k}")) for k, op in enumerate(ops)]
            return [
                f"        T {', '.join(names)};",
                f"        {self._call(number, stage, slot, 'r{}', '')};",
                *(f"        sum{k}[k] = {value};" for k, value in enumerate(joined)),
            ]

        packs = [
            f"      const Pack<{self.storage[s]}, 4> x{s} = *(const Pack<{self.storage[s]}, 4> *)(s{s} + i);"
            for s in reads
        ]
        # Where an execution was refused, its sums stay: they show which gradients were not finite.
        halts = [] if self.program.guard is None else ["  if (*table.halted) return;"]
        return [
            *halts,
            f"  __shared__ double lanes[{len(ops)}][{LANES}];",
            "  for (i64 p = blockIdx.x; p < table.n_work; p += gridDim.x) {",
            *self._row_setup(stage, CHUNK),
            *(f"    double sum{k}[4] = {{{', '.join([start] * 4)}}};" for k, start in enumerate(starts)),
            "    const int whole = aligned ? count / 4 * 4 : 0;",
            "    int i = threadIdx.x * 4;",
            f"#pragma unroll {4 if len(stage.element_code) <= _SHORT else 1}",
            f"    for (; i < whole; i += {LANES}) {{",
            *packs,
            "#pragma unroll",
            "      for (int k = 0; k < 4; k++) {",
            *step("x{}.x[k]"),
            "      }",
            "    }",
            "#pragma unroll 1",
            f"    for (; i < count; i += {LANES})",
            "      for (int k = 0; k < 4 && i + k < count; k++) {",
            *step("s{}[i + k]"),
            "      }",
            *(
                f"    for (int k = 0; k < 4; k++) lanes[{r}][threadIdx.x * 4 + k] = sum{r}[k];"
                for r in range(len(ops))
            ),
            "    __syncthreads();",
            f"    for (int width = {LANES // 2}; width; width /= 2) {{",
            f"      for (int i = threadIdx.x; i < width; i += {REDUCE_THREADS}) {{",
            *(
                f"        lanes[{r}][i] = {_joined(op, f'lanes[{r}][i]', f'lanes[{r}][i + width]')};"
                for r, op in enumerate(ops)
            ),
            "      }",
            "      __syncthreads();",
            "    }",
            "    if (threadIdx.x == 0) {",
            "      const i64 chunk = table.row_chunks[row] + table.work[p].y, n = table.row_chunks[table.n_rows];",
            *(f"      table.partials[{r} * n + chunk] = lanes[{r}][0];" for r in range(len(ops))),
            "    }",
            "    __syncthreads();",
            "  }",
            *self._join_body(number, stage, ops),
        ]

    def _join_body(self, number: int, stage: Stage, ops: list[str]) -> list[str]:
        """What the last block does: chunks to rows, rows to totals, then the scalar code of the next stage."""
        lines = [
            "  __shared__ bool last;",
            "  if (threadIdx.x == 0) {",
            "    __threadfence();  // releases what this block has computed",
            "    last = atomicAdd(table.ticket, 1u) == table.n_blocks - 1;",
            "    __threadfence();  // acquires what the others have",
            "  }",
            "  __syncthreads();",
            "  if (!last) return;",
            "  if (threadIdx.x == 0) *table.ticket = 0;",
            "  const i64 n = table.row_chunks[table.n_rows];",
            f"  for (i64 row = threadIdx.x; row < table.n_rows; row += {REDUCE_THREADS}) {{",
            "    const i64 first = table.row_chunks[row], end = table.row_chunks[row + 1];",
        ]
        for r, op in enumerate(ops):
            if op in ("amax", "amin"):
                lines += [
                    f"    double m{r} = first < end ? __ldcg(table.partials + {r} * n + first) : NAN;",
                    f"    for (i64 c = first; c < end; c++) m{r} ="
                    f" {_joined(op, f'm{r}', f'__ldcg(table.partials + {r} * n + c)')};",
                ]
            else:
                lines += [
                    f"    double m{r} = 0;",
                    "#pragma unroll 16",
                    f"    for (i64 c = first; c < end; c++) m{r} += __ldcg(table.partials + {r} * n + c);",
                ]
            lines.append(f"    table.row_sums[{r} * table.n_rows + row] = m{r};")
        lines += ["  }", "  __syncthreads();"]
        following = self.program.stages[number + 1]
        lines += self._set_code(stage, following)
        lines += self._row_code(stage, following)
        return [*lines, *self._guard_code(following)]

    def _set_code(self, stage: Stage, following: Stage) -> list[str]:
        totals = [(r, v) for r, v in enumerate(stage.reductions) if self.code[v].rank == SET]
        values = [v for v in following.scalar_code if v in self.layout.on_device]
        if not totals and not values:
            return []
        slots = len(self.program.slots)
        return [
            f"  __shared__ i64 scope[{LANES}];",
            f"  for (i64 first_set = 0; first_set < table.n_sets; first_set += {REDUCE_THREADS}) {{",
            "    const i64 set = first_set + threadIdx.x;",
            *(f"    double total{r} = 0;" for r, _ in totals),
            f"    for (i64 first = 0; first < table.n_rows; first += {LANES}) {{  // all threads read row after row",
            f"      const int rows = table.n_rows - first < {LANES} ? (int)(table.n_rows - first) : {LANES};",
            f"      for (int i = threadIdx.x; i < rows; i += {REDUCE_THREADS}) {{",
            f"        scope[i] = table.scopes[table.rows[(first + i) * {slots + 2}ll + {slots + 1}]];",
            *(f"        lanes[{r}][i] = table.row_sums[{r} * table.n_rows + first + i];" for r, _ in totals),
            "      }",
            "      __syncthreads();",
            "      for (int i = 0; i < rows && set < table.n_sets; i++)",
            "        if (scope[i] == table.scopes[set]) {",
            *(f"          total{r} += lanes[{r}][i];" for r, _ in totals),
            "        }",
            "      __syncthreads();",
            "    }",
            "    if (set < table.n_sets) {",
            *(f"      {self._scalar(v)} = total{r};" for r, v in totals),
            *(f"      {self._scalar(v)} = {self._operation(v)};" for v in values),
            "    }",
            "  }",
            "  __syncthreads();",
        ]

    def _row_code(self, stage: Stage, following: Stage) -> list[str]:
        reduced = [(r, v) for r, v in enumerate(stage.reductions) if self.code[v].rank == ROW]
        values = [v for v in following.scalar_code if v in self.layout.by_row]
        if not reduced and not values:
            return []
        slots = len(self.program.slots)
        return [
            f"  for (i64 row = threadIdx.x; row < table.n_rows; row += {REDUCE_THREADS}) {{",
            f"    const i64 set = table.rows[row * {slots + 2}ll + {slots + 1}];",
            *(f"    {self._scalar(v)} = table.row_sums[{r} * table.n_rows + row];" for r, v in reduced),
            *(f"    {self._scalar(v)} = {self._operation(v)};" for v in values),
            "  }",
        ]

    def _guard_code(self, following: Stage) -> list[str]:
        if self.program.guard is None or following is not self.program.stages[-1]:
            return []
        return [
            "  if (threadIdx.x == 0) {",
            "    bool finite = true;",
            f"    for (i64 set = 0; set < table.n_sets; set++) finite &= isfinite({self._scalar(self.program.guard)});",
            "    if (!finite) *table.halted_on_host = *table.halted = table.number;",
            "    __threadfence_system();  // the host sees that an execution was refused before it sees it finished",
            "    *table.finished_on_host = table.number;",
            "  }",
        ]


def _widened(op: str, value: str) -> str:
    return f"(double){value} * (double){value}" if op.endswith("square") else f"(double){value}"


def _joined(op: str, a: str, b: str) -> str:
    if op in ("amax", "amin"):
        return f"{'maximum' if op == 'amax' else 'minimum'}({a}, {b})"
    return f"{a} + ({b})"
