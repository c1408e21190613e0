"""Stochastic rounding as it is defined for every backend, and done by the NumPy engine.

A store keeps n mantissa bits: those of the storage type, or fewer where the rounding asks for fewer. Where the compute
type has no more, the store is an ordinary one. Otherwise let x be the computed value, finite, and

- lo the largest number with |lo| <= |x| and n mantissa bits in the exponent range of the storage type (its subnormal
  numbers included), hi the next one away from zero;
- t = floor(2³² (|x| - |lo|) / (|hi| - |lo|));
- w the random word of the element: :mod:`~neon_optim.backends.philox` with the key (seed, ROUNDING), the stream
  64 · row + slot, the step, and the element's number in C order. Rows are counted over all tensors of a step.

Then hi is stored if w < t, else lo: the mean over w is x, to within 2⁻³² of the distance of lo and hi. Infinities and
NaN are stored as they are; a hi that is too large for the storage type is an infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neon_optim.backends.contract import Rounding
from neon_optim.backends.philox import ROUNDING, philox4x32

__all__ = ["SLOTS_OF_A_ROW", "StoreRounding", "round_stochastically", "rounding_words", "store_rounding"]

SLOTS_OF_A_ROW = 64
"""Streams that a row has."""

_MANTISSA_BITS = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
_SMALLEST_EXPONENT = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}


class StoreRounding(NamedTuple):
    """How values of a compute type become values of a storage type.

    Attributes:
        drop: mantissa bits of the compute type that go.
        smallest: below it numbers are multiples of ``quantum``; 0 where ``drop`` bits go there too.
        quantum: the distance of numbers below ``smallest``.
    """

    drop: int
    smallest: float
    quantum: float


def store_rounding(compute: np.dtype, storage: np.dtype, bits: int) -> StoreRounding | None:
    """What stochastic rounding to ``bits`` mantissa bits (0: all that the storage has) does; None for nothing.

    >>> store_rounding(np.dtype("float32"), np.dtype("float16"), 0)
    StoreRounding(drop=13, smallest=6.103515625e-05, quantum=5.960464477539063e-08)
    """
    kept = _MANTISSA_BITS[storage.name]
    if bits:
        kept = min(kept, bits)
    drop = _MANTISSA_BITS[compute.name] - kept
    if drop <= 0:
        return None
    exponent = _SMALLEST_EXPONENT[storage.name]
    if exponent == _SMALLEST_EXPONENT[compute.name]:
        return StoreRounding(drop, 0.0, 0.0)
    return StoreRounding(drop, 2.0**exponent, 2.0 ** (exponent - kept))


def rounding_words(rounding: Rounding, row: int, slot: int, start: int, stop: int) -> np.ndarray:
    """The random words of the elements from ``start``, a multiple of 4, to ``stop``."""
    first, last = start // 4, -(-stop // 4)
    counter = np.empty((4, last - first), np.uint64)
    counter[0] = np.arange(first, last, dtype=np.uint64)
    counter[1] = ((rounding.first_row + row) * SLOTS_OF_A_ROW + slot) & 0xFFFFFFFF
    counter[2], counter[3] = rounding.step & 0xFFFFFFFF, rounding.step >> 32
    words = philox4x32(counter, (rounding.seed & 0xFFFFFFFF, ROUNDING))
    return words.T.reshape(-1)[: stop - start]


@np.errstate(all="ignore")
def round_stochastically(values: np.ndarray, words: np.ndarray, how: StoreRounding) -> np.ndarray:
    """Values of the compute type, rounded to what the storage type holds.

    >>> x = np.full(4, 1.25 + 2.0**-12, np.float32)
    >>> to_half = store_rounding(x.dtype, np.dtype("float16"), 0)
    >>> round_stochastically(x, np.array([0, 2**29, 2**30, 2**32 - 1], np.uint32), to_half)
    array([1.2509766, 1.2509766, 1.25     , 1.25     ], dtype=float32)
    """
    wide = values.dtype == np.float64
    unsigned = np.dtype(np.uint64 if wide else np.uint32)
    bits = values.view(unsigned)
    excess = (~words).astype(unsigned)  # added to the part that goes, it carries where the word is smaller
    excess = (
        excess << unsigned.type(how.drop - 32) if how.drop > 32 else excess >> unsigned.type(32 - how.drop)
    )
    rounded = ((bits + excess) & unsigned.type(-(1 << how.drop) % 2 ** (unsigned.itemsize * 8))).view(
        values.dtype
    )
    size = np.abs(values)
    if how.smallest:
        multiple = size * values.dtype.type(1.0 / how.quantum)
        low = np.floor(multiple)
        up = words < (np.where(size < how.smallest, multiple - low, 0) * values.dtype.type(2.0**32)).astype(
            np.uint64
        )
        small = np.copysign((low + up) * values.dtype.type(how.quantum), values)
        rounded = np.where(size < values.dtype.type(how.smallest), small, rounded)
    return np.where(np.isfinite(values), rounded, values)
