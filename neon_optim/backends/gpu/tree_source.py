"""CUDA source for op-trees on whole tensors: elementwise with broadcasting, products, reductions, taking, windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neon_optim.backends.gpu.cuda_source import PRELUDE, expression, storage_type
from neon_optim.backends.gpu.formula_source import formula_functions
from neon_optim.backends.gpu.rounding_source import PHILOX_PRELUDE
from neon_optim.backends.philox import DROPOUT
from neon_optim.backends.program import Program
from neon_optim.backends.sums import AXIS_LANES

__all__ = [
    "THREADS",
    "TILE",
    "axis_source",
    "axis_sum_source",
    "bernoulli_source",
    "elementwise_source",
    "product_source",
    "put_source",
    "take_source",
    "window_source",
]

THREADS = 256
TILE = 32
"""Rows and columns of the part of a product that one block computes."""


def elementwise_source(
    program: Program, dtypes: Sequence[np.dtype], compute: str, ndim: int, scalars: int
) -> str:
    """``slot 0 = expression of the others``, all of one broadcast shape.

    The argument is ``Tree``; strides are in bytes. Scalar inputs are passed, in the order of the stage's inputs.
    """
    stage = program.stages[0]
    lines = []
    names = [f"v{v}" for v in range(len(program.code))]
    for k, v in enumerate(stage.inputs):
        names[v] = program.names[v]  # all are numbers: number_0, number_0_minus_number_1
        lines.append(f"    const T {names[v]} = (T)tree.scalar[{k}];")
    for v in stage.element_code:
        i = program.code[v]
        if i.op == "slot":
            value = f"(T)widen({_element(i.index, storage_type(dtypes[i.index]), const=True)})"
        else:
            value = expression(i.op, *(names[a] for a in i.args))
        lines.append(f"    const T {names[v]} = {value};")
    ((_, result),) = program.outputs
    return f"""{PRELUDE}{formula_functions(i.op for i in program.code)}
typedef {compute} T;
{_tree(len(dtypes), ndim, scalars)}
extern "C" __global__ void __launch_bounds__({THREADS}) tree(const __grid_constant__ Tree tree) {{
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < tree.size; i += gridDim.x * {THREADS}ll) {{
{_offsets(len(dtypes), ndim)}
{chr(10).join(lines)}
    narrow({_element(0, storage_type(dtypes[0]))}, {names[result]});
  }}
}}
"""


def axis_sum_source(kind: str, dtypes: Sequence[np.dtype], compute: str, ndim: int, beside: bool) -> str:
    """``slot 0 = sum or mean of slot 1 along an axis`` in its fixed order: a thread for each lane of each result.

    ``Tree`` is as for :func:`axis_source`.

    Arguments:
        beside: the elements along the axis are nearer to each other in memory than to those of the next result, so
            that neighbouring threads take neighbouring lanes.
    """
    source = storage_type(dtypes[1])
    lane, column = "threadIdx.x % LANES", "threadIdx.x / LANES"
    if not beside:
        lane, column = "threadIdx.x / COLUMNS", "threadIdx.x % COLUMNS"
    result = "part[0][column] / (double)length" if kind == "mean" else "part[0][column]"
    return f"""{PRELUDE}
typedef {compute} T;
const int LANES = {AXIS_LANES}, COLUMNS = {THREADS // AXIS_LANES};
{_tree(2, ndim, 2)}
extern "C" __global__ void __launch_bounds__({THREADS}) sum_axis(const __grid_constant__ Tree tree) {{
  __shared__ double part[LANES][COLUMNS + 1];
  const i64 length = (i64)tree.scalar[0], stride = (i64)tree.scalar[1];
  const int lane = {lane}, column = {column};
  for (i64 first = blockIdx.x * (i64)COLUMNS; first < tree.size; first += gridDim.x * (i64)COLUMNS) {{
    const bool inside = first + column < tree.size;
    const i64 i = inside ? first + column : first;
{_offsets(2, ndim)}
    const char *base = (const char *)(tree.address[1] + o1);
    double sum = 0;
    for (i64 k = lane; k < length; k += LANES) sum += (double)widen(*(const {source} *)(base + k * stride));
    part[lane][column] = sum;
    __syncthreads();
    for (int width = LANES / 2; width; width /= 2) {{
      if (lane < width) part[lane][column] += part[lane + width][column];
      __syncthreads();
    }}
    if (lane == 0 && inside) narrow({_element(0, storage_type(dtypes[0]))}, (T)({result}));
    __syncthreads();
  }}
}}
"""


def axis_source(kind: str, dtypes: Sequence[np.dtype], compute: str, ndim: int) -> str:
    """``slot 0 = reduction of slot 1 along an axis``: one thread for each element of the result.

    ``Tree`` describes the axes that stay; ``length`` and ``step`` the one that goes.
    """
    first = "(T)widen(at(0))"
    start, step, result = {
        "amax": (f"T best = {first};", "best = maximum(best, (T)widen(at(k)));", "best"),
        "amin": (f"T best = {first};", "best = minimum(best, (T)widen(at(k)));", "best"),
        "argmax": (f"T best = {first}; i64 where = 0;", _first_where(">"), "(T)where"),
        "argmin": (f"T best = {first}; i64 where = 0;", _first_where("<"), "(T)where"),
    }[kind]
    source = storage_type(dtypes[1])
    return f"""{PRELUDE}
typedef {compute} T;
{_tree(2, ndim, 2)}
extern "C" __global__ void __launch_bounds__({THREADS}) reduce_axis(const __grid_constant__ Tree tree) {{
  const i64 length = (i64)tree.scalar[0], stride = (i64)tree.scalar[1];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < tree.size; i += gridDim.x * {THREADS}ll) {{
{_offsets(2, ndim)}
    const char *base = (const char *)(tree.address[1] + o1);
    auto at = [=](i64 k) {{ return *(const {source} *)(base + k * stride); }};
    {start}
    for (i64 k = 0; k < length; k++) {{ {step} }}
    narrow({_element(0, storage_type(dtypes[0]))}, {result});
  }}
}}
"""


def _first_where(comparison: str) -> str:
    return f"const T x = widen(at(k)); if (x {comparison} best || (x != x && best == best)) {{ best = x; where = k; }}"


def take_source(dtypes: Sequence[np.dtype], ndim: int) -> str:
    """``slot 0 = slot 1 at the indices in slot 2``; an index out of range gives NaN."""
    item = storage_type(dtypes[1])
    return f"""{PRELUDE}
{_tree(3, ndim, 2)}
extern "C" __global__ void __launch_bounds__({THREADS}) take(const __grid_constant__ Tree tree) {{
  const i64 length = (i64)tree.scalar[0], stride = (i64)tree.scalar[1];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < tree.size; i += gridDim.x * {THREADS}ll) {{
{_offsets(3, ndim)}
    i64 index = (i64)widen({_element(2, storage_type(dtypes[2]), const=True)});
    if (index < 0) index += length;
    if (index >= 0 && index < length) {_element(0, item)} = *(const {item} *)(tree.address[1] + o1 + index * stride);
    else narrow({_element(0, item)}, (float)NAN);
  }}
}}
"""


def put_source(dtypes: Sequence[np.dtype], compute: str, ndim: int) -> str:
    """``slot 0 = zeros, to which the slices of slot 1 are added at the indices in slot 2, in order``.

    One thread for each element of the result looks at all indices. ``inner`` elements lie between two places of an axis
    of ``extent`` places.
    """
    item, index = storage_type(dtypes[1]), storage_type(dtypes[2])
    return f"""{PRELUDE}
typedef {compute} T;
{_tree(3, ndim, 4)}
extern "C" __global__ void __launch_bounds__({THREADS}) put(const __grid_constant__ Tree tree) {{
  const i64 count = (i64)tree.scalar[0], stride = (i64)tree.scalar[1];
  const i64 extent = (i64)tree.scalar[2], inner = (i64)tree.scalar[3];
  const {index} *const indices = (const {index} *)tree.address[2];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < tree.size; i += gridDim.x * {THREADS}ll) {{
{_offsets(2, ndim)}
    const i64 place = i / inner % extent;
    T sum = 0;
    for (i64 k = 0; k < count; k++) {{
      const i64 index = (i64)widen(indices[k]);
      if ((index < 0 ? index + extent : index) == place)
        sum += (T)widen(*(const {item} *)(tree.address[1] + o1 + k * stride));
    }}
    narrow({_element(0, storage_type(dtypes[0]))}, sum);
  }}
}}
"""


def window_source(fold: bool, axes: int, dtypes: Sequence[np.dtype], compute: str) -> str:
    """Windows (C, R, S, P, Q, n) of images (C, H, W, n), or images to which windows are added: slot 0 of slot 1.

    ``Windows`` has for each axis of an image the extents of windows, their counts, the extents of images, strides,
    padding and dilation; a thread computes an element.
    """
    out, item = storage_type(dtypes[0]), storage_type(dtypes[1])
    by_axis = ", ".join(f"{name}[{axes}]" for name in ("stride", "padding", "dilation"))
    extents = ", ".join(f"{name}[{axes}]" for name in ("window", "count", "extent"))
    return f"""{PRELUDE}
typedef {compute} T;
struct Windows {{ u64 address[2]; i64 size, {extents}, n, {by_axis}; }};
extern "C" __global__ void __launch_bounds__({THREADS}) windows(const __grid_constant__ Windows a) {{
  {out} *const to = ({out} *)a.address[0];
  const {item} *const from = (const {item} *)a.address[1];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < a.size; i += gridDim.x * {THREADS}ll) {{
    i64 rest = i;
    auto next = [&](i64 extent) {{ const i64 k = rest % extent; rest /= extent; return k; }};
    const i64 sample = next(a.n);
{_fold(axes) if fold else _unfold(axes)}
  }}
}}
"""


def _unfold(axes: int) -> str:
    down = range(axes - 1, -1, -1)
    lines = [f"const i64 w{k} = next(a.count[{k}]);" for k in down]
    lines += [f"const i64 r{k} = next(a.window[{k}]);" for k in down]
    lines += [
        f"const i64 x{k} = w{k} * a.stride[{k}] + r{k} * a.dilation[{k}] - a.padding[{k}];"
        for k in range(axes)
    ]
    inside = " && ".join(f"x{k} >= 0 && x{k} < a.extent[{k}]" for k in range(axes))
    place = "rest"
    for k in range(axes):
        place = f"({place} * a.extent[{k}] + x{k})"
    lines += [f"if ({inside}) to[i] = from[{place} * a.n + sample];", "else narrow(to[i], 0.f);"]
    return "\n".join(f"    {line}" for line in lines)


def _fold(axes: int) -> str:
    lines = [f"const i64 x{k} = next(a.extent[{k}]);" for k in range(axes - 1, -1, -1)] + ["T sum = 0;"]
    for k in range(axes):
        lines += [
            f"for (i64 r{k} = a.window[{k}] - 1; r{k} >= 0; r{k}--) {{",  # earlier windows first
            f"const i64 y{k} = x{k} + a.padding[{k}] - r{k} * a.dilation[{k}], w{k} = y{k} / a.stride[{k}];",
            f"if (y{k} < 0 || y{k} % a.stride[{k}] || w{k} >= a.count[{k}]) continue;",
        ]
    place = "rest"
    for field, index in (("window", "r"), ("count", "w")):
        for k in range(axes):
            place = f"({place} * a.{field}[{k}] + {index}{k})"
    lines += [f"sum += (T)widen(from[{place} * a.n + sample]);", "}" * axes, "narrow(to[i], sum);"]
    return "\n".join(f"    {line}" for line in lines)


def product_source(dtypes: Sequence[np.dtype], compute: str) -> str:
    """``slot 0 = slot 1 · slot 2``: a block computes a tile, each of its 16 x 16 threads four elements."""
    c, a, b = (storage_type(d) for d in dtypes)
    return f"""{PRELUDE}
typedef {compute} T;
struct Product {{ u64 address[3]; i64 rows, columns, depth, stride[3][2], tiles; }};
extern "C" __global__ void __launch_bounds__({THREADS}) product(const __grid_constant__ Product product) {{
  __shared__ T left[{TILE}][{TILE} + 1], right[{TILE}][{TILE} + 1];
  const int x = threadIdx.x % 16, y = threadIdx.x / 16;
  const i64 row0 = blockIdx.x / product.tiles * {TILE}ll, column0 = blockIdx.x % product.tiles * {TILE}ll;
  T sum[2][2] = {{}};
  for (i64 k0 = 0; k0 < product.depth; k0 += {TILE}) {{
    for (int i = threadIdx.x; i < {TILE * TILE}; i += {THREADS}) {{
      const int u = i / {TILE}, v = i % {TILE};
      const bool in_left = row0 + u < product.rows && k0 + v < product.depth;
      const bool in_right = k0 + u < product.depth && column0 + v < product.columns;
      left[u][v] = in_left ? (T)widen({_at(1, a, "row0 + u", "k0 + v")}) : T(0);
      right[u][v] = in_right ? (T)widen({_at(2, b, "k0 + u", "column0 + v")}) : T(0);
    }}
    __syncthreads();
    for (int k = 0; k < {TILE}; k++)
      for (int u = 0; u < 2; u++)
        for (int v = 0; v < 2; v++) sum[u][v] += left[y + 16 * u][k] * right[k][x + 16 * v];
    __syncthreads();
  }}
  for (int u = 0; u < 2; u++)
    for (int v = 0; v < 2; v++) {{
      const i64 row = row0 + y + 16 * u, column = column0 + x + 16 * v;
      if (row < product.rows && column < product.columns)
        narrow(*({c} *)(product.address[0] + row * product.stride[0][0] + column * product.stride[0][1]), sum[u][v]);
    }}
}}
"""


def bernoulli_source(dtype: np.dtype) -> str:
    """1 where the random word of an element is below a limit, else 0."""
    item = storage_type(dtype)
    return f"""{PRELUDE}{PHILOX_PRELUDE}
struct Bernoulli {{ u64 address; i64 size, seed, stream, step, limit; }};
extern "C" __global__ void __launch_bounds__({THREADS}) bernoulli(const __grid_constant__ Bernoulli b) {{
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < b.size; i += gridDim.x * {THREADS}ll) {{
    const u32 word = random_word(i, (u32)b.stream, b.step, (u32)b.seed, {DROPOUT});
    narrow((({item} *)b.address)[i], (i64)word < b.limit ? 1.f : 0.f);
  }}
}}
"""


def _at(slot: int, item: str, row: str, column: str) -> str:
    return (
        f"*(const {item} *)(product.address[{slot}] + ({row}) * product.stride[{slot}][0]"
        f" + ({column}) * product.stride[{slot}][1])"
    )


def _tree(slots: int, ndim: int, scalars: int) -> str:
    return (
        f"struct Tree {{ u64 address[{slots}]; i64 size, extent[{ndim}], stride[{slots}][{ndim}];"
        f" double scalar[{max(scalars, 1)}]; }};"
    )


def _offsets(slots: int, ndim: int) -> str:
    """Byte offsets o0, o1, … of element i of the broadcast shape."""
    lines = [f"    i64 rest = i, {', '.join(f'o{s} = 0' for s in range(slots))};"]
    for axis in reversed(range(1, ndim)):
        lines.append(f"    {{ const i64 k = rest % tree.extent[{axis}]; rest /= tree.extent[{axis}];")
        lines.append(
            "      " + " ".join(f"o{s} += k * tree.stride[{s}][{axis}];" for s in range(slots)) + " }"
        )
    return "\n".join(
        [*lines, "    " + " ".join(f"o{s} += rest * tree.stride[{s}][0];" for s in range(slots))]
    )


def _element(slot: int, item: str, const: bool = False) -> str:
    return f"*({'const ' if const else ''}{item} *)(tree.address[{slot}] + o{slot})"
