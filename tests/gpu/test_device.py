"""Between the backend and the driver: arrays, contexts, kernels on disk, faults, arguments, names in source."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import subprocess
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from cudasim import session

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.gpu import device
from neon_optim.backends.gpu import program_source as written
from neon_optim.backends.gpu.identifiers import identifiers
from neon_optim.backends.gpu.images import load_image, save_image
from neon_optim.backends.gpu.memory import device_array
from neon_optim.backends.gpu.program_source import program_source
from neon_optim.backends.optree import NamedScalar, Node, Symbol
from neon_optim.backends.program import linearize
from neon_optim.errors import StateError
from neon_optim.optimizers import Adam, GradientDescentMomentum, MultiOptimizer

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.gpu

VALUES = np.random.RandomState(0).randn(40, 30).astype(np.float32)
FLOAT32 = np.dtype(np.float32)


@pytest.fixture
def be():
    yield gen_backend("gpu", rng_seed=1)
    cleanup_backend()


class Described:
    """Another library's array on the memory of a tensor of ours."""

    def __init__(self, tensor, typestr, dtype):
        self.dtype = dtype
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__ | {"typestr": typestr}
        self.kept = tensor


# --- arrays ---


def test_bfloat16_arrays_of_pytorch_are_updated_in_place(be):
    """Their interface says '<V2', as NumPy has no such type."""
    wide = np.dtype(ml_dtypes.bfloat16)
    param, grad = be.array(VALUES, dtype=wide), be.array(VALUES * 0.5, dtype=wide)
    foreign = [Described(t, "<V2", "torch.bfloat16") for t in (param, grad)]
    GradientDescentMomentum(0.5, 0.0).optimize([(tuple(foreign), [])], 0)
    expected = VALUES.astype(wide).astype("f4") - np.float32(0.5) * (VALUES * np.float32(0.5)).astype(
        wide
    ).astype("f4")
    np.testing.assert_array_equal(param.get().astype("f4"), expected.astype(wide).astype("f4"))
    assert device_array(Described(param, param.__cuda_array_interface__["typestr"], wide)).dtype == wide


def test_elements_without_a_name_are_refused(be):
    with pytest.raises(StateError, match=r"Described has elements of the type '<V2' \(no name\)"):
        device_array(Described(be.empty((3, 3), np.float16), "<V2", ""))
    with pytest.raises(StateError, match=r"elements of the type '\|V4'"):
        device_array(Described(be.empty((3, 3)), "|V4", "struct"))


# --- contexts ---


def train_a_step(be):
    param, grad = be.array(VALUES), be.array(VALUES)
    optimizer = Adam(learning_rate=0.1, gradient_clip_norm=1.0)
    states = []
    optimizer.optimize([((param, grad), states)], 0)
    return [param.get(), *(s.get() for s in states)]


def test_another_thread_trains(be):
    expected, found = train_a_step(be), []

    def work():
        try:
            found.append(train_a_step(be))
        except Exception as error:
            found.append(error)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    for mine in found:
        if isinstance(mine, Exception):
            raise mine
        for one, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("closed", [False, True])
def test_another_thread_collects_what_is_left(be, closed):
    """PyCUDA gives memory back in the thread that created its context only; a garbage collector runs in any."""
    train_a_step(be)  # plans are kept, with their memory, until the backend is closed
    gc.collect()
    pool = be.device._pool
    before = pool.active_blocks
    left = [be.array(VALUES)]
    train_a_step(be)
    if closed:
        cleanup_backend()
    left.append(left)  # a cycle: only a collector frees it
    del left
    thread = threading.Thread(target=gc.collect)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread.start()
        thread.join()
    assert pool.active_blocks <= before


@pytest.mark.parametrize("kind", ["none", "another"])
def test_a_step_leaves_the_context_that_another_library_made_current(be, kind):
    expected = train_a_step(be)
    driver = ctypes.CDLL("libcuda.so.1")
    foreign, current, popped, below = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p(), []
    if kind == "another":
        driver.cuCtxCreate_v4(ctypes.byref(foreign), None, 0, 0)
        driver.cuCtxPopCurrent_v2(ctypes.byref(popped))
    while driver.cuCtxPopCurrent_v2(ctypes.byref(popped)) == 0:  # PyCUDA does not learn of it
        below.append(popped.value)
    if kind == "another":
        driver.cuCtxPushCurrent_v2(foreign)
    try:
        found = train_a_step(be)
        driver.cuCtxGetCurrent(ctypes.byref(current))
    finally:
        if kind == "another":
            driver.cuCtxDestroy_v2(foreign)
        for context in reversed(below):
            driver.cuCtxPushCurrent_v2(ctypes.c_void_p(context))
    assert current.value == foreign.value
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


CLOSED_ELSEWHERE = """
import ctypes, neon_optim
be = neon_optim.gen_backend("gpu")
be.zeros((3, 3))
driver, current = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
driver.cuCtxSetCurrent(None)
neon_optim.cleanup_backend()
driver.cuCtxGetCurrent(ctypes.byref(current))
print(current.value)
"""


def test_a_backend_is_closed_where_another_context_is_current(run_emulated):
    done = run_emulated(CLOSED_ELSEWHERE)
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr


SHARED = """
import ctypes, neon_optim, pycuda.driver as cuda
cuda.init()
context = cuda.Device(0).make_context()
ctypes.CDLL("libcuda.so.1").cuCtxSetCurrent(None)
be = neon_optim.gen_backend("gpu")
print(be.ones((3, 3)).get().sum(), be.device.context._handle == context.handle)
neon_optim.cleanup_backend()
ctypes.CDLL("libcuda.so.1").cuCtxSetCurrent(ctypes.c_void_p(context.handle))
context.pop()
"""


def test_a_context_is_shared_that_only_pycuda_thinks_current(run_emulated):
    done = run_emulated(SHARED)
    assert done.stdout.strip() == "9.0 True", done.stderr


def test_a_backend_that_another_thread_closed_is_left_at_exit(run_emulated):
    done = run_emulated(
        "import threading, neon_optim\n"
        "be = neon_optim.gen_backend('gpu'); be.zeros((3, 3))\n"
        "thread = threading.Thread(target=neon_optim.cleanup_backend); thread.start(); thread.join()"
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


# --- compiled kernels ---

CACHED = """
import neon_optim
be = neon_optim.gen_backend("gpu")
print(float(be.ones((3, 3)).get().sum()))
"""


def test_a_kernel_that_was_compiled_once_needs_no_nvcc(run_emulated, tmp_path):
    first = run_emulated(CACHED, PYCUDA_CACHE_DIR=tmp_path)
    assert first.stdout.strip() == "9.0", first.stderr
    assert list(tmp_path.glob("neon_optim-*.cubin"))
    without = "import shutil\nshutil.which = lambda *_, **__: None\n" + CACHED
    second = run_emulated(without, PYCUDA_CACHE_DIR=tmp_path, CUDASIM_NVCC="/nonexistent")
    assert second.stdout.strip() == "9.0", second.stderr


def test_damaged_and_unwritable_caches_cost_time_only(run_emulated, tmp_path, monkeypatch):
    monkeypatch.setenv("PYCUDA_CACHE_DIR", str(tmp_path))
    save_image(["key"], b"image")
    assert load_image(["key"]) == b"image"
    assert load_image(["ke", "y"]) is None
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert load_image(["key"]) is None
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PYCUDA_CACHE_DIR", str(blocked / "folder"))
    save_image(["key"], b"image")
    assert load_image(["key"]) is None
    done = run_emulated(CACHED, PYCUDA_CACHE_DIR=blocked / "folder")
    assert done.stdout.strip() == "9.0", done.stderr


def test_the_emulators_nvcc_has_a_version_of_its_own(emulator):
    """PyCUDA keeps binaries by it: PTX for the emulator must not be found by a real driver."""
    wrapper = Path(session.__file__).parent / "bin" / "nvcc"
    versions = [subprocess.run([wrapper, "--version"], capture_output=True, text=True, check=True).stdout]
    others = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != wrapper.parent]
    path = os.pathsep.join([*others, "/usr/local/cuda/bin"])
    real = subprocess.run(
        ["sh", "-c", "nvcc --version"], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert "cudasim" not in real.stdout
    assert versions[0] != real.stdout
    assert real.stdout in versions[0]


def test_a_kept_kernel_that_the_driver_refuses_is_compiled_anew(emulator, be, monkeypatch, tmp_path):
    """As after going back to an older driver."""
    monkeypatch.setenv("PYCUDA_CACHE_DIR", str(tmp_path))
    saved = []
    monkeypatch.setattr(device, "save_image", lambda key, image: saved.append(key))
    save_image(("key",), b"\x7fELF of a later toolkit")
    monkeypatch.setattr(device, "load_image", lambda key: load_image(("key",)))
    source = 'extern "C" __global__ void kept(const __grid_constant__ long long a) {}'
    be.device.kernel(source, "kept", 8)(1, 1, bytes(8))
    assert saved[0][0] == source


# --- faults ---

FAULT = """
import numpy as np, neon_optim
from neon_optim.errors import BackendError
from neon_optim.optimizers import Adam
be = neon_optim.gen_backend("gpu")
param, grad = be.array(np.ones((6, 5))), be.array(np.ones((6, 5)))
optimizer, states = Adam(), []
optimizer.optimize([((param, grad), states)], 0)
param.get()
source = 'extern "C" __global__ void wild(const __grid_constant__ long long a) { *(int *)a = 1; }'
bad = be.device.kernel(source, "wild", 8)
bad(1, 1, (8).to_bytes(8, "little"))
optimizer.optimize([((param, grad), states)], 0)
for attempt in (param.get, lambda: param.set(np.ones((6, 5))), be.device.synchronize, lambda: be.empty((10**6, 10))):
    try:
        attempt()
        print("nothing")
    except BackendError as error:
        print(error)
"""


def test_a_fault_that_shows_late_names_the_kernels_since_the_last_wait(run_emulated):
    done = run_emulated(FAULT, CUDASIM_DELAY=100)
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    assert re.match(
        r"device 0 \(cudasim.*\) failed in one of the last kernels \(wild, adam_stage0\): .*illegal", lines[0]
    )
    assert all("illegal memory access" in line for line in lines[:3]), lines


# --- arguments ---


@pytest.mark.parametrize(
    ("count", "options"), [(350, {}), (200, {"gradient_clip_value": 0.5, "gradient_clip_norm": 1.0})]
)
def test_more_groups_than_the_arguments_of_a_launch_hold(count, options):
    """A kernel may have 32,764 bytes of arguments; every group has scalars of its own."""

    class Layer:
        def __init__(self, be, k):
            self.name = f"layer{k}"
            self.row = ((be.array(VALUES[:2, :3] + k), be.array(VALUES[:2, :3] * k)), [])

        def get_params(self):
            return self.row

    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, **({"engine": "numpy"} if backend == "cpu" else {}))
        layers = [Layer(be, k) for k in range(count)]
        rates = {f"layer{k}": Adam(learning_rate=0.01 * (k + 1), **options) for k in range(count)}
        optimizer = MultiOptimizer({"default": Adam(), **rates})
        for epoch in range(2):
            optimizer.optimize(layers, epoch)
        results.append(np.stack([layer.row[0][0].get() for layer in layers]))
        cleanup_backend()
    np.testing.assert_array_equal(*results)


# --- names in source ---


def test_numbers_have_their_names_in_the_source():
    param, grad = Symbol("param", 0), Symbol("grad", 1)
    beta, rate = NamedScalar("beta_1"), NamedScalar("learning_rate")
    program, _ = linearize("rule", ["param", "grad"], [(0, param * beta + grad * (1.0 - beta) * rate)])
    source = program_source(program, [FLOAT32] * 2, FLOAT32, 16)
    for name in ("beta_1", "learning_rate", "number_2_minus_beta_1"):
        assert re.search(rf"const T {name} = \(T\)scalars\.v\[", source), source
        assert re.search(rf"= .*\b{name}\b.*;", source.partition("element0(")[2])


HOSTILE = [
    "T",
    "x0",
    "y0",
    "s1",
    "r0",
    "scalars",
    "table",
    "row",
    "for",
    "v3",
    "exp",
    "maximum",
    "ä.b",
    "2x",
    "NULL",
    "i",
]


def test_names_that_the_source_has_already_are_changed(be):
    """nvcc takes it, and the values go where they belong."""
    numbers = [NamedScalar(name) for name in HOSTILE]
    param, grad = Symbol("param", 0), Symbol("grad", 1)
    sum_of_all = grad
    for k, number in enumerate(numbers):
        sum_of_all = sum_of_all + number * float(2**k)
    program, constants = linearize("rule", ["param", "grad"], [(0, Node("exp", param) * sum_of_all)])
    named = dict(zip(HOSTILE, np.arange(1.0, len(HOSTILE) + 1), strict=True))
    scalars = [named[name] for name in program.scalars if name] + constants
    pair = be.zeros((3, 2)), be.zeros((3, 2))
    be.execute(program, be.plan([(pair, [])], ["param", "grad"]), [scalars])
    np.testing.assert_array_equal(pair[0].get(), sum((k + 1) * 2**k for k in range(len(HOSTILE))))


def test_identifiers_are_unique_and_new():
    found = identifiers([*HOSTILE, "a-b", "a_b", "a.b"], "float x0, v3; T exp(i);")
    assert len(set(found)) == len(found)
    assert not {"x0", "v3", "T", "exp", "i", "for", "NULL"} & set(found)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in found)


def test_the_chunks_and_lanes_of_a_sum_are_those_of_every_backend(monkeypatch):
    """No number of the definition stands in the source a second time."""
    monkeypatch.setattr(written, "LANES", 128)
    monkeypatch.setattr(written, "CHUNK", 1024)
    program, _ = linearize("norm", ["grad"], [], results=[Node("total_square", Symbol("grad", 0))])
    source = program_source(program, [FLOAT32], FLOAT32, 16).partition("element0(")[2]
    assert "lanes[1][128]" in source
    assert not re.search(r"\b(256|65536)", source)


def test_the_join_acquires_what_other_blocks_have_released():
    """What a device needs and the emulator, where blocks run one after the other, cannot show."""
    program, _ = linearize("norm", ["grad"], [], results=[Node("total_square", Symbol("grad", 0))])
    source = program_source(program, [FLOAT32], FLOAT32, 16)
    assert re.search(r"__threadfence\(\);[^\n]*\n\s*last = atomicAdd\([^\n]*\n\s*__threadfence\(\);", source)
