"""Every optimizer on the GPU backend gives the CPU engine's bits: options, dtypes, shapes, and views."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_optim import cleanup_backend, gen_backend, optimizers
from neon_optim.errors import BackendError, NonFiniteError
from neon_optim.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    GradientDescentMomentum,
    MultiOptimizer,
    Optimizer,
    RMSProp,
    ShiftAdaMax,
)
from neon_optim.serialization import load_checkpoint, save_checkpoint

ml_dtypes = pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.gpu

OPTIMIZERS = {
    "plain gradient descent": lambda **o: GradientDescentMomentum(0.1, 0.0, wdecay=0.01, **o),
    "momentum": lambda **o: GradientDescentMomentum(0.1, 0.9, wdecay=0.01, **o),
    "nesterov": lambda **o: GradientDescentMomentum(0.1, 0.9, nesterov=True, **o),
    "rmsprop": lambda **o: RMSProp(**o),
    "adagrad": lambda **o: Adagrad(**o),
    "adadelta": lambda **o: Adadelta(**o),
    "adam": lambda **o: Adam(learning_rate=0.1, **o),
    "adam as printed": lambda **o: Adam(learning_rate=0.1, epsilon_hat=False, wdecay=0.01, **o),
    "shift adamax": lambda **o: ShiftAdaMax(**o),
}
CLIPS = {"gradient_clip_norm": 0.5, "gradient_clip_value": 0.3, "param_clip_value": 0.8}
SHAPES = [(1, 1), (1023, 1), (1024, 1), (1025, 1), (0, 3), (37, 41), (300, 301)]


def train(backend, make, shapes, dtypes=("float32",), steps=3, seed=0, misaligned=False):
    """The parameters and states after some steps; row r has dtype r modulo their number."""
    be = gen_backend(backend, batch_size=4, engine="numpy", rng_seed=1)
    rng = np.random.RandomState(seed)
    rows = []
    for r, shape in enumerate(shapes):
        dtype = np.dtype(dtypes[r % len(dtypes)])
        pair = be.array(rng.randn(*shape), dtype=dtype), be.zeros(shape, dtype=dtype)
        rows.append((tuple(t.reshape(-1, 1)[1:, :] for t in pair) if misaligned else pair, []))
    optimizer = make()
    for epoch in range(steps):
        for (_, grad), _ in rows:
            grad.set(rng.randn(*grad.shape))
        optimizer.optimize(rows, epoch)
    arrays = [tensor.get() for (param, _), states in rows for tensor in (param, *states)]
    cleanup_backend()
    return arrays


def assert_same_bits(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_neons_optimizers(name, clipped):
    options = dict(CLIPS) if clipped else {}
    if name in ("adadelta", "shift adamax"):
        options.pop("gradient_clip_norm", None)
        options.pop("gradient_clip_value", None)
    if name == "shift adamax":
        options.pop("param_clip_value", None)

    def make():
        return OPTIMIZERS[name](**options)

    assert_same_bits(train("cpu", make, SHAPES), train("gpu", make, SHAPES))


EXPORTED = [getattr(optimizers, name) for name in optimizers.__all__]
RULES = [c for c in EXPORTED if isinstance(c, type) and issubclass(c, Optimizer)]
RULES = [c for c in RULES if c not in (Optimizer, MultiOptimizer, optimizers.Wrapper)]
MATRIX_RULES = {"Adafactor", "Muon"}  # products and sums along axes: their order is the library's


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_optimizer(rule):
    def make():
        wanted = {
            "learning_rate": 0.1,
            "momentum_coef": 0.9,
            "optimizer": Adam(learning_rate=0.1),
            "every": 2,
        }
        parameters = inspect.signature(rule).parameters.values()
        return rule(
            **{p.name: wanted[p.name] for p in parameters if p.name in wanted and p.default is p.empty}
        )

    shapes = [(30, 21), (7, 1), (64, 65)]
    expected, received = train("cpu", make, shapes), train("gpu", make, shapes)
    if rule.__name__ not in MATRIX_RULES:
        assert_same_bits(expected, received)
    for one, other in zip(expected, received, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "dtypes", [("float64",), ("float16",), ("bfloat16",), ("float32", "float64", "bfloat16")]
)
def test_every_dtype_and_a_mixture(dtypes):
    wide = [ml_dtypes.bfloat16 if d == "bfloat16" else d for d in dtypes]

    def make():
        return Adam(learning_rate=0.1, **CLIPS)

    assert_same_bits(train("cpu", make, SHAPES, wide), train("gpu", make, SHAPES, wide))


def test_the_layers_of_a_multi_optimizer_run_together_with_scalars_of_their_own():
    class Layer:
        def __init__(self, name, row):
            self.name, self.row = name, row

        def get_params(self):
            return self.row

    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, batch_size=2, engine="numpy")
        rng = np.random.RandomState(3)
        rows = [((be.array(rng.randn(70, 9)), be.array(rng.randn(70, 9))), []) for _ in range(4)]
        layers = [Layer(f"layer{k}", row) for k, row in enumerate(rows)]
        mapping = {
            "default": Adam(learning_rate=0.1, gradient_clip_norm=0.1),
            "layer1": Adam(learning_rate=0.01, gradient_clip_norm=3.0),
            "layer2": RMSProp(),
        }
        optimizer = MultiOptimizer(mapping)
        for epoch in range(2):
            optimizer.optimize(layers, epoch)
        results.append([t.get() for (param, _), states in rows for t in (param, *states)])
        cleanup_backend()
    assert_same_bits(*results)


@pytest.mark.slow
def test_a_million_elements_and_five_thousand_tensors():
    shapes = [(1000, 1001), *[(64, 1)] * 5000]

    def make():
        return Adam(learning_rate=0.1, gradient_clip_norm=1.0)

    assert_same_bits(train("cpu", make, shapes, steps=1), train("gpu", make, shapes, steps=1))


def test_views_that_are_misaligned_or_have_gaps():
    results = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, engine="numpy")
        rng = np.random.RandomState(5)
        params, grads = (be.array(rng.randn(50, 60)) for _ in range(2))
        cut = {
            "misaligned": (slice(1, 30), slice(None)),
            "part of an odd row": (slice(31, 32), slice(3, 50)),
            "with gaps": (slice(33, 50), slice(7, 53)),
        }
        offset = params.reshape(3000, 1)[1:, :], grads.reshape(3000, 1)[1:, :]
        rows = [((params[key], grads[key]), []) for key in cut.values()]
        optimizer = Adam(learning_rate=0.1, gradient_clip_norm=0.5)
        optimizer.optimize(rows, 0)
        Adam(learning_rate=0.1).optimize([(offset, [])], 0)
        results.append([params.get(), grads.get(), *(s.get() for _, states in rows for s in states)])
        cleanup_backend()
    assert_same_bits(*results)


def test_state_goes_on_with_the_same_bits_on_another_backend():
    def steps(backend, arrays, grads, t):
        be = gen_backend(backend, engine="numpy")
        optimizer = Adam(learning_rate=0.1)
        optimizer.t = t
        param, *states = (be.array(a) for a in arrays)
        for grad in grads:
            optimizer.optimize([((param, be.array(grad)), states)], 0)
        out = [param.get(), *(s.get() for s in states)]
        cleanup_backend()
        return out

    rng = np.random.RandomState(7)
    start = [rng.randn(30, 20).astype("f4"), np.zeros((30, 20), "f4"), np.zeros((30, 20), "f4")]
    grads = rng.randn(4, 30, 20).astype("f4")
    whole = steps("cpu", start, grads, 0)
    there = steps("gpu", steps("cpu", start, grads[:2], 0), grads[2:], 2)
    back = steps("cpu", steps("gpu", start, grads[:2], 0), grads[2:], 2)
    assert_same_bits(whole, there)
    assert_same_bits(whole, back)


def test_another_rounding_is_noticed(monkeypatch):
    """Negative control: with products fused into sums the bits differ."""
    from neon_optim.backends.gpu import device

    fused = [flag.replace("-fmad=false", "-fmad=true") for flag in device.FLAGS]

    def make():
        return Adam(learning_rate=0.1)

    reference = train("cpu", make, SHAPES)
    monkeypatch.setattr(device, "FLAGS", tuple(fused))
    changed = train("gpu", make, SHAPES)
    assert any(a.tobytes() != b.tobytes() for a, b in zip(reference, changed, strict=True))


def test_a_checkpoint_of_one_backend_goes_on_with_the_same_bits_on_the_other(tmp_path):
    rng = np.random.RandomState(9)
    start, grads = rng.randn(33, 17).astype("f4"), rng.randn(4, 33, 17).astype("f4")

    def steps(backend, first, last, load=None, save=None):
        be = gen_backend(backend, engine="numpy")
        row = ((be.array(start), be.zeros((33, 17))), [])
        optimizer = Adam(learning_rate=0.1, gradient_clip_norm=1.0)
        if load:
            load_checkpoint(load, optimizer=optimizer, layers=[row])
        for grad in grads[first:last]:
            row[0][1].set(grad)
            optimizer.optimize([row], 0)
        if save:
            save_checkpoint(save, optimizer=optimizer, layers=[row])
        arrays = [row[0][0].get(), *(s.get() for s in row[1])]
        cleanup_backend()
        return arrays

    whole = steps("cpu", 0, 4)
    for one, other in (("cpu", "gpu"), ("gpu", "cpu")):
        path = tmp_path / f"{one}.safetensors"
        steps(one, 0, 2, save=path)
        assert_same_bits(whole, steps(other, 2, 4, load=path))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12), st.booleans())
def test_tensors_of_any_size(sizes, misaligned):
    def make():
        return Adam(learning_rate=0.1, gradient_clip_norm=0.5)

    shapes = [(size + misaligned, 1) for size in sizes]
    expected, received = (train(b, make, shapes, steps=1, misaligned=misaligned) for b in ("cpu", "gpu"))
    assert_same_bits(expected, received)


BREAKS = {
    "a missing barrier": ("__syncthreads();", ""),
    "one element too many": ("i < count", "i <= count"),
    "a halving that stops early": ("width /= 2", "width /= 4"),
    "a piece left out": ("i64 p = blockIdx.x;", "i64 p = blockIdx.x + 1;"),
    "misaligned vectors": ("& 15) == 0", "& 3) == 0"),
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_broken_kernel_is_noticed(change, monkeypatch, prompt):
    """Negative control of the tests above: each of these faults changes a bit or stops the launch."""
    from neon_optim.backends.gpu import cuda_engine as engine

    right, wrong = BREAKS[change]
    generate = engine.program_source

    def broken(*arguments):
        source = generate(*arguments)
        assert right in source
        return source.replace(right, wrong)

    def make():
        return Adam(learning_rate=0.1, gradient_clip_norm=0.01)

    shapes = [(1023, 1), (37, 41), (200, 500)]
    misaligned = change == "misaligned vectors"
    expected = train("cpu", make, shapes, misaligned=misaligned)
    monkeypatch.setattr(engine, "program_source", broken)
    try:
        received = train("gpu", make, shapes, misaligned=misaligned)
    except (BackendError, NonFiniteError):  # poison that was read, or an address out of bounds
        return
    finally:
        cleanup_backend()
    assert any(a.tobytes() != b.tobytes() for a, b in zip(expected, received, strict=True))
