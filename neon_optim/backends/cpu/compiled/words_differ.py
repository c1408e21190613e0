"""Comparing words of memory in compiled code: what a plan does at every step.

NumPy could do it, too, but not without temporary arrays; and a request for memory may have to wait while the C library
puts in order what another package has just given back.
"""

from __future__ import annotations

from functools import cache

from neon_optim.backends.cpu.compiled.cache import load_kernel
from neon_optim.backends.watch import EXTENTS, FIELDS, Differ

__all__ = ["words_differ"]

_FIELD = "difference |= support.read_int64(array, {}) ^ support.read_int64(table, {})"
_SOURCE = f"""
from numba import njit

from neon_optim.backends.cpu.compiled import support


@njit("void(int64, int64, int64)", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def words_differ(table, n, result):
    difference = 0
    for _ in range(n):
        array = support.read_int64(table, 0)
        {"; ".join(_FIELD.format(field, place) for place, field in enumerate(FIELDS, 1))}
        n_extents = support.read_int64(table, {len(FIELDS) + 1})
        if difference == 0:  # else the extents may be elsewhere
            extents = support.read_int64(table, {EXTENTS + 1})
            for k in range(n_extents):
                difference |= support.read_int64(extents, k) ^ support.read_int64(table, {len(FIELDS) + 2} + k)
        table += 8 * ({len(FIELDS) + 2} + n_extents)
    support.write_int64(result, 0, difference)
"""


@cache
def words_differ() -> Differ:
    """See :data:`neon_optim.backends.watch.Differ`."""
    return load_kernel("words_differ", _SOURCE, 3)
