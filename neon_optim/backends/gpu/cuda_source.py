"""The vocabulary of generated CUDA source: storage types and the operations of op-trees and Programs."""

from __future__ import annotations

import numpy as np

from neon_optim.errors import BackendError

__all__ = ["PRELUDE", "expression", "storage_type"]

PRELUDE = """
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// 16-bit floats are storage: widened at the load, rounded once at the store.
struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
template <class T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack { T x[N]; };

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

__device__ __forceinline__ void narrow(float &to, float x) { to = x; }
__device__ __forceinline__ void narrow(float &to, double x) { to = (float)x; }
__device__ __forceinline__ void narrow(double &to, double x) { to = x; }
__device__ __forceinline__ void narrow(f16 &to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }
__device__ __forceinline__ void narrow(f16 &to, double x) { asm("cvt.rn.f16.f64 %0, %1;" : "=h"(to.bits) : "d"(x)); }
__device__ __forceinline__ void narrow(bf16 &to, float x) {
  const u32 bits = __float_as_uint(x);
  to.bits = x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
__device__ __forceinline__ void narrow(bf16 &to, double x) {
  const float cut = __double2float_rz(x);  // rounded to odd: the rounding that follows is then the only one
  narrow(to, __uint_as_float(__float_as_uint(cut) | (u32)((double)cut != x && x == x)));
}

// Integers are storage, too: cut off at the store.
#define INTEGER(I) \\
  __device__ __forceinline__ float widen(I x) { return (float)x; } \\
  __device__ __forceinline__ void narrow(I &to, float x) { to = (I)(i64)x; } \\
  __device__ __forceinline__ void narrow(I &to, double x) { to = (I)(i64)x; }
INTEGER(signed char)
INTEGER(unsigned char)
INTEGER(short)
INTEGER(unsigned short)
INTEGER(int)
INTEGER(u32)

// NaN where either operand is; -0 below +0.
template <class T> __device__ __forceinline__ T maximum(T a, T b) { return a != a || b != b ? a + b : fmax(a, b); }
template <class T> __device__ __forceinline__ T minimum(T a, T b) { return a != a || b != b ? a + b : fmin(a, b); }
template <class T> __device__ __forceinline__ T sgn(T a) { return a > 0 ? T(1) : a < 0 ? T(-1) : a == 0 ? T(0) : a; }

// a * sgn(b) * 2**rint(log2|b|), exactly.
template <class T> __device__ T shift(T a, T b) {
  const T size = fabs(b);
  T nearest = size;
  if (size > 0 && !isinf(size)) {
    int exponent;
    const T mantissa = frexp(size, &exponent);
    nearest = ldexp(T(1), exponent - 1 + (mantissa > T(0.70710678118654752440)));
  }
  return a * sgn(b) * nearest;
}
"""

# Operations in the compute type T. nvcc picks the float or the double form of each function by its argument. Those
# whose names end in _formula come from neon_optim.backends.gpu.formula_source.
_OPERATIONS = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "power": "power_formula({0}, {1})",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "shift": "shift({0}, {1})",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "negative": "-{0}",
    "absolute": "fabs({0})",
    "sgn": "sgn({0})",
    "sqrt": "sqrt({0})",
    "exp": "exp_formula({0})",
    "exp2": "exp2_formula({0})",
    "log": "log_formula({0})",
    "log2": "log2_formula({0})",
    "tanh": "tanh_formula({0})",
    "rint": "rint({0})",
    "where": "{0} != 0 ? {1} : {2}",
}

_STORAGE = {
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "float",
    "float64": "double",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "u32",
}


def expression(op: str, *operands: str) -> str:
    """An elementwise operation on C++ operands.

    >>> expression("where", "a", "b", "c")
    'a != 0 ? b : c'
    """
    return _OPERATIONS[op].format(*operands)


def storage_type(dtype: np.dtype) -> str:
    """The C++ type of a tensor's elements."""
    try:
        return _STORAGE[dtype.name]
    except KeyError:
        raise BackendError(f"the GPU backend holds {', '.join(_STORAGE)}, received {dtype}") from None
