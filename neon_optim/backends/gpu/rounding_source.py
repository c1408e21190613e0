"""CUDA source of the random numbers of :mod:`neon_optim.backends.philox`, and of stochastic rounding by them.

What rounding does is defined in :mod:`neon_optim.backends.rounding`.
"""

from __future__ import annotations

from neon_optim.backends.rounding import SLOTS_OF_A_ROW, StoreRounding

__all__ = ["PHILOX_PRELUDE", "ROUNDING_FIELDS", "STOCHASTIC_PRELUDE", "rounded", "stream"]

ROUNDING_FIELDS = (("seed", "i64"), ("noise_step", "i64"), ("first_row", "i64"))
"""What a launch that rounds is told besides."""

PHILOX_PRELUDE = """
// Philox 4x32-10: the block of four words of a counter.
__device__ void philox(u32 c0, u32 c1, u64 step, u32 k0, u32 k1, u32 *word) {
  u32 c2 = (u32)step, c3 = (u32)(step >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
    const u32 high0 = __umulhi(0xd2511f53u, c0), high1 = __umulhi(0xcd9e8d57u, c2);
    const u32 low0 = 0xd2511f53u * c0, low1 = 0xcd9e8d57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
  }
  word[0] = c0;
  word[1] = c1;
  word[2] = c2;
  word[3] = c3;
}
__device__ u32 random_word(i64 element, u32 stream, u64 step, u32 seed, u32 purpose) {
  u32 word[4];
  philox((u32)(element / 4), stream, step, seed, purpose, word);
  return element & 2 ? element & 1 ? word[3] : word[2] : element & 1 ? word[1] : word[0];
}
"""

STOCHASTIC_PRELUDE = """
// The excess, added to the bits that go, carries into those that stay where the word is smaller than they are.
template <int DROP> __device__ float stochastic(float x, u32 word) {
  return __uint_as_float((__float_as_uint(x) + (~word >> (32 - DROP))) & (~0u << DROP));
}
template <int DROP> __device__ double stochastic(double x, u32 word) {
  const u64 excess = DROP > 32 ? (u64)~word << (DROP > 32 ? DROP - 32 : 0) : ~word >> (DROP > 32 ? 0 : 32 - DROP);
  return __longlong_as_double((i64)(((u64)__double_as_longlong(x) + excess) & (~0ull << DROP)));
}
template <int DROP, class T> __device__ T stochastic(T x, u32 word, T smallest, T quantum) {
  const T size = fabs(x);
  if (!isfinite(x)) return x;
  if (!(size < smallest)) return stochastic<DROP>(x, word);
  const T multiple = size * (T(1) / quantum), low = floor(multiple);
  const T up = word < (u64)((multiple - low) * T(4294967296.0)) ? 1 : 0;
  return copysign((low + up) * quantum, x);
}
"""


def rounded(value: str, word: str, how: StoreRounding) -> str:
    """A value of the compute type T, rounded to what the storage holds.

    >>> rounded("v", "w", StoreRounding(16, 0.0, 0.0))
    'stochastic<16, T>(v, w, T(0.0), T(1))'
    """
    return f"stochastic<{how.drop}, T>({value}, {word}, T({how.smallest!r}), T({how.quantum!r}))".replace(
        "T(0.0), T(0.0)", "T(0.0), T(1)"
    )


def stream(slot: int) -> str:
    """The stream of random words of a slot of the row at hand."""
    return f"(u32)((table.first_row + row) * {SLOTS_OF_A_ROW} + {slot})"
