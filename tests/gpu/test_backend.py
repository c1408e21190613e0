"""The GPU backend as users meet it: interoperation, errors, random numbers, and what a step asks of the driver."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
from cudasim import session

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.contract import Rounding
from neon_optim.backends.program import trace
from neon_optim.errors import BackendError, NonFiniteError, StateError
from neon_optim.optimizers import Adam, GradientDescentMomentum

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.gpu

RNG = np.random.RandomState(0)
VALUES = RNG.randn(40, 30).astype(np.float32)


@pytest.fixture
def be():
    yield gen_backend("gpu", rng_seed=1)
    cleanup_backend()


def rows(be, count=2, shape=(40, 30), dtype=None):
    return [
        ((be.array(RNG.randn(*shape), dtype), be.array(RNG.randn(*shape), dtype)), []) for _ in range(count)
    ]


# --- other libraries ---


def test_arrays_of_pycuda_are_updated_in_place(be):
    import pycuda.gpuarray as gpuarray

    param, grad = gpuarray.to_gpu(VALUES), gpuarray.to_gpu(VALUES * 0.5)
    GradientDescentMomentum(0.5, 0.0).optimize([((param, grad), [])], 0)
    np.testing.assert_array_equal(param.get(), VALUES - np.float32(0.5) * (VALUES * np.float32(0.5)))


def test_tensors_are_read_and_written_through_their_interface(be):
    import pycuda.driver as cuda

    tensor = be.array(VALUES)
    interface = tensor.__cuda_array_interface__
    assert (interface["shape"], interface["typestr"], interface["strides"]) == ((40, 30), "<f4", None)
    there = np.empty_like(VALUES)
    cuda.memcpy_dtoh(there, interface["data"][0])
    np.testing.assert_array_equal(there, VALUES)
    part = tensor[3:7, ::2].__cuda_array_interface__
    assert (part["shape"], part["strides"]) == ((4, 15), (120, 8))
    assert part["data"][0] - interface["data"][0] == 3 * 120
    assert be.as_tensor(tensor.T).shape == (30, 40)


def test_a_foreign_array_that_moves_is_noticed(be):
    import pycuda.gpuarray as gpuarray

    class Moving:
        """Like a library's tensor whose storage is replaced."""

        def __init__(self):
            self.array = gpuarray.to_gpu(VALUES)

        @property
        def __cuda_array_interface__(self):
            return self.array.__cuda_array_interface__

    param, grad = Moving(), Moving()
    optimizer = GradientDescentMomentum(0.5, 0.0)
    optimizer.optimize([((param, grad), [])], 0)
    first, param.array = param.array, gpuarray.to_gpu(VALUES * 3)
    optimizer.optimize([((param, grad), [])], 0)
    np.testing.assert_array_equal(first.get(), VALUES * np.float32(0.5))
    np.testing.assert_array_equal(param.array.get(), VALUES * 3 - np.float32(0.5) * VALUES)


def test_a_context_that_is_current_is_shared(gpu_driver):
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).make_context()
    try:
        import pycuda.gpuarray as gpuarray

        param, grad = gpuarray.to_gpu(VALUES), gpuarray.to_gpu(VALUES)
        gen_backend("gpu")
        GradientDescentMomentum(1.0, 0.0).optimize([((param, grad), [])], 0)
        cleanup_backend()
        assert cuda.Context.get_current() is not None, "the backend leaves a context that it did not make"
        np.testing.assert_array_equal(param.get(), 0 * VALUES)
        del param, grad
        gc.collect()
    finally:
        context.pop()
        context.detach()


# --- errors ---


def test_device_id_out_of_range():
    import pycuda.driver as cuda

    cuda.init()
    for wrong in (cuda.Device.count(), -1, True):
        with pytest.raises(BackendError, match="device_id must be an integer from 0 to"):
            gen_backend("gpu", device_id=wrong)


@pytest.mark.parametrize("kind", ["param", "grad"])
def test_host_memory_in_the_list_is_refused(be, kind):
    pair = {"param": be.array(VALUES), "grad": be.array(VALUES), kind: VALUES.copy()}
    with pytest.raises(StateError, match=rf"{kind}: ndarray is not in device memory.*be.array"):
        Adam().optimize([((pair["param"], pair["grad"]), [])], 0)


def test_tensors_of_another_backend_are_refused(be):
    on_device = be.array(VALUES)
    cleanup_backend()
    cpu = gen_backend("cpu", engine="numpy")
    with pytest.raises(StateError, match="belongs to another backend"):
        Adam().optimize([((on_device, cpu.array(VALUES)), [])], 0)
    cleanup_backend()
    be = gen_backend("gpu")
    with pytest.raises(StateError, match="belongs to another backend"):
        Adam().optimize([((cpu.array(VALUES), be.array(VALUES)), [])], 0)
    with pytest.raises(BackendError, match="belongs to another backend"):
        be.empty((40, 30))[:] = cpu.array(VALUES) + 1.0


def test_tensors_of_another_device_are_refused(be):
    other = gen_backend("gpu")
    (row,) = rows(other, 1)
    other.device.device_id = 1
    gen_backend("gpu")
    with pytest.raises(StateError, match=r"param: .* lives on device 1, this backend uses device 0"):
        Adam().optimize([row], 0)
    other.close()
    be.close()


def test_out_of_memory_says_sizes_and_changes_nothing(be):
    (row,) = rows(be, 1)
    before = row[0][0].get()
    with pytest.raises(
        BackendError, match=r"out of memory on device 0 .*: 400,000,000,000 bytes are needed, [\d,]+ of"
    ):
        be.empty((100_000, 1_000_000))
    Adam().optimize([row], 0)
    assert (row[0][0].get() != before).any()


def test_a_closed_backend_says_so():
    be = gen_backend("gpu")
    cleanup_backend()
    with pytest.raises(BackendError, match="has been closed"):
        be.zeros((1, 1))


def test_a_kernel_that_does_not_compile_leaves_its_source(be):
    with pytest.raises(
        BackendError, match="kernel broken does not compile; source and messages are in"
    ) as error:
        be.device.kernel('extern "C" __global__ void broken() { missing(); }', "broken", 8)
    folder = str(error.value).rpartition(" ")[2]
    with open(f"{folder}/broken.cu") as source:
        assert "missing();" in source.read()
    with open(f"{folder}/broken.log") as log:
        assert "missing" in log.read()


def test_missing_nvcc_says_what_to_install(be, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BackendError, match="nvcc, the CUDA compiler, is not on PATH"):
        be.device.kernel('extern "C" __global__ void never_seen() {}', "never_seen", 8)


def test_missing_pycuda_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.delitem(sys.modules, "pycuda.driver", raising=False)
    with pytest.raises(
        BackendError, match=r'PyCUDA, which is not installed: pip install "neon_optim\[gpu\]"'
    ):
        gen_backend("gpu")


def test_nothing_is_left_at_exit_without_cleanup(run_emulated):
    done = run_emulated("import neon_optim; neon_optim.gen_backend('gpu').zeros((3, 3))")
    assert done.returncode == 0, done.stderr


# --- gradients that are not finite ---


@pytest.mark.parametrize("options", [{"gradient_clip_norm": 1.0}, {"on_nonfinite": "raise"}])
def test_a_bad_gradient_stops_everything_until_the_host_is_told(be, options):
    (row,) = rows(be, 1)
    (param, grad), states = row
    optimizer = Adam(**options)
    optimizer.optimize([row], 0)
    kept = [t.get() for t in (param, *states)]
    bad = grad.get()
    bad[3, 4] = np.nan
    grad.set(bad)

    def steps_and_a_look():
        for _ in range(3):
            optimizer.optimize([row], 0)
        param.get()

    with pytest.raises(
        NonFiniteError, match=r"not finite .layer 'parameter_0', parameter 'W'.*; nothing was changed"
    ):
        steps_and_a_look()
    assert optimizer.t == 1
    for tensor, before in zip((param, *states), kept, strict=True):
        np.testing.assert_array_equal(tensor.get(), before)
    grad.set(np.ones_like(bad))
    optimizer.optimize([row], 0)
    assert optimizer.t == 2
    assert (param.get() != kept[0]).any()


def test_a_bad_gradient_is_skipped(be):
    (row,) = rows(be, 1)
    (param, grad), _ = row
    optimizer = Adam(on_nonfinite="skip")
    optimizer.optimize([row], 0)
    before = param.get()
    good = grad.get()
    grad.set(np.full_like(good, np.inf))
    optimizer.optimize([row], 0)
    assert optimizer.t == 1
    np.testing.assert_array_equal(param.get(), before)
    grad.set(good)
    optimizer.optimize([row], 0)
    assert optimizer.t == 2
    assert (param.get() != before).any()


# --- random numbers ---


@pytest.mark.parametrize("bits", [0, 5])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_stochastic_rounding_has_the_cpus_bits(dtype, bits):
    wide = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    program, scalars = trace("scale", ("param", "grad"), lambda p, g: p.__setitem__(slice(None), p * 0.3 + g))
    values = (np.random.RandomState(2).randn(3, 5003) * 10.0 ** np.linspace(-9, 3, 5003)).astype(wide)
    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, engine="numpy")
        tensors = [be.array(values, dtype=wide), be.array(values[::-1].copy(), dtype=wide)]
        tensors += [be.array(v.reshape(-1)[1:], dtype=wide) for v in (values, values[::-1])]
        odd = [t.reshape(-1, 1)[1:, :] for t in tensors[:2]]
        plan = be.plan([((tensors[2], tensors[3]), []), (tuple(odd), [])], ("param", "grad"))
        be.execute(program, plan, [scalars], Rounding(bits, seed=7, step=2**33 + 5, first_row=3))
        results.append([t.get() for t in tensors])
        cleanup_backend()
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()


# --- what a step asks of the driver ---


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize(
    ("options", "launches"), [({}, 1), ({"gradient_clip_norm": 1.0, "gradient_clip_value": 0.5}, 2)]
)
def test_a_step_is_one_launch_or_two_and_waits_for_nothing(be, emulator, count, options, launches):
    layers = rows(be, count, (9, 7))
    optimizer = Adam(**options)
    optimizer.optimize(layers, 0)
    before = session.counters()
    optimizer.optimize(layers, 0)
    spent = session.counters() - before
    assert spent == {
        "launches": launches,
        "synchronizations": 0,
        "host_to_device_bytes": 0,
        "device_to_host_bytes": 0,
        "allocations": 0,
    }


def test_a_new_rate_compiles_nothing(be):
    layers = rows(be, 1)
    Adam(learning_rate=0.1).optimize(layers, 0)
    known = dict(be.device._kernels)
    Adam(learning_rate=0.2, beta_1=0.8).optimize(layers, 0)
    assert be.device._kernels == known


def test_importing_the_package_starts_no_device():
    script = "import sys, neon_optim, neon_optim.backends.gpu.backend; print('pycuda' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False"
