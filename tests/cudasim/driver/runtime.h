/* What C translated from PTX is written with. The names follow the PTX instructions. */
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "abi.h"

typedef unsigned __int128 u128;
typedef __int128 s128;
typedef float f32;
typedef double f64;
typedef _Float16 f16;

#define INLINE static inline __attribute__((always_inline, unused))
#define OUTLINE static __attribute__((noinline, unused))

/* ---- bits ---- */
#define BITCAST(name, TO, FROM) \
  INLINE TO name(FROM x) { TO r; memcpy(&r, &x, sizeof r); return r; }
BITCAST(f32_of_bits, f32, u32)
BITCAST(bits_of_f32, u32, f32)
BITCAST(f64_of_bits, f64, u64)
BITCAST(bits_of_f64, u64, f64)
BITCAST(f16_of_bits, f16, u16)
BITCAST(bits_of_f16, u16, f16)

INLINE f32 f32_of_f16(u16 x) { return (f32)f16_of_bits(x); }
INLINE u16 f16_of_f32(f32 x) { return x != x ? 0x7fff : bits_of_f16((f16)x); }
INLINE u16 f16_of_f64(f64 x) { return x != x ? 0x7fff : bits_of_f16((f16)x); }
INLINE f32 f32_of_bf16(u16 x) { return f32_of_bits((u32)x << 16); }
INLINE u16 bf16_of_f32(f32 x) {
  u32 bits = bits_of_f32(x);
  return x != x ? 0x7fff : (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
INLINE u16 bf16_of_f32_rz(f32 x) { return x != x ? 0x7fff : (u16)(bits_of_f32(x) >> 16); }
/* One step of 16-bit magnitude from the nearest value `h` of x, where a directed rounding asks for it. */
INLINE u16 f16_of_f32_directed(f32 x, int mode) {
  if (x != x) return 0x7fff;
  u16 h = f16_of_f32(x);
  f32 y = f32_of_f16(h);
  if (mode == FE_TOWARDZERO ? fabsf(y) > fabsf(x) : 0) return h - 1;
  if (mode == FE_DOWNWARD && y > x) return h & 0x8000 ? h + 1 : h ? h - 1 : 0x8001;
  if (mode == FE_UPWARD && y < x) return h == 0x8000 ? 1 : h & 0x8000 ? h - 1 : h + 1;
  return h;
}

/* ---- floating point ---- */
INLINE f32 ftz(f32 x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0.f, x) : x; }
INLINE f32 saturate_f32(f32 x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
INLINE f64 saturate_f64(f64 x) { return x > 0. ? (x < 1. ? x : 1.) : 0.; }

#define DIRECTED(T, name, expression) \
  OUTLINE T name(T a, T b, T c, int mode) { \
    int before = fegetround(); \
    fesetround(mode); \
    volatile T x = a, y = b, z = c; \
    volatile T r = expression; \
    (void)x, (void)y, (void)z; \
    fesetround(before); \
    return r; \
  }
DIRECTED(f32, directed_add_f32, x + y) DIRECTED(f64, directed_add_f64, x + y)
DIRECTED(f32, directed_sub_f32, x - y) DIRECTED(f64, directed_sub_f64, x - y)
DIRECTED(f32, directed_mul_f32, x * y) DIRECTED(f64, directed_mul_f64, x * y)
DIRECTED(f32, directed_div_f32, x / y) DIRECTED(f64, directed_div_f64, x / y)
DIRECTED(f32, directed_fma_f32, fmaf(x, y, z)) DIRECTED(f64, directed_fma_f64, fma(x, y, z))
DIRECTED(f32, directed_sqrt_f32, sqrtf(x)) DIRECTED(f64, directed_sqrt_f64, sqrt(x))
#define DIRECTED_FROM(T, FROM) \
  OUTLINE T directed_##T##_of_##FROM(FROM a, int mode) { \
    int before = fegetround(); \
    fesetround(mode); \
    volatile FROM x = a; \
    volatile T r = (T)x; \
    fesetround(before); \
    return r; \
  }
DIRECTED_FROM(f32, f64) DIRECTED_FROM(f32, s64) DIRECTED_FROM(f32, u64) DIRECTED_FROM(f64, s64) DIRECTED_FROM(f64, u64)

/* min and max: the number where one operand is NaN; -0 below +0. The _nan forms pass NaN on. */
#define MINMAX(T) \
  INLINE T min_##T(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b; } \
  INLINE T max_##T(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b; } \
  INLINE T min_nan_##T(T a, T b) { return a != a || b != b ? (T)NAN : min_##T(a, b); } \
  INLINE T max_nan_##T(T a, T b) { return a != a || b != b ? (T)NAN : max_##T(a, b); }
MINMAX(f32) MINMAX(f64)

/* Float to integer, saturating; `nan` is what the hardware gives for NaN. x is rounded already. */
INLINE u64 saturating_integer(f64 x, f64 low, f64 high, u64 least, u64 most, u64 nan, int is_signed) {
  if (x != x) return nan;
  if (x <= low) return least;
  if (x >= high) return most;
  return is_signed ? (u64)(s64)x : (u64)x;
}
INLINE s128 clamp_integer(s128 x, s128 low, s128 high) { return x < low ? low : x > high ? high : x; }

/* ---- integers ---- */
INLINE u32 prmt(u32 a, u32 b, u32 selector) {
  u64 bytes = a | (u64)b << 32;
  u32 r = 0;
  for (int i = 0; i < 4; i++) {
    u32 s = selector >> 4 * i, byte = bytes >> 8 * (s & 7) & 255;
    if (s & 8) byte = byte & 128 ? 255 : 0;
    r |= byte << 8 * i;
  }
  return r;
}
INLINE u32 lop3(u32 a, u32 b, u32 c, u32 table) {
  u32 r = 0;
  for (u32 i = 0; i < 8; i++)
    if (table >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return r;
}
INLINE u32 shf_amount(u32 n, int wrap) { return wrap ? n & 31 : n > 32 ? 32 : n; }
INLINE u32 shf_l(u32 low, u32 high, u32 n, int wrap) {
  return (u32)((((u64)high << 32 | low) << shf_amount(n, wrap)) >> 32) | (shf_amount(n, wrap) == 32 ? low : 0);
}
INLINE u32 shf_r(u32 low, u32 high, u32 n, int wrap) {
  return (u32)(((u64)high << 32 | low) >> shf_amount(n, wrap));
}
INLINE u64 field_mask(u32 length) { return length >= 64 ? ~0ull : (1ull << length) - 1; }
INLINE u64 bfe(u64 a, u32 position, u32 length, u32 width, int is_signed) {
  position &= 255;
  length &= 255;
  if (!length) return 0;
  u32 top = position + length - 1 < width - 1 ? position + length - 1 : width - 1;
  u64 sign = is_signed ? a >> top & 1 : 0;
  u32 have = position >= width ? 0 : width - position;
  u64 mask = field_mask(length < have ? length : have);
  u64 field = have ? a >> position & mask : 0;
  return sign ? field | ~mask : field;
}
INLINE u64 bfi(u64 field, u64 into, u32 position, u32 length, u32 width) {
  position &= 255;
  length &= 255;
  if (position >= width) return into;
  u64 mask = field_mask(length < width - position ? length : width - position) << position;
  return (into & ~mask) | (field << position & mask);
}
INLINE u32 brev_32(u32 x) {
  x = (x >> 1 & 0x55555555) | (x & 0x55555555) << 1;
  x = (x >> 2 & 0x33333333) | (x & 0x33333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f) | (x & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(x);
}
INLINE u64 brev_64(u64 x) { return (u64)brev_32((u32)x) << 32 | brev_32((u32)(x >> 32)); }
INLINE u32 clz_32(u32 x) { return x ? __builtin_clz(x) : 32; }
INLINE u32 clz_64(u64 x) { return x ? __builtin_clzll(x) : 64; }
INLINE u32 bfind(u64 x, u32 width, int is_signed, int as_shift) {
  if (is_signed && x >> (width - 1) & 1) x = ~x;
  if (width == 32) x = (u32)x;
  if (!x) return ~0u;
  u32 top = 63 - __builtin_clzll(x);
  return as_shift ? width - 1 - top : top;
}

/* ---- memory ---- */
#define LOAD_STORE(T) \
  INLINE T load_##T(const u8 *p) { T v; memcpy(&v, p, sizeof v); return v; } \
  INLINE void store_##T(u8 *p, T v) { memcpy(p, &v, sizeof v); }
LOAD_STORE(u8) LOAD_STORE(u16) LOAD_STORE(u32) LOAD_STORE(u64) LOAD_STORE(u128) LOAD_STORE(f32) LOAD_STORE(f64)

#ifdef CUDASIM_CHECK
INLINE void check_alignment(Thread *t, u64 address, u32 size) {
  if (__builtin_expect(address & (size - 1), 0)) t->services->bad_address(t, address, size, "misaligned");
}
INLINE u8 *global_address(Thread *t, u64 address, u32 size, const char *what) {
  u64 offset = address - t->arena;
  if (__builtin_expect(offset >= t->arena_size ||
                       (offset & (GRANULE - 1)) + size > t->valid_bytes[offset >> GRANULE_BITS], 0))
    if (!t->services->is_valid(address, size)) t->services->bad_address(t, address, size, what);
  check_alignment(t, address, size);
  return (u8 *)address;
}
INLINE u8 *shared_address(Thread *t, u64 address, u32 size, const char *what) {
  address = (u32)address;
  if (__builtin_expect(address + size > t->shared_size, 0)) t->services->bad_address(t, address, size, what);
  check_alignment(t, address, size);
  return t->shared + address;
}
INLINE u8 *generic_address(Thread *t, u64 address, u32 size, const char *what) {
  char here; /* a thread's local memory is its C stack */
  int is_shared = address >= (u64)t->shared && address + size <= (u64)t->shared + t->shared_size;
  int is_local = address > (u64)&here - (64 << 10) && address < (u64)&here + (1 << 20);
  return is_shared || is_local ? (u8 *)address : global_address(t, address, size, what);
}
#else
#define global_address(t, address, size, what) ((u8 *)(u64)(address))
#define shared_address(t, address, size, what) ((t)->shared + (u32)(address))
#define generic_address(t, address, size, what) ((u8 *)(u64)(address))
#endif

/* ---- atomics: one thread runs at a time, so plain reads and writes are atomic ---- */
#define ATOMIC(T, name, expression) \
  INLINE T atom_##name##_##T(u8 *p, T b) { T a = load_##T(p); store_##T(p, expression); return a; }
#define ATOMIC_INTEGER(U, S) \
  ATOMIC(U, add, a + b) ATOMIC(U, exch, b) ATOMIC(U, and, a & b) ATOMIC(U, or, a | b) ATOMIC(U, xor, a ^ b) \
  ATOMIC(U, min, a < b ? a : b) ATOMIC(U, max, a > b ? a : b) \
  INLINE S atom_min_##S(u8 *p, S b) { S a = (S)load_##U(p); store_##U(p, (U)(a < b ? a : b)); return a; } \
  INLINE S atom_max_##S(u8 *p, S b) { S a = (S)load_##U(p); store_##U(p, (U)(a > b ? a : b)); return a; } \
  INLINE U atom_cas_##U(u8 *p, U b, U c) { U a = load_##U(p); if (a == b) store_##U(p, c); return a; }
ATOMIC_INTEGER(u32, s32) ATOMIC_INTEGER(u64, s64)
ATOMIC(u32, inc, a >= b ? 0 : a + 1) ATOMIC(u32, dec, a == 0 || a > b ? b : a - 1)
ATOMIC(f32, add, a + b) ATOMIC(f64, add, a + b)

/* ---- special registers ---- */
INLINE u32 linear_thread(Thread *t) { return t->tid[0] + t->ntid[0] * (t->tid[1] + t->ntid[1] * t->tid[2]); }
INLINE u64 clock_ticks(void) { return __builtin_ia32_rdtsc(); }
