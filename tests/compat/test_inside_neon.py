"""Within Intel's neon (a stand-in of its public contract): our backend as neon's, our optimizers on its tensors."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neon_optim import NervanaObject, gen_backend
from neon_optim.errors import BackendError, NeonMissingError, StateError
from neon_optim.optimizers import (
    LAMB,
    LARS,
    Adafactor,
    Adam,
    GradientDescentMomentum,
    MultiOptimizer,
    Muon,
    Rprop,
)

STAND_IN = str(Path(__file__).parent / "stand_in")
OF_NEON = ("neon", "neon_optim.compat.plugin", "neon_optim.compat.inside")


def forget():
    for name in [name for name in sys.modules if any(name == x or name.startswith(f"{x}.") for x in OF_NEON)]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def neon():
    """The stand-in's backends, while it is installed."""
    forget()
    sys.path.insert(0, STAND_IN)
    yield importlib.import_module("neon.backends")
    sys.path.remove(STAND_IN)
    forget()


@pytest.fixture(autouse=True)
def _no_backend():
    NervanaObject.be = None
    yield
    NervanaObject.be = None


@pytest.fixture
def be(neon):
    importlib.import_module("neon_optim.compat.plugin")
    made = neon.gen_backend("neon_optim", rng_seed=3, batch_size=4)
    made.assignments.small = 0  # nothing is so small that it is left to neon
    yield made
    neon.cleanup_backend()


def values(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


# --- the backend ---


def test_it_registers_itself_and_is_given_back_with_neons(neon, be):
    assert {"cpu", "neon_optim"} <= neon.Backend.backends.keys()
    assert NervanaObject.be is be.ours
    assert (be.bsz, be.ours.bsz) == (4, 4)
    neon.cleanup_backend()
    assert NervanaObject.be is None


def test_without_neon_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "neon", None)
    monkeypatch.delitem(sys.modules, "neon_optim.compat.plugin", raising=False)
    with pytest.raises(NeonMissingError, match="install_as_neon"):
        importlib.import_module("neon_optim.compat.plugin")


SCRIPT = """
import sys
from neon.backends import gen_backend
be = gen_backend(sys.argv[2])
out = be.zeros((2, 2))
out[:] = be.exp(out) + 1.0
print(type(be).__name__, out.get().sum())
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_script_of_neons_runs_with_our_backends(tmp_path, there):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([os.getcwd(), *[STAND_IN] * there])
    done = subprocess.run(
        [sys.executable, "-m", "neon_optim.compat", "--plugin", str(script), "-b", "neon_optim"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if there:
        assert done.stdout == "NeonOptimCPU 8.0\n", done.stderr
    else:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("Error: Intel's neon cannot be imported")


TREES = {
    "arithmetic": lambda be, x, y, k: (x + y * k) / (2.0 - x) ** 2 - (-y),
    "functions": lambda be, x, y, k: (
        be.tanh(x) + be.sig(y) * be.sqrt(be.exp(x) + k) - be.safelog(be.absolute(y))
    ),
    "base two": lambda be, x, y, k: be.tanh2(x) + be.sig2(y) + be.exp2(x) * k - be.log2(be.square(y) + 1.0),
    "rounding": lambda be, x, y, k: be.rint(x * k) + be.sgn(y) + be.log(be.exp(x)),
    "comparisons": lambda be, x, y, k: be.less(x, y) + be.greater_equal(x, k) * 2.0 + be.equal(x, x),
    "bounds": lambda be, x, y, k: (
        be.clip(x, -k, k) + be.maximum(x, y) + be.not_equal(x, y) + be.less_equal(y, x)
    ),
    "product": lambda be, x, y, k: be.dot(x, y.T) * k + be.dot(x, be.sig(y).T),
    "transposed": lambda be, x, y, k: be.dot(x, (y * k).T),
    "columns": lambda be, x, y, k: be.sum(x * k, axis=0) + be.max(y, axis=0) - be.min(x, axis=0),
    "places": lambda be, x, y, k: be.argmax(x, axis=1) + be.argmin(y * k, axis=1),
    "total": lambda be, x, y, k: be.sum(x) * k + be.sum(be.square(y)),
    "softmax": lambda be, x, y, k: (
        be.exp(x - be.max(x, axis=0)) / be.sum(be.exp(x - be.max(x, axis=0)), axis=0)
    ),
    "only numbers": lambda be, x, y, k: be.add(k, 1.0),
}


@pytest.mark.parametrize("name", TREES)
def test_trees_have_neons_values(neon, be, name):
    """Also of other arrays and numbers, by the plan of the first."""
    theirs = neon.nervanacpu.NervanaCPU()
    for seed, k in ((0, 1.5), (2, 0.25), (4, 3)):
        x, y = values(5, 6, seed=seed), values(5, 6, seed=seed + 1)
        found = []
        for backend in (be, theirs):
            args = backend, backend.array(x), backend.array(y), k
            shape = np.broadcast_shapes(
                theirs._value(TREES[name](theirs, *map(theirs.array, (x, y)), k)).shape or (1, 1)
            )
            out = backend.zeros(shape)
            out[:] = TREES[name](*args)
            found.append(out.get())
        np.testing.assert_allclose(*found, rtol=2e-5, atol=1e-6)
    assert be.runs == 0, "neon's own loop ran"


def test_what_is_small_is_done_by_neon(neon):
    importlib.import_module("neon_optim.compat.plugin")
    be = neon.gen_backend("neon_optim")
    few, many = be.array(values(4, 8)), be.array(values(128, 128))
    out, total = be.zeros((4, 8)), be.zeros((1, 1))
    out[:] = few * 2.0
    total[:] = be.sum(few)
    assert be.runs == 2
    many[:] = many * 2.0
    total[:] = be.sum(many)
    assert be.runs == 2
    few[:] = few
    assert be.runs == 3, "a copy is neon's"
    neon.cleanup_backend()


def test_a_part_that_stands_twice_is_read_once(be):
    x, out = be.array(values(3, 4)), be.zeros((3, 4))
    part = be.tanh(x)
    for _ in range(60):  # 2**60 paths
        part = part * 0.5 + part * 0.5
    out[:] = part
    np.testing.assert_allclose(out.get(), np.tanh(x.get()), rtol=1e-5)


def test_what_a_target_held_before_is_what_its_tree_reads(be):
    base = values(4, 9)
    for source, target in (
        (np.s_[:, :8], np.s_[:, 1:]),  # it overlaps in another way
        (np.s_[:, :4], np.s_[:, :4]),  # another view of the same memory
        (np.s_[:, 0:8:2], np.s_[:, 1:8:2]),  # between each other
        (np.s_[:, :4], np.s_[:, 4:8]),
    ):
        t, expected = be.array(base), base.copy()
        t[target] = t[source] * 2.0 + 1.0
        expected[target] = base[source] * np.float32(2.0) + np.float32(1.0)
        np.testing.assert_array_equal(t.get(), expected)
    assert be.runs == 0


def test_integers_and_what_we_have_no_word_for_are_neons(neon, be):
    indices = be.array([[0, 2, 1]], dtype=np.int32)
    out = be.zeros((3, 3))
    out[:] = be.onehot(indices, axis=0)
    np.testing.assert_array_equal(out.get(), np.eye(3, dtype=np.float32)[[0, 2, 1]].T)
    indices[:] = indices + 1
    np.testing.assert_array_equal(indices.get(), [[1, 3, 2]])
    assert be.runs == 2
    with pytest.raises(KeyError, match="fold"):
        out[:] = neon.backend.OpTreeNode.build("fold", out, None)


def test_shapes_that_do_not_go_together_are_refused_by_neon(be):
    x, out = be.array(values(2, 3)), be.zeros((4, 4))
    for _ in range(2):
        with pytest.raises(ValueError, match="broadcast"):
            out[:] = x * 2.0
    np.testing.assert_array_equal(out.get(), 0)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 1.0), (0.5, 2.0)])
def test_products_are_neons(be, alpha, beta):
    a, b, c = (be.array(values(*shape, seed=s)) for s, shape in enumerate([(3, 4), (4, 5), (3, 5)]))
    total = be.zeros((3, 1))
    expected = (c.get() * beta if beta else 0) + (alpha if beta else 1.0) * (a.get() @ b.get())
    be.compound_dot(a, b, c, alpha=alpha, beta=beta, bsum=total)
    np.testing.assert_allclose(c.get(), expected, rtol=1e-5)
    np.testing.assert_allclose(total.get(), expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_images_are_convolved_in_neons_tensors(be):
    layer = be.conv_layer(np.float32, 4, 2, 3, H=5, W=4, R=3, S=2)
    images, filters = be.array(values(2 * 5 * 4, 4)), be.array(values(2 * 3 * 2, 3, seed=1))
    out = be.zeros((3 * 3 * 3, 4))
    be.fprop_conv(layer, images, filters, out)
    x, w = images.get().reshape(2, 5, 4, 4), filters.get().reshape(2, 3, 2, 3)
    expected = np.zeros((3, 3, 3, 4), np.float32)
    for p, q in np.ndindex(3, 3):
        expected[:, p, q] = np.einsum("crsk,crsn->kn", w, x[:, p : p + 3, q : q + 2])
    np.testing.assert_allclose(out.get().reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    error = be.array(values(27, 4, seed=2))
    by_images, by_filters = be.zeros(images.shape), be.zeros(filters.shape)
    be.bprop_conv(layer, F=filters, E=error, grad_I=by_images)
    be.update_conv(layer, I=images, E=error, U=by_filters)
    total = (error.get() * out.get()).sum()
    assert (by_images.get() * images.get()).sum() == pytest.approx(total, rel=1e-4)
    assert (by_filters.get() * filters.get()).sum() == pytest.approx(total, rel=1e-4)


def test_images_are_pooled_in_neons_tensors(be):
    layer = be.pool_layer(np.float32, "max", 4, 2, H=4, W=4, R=2, S=2)
    images, out, places = be.array(values(32, 4)), be.zeros((8, 4)), be.zeros((8, 4), dtype=np.uint8)
    be.fprop_pool(layer, images, out, places)
    windows = images.get().reshape(2, 2, 2, 2, 2, 4).transpose(0, 1, 3, 5, 2, 4).reshape(2, 2, 2, 4, 4)
    np.testing.assert_array_equal(out.get().reshape(2, 2, 2, 4), windows.max(axis=-1))
    np.testing.assert_array_equal(places.get().reshape(2, 2, 2, 4), windows.argmax(axis=-1))
    spread = be.zeros((32, 4))
    be.bprop_pool(layer, be.array(np.ones((8, 4))), spread, places)
    assert spread.get().sum() == 32
    assert (spread.get() * images.get()).sum() == pytest.approx(out.get().sum(), rel=1e-5)


def test_numpy_sees_the_memory_of_its_tensors(be):
    t = be.array(values(2, 3))
    assert np.shares_memory(np.asarray(t), t._tensor)
    assert not np.shares_memory(np.array(t, copy=True), t._tensor)
    assert np.asarray(t, np.float64).dtype == np.float64


# --- the backend on a GPU ---


@pytest.fixture
def device(neon):
    importlib.import_module("neon_optim.compat.plugin")
    yield neon.gen_backend("neon_optim_gpu", rng_seed=3, batch_size=4)
    neon.cleanup_backend()


def test_the_gpu_backend_is_made_when_it_is_asked_for(neon):
    importlib.import_module("neon_optim.compat.plugin")
    assert "neon_optim_gpu" in neon.Backend.backends


@pytest.mark.gpu
def test_tensors_of_the_device_are_neons(neon, device):
    x, y = values(5, 6), values(5, 6, seed=1)
    a, b = device.array(x), device.array(y)
    assert isinstance(device, neon.Backend)
    assert isinstance(a[1:3], neon.backend.Tensor)
    out = device.zeros((5, 5))
    out[:] = device.dot(a, b.T) * 0.5 + device.sum(a, axis=1)
    np.testing.assert_allclose(out.get(), x @ y.T * 0.5 + x.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-6)
    assert a.reshape((5, 6)) is a
    assert device.shift(0.5, -2, value=False).get() == 0.125
    assert device.default_dtype is np.float32
    assert NervanaObject.be is device
    neon.cleanup_backend()
    assert NervanaObject.be is None


@pytest.mark.gpu
@pytest.mark.parametrize("make", [Adam, LAMB])
def test_optimizers_run_on_the_device(neon, device, make):
    """The parameters, and the states, stay there; the steps are those of the CPU."""
    made = layers(device)
    found = trained(make(), made)
    assert all(hasattr(state, "__cuda_array_interface__") for layer in made for state in layer.states)
    for one, other in zip(found, trained(make(), layers(gen_backend("cpu", batch_size=4))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


# --- optimizers on neon's own backend ---


class Layer:
    def __init__(self, be, name, shape, seed):
        self.name, self.states = name, []
        self.W, self.dW = be.array(values(*shape, seed=seed)), be.array(values(*shape, seed=seed + 9))

    def get_params(self):
        return ((self.W, self.dW), self.states)


def layers(be):
    return [Layer(be, "first", (6, 4), 1), Layer(be, "second", (3, 6), 2)]


def trained(optimizer, made, steps=3):
    for step in range(steps):
        for layer in made:
            layer.dW[:] = layer.dW * (0.9 + step)
        optimizer.optimize(list(made), epoch=0)
    return [layer.W.get() for layer in made]


EVERY = [
    Adam,
    LAMB,
    lambda: LARS(0.1),
    Muon,
    Adafactor,
    Rprop,
    lambda: GradientDescentMomentum(0.1, 0.9, gradient_clip_norm=0.1),
]


@pytest.mark.parametrize("make", EVERY)
def test_neons_tensors_are_updated_without_a_backend_set(neon, make):
    """By our CPU backend, in place, with neon's batch size: the same bits as arrays of our own get."""
    theirs = neon.gen_backend("cpu", batch_size=8)
    made = layers(theirs)
    found = trained(make(), made)
    assert type(NervanaObject.be).__name__ == "CPUBackend"
    assert {type(state) for layer in made for state in layer.states} <= {type(made[0].W)}, (
        "states are neon's tensors"
    )
    ours = gen_backend("cpu", batch_size=8)
    for one, other in zip(found, trained(make(), layers(ours)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_size_that_changes_counts(neon):
    theirs = neon.gen_backend("cpu", batch_size=8)
    made, optimizer = layers(theirs), GradientDescentMomentum(1.0, 0.0)
    optimizer.optimize(made, 0)
    before = made[0].W.get()
    theirs.bsz = 2
    optimizer.optimize(made, 0)
    np.testing.assert_allclose(made[0].W.get(), before - made[0].dW.get() / 2, rtol=1e-6)
    norm = np.sqrt(sum(np.square(layer.dW.get(), dtype=np.float64).sum() for layer in made)) / 2
    assert optimizer.clip_gradient_norm(made, 0.1) == pytest.approx(0.1 / norm)


def test_a_tensor_that_was_given_another_array_is_updated_there(neon):
    theirs = neon.gen_backend("cpu", batch_size=1)
    made, optimizer = layers(theirs), GradientDescentMomentum(1.0, 0.0)
    optimizer.optimize(made, 0)
    old = made[0].W._tensor
    before = made[0].W._tensor = old.copy()
    kept, expected = old.copy(), before - made[0].dW.get()
    optimizer.optimize(made, 0)
    np.testing.assert_array_equal(before, expected)
    np.testing.assert_array_equal(old, kept)


def test_what_cannot_be_shared_is_said(neon):
    theirs = neon.gen_backend("cpu", batch_size=1)
    made = layers(theirs)
    theirs.is_mkl = lambda: True
    with pytest.raises(
        BackendError, match=r"tensors of NervanaCPU, whose memory NumPy cannot share.*model\.be"
    ):
        Adam().optimize(made, 0)
    NervanaObject.be = theirs
    with pytest.raises(
        BackendError, match=r"LAMB needs 'sum_square', which NervanaCPU does not have.*\(None\)"
    ):
        LAMB().optimize(made, 0)
    NervanaObject.be = None
    with pytest.raises(BackendError, match=r"call neon_optim\.gen_backend"):
        Adam().optimize([((np.ones(3), np.ones(3)), [])], 0)


class NeonsDescent:
    """An optimizer as neon's are: it knows its backend and nothing of ours."""

    def __init__(self, rate):
        self.rate, self.seen = rate, []

    def optimize(self, layer_list, epoch):
        for layer in layer_list:
            for (param, grad), states in layer.get_params():
                self.seen.append((param, states, epoch))
                param[:] = param - self.rate * grad

    def get_description(self):
        return {
            "type": "neon.optimizers.optimizer.GradientDescentMomentum",
            "config": {"learning_rate": self.rate},
        }


def test_a_multi_optimizer_of_ours_takes_neons(neon):
    made = layers(neon.gen_backend("cpu", batch_size=1))
    before = [layer.W.get() for layer in made]
    guest = NeonsDescent(0.5)
    multi = MultiOptimizer({"default": GradientDescentMomentum(1.0, 0.0), "second": guest})
    multi.optimize(made, epoch=3)
    np.testing.assert_array_equal(made[0].W.get(), before[0] - made[0].dW.get())
    np.testing.assert_array_equal(made[1].W.get(), before[1] - np.float32(0.5) * made[1].dW.get())
    ((param, states, epoch),) = guest.seen
    assert param is made[1].W
    assert states is made[1].states
    assert epoch == 3
    assert multi.step(made, 0).lr == 1.0
    assert multi.get_counters() == {"default": {"t": 2}}
    assert multi.get_description()["config"]["optimizer_mapping"]["second"] == guest.get_description()
    with pytest.raises(StateError, match="NeonsDescent is neon's own optimizer"):
        multi.named_parameters(made)
    MultiOptimizer({"default": guest}).optimize(made, epoch=4)
    assert guest.seen[-1][2] == 4


def test_an_optimizer_follows_the_backend_of_ours_inside_neon(be):
    """With `neon_optim` as neon's backend, and its tensors."""
    made = layers(be)
    before = made[0].W.get()
    GradientDescentMomentum(1.0, 0.0).optimize(made, 0)
    np.testing.assert_allclose(made[0].W.get(), before - made[0].dW.get() / 4, rtol=1e-6)
    assert be.runs == 0
