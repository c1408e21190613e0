"""Comparing words of memory in compiled code: what a plan does at every step.

NumPy could do it, too, but not without temporary arrays; and a request for memory may have to wait while the C library
puts in order what another package has just given back.
"""

from __future__ import annotations

from functools import cache

from neon_optim.backends.cpu.compiled.cache import load_kernel
from neon_optim.backends.watch import Differ

__all__ = ["words_differ"]

_SOURCE = """
from numba import njit

from neon_optim.backends.cpu.compiled import support


@njit("void(int64, int64, int64, int64)", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def words_differ(table, n_first, n, result):
    difference = 0
    for k in range(n_first):
        word = support.read_int64(support.read_int64(table, 2 * k), 0)
        difference |= word ^ support.read_int64(table, 2 * k + 1)
    if difference == 0:
        for k in range(n_first, n):
            word = support.read_int64(support.read_int64(table, 2 * k), 0)
            difference |= word ^ support.read_int64(table, 2 * k + 1)
    support.write_int64(result, 0, difference)
"""


@cache
def words_differ() -> Differ:
    """See :data:`neon_optim.backends.watch.Differ`."""
    return load_kernel("words_differ", _SOURCE, 4)
