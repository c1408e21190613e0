"""The emulated driver finds the faults it is there to find, and counts what a driver is asked to do."""

import json

import numpy as np
import pytest
from cudasim import session

pytestmark = pytest.mark.gpu

FAULTS = r"""
#include <cassert>
extern "C" {
__global__ void store_at(float *a, int n) { a[n] = 1; }
__global__ void misaligned(char *a) { *(float *)(a + 1) = 1; }
__global__ void shared_overrun(float *a) {
  __shared__ float s[32]; s[threadIdx.x] = 1; __syncthreads(); a[0] = s[0]; }
__global__ void half_a_warp(float *a) {
  if (threadIdx.x == 0) a[0] = __shfl_sync(~0u, a[0], 1); __syncthreads(); }
__global__ void assertion(int *a) { assert(a[0] == 1); }
__global__ void uninitialised_shared(float *a, int n) {
  __shared__ float s[32]; if (n) s[threadIdx.x] = 1; __syncthreads(); a[0] = s[threadIdx.x]; }
__global__ __launch_bounds__(64) void bounded(float *a) { a[0] = 1; }
__global__ void tensor_cores(float *a) {
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%0,%0,%0,%0,%0,%0,%0,%0},{%1,%1},{%1,%1},"
               "{%0,%0,%0,%0,%0,%0,%0,%0};" : "+f"(a[0]) : "r"(0));
}
}
"""


@pytest.fixture
def faults(prompt, cuda_context):
    from pycuda.compiler import SourceModule

    return SourceModule(FAULTS, no_extern_c=True).get_function


def launch(function, *arguments, threads=1):
    import pycuda.driver as cuda

    with pytest.raises(cuda.Error) as error:
        function(*arguments, block=(threads, 1, 1))
    return str(error.value)


def test_an_access_past_the_end_is_found_in_every_granule(faults):
    import pycuda.gpuarray as gpuarray

    for size in (1, 127, 128, 129, 1000):
        array = gpuarray.zeros(size, np.float32)
        faults("store_at")(array, np.int32(size - 1), block=(1, 1, 1))
        assert array.get()[-1] == 1
        for outside in (size, -1, 10**8):
            assert "illegal memory access" in launch(faults("store_at"), array, np.int32(outside))


def test_use_after_free_is_found(faults):
    import pycuda.driver as cuda

    memory = cuda.mem_alloc(64)
    address = np.uintp(int(memory))
    memory.free()
    assert "illegal memory access" in launch(faults("store_at"), address, np.int32(0))


def test_other_faults(faults):
    import pycuda.gpuarray as gpuarray

    a = gpuarray.zeros(64, np.float32)
    assert "misaligned address" in launch(faults("misaligned"), a)
    assert "illegal memory access" in launch(faults("shared_overrun"), a, threads=33)
    assert "launch failure" in launch(faults("half_a_warp"), a, threads=32)
    assert "assert" in launch(faults("assertion"), gpuarray.zeros(1, np.int32))
    assert "too many resources" in launch(faults("bounded"), a, threads=65)


def test_uninitialised_memory_is_poison(faults):
    import pycuda.gpuarray as gpuarray

    assert np.isnan(gpuarray.empty(100, np.float32).get()).all()
    a = gpuarray.zeros(1, np.float32)
    faults("uninitialised_shared")(a, np.int32(0), block=(32, 1, 1))
    assert np.isnan(a.get()[0])


def test_out_of_memory_and_after(faults):
    import pycuda.driver as cuda

    with pytest.raises(cuda.MemoryError):
        cuda.mem_alloc(1 << 40)
    cuda.mem_alloc(1 << 20).free()


def test_copies_outside_an_allocation_are_refused(faults):
    import pycuda.driver as cuda

    memory = cuda.mem_alloc(64)
    with pytest.raises(cuda.LogicError, match="invalid argument"):
        cuda.memcpy_htod(int(memory) + 4, np.zeros(16, np.float32))


def test_memory_is_reused_and_never_handed_out_twice(faults):
    import pycuda.driver as cuda

    rng = np.random.default_rng(0)
    held = {}
    for step in range(400):
        if held and rng.random() < 0.5:
            value, memory, size = held.pop(list(held)[rng.integers(len(held))])
            contents = np.empty(size, np.uint8)
            cuda.memcpy_dtoh(contents, memory)
            assert (contents == value).all()
            memory.free()
        else:
            size = int(rng.integers(1, 5000))
            memory = cuda.mem_alloc(size)
            cuda.memset_d8(memory, step % 251, size)
            held[step] = (step % 251, memory, size)


def test_counts(faults):
    import pycuda.driver as cuda
    import pycuda.gpuarray as gpuarray

    a = gpuarray.zeros(8, np.float32)
    before = session.counters()
    faults("store_at")(a, np.int32(0), block=(1, 1, 1))
    cuda.memcpy_htod(a.gpudata, np.ones(4, np.float32))
    a.get()
    cuda.Context.synchronize()
    spent = session.counters() - before
    assert spent["launches"] == 1
    assert spent["host_to_device_bytes"] == 16
    assert spent["device_to_host_bytes"] == 32
    assert spent["synchronizations"] == 2


RACE = r"""
import numpy as np, pycuda.driver as cuda, pycuda.gpuarray as gpuarray
from pycuda.compiler import SourceModule
cuda.init(); context = cuda.Device(0).retain_primary_context(); context.push()
source = '''__global__ void reverse(float *a, int *claimed) {
  __shared__ float s[64]; int i = threadIdx.x, block = atomicAdd(claimed, 1);
  s[i] = a[i]; BARRIER; a[i] = s[63 - i]; if (i == 0 && block < 0) a[0] = 0; }'''
a = gpuarray.arange(0, 64, 1, dtype=np.float32)
kernel = SourceModule(source.replace("BARRIER", "%s")).get_function("reverse")
kernel(a, gpuarray.zeros(1, np.int32), block=(64, 1, 1))
print((a.get() == np.arange(64)[::-1]).all())
"""
ORDER = r"""
import numpy as np, pycuda.driver as cuda, pycuda.gpuarray as gpuarray
from pycuda.compiler import SourceModule
cuda.init(); context = cuda.Device(0).retain_primary_context(); context.push()
source = '''__global__ void order(int *next, int *seen) {
  seen[atomicAdd(next, 1)] = blockIdx.x * blockDim.x + threadIdx.x; }'''
seen = gpuarray.zeros(64, np.int32)
SourceModule(source).get_function("order")(gpuarray.zeros(1, np.int32), seen, block=(8, 1, 1), grid=(8, 1))
print(seen.get().tolist())
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_missing_barrier_shows(run_emulated, seed):
    assert run_emulated(RACE % "__syncthreads()", CUDASIM_SHUFFLE=seed).stdout.strip() == "True"
    assert run_emulated(RACE % "", CUDASIM_SHUFFLE=seed).stdout.strip() == "False"


def test_orders_are_seeded_permutations(run_emulated):
    orders = [run_emulated(ORDER, CUDASIM_SHUFFLE=seed).stdout for seed in (0, 5, 5, 6)]
    assert orders[0].strip() == str(list(range(64))), "without a seed: ascending"
    assert orders[1] == orders[2] != orders[3]
    assert sorted(json.loads(orders[1])) == list(range(64))


def test_the_architecture_is_pretended(run_emulated):
    script = """import pycuda.driver as cuda
cuda.init()
print(cuda.Device(0).compute_capability(), cuda.Device(0).name())"""
    done = run_emulated(script, CUDASIM_SM=100)
    assert done.stdout.strip() == "(10, 0) cudasim (emulated sm_100)"
    assert "emulated" in done.stderr
