"""Machine code on disk: used by later processes, never trusted blindly, never in the way."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.cpu.compiled import cache as kernel_cache
from neon_optim.backends.cpu.compiled.machine_code import MachineCode
from neon_optim.errors import BackendError

STEP = """
    import sys, warnings
    import numpy as np
    from neon_optim import gen_backend
    from neon_optim.optimizers import Adam
    gen_backend("cpu", engine="numba", batch_size=1)
    p = np.ones(5, np.float32)
    Adam(learning_rate=0.5).optimize([((p, p * 2), [])], 0)
    assert (abs(p - 0.5) < 1e-6).all(), p
    print("numba" in sys.modules)
"""


TWICE = """
from numba import njit
from neon_optim.backends.cpu.compiled import support


@njit("void(int64)", error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def twice(place):
    support.write_float64(place, 0, 2 * support.read_float64(place, 0))
"""


def twice(number):
    out = np.full(1, number)
    kernel_cache.load_kernel("twice", TWICE, 1)(out.ctypes.data)
    return out[0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of an empty cache."""
    folder = tmp_path / "kernels"
    monkeypatch.setenv("NEON_OPTIM_CACHE", str(folder))
    return folder


def step():
    """One step in a new process; whether it had to compile."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(STEP)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "True"


def kernels(folder):
    return sorted(folder.glob("*.kernel"))


def test_a_later_process_does_not_compile(cache):
    assert step()
    made = kernels(cache)
    kernel, _ = made
    assert [path.name.split("-")[0] for path in made] == ["adam_0", "words_differ"]
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in made]
    assert not step()
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in kernels(cache)] == before
    assert cache.stat().st_mode & 0o777 == 0o700
    source = kernel.with_suffix(".py").read_text()
    assert "def adam_0(" in source
    assert "param_0" in source


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        lambda data: b"not a kernel at all\n",
    ],
    ids=["empty", "cut off", "longer", "one bit", "text"],
)
def test_a_damaged_file_is_made_anew(cache, damage):
    assert twice(21.0) == 42.0
    (kernel,) = kernels(cache)
    kernel.write_bytes(damage(kernel.read_bytes()))
    assert MachineCode.from_bytes(kernel.read_bytes()) is None
    assert twice(4.0) == 8.0
    assert MachineCode.from_bytes(kernel.read_bytes()) is not None


def test_a_folder_that_others_may_write_to_is_not_used(cache):
    cache.mkdir()
    cache.chmod(0o777)
    assert twice(21.0) == 42.0
    assert list(cache.iterdir()) == []


def test_no_folder_can_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEON_OPTIM_CACHE", str(tmp_path / "file" / "cache"))
    assert twice(21.0) == 42.0


def test_files_that_cannot_be_written_are_not_needed(cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kernel_cache.tempfile, "mkstemp", full)
    assert twice(21.0) == 42.0
    assert kernels(cache) == []


def test_code_that_needs_an_unknown_function_is_not_linked(cache):
    twice(21.0)
    (kernel,) = kernels(cache)
    code = MachineCode.from_bytes(kernel.read_bytes())
    kernel.write_bytes(MachineCode(code.symbol, ("no_such_function",), code.content).to_bytes())
    assert twice(42.0) == 84.0  # compiled again
    assert MachineCode.from_bytes(kernel.read_bytes()).needs == ()


def test_processes_at_the_same_time(cache):
    command = [sys.executable, "-c", textwrap.dedent(STEP)]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    for process in running:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    assert len(kernels(cache)) == 2
    assert not [path for path in cache.iterdir() if path.name.startswith(".new-")]
    assert not step()


def test_the_default_folder_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.delenv("NEON_OPTIM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernel_cache._cache_folder() == tmp_path / "neon_optim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kernel_cache._cache_folder() == Path(tmp_path) / ".cache" / "neon_optim"


def test_without_numba(monkeypatch):
    from neon_optim.backends.cpu.compiled import numba_engine

    monkeypatch.setattr(numba_engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install"):
        gen_backend("cpu", engine="numba")
    assert gen_backend("cpu", engine="auto").engine.name == "numpy"
    cleanup_backend()
    monkeypatch.undo()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(BackendError, match="NUMBA_DISABLE_JIT"):
        gen_backend("cpu", engine="numba")


# --- threads ---


def train(seed):
    from neon_optim.optimizers import Adam

    rng = np.random.default_rng(seed)
    param, grad = rng.standard_normal((2, 400_000)).astype(np.float32)
    optimizer, rows = Adam(learning_rate=0.1, gradient_clip_norm=1.0), [((param, grad), [])]
    for _ in range(5):
        optimizer.optimize(rows, 0)
    return param


def in_child(expected, answer):
    answer.put(bool((train(1) == expected).all()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads: the point of the test
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_forked_process_trains_too(engine, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    gen_backend("cpu", engine=engine, batch_size=1)
    expected = train(1)
    context = multiprocessing.get_context("fork")
    answer = context.Queue()
    child = context.Process(target=in_child, args=(expected, answer))
    child.start()
    assert answer.get(timeout=60)
    child.join()
    assert child.exitcode == 0
    cleanup_backend()


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_several_threads_train_at_once(engine, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    gen_backend("cpu", engine=engine, batch_size=1)
    expected = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for mine, theirs in zip(pool.map(train, range(4)), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    cleanup_backend()
