"""CUDA source of operations on whole arrays: products, places of extremes, copies, taking, windows, random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neon_optim.backends.gpu.cuda_source import PRELUDE, storage_type
from neon_optim.backends.gpu.rounding_source import PHILOX_PRELUDE
from neon_optim.backends.gpu.strided_source import THREADS, element, offsets, strided_struct
from neon_optim.backends.philox import DROPOUT

__all__ = [
    "TILE",
    "bernoulli_source",
    "copy_source",
    "place_of_extreme_source",
    "product_source",
    "put_source",
    "take_source",
    "window_source",
]

TILE = 32
"""Rows and columns of the part of a product that one block computes."""


def copy_source(dtypes: Sequence[np.dtype], ndim: int) -> str:
    """``slot 0 = slot 1``."""
    return f"""{PRELUDE}
{strided_struct(2, ndim, 0)}
extern "C" __global__ void __launch_bounds__({THREADS}) copy(const __grid_constant__ Strided strided) {{
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < strided.size; i += gridDim.x * {THREADS}ll) {{
{offsets(2, ndim)}
    narrow({element(0, storage_type(dtypes[0]))}, widen({element(1, storage_type(dtypes[1]), const=True)}));
  }}
}}
"""


def place_of_extreme_source(kind: str, dtypes: Sequence[np.dtype], compute: str, ndim: int) -> str:
    """``slot 0 = argmax or argmin of slot 1 along an axis``: one thread for each element of the result.

    ``Strided`` describes the axes that stay; the numbers are the length of the one that goes, and its stride.
    """
    source = storage_type(dtypes[1])
    comparison = ">" if kind == "argmax" else "<"
    return f"""{PRELUDE}
typedef {compute} T;
{strided_struct(2, ndim, 2)}
extern "C" __global__ void __launch_bounds__({THREADS}) place_of_extreme(const __grid_constant__ Strided strided) {{
  const i64 length = (i64)strided.scalar[0], stride = (i64)strided.scalar[1];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < strided.size; i += gridDim.x * {THREADS}ll) {{
{offsets(2, ndim)}
    const char *base = (const char *)(strided.address[1] + o1);
    auto at = [=](i64 k) {{ return (T)widen(*(const {source} *)(base + k * stride)); }};
    T best = at(0);
    i64 where = 0;
    for (i64 k = 0; k < length; k++) {{
      const T x = at(k);
      if (x {comparison} best || (x != x && best == best)) {{ best = x; where = k; }}
    }}
    narrow({element(0, storage_type(dtypes[0]))}, (T)where);
  }}
}}
"""


def take_source(dtypes: Sequence[np.dtype], ndim: int) -> str:
    """``slot 0 = slot 1 at the indices in slot 2``; an index out of range gives NaN."""
    item = storage_type(dtypes[1])
    taken = element(0, storage_type(dtypes[0]))
    return f"""{PRELUDE}
{strided_struct(3, ndim, 2)}
extern "C" __global__ void __launch_bounds__({THREADS}) take(const __grid_constant__ Strided strided) {{
  const i64 length = (i64)strided.scalar[0], stride = (i64)strided.scalar[1];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < strided.size; i += gridDim.x * {THREADS}ll) {{
{offsets(3, ndim)}
    i64 index = (i64)widen({element(2, storage_type(dtypes[2]), const=True)});
    if (index < 0) index += length;
    if (index < 0 || index >= length) narrow({taken}, (float)NAN);
    else narrow({taken}, widen(*(const {item} *)(strided.address[1] + o1 + index * stride)));
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
{strided_struct(3, ndim, 4)}
extern "C" __global__ void __launch_bounds__({THREADS}) put(const __grid_constant__ Strided strided) {{
  const i64 count = (i64)strided.scalar[0], stride = (i64)strided.scalar[1];
  const i64 extent = (i64)strided.scalar[2], inner = (i64)strided.scalar[3];
  const {index} *const indices = (const {index} *)strided.address[2];
  for (i64 i = blockIdx.x * {THREADS}ll + threadIdx.x; i < strided.size; i += gridDim.x * {THREADS}ll) {{
{offsets(2, ndim)}
    const i64 place = i / inner % extent;
    T sum = 0;
    for (i64 k = 0; k < count; k++) {{
      const i64 index = (i64)widen(indices[k]);
      if ((index < 0 ? index + extent : index) == place)
        sum += (T)widen(*(const {item} *)(strided.address[1] + o1 + k * stride));
    }}
    narrow({element(0, storage_type(dtypes[0]))}, sum);
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
    lines += [
        f"if ({inside}) narrow(to[i], widen(from[{place} * a.n + sample]));",
        "else narrow(to[i], 0.f);",
    ]
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
