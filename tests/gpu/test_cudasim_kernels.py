"""The emulator computes what CUDA documents: intrinsics, conversions, functions, warps, PyCUDA's own paths."""

import math

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

INTEGERS = {  # CUDA expression in x, y, z -> the same in Python's unbounded integers
    "__byte_perm(x, y, z)": lambda x, y, z: byte_perm(x, y, z),
    "__funnelshift_l(x, y, z)": lambda x, y, z: ((y << 32 | x) << (z & 31)) >> 32,
    "__funnelshift_r(x, y, z)": lambda x, y, z: (y << 32 | x) >> (z & 31),
    "__brev(x)": lambda x, y, z: int(f"{x:032b}"[::-1], 2),
    "__clz(x >> (z & 31))": lambda x, y, z: 32 - (x >> (z & 31)).bit_length(),
    "__popc(x)": lambda x, y, z: x.bit_count(),
    "__ffs(x)": lambda x, y, z: (x & -x).bit_length(),
    "__umulhi(x, y)": lambda x, y, z: x * y >> 32,
    "__mulhi((int)x, (int)y)": lambda x, y, z: signed(x) * signed(y) >> 32,
    "(u)__umul64hi((ull)x << 32 | y, (ull)z << 32 | x)": lambda x, y, z: (x << 32 | y) * (z << 32 | x) >> 64,
    "x / (y | 1)": lambda x, y, z: x // (y | 1),
    "x % (y | 1)": lambda x, y, z: x % (y | 1),
    "(int)x / ((int)y | 1)": lambda x, y, z: truncated(signed(x), signed(y | 1)),
    "(int)x % ((int)y | 1)": lambda x, y, z: signed(x) - truncated(signed(x), signed(y | 1)) * signed(y | 1),
    "(int)x >> (z & 31)": lambda x, y, z: signed(x) >> (z & 31),
    "x >> (z & 63)": lambda x, y, z: x >> (z & 63),
    "(u)((long long)((ull)x << 32 | y) >> (z & 63))": lambda x, y, z: signed(x << 32 | y, 64) >> (z & 63),
    "min((int)x, (int)y)": lambda x, y, z: min(signed(x), signed(y)),
    "max(x, y)": lambda x, y, z: max(x, y),
    "abs((int)x)": lambda x, y, z: abs(signed(x)),
    "(x & y) | (~x & z)": lambda x, y, z: (x & y) | (~x & z),
    "(short)x * (short)y + (signed char)z": lambda x, y, z: (
        signed(x & 65535, 16) * signed(y & 65535, 16) + signed(z & 255, 8)
    ),
    "(x >> 5 & 0x7f) << (z & 15)": lambda x, y, z: (x >> 5 & 0x7F) << (z & 15),
    "__usad(x, y, z)": lambda x, y, z: abs(x - y) + z,
}


def signed(x, bits=32):
    return x - (1 << bits) if x >> (bits - 1) else x


def truncated(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def byte_perm(x, y, selector):
    both = y << 32 | x
    return sum((both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i for i in range(4))


def run(source, name, n, *arguments, options=None):
    """Runs a kernel over n threads."""
    from pycuda.compiler import SourceModule

    kernel = SourceModule(source, no_extern_c=True, options=options or []).get_function(name)
    kernel(*arguments, np.int32(n), block=(128, 1, 1), grid=(-(-n // 128), 1))


@pytest.mark.parametrize("options", [(), ("-G",)], ids=["optimized", "debug"])
def test_integer_operations(cuda_context, options):
    import pycuda.gpuarray as gpuarray

    n = 512
    rng = np.random.default_rng(1)
    a, b, c = rng.integers(0, 2**32, (3, n), dtype=np.uint64).astype(np.uint32)
    a[:8] = [0, 1, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, 0, 5, 7]
    b[:8] = [0, 0xFFFFFFFF, 0xFFFFFFFE, 1, 2, 3, 0, 0]
    body = "\n".join(f"out[{k} * n + i] = {expression};" for k, expression in enumerate(INTEGERS))
    source = f"""
    typedef unsigned u; typedef unsigned long long ull;
    extern "C" __global__ void integers(const u *a, const u *b, const u *c, u *out, int n) {{
      int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return;
      u x = a[i], y = b[i], z = c[i]; {body} }}"""
    out = gpuarray.zeros((len(INTEGERS), n), np.uint32)
    run(source, "integers", n, *(gpuarray.to_gpu(v) for v in (a, b, c)), out, options=list(options))
    for row, (expression, reference) in zip(out.get(), INTEGERS.items(), strict=True):
        expected = [reference(*map(int, xyz)) & 0xFFFFFFFF for xyz in zip(a, b, c, strict=True)]
        assert row.tolist() == expected, expression


def test_conversions(cuda_context):
    import ml_dtypes
    import pycuda.gpuarray as gpuarray

    n = 4096
    rng = np.random.default_rng(2)
    x = (rng.standard_normal(n) * 10 ** rng.uniform(-9, 10, n)).astype(np.float32)
    x[:9] = [0, -0.0, np.inf, -np.inf, 65519.9, 65520, 6e-8, 2**-149, -2.5]
    source = """
    #include <cuda_fp16.h>
    #include <cuda_bf16.h>
    extern "C" __global__ void convert(const float *a, int *out, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; float x = a[i]; out += 8 * i;
      out[0] = __float2int_rn(x); out[1] = __float2int_rz(x); out[2] = __float2int_rd(x);
      out[3] = __float2uint_rz(x); out[4] = __half_as_ushort(__float2half_rn(x));
      out[5] = __bfloat16_as_ushort(__float2bfloat16(x));
      out[6] = __float_as_int(__half2float(__float2half_rn(x))); out[7] = __float_as_int(rintf(x)); }"""
    out = gpuarray.zeros((n, 8), np.int32)
    run(source, "convert", n, gpuarray.to_gpu(x), out)
    got = out.get().T

    def saturated(values, low, high):
        return (
            np.clip(values.astype(np.float64), low, high).astype(np.int64).astype(np.uint32).astype(np.int32)
        )

    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    assert (got[0] == saturated(np.rint(x), -(2**31), 2**31 - 1)).all()
    assert (got[1] == saturated(np.trunc(x), -(2**31), 2**31 - 1)).all()
    assert (got[2] == saturated(np.floor(x), -(2**31), 2**31 - 1)).all()
    assert (got[3] == saturated(np.trunc(x), 0, 2**32 - 1)).all()
    assert (got[4] == half.view(np.uint16)).all()
    assert (got[5] == x.astype(ml_dtypes.bfloat16).view(np.uint16)).all()
    assert (got[6].view(np.float32) == half.astype(np.float32)).all()
    assert (got[7].view(np.float32) == np.rint(x)).all()


def test_arithmetic_is_ieee(cuda_context):
    import pycuda.gpuarray as gpuarray

    n = 4096
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 2**32, (2, n), dtype=np.uint64).astype(np.uint32)
    x, y = bits.view(np.float32)
    source = """extern "C" __global__ void ieee(const float *a, const float *b, float *out, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; float x = a[i], y = b[i];
      out[i] = x + y; out[n + i] = x * y; out[2 * n + i] = x / y; out[3 * n + i] = sqrtf(fabsf(x)); }"""
    out = gpuarray.zeros((4, n), np.float32)
    run(source, "ieee", n, gpuarray.to_gpu(x), gpuarray.to_gpu(y), out, options=["-fmad=false"])
    with np.errstate(all="ignore"):
        expected = [x + y, x * y, x / y, np.sqrt(np.abs(x))]
    for got, wanted in zip(out.get(), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_functions_are_close(cuda_context):
    """libdevice's own error is up to 2 ulp; the approximate instructions below it are the host's here."""
    import pycuda.gpuarray as gpuarray

    n = 2048
    x = np.random.default_rng(4).uniform(0.01, 20, n)
    names = ["exp", "log", "log2", "sin", "cos", "tanh", "erf", "cbrt"]
    body = "\n".join(f"out[{k} * n + i] = {name}(x);" for k, name in enumerate(names))
    for kind, dtype, tolerance in (("float", np.float32, 4e-7), ("double", np.float64, 1e-15)):
        source = f"""extern "C" __global__ void functions(const {kind} *a, {kind} *out, int n) {{
          int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; {kind} x = a[i]; {body} }}"""
        values = x.astype(dtype)
        out = gpuarray.zeros((len(names), n), dtype)
        run(source, "functions", n, gpuarray.to_gpu(values), out)
        for got, name in zip(out.get(), names, strict=True):
            function = getattr(math, name, None) or getattr(np, name)
            wanted = np.array([function(float(v)) for v in values])
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance, err_msg=f"{name} {kind}")


WARPS = r"""
extern "C" __device__ __noinline__ int chain(int x, int depth) {
  return depth ? chain(x + depth, depth - 1) : x; }
extern "C" __global__ void warps(int *out) {
  int i = threadIdx.x, *o = out + i; __shared__ int s[64];
  o[0] = __shfl_down_sync(~0u, i, 4); o[64] = __shfl_up_sync(~0u, i, 1, 8);
  o[128] = __shfl_xor_sync(~0u, i, 5);
  o[192] = __shfl_sync(~0u, i, 7); o[256] = __ballot_sync(~0u, i & 1) == 0xaaaaaaaau;
  o[320] = __all_sync(~0u, i < 32) + 2 * __any_sync(~0u, i == 63); o[384] = __syncthreads_count(i % 3 == 0);
  o[448] = __syncthreads_or(i == 40); o[512] = __syncthreads_and(i < 64);
  s[i] = i * i; __syncthreads(); o[576] = s[63 - i]; o[640] = chain(i, i & 7); atomicAdd(&out[704], i);
  atomicMax(&out[705], i); if (i >= 32) return; __syncthreads(); o[768] = s[i]; }
"""


def test_warps_barriers_calls_and_atomics(cuda_context):
    import pycuda.gpuarray as gpuarray
    from pycuda.compiler import SourceModule

    out = gpuarray.zeros(13 * 64, np.int32)
    SourceModule(WARPS, no_extern_c=True).get_function("warps")(out, block=(64, 1, 1))
    got = out.get().reshape(13, 64)
    i = np.arange(64)
    depth = i & 7
    assert (got[0] == np.where(i % 32 < 28, i + 4, i)).all()
    assert (got[1] == np.where(i % 8 == 0, i, i - 1)).all()
    assert (got[2] == (i ^ 5)).all()
    assert (got[3] == i // 32 * 32 + 7).all()
    assert (got[4] == 1).all()
    assert (got[5] == np.where(i < 32, 1, 2)).all()
    assert (got[6] == 22).all()
    assert (got[7] == 1).all()
    assert (got[8] == 1).all()
    assert (got[9] == (63 - i) ** 2).all()
    assert (got[10] == i + depth * (depth + 1) // 2).all()
    assert got[11, :2].tolist() == [2016, 63]
    assert (got[12, :32] == i[:32] ** 2).all(), "a barrier of the threads that are left"


def test_pycuda_arrays(cuda_context):
    import pycuda.cumath as cumath
    import pycuda.gpuarray as gpuarray
    from pycuda.elementwise import ElementwiseKernel
    from pycuda.reduction import ReductionKernel
    from pycuda.tools import DeviceMemoryPool

    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 10_007)).astype(np.float32)
    pool = DeviceMemoryPool()
    x, y = gpuarray.to_gpu(a, allocator=pool.allocate), gpuarray.to_gpu(b)
    np.testing.assert_array_equal((x * y).get(), a * b)
    np.testing.assert_array_equal((x / y).get(), a / b)
    np.testing.assert_allclose(cumath.exp(x).get(), np.exp(a), rtol=3e-7)
    np.testing.assert_allclose(gpuarray.sum(x).get(), a.sum(dtype=np.float64), rtol=1e-4, atol=1e-3)
    assert gpuarray.max(x).get() == a.max()
    norm = ReductionKernel(np.float64, "0", "a + b", "(double)x[i] * x[i]", "const float *x")
    np.testing.assert_allclose(norm(x).get(), (a.astype(np.float64) ** 2).sum(), rtol=1e-12)
    ElementwiseKernel("float *x, float s", "x[i] = s * x[i]")(x, np.float32(3))
    np.testing.assert_array_equal(x.get(), np.float32(3) * a)
    matrix = gpuarray.to_gpu(a[:10_000].reshape(100, 100))
    np.testing.assert_array_equal(matrix[10:20, 5:50].get(), a[:10_000].reshape(100, 100)[10:20, 5:50])


def test_tiled_product(cuda_context):
    import pycuda.gpuarray as gpuarray
    from pycuda.compiler import SourceModule

    source = r"""extern "C" __global__ void product(const float *A, const float *B, float *C, int n) {
      __shared__ float a[16][16], b[16][16];
      int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 16 + y, column = blockIdx.x * 16 + x;
      float sum = 0;
      for (int k = 0; k < n; k += 16) {
        a[y][x] = A[row * n + k + x]; b[y][x] = B[(k + y) * n + column]; __syncthreads();
        for (int j = 0; j < 16; j++) sum += a[y][j] * b[j][x];
        __syncthreads(); }
      C[row * n + column] = sum; }"""
    a, b = np.random.default_rng(6).standard_normal((2, 64, 64)).astype(np.float32)
    c = gpuarray.zeros((64, 64), np.float32)
    kernel = SourceModule(source, no_extern_c=True).get_function("product")
    kernel(gpuarray.to_gpu(a), gpuarray.to_gpu(b), c, np.int32(64), block=(16, 16, 1), grid=(4, 4))
    np.testing.assert_allclose(c.get(), a @ b, rtol=1e-4, atol=1e-5)
