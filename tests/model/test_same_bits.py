"""With ``deterministic=True`` a whole training run has the same bits, whatever engine, backend or number of threads."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.model import (
    Affine,
    ArrayIterator,
    Constant,
    CrossEntropyMulti,
    Dropout,
    Kaiming,
    Model,
    Rectlin,
    Softmax,
    Tanh,
)
from neon_optim.optimizers import Adam

CLASSES = 10
SAMPLES = 480


def train(backend: str, dtype: str = "float32", **options) -> list[np.ndarray]:
    """A few dozen steps; the weights that come of them, the optimizer's states, and the outputs for all samples."""
    be = gen_backend(backend, rng_seed=4, batch_size=32, datatype=dtype, **options)
    rng = np.random.default_rng(0)
    points = rng.integers(-4096, 4096, (SAMPLES, 64)) / 1024.0
    labels = rng.integers(0, CLASSES, SAMPLES)
    points[np.arange(SAMPLES), labels] += 3.0
    data = ArrayIterator(points.astype(dtype), labels, nclass=CLASSES)
    layers = [
        Affine(128, init=Kaiming(), bias=Constant(), activation=Rectlin()),
        Dropout(keep=0.8),
        Affine(33, init=Kaiming(), bias=Constant(), activation=Tanh()),
        Affine(CLASSES, init=Kaiming(), bias=Constant(), activation=Softmax()),
    ]
    model = Model(layers)
    optimizer = Adam(learning_rate=0.01, gradient_clip_norm=1.0)
    model.fit(data, CrossEntropyMulti(), optimizer, 3)
    arrays = [array for (param, _), states in model.layers.get_params() for array in (param, *states)]
    outputs = model.fprop(be.array(points.T, dtype=dtype), inference=True)
    found = [np.array(array.get()) for array in (*arrays, outputs)]
    right = (found[-1].argmax(axis=0) == labels).mean()
    assert right > 0.5, "it learns"
    cleanup_backend()
    return found


def digest(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture(autouse=True)
def _no_backend_left():
    yield
    cleanup_backend()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_engines_and_any_number_of_threads(dtype, monkeypatch):
    digests = set()
    for engine in ("numpy", "numba"):
        for threads in ("1", "3"):
            monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
            digests.add(digest(train("cpu", dtype, engine=engine, deterministic=True)))
    assert len(digests) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gpu_backend(dtype):
    on_cpu = train("cpu", dtype, engine="numpy", deterministic=True)
    on_gpu = train("gpu", dtype, deterministic=True)
    assert [a.shape for a in on_cpu] == [a.shape for a in on_gpu]
    assert digest(on_cpu) == digest(on_gpu)


def test_without_it_engines_differ():
    """Negative control: NumPy's own functions and BLAS give other bits."""
    assert digest(train("cpu", engine="numpy")) != digest(train("cpu", engine="numpy", deterministic=True))
