"""Matrix products in the fixed order of `deterministic=True`, in compiled code.

Blocks of rows and columns are computed together; each element of them adds its products in order all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from neon_optim.backends.cpu.compiled.cache import load_kernel
from neon_optim.backends.cpu.fixed_product import FixedProduct
from neon_optim.backends.cpu.workers import run_together, thread_count

__all__ = ["CompiledProduct"]

_ARGUMENTS = (
    *("counter", "n_tasks", "left", "right", "out", "rows", "depth", "columns"),
    *("left_down", "left_across", "right_down", "out_down", "height"),
)
"""All int64. counter: the address of the number of the next task. left, right, out: addresses. Distances (down, from
row to row, and across) are in elements. height: rows of a task."""

_ROWS = 4
"""Rows of the result that are computed together."""

_TERMS = 4
"""Products that are added to an element from load to store."""

_PANEL = 128
"""Rows of ``right`` that are gone through for all rows of a task, a multiple of the terms: they stay in the cache."""

_COLUMNS = {"float32": 512, "float64": 256}
"""Columns of a task."""

_MOST_ROWS = 64
"""Rows of a task."""

_WORTH_A_THREAD = 1 << 19
"""Products of numbers below which waking another thread takes longer than doing its work."""

_SCOPE_OF_LEFT = _ROWS + 1
"""The scope of loads from ``left``; those from ``right`` have 0, those of rows of the result 1 and so on."""

_HEAD = """from numba import float32, float64, njit

from neon_optim.backends.cpu.compiled import support


@njit("void({types})", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def product_{real}({arguments}):
    tiles = (columns + {tile} - 1) // {tile}
    task = support.claim(counter)
    while task < n_tasks:
        start = (task % tiles) * {tile}
        width = min({tile}, columns - start)
        first = (task // tiles) * height
        end = min(rows, first + height)
        for i in range(first, end):
            row = out + {size} * (i * out_down + start)
            for j in range(width):
                support.store_{real}(row, j, 1, {real}(0))
        for panel in range(0, depth, {panel}):
            last = min(depth, panel + {panel})
            i = first
"""


def _source(real: str) -> str:
    head = _HEAD.format(
        types=", ".join(["int64"] * len(_ARGUMENTS)),
        real=real,
        arguments=", ".join(_ARGUMENTS),
        tile=_COLUMNS[real],
        size=np.dtype(real).itemsize,
        panel=_PANEL,
    )
    lines: list[str] = []
    for rows in (_ROWS, 1):
        lines.append(f"while i + {rows} <= end:")
        lines += ["    " + line for line in _rows_of_task(real, rows)]
    text = "\n".join(" " * 12 + line for line in lines)
    return f"{head}{text}\n        task = support.claim(counter)\n"


def _rows_of_task(real: str, rows: int) -> Iterator[str]:
    """Some rows of the result, and the part of the depth that is a panel."""
    for r in range(rows):
        yield f"row_{r} = out + {np.dtype(real).itemsize} * ((i + {r}) * out_down + start)"
    yield "k = panel"
    for terms in (_TERMS, 1):
        yield f"while k + {terms} <= last:"
        for line in _added(real, rows, terms):
            yield "    " + line
        yield f"    k += {terms}"
    yield f"i += {rows}"


def _added(real: str, rows: int, terms: int) -> Iterator[str]:
    """Some products added to each element of some rows."""
    for t in range(terms):
        yield f"right_{t} = right + {np.dtype(real).itemsize} * ((k + {t}) * right_down + start)"
        for r in range(rows):
            place = f"(i + {r}) * left_down + (k + {t}) * left_across"
            yield f"a{r}_{t} = support.load_{real}(left, {place}, {_SCOPE_OF_LEFT})"
    yield "for j in range(width):"
    for t in range(terms):
        yield f"    b{t} = support.load_{real}(right_{t}, j, 0)"
    for r in range(rows):
        yield f"    sum_{r} = support.load_{real}(row_{r}, j, {r + 1})"
    for t in range(terms):
        for r in range(rows):
            yield f"    sum_{r} = sum_{r} + a{r}_{t} * b{t}"
    for r in range(rows):
        yield f"    support.store_{real}(row_{r}, j, {r + 1}, sum_{r})"


@cache
def _kernel(real: str) -> Callable[..., None]:
    return load_kernel(f"product_{real}", _source(real), len(_ARGUMENTS))


class CompiledProduct(FixedProduct):
    """Products by a function that Numba compiles, by as many threads as pay."""

    def _of_rows(self, left: np.ndarray, right: np.ndarray, out: np.ndarray) -> None:
        real, item = out.dtype.name, out.itemsize
        if any(stride % item for stride in left.strides):
            left = np.ascontiguousarray(left)
        (rows, columns), depth = out.shape, right.shape[0]
        tiles = -(-columns // _COLUMNS[real])
        threads = max(1, min(thread_count(), rows * columns * depth // _WORTH_A_THREAD))
        height = _MOST_ROWS
        while threads > 1 and height > _ROWS and -(-rows // height) * tiles < 4 * threads:
            height //= 2
        n_tasks = -(-rows // height) * tiles
        counter = np.zeros(1, np.int64)
        distances = (left.strides[0] // item, left.strides[1] // item, right.strides[0] // item)
        addresses = (left.ctypes.data, right.ctypes.data, out.ctypes.data)
        shape = (rows, depth, columns)
        kernel = _kernel(real)
        arguments = (
            counter.ctypes.data,
            n_tasks,
            *addresses,
            *shape,
            *distances,
            out.strides[0] // item,
            height,
        )
        run_together(lambda: kernel(*arguments), min(threads, n_tasks))
