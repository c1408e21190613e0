"""neon's backends: how they are made and found, and what layers ask of them beside images."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from neon_optim import NervanaObject
from neon_optim.compat.neon import backends
from neon_optim.compat.neon.backends import Autodiff, Backend, NervanaCPU, cleanup_backend, gen_backend
from neon_optim.compat.neon.backends.backend import Block
from neon_optim.compat.neon.backends.util import check_gpu, check_mkl
from neon_optim.errors import BackendError

BACKENDS = ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture(params=BACKENDS)
def be(request):
    yield gen_backend(request.param, rng_seed=1, batch_size=4)
    cleanup_backend()


@pytest.fixture
def cpu():
    yield gen_backend("cpu", rng_seed=1, batch_size=4)
    cleanup_backend()


def values(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def evaluated(be, tree):
    out = be.empty(tree.shape)
    out[:] = tree
    return out.get()


# --- making them ---


def test_a_backend_is_made_by_neons_arguments_in_neons_order():
    be = gen_backend("cpu", 3, np.float64, 32, False, 0, 1, "caffe")
    assert NervanaObject.be is be
    assert isinstance(be, Backend)
    assert isinstance(be, NervanaCPU)
    assert (be.rng_seed, be.default_dtype, be.bsz, be.compat_mode) == (3, np.float64, 32, "caffe")
    other = gen_backend()
    assert NervanaObject.be is other
    assert (other.default_dtype, other.bsz) == (np.float32, 0)
    cleanup_backend()
    assert NervanaObject.be is None
    cleanup_backend()


def test_a_subclass_is_found_by_its_backend_name():
    class Counting(NervanaCPU):
        backend_name = "counting"
        closed = 0

        def cleanup_backend(self):
            Counting.closed += 1
            super().cleanup_backend()

    try:
        assert {"cpu", "gpu", "mkl", "counting"} <= set(Backend.backend_choices())
        assert type(gen_backend("counting", rng_seed=1)) is Counting
        cleanup_backend()
        assert Counting.closed == 1
    finally:
        del Backend.backends["counting"]
    with pytest.raises(ValueError, match=r"backend must be one of \('cpu', .*\), received 'counting'"):
        gen_backend("counting")


def test_mkl_is_the_cpu_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        be = gen_backend("mkl", batch_size=2)
    assert isinstance(be, NervanaCPU)
    assert not be.is_mkl()
    assert check_mkl.get_mkl_lib() == 0
    assert "'mkl' is Intel's" in caplog.text
    cleanup_backend()


def test_what_is_refused():
    with pytest.raises(ValueError, match="compat_mode must be 'caffe' or None, received 'torch'"):
        gen_backend("cpu", compat_mode="torch")
    with pytest.raises(BackendError, match="a datatype must be one of"):
        gen_backend("cpu", datatype=np.int32)
    assert {"gen_backend", "cleanup_backend", "Autodiff", "Backend"} <= set(backends.__all__)


@pytest.mark.gpu
def test_gpus_are_counted(gpu_driver):
    assert check_gpu.get_device_count(verbose=True) >= 1
    assert check_gpu.get_compute_capability(0) == check_gpu.get_compute_capability() >= 3.0
    check_gpu.ensure_gpu_capability(0)


def test_without_a_driver_there_are_no_gpus(monkeypatch):
    monkeypatch.setattr(check_gpu, "_driver", lambda verbose: None)
    assert (check_gpu.get_device_count(), check_gpu.get_compute_capability()) == (0, 0.0)
    with pytest.raises(RuntimeError, match=r"GPU 0 has compute capability 0.0; 3.0 or more"):
        check_gpu.ensure_gpu_capability(0)


# --- memory ---


def test_buffers_have_a_column_for_each_sample_or_step(be):
    assert be.iobuf(3).shape == (3, 4)
    assert be.iobuf((3, 5)).shape == (3, 20), "3 features, 5 steps"
    assert be.iobuf((2, 3, 5), dtype=np.float64).shape == (30, 4)
    mine = be.ones((6, 4))
    assert be.iobuf(6, x=mine) is mine
    assert mine.get().all()
    assert be.iobuf(6, shared=mine) is mine
    assert not mine.get().any(), "it is cleared"
    be.iobuf((2, 2), shared=mine)[:] = 1.0
    assert mine.get().sum() == 16
    assert be.shared_iobuf_size((6, 4), "Data") == 24
    with pytest.raises(ValueError, match=r"the shape \(8, 4\) has 32 elements, the tensor of \(6, 4\) 24"):
        be.iobuf(8, shared=mine)


def test_empty_tensors_hold_zeros_and_like_ones_have_the_default_type(be):
    assert not be.empty((3, 4)).get().any()
    whole = be.zeros((2, 3), dtype=np.int32)
    assert be.zeros_like(whole).dtype == be.empty_like(whole, None, "name", False).dtype == np.float32
    assert be.empty_like(np.ones((2, 3)), np.float64, name="b").name == "b"


def test_one_process_has_nothing_to_distribute(cpu):
    x = cpu.ones((2, 2))
    assert cpu.distribute_data(x, "Data") is cpu.convert_data(x, None) is cpu.clean_data(x, None) is None
    assert cpu.allocate_new_deltas(x, None, None) is x
    assert cpu.revert_tensor(x) is None
    cpu.begin(Block.fprop, 1)
    cpu.end(Block.fprop, 1)
    assert (Block.epoch, Block.minibatch, Block.fprop, Block.bprop, Block.update) == (0, 1, 2, 3, 4)


def test_a_double_buffer_takes_what_comes_transposed(cpu):
    host, device = [values(4, 3), values(4, 3, seed=1)], [None, None]
    cpu.consume(1, host, device)
    first = device[1]
    np.testing.assert_array_equal(first.get(), host[1].T)
    host[1] = values(4, 3, seed=2)
    cpu.consume(1, host, device)
    assert device[1] is first
    assert np.array_equal(first.get(), host[1].T)


# --- algebra where neon's answer is another than ours ---


def test_positions_and_defaults_are_neons(be):
    x = values(3, 5)
    t, out = be.array(x), be.empty((3, 1))
    np.testing.assert_array_equal(evaluated(be, be.argmax(t)), x.argmax(1)[:, None])
    np.testing.assert_array_equal(evaluated(be, be.argmin(t)), x.argmin(1)[:, None])
    np.testing.assert_allclose(be.mean(t, 1, None, out).get(), x.mean(1)[:, None], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(be.var(t, 1, None, out).get(), x.var(1)[:, None], rtol=1e-5)
    np.testing.assert_allclose(be.std(t, 1, None, out).get(), x.std(1)[:, None], rtol=1e-5)
    np.testing.assert_allclose(evaluated(be, be.mean(t)), [[x.mean()]], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(evaluated(be, be.take(t, be.array([[2, 0]], dtype=np.int32), 0)), x[[2, 0]])
    power = 2.0 ** np.round(np.log2(np.abs(x)))
    np.testing.assert_array_equal(evaluated(be, be.shift(t, t)), x * np.sign(x) * power)
    np.testing.assert_array_equal(evaluated(be, be.shift(t, be.rint(t), value=False)), x * 2.0 ** np.rint(x))
    odd = np.array([[1.0, np.inf, -np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(evaluated(be, be.finite(be.array(odd))), [[1, 0, 0, 0]])
    np.testing.assert_array_equal(evaluated(be, be.fabs(t)), np.abs(x))


def test_gradients_are_neons_op_trees(cpu):
    x, w = cpu.array(values(2, 3), name="x"), cpu.array(values(3, 2), name="w")
    trees = Autodiff(cpu.dot(x, w), cpu).get_grad_op_tree([x, w, cpu.ones((1, 1))])
    assert trees[1].pp() == f"((transpose x) dot {trees[1][2].pp()})"
    assert [tree.shape for tree in trees] == [(2, 3), (3, 2), (1, 1)]
    np.testing.assert_allclose(evaluated(cpu, trees[1]), x.get().T @ np.ones((2, 2)), rtol=1e-6)


# --- random numbers ---


def test_random_numbers_begin_anew(cpu):
    mask = cpu.empty((20, 50))
    cpu.make_binary_mask(mask, 0.3)
    first = mask.get()
    assert set(np.unique(first)) == {0, 1}
    assert 0.25 < first.mean() < 0.35
    np.testing.assert_array_equal(first, np.random.RandomState(1).uniform(size=(20, 50)) < 0.3)
    cpu.rng_reset()
    cpu.make_binary_mask(mask, 0.3)
    np.testing.assert_array_equal(mask.get(), first)
    unseeded = NervanaCPU()
    drawn = unseeded.rng.uniform(size=3)
    unseeded.rng_reset()
    np.testing.assert_array_equal(unseeded.rng.uniform(size=3), drawn)
    cpu.gen_rng(7)
    assert cpu.rng.uniform() == np.random.RandomState(7).uniform()


def test_numbers_are_drawn_when_an_op_tree_is_run(be):
    numbers = np.random.RandomState(1)
    out, tree = be.empty((2, 3)), 2.0 * be.rand() - 1.0
    out[:] = tree
    np.testing.assert_allclose(out.get(), 2 * numbers.uniform(size=(2, 3)) - 1, rtol=1e-6, atol=1e-6)
    out[:1] = tree
    np.testing.assert_allclose(out.get()[0], 2 * numbers.uniform(size=3) - 1, rtol=1e-6, atol=1e-6)
    be.dropout(0.3, out=out)
    np.testing.assert_array_equal(out.get(), numbers.uniform(size=(2, 3)) <= 0.3)
    be.rng_reset()
    be.rand(out=out)
    np.testing.assert_allclose(out.get(), np.random.RandomState(1).uniform(size=(2, 3)), rtol=1e-6)


def test_binarized(be):
    x = np.array([[-2.0, -0.1, 0.0, 0.4, 3.0]], np.float32)
    out = be.empty((1, 5))
    assert be.binarize(be.array(x), out, stochastic=False) is out
    np.testing.assert_array_equal(out.get(), [[-1, -1, 1, 1, 1]])
    wide = be.empty((1, 2000))
    be.binarize(be.array(np.full((1, 2000), 0.5)), wide)
    assert set(np.unique(wide.get())) == {-1, 1}
    assert 0.4 < wide.get().mean() < 0.6
    np.random.seed(2)
    be.fill_normal(out, mean=3, stdv=0.5)
    expected = np.random.RandomState(2).standard_normal((1, 5)) * 0.5 + 3
    np.testing.assert_array_equal(out.get(), expected.astype(np.float32))


# --- histograms and time ---


def test_histograms_count_magnitudes_by_powers_of_two(be):
    be.set_hist_buffers(8, -4)
    x = be.array([[0.0, 1e-9, 0.125, 0.25, 0.26, -1.0, 3.0, 500.0]])
    counts = x.hist("first")
    assert counts.get().tolist() == [[2, 1, 2, 0, 1, 0, 1, 0]], "by 2**-4 or less, 2**-3, ...; 2**9 is beyond"
    be.ones((1, 5)).hist("second")
    kept, rows = be.dump_hist_data()
    assert rows == {"first": 0, "second": 1}
    assert kept[rows["second"]].get().tolist() == [[0, 0, 0, 0, 5, 0, 0, 0]]
    assert be.dump_hist_data()[1] == {}


def test_marks_measure_time(be):
    start, end = be.init_mark(), be.init_mark()
    be.record_mark(start)
    be.record_mark(end)
    be.synchronize_mark(end)
    assert 0 <= be.get_time(start, end) < 1000


# --- shapes ---


def test_how_many_windows_fit(cpu):
    assert cpu.output_dim(10, 3, 1, 2) == 5
    assert cpu.output_dim(10, 3, 0, 1, dilation=2) == 6
    assert cpu.output_dim(10, 3, 0, 2, pooling=True) == 4
    with pytest.raises(ValueError, match="a padding of 3 must be smaller than the windows of a pooling, 3"):
        cpu.output_dim(10, 3, 3, 2, pooling=True)
    cpu.set_caffe_compat()
    assert cpu.output_dim(10, 3, 0, 2, pooling=True) == 5, "the last may reach over the border"
    assert cpu.output_dim(9, 3, 1, 4, pooling=True) == 3
    assert cpu.output_dim(7, 3, 1, 4, pooling=True) == 2
    assert cpu.output_dim(10, 3, 0, 2) == 4, "convolutions are counted as before"


def test_axes_in_another_order(be):
    x = values(2, 3, 4)
    out = be.empty((4, 2, 3))
    be.copy_transpose(be.array(x), out, (2, 0, 1))
    np.testing.assert_array_equal(out.get(), x.transpose(2, 0, 1))
    out = be.empty((4, 3, 2))
    be.copy_transpose(be.array(x), out)
    np.testing.assert_array_equal(out.get(), x.transpose(2, 1, 0))


# --- operations of layers ---


def test_products(be):
    a, b, c = values(3, 4), values(4, 5, seed=1), values(3, 5, seed=2)
    out, sums = be.array(c), be.empty((3, 1))
    assert be.compound_dot(be.array(a), be.array(b), out, alpha=2.0, beta=0.5, relu=True, bsum=sums) is out
    expected = np.maximum(2 * a @ b, 0) + 0.5 * c
    np.testing.assert_allclose(out.get(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sums.get()[:, 0], expected.sum(1), rtol=1e-6, atol=1e-6)
    be.compound_dot(be.array(a), be.array(b), out, alpha=2.0)
    np.testing.assert_allclose(out.get(), 2 * a @ b, rtol=1e-6, atol=1e-6)
    be.xnor_compound_dot(be.array(np.sign(a)), be.array(np.sign(b)), out)
    np.testing.assert_array_equal(out.get(), np.sign(a) @ np.sign(b))
    be.add_fc_bias(out, sums)
    be.update_fc_bias(out, sums)
    np.testing.assert_allclose(sums.get()[:, 0], out.get().sum(1), rtol=1e-6, atol=1e-5)


def test_products_for_each_index(be):
    a, b, c = values(3, 4), values(5, 4, 6, seed=1), values(5, 3, 6, seed=2)
    out = be.array(c)
    be.batched_dot(be.array(a), be.array(b), out, alpha=2.0, beta=0.5, relu=True)
    np.testing.assert_allclose(out.get(), np.maximum(2 * a @ b, 0) + 0.5 * c, rtol=1e-6, atol=1e-6)
    total = be.array(a)
    be.batched_dot(be.array(c), be.array(b).T, total)
    np.testing.assert_allclose(total.get(), (c @ b.transpose(0, 2, 1)).sum(0), rtol=1e-5, atol=1e-6)


class Tanh:
    """neon's protocol of an activation function."""

    def __call__(self, x):
        return NervanaObject.be.tanh(x)

    def bprop(self, y):
        return 1.0 - y * y


@pytest.mark.parametrize("reverse", [False, True])
def test_steps_of_a_recurrent_layer(be, reverse):
    weights, bias = values(3, 3), values(3, 1, seed=1)
    forward, errors = values(3, 20, seed=2), values(3, 24, seed=3)
    h, ff, deltas = be.zeros((3, 24)), be.array(forward), be.array(errors)
    steps = [[t[:, 4 * k : 4 * k + 4] for k in range(t.shape[1] // 4)] for t in (h, ff, deltas)]
    before, now = (slice(1, None), slice(0, -1)) if reverse else (slice(0, -1), slice(1, None))
    sizes = 3, 5, 4, Tanh()
    be.compound_rnn_unroll_fprop(
        be.array(weights), steps[0][before], steps[1], steps[0][now], be.array(bias), *sizes, reverse
    )
    be.compound_rnn_unroll_bprop(
        be.array(weights).T, steps[2][before], steps[2][now], steps[0][now], *sizes, not reverse
    )
    state, delta = np.zeros((6, 3, 4), np.float32), errors.reshape(3, 6, 4).transpose(1, 0, 2).copy()
    order = [(k + 1, k) if reverse else (k, k + 1) for k in range(4)]  # the fifth step is not used
    order = order[::-1] if reverse else order
    for prev, here in order:
        ff_step = forward[:, 4 * min(prev, here) : 4 * min(prev, here) + 4]
        state[here] = np.tanh(weights @ state[prev] + ff_step + bias)
    for prev, here in order[::-1]:
        delta[here] *= 1 - state[here] ** 2
        delta[prev] += weights.T @ delta[here]
    np.testing.assert_allclose(h.get(), state.transpose(1, 0, 2).reshape(3, 24), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(deltas.get(), delta.transpose(1, 0, 2).reshape(3, 24), rtol=1e-5, atol=1e-6)


def batch_norm(be, x, y, binary, inference):
    t = {
        name: be.array(np.abs(values(3, 1, seed=k)))
        for k, name in enumerate(("gmean", "gvar", "gamma", "beta"))
    }
    before = {name: tensor.get() for name, tensor in t.items()}
    t |= {name: be.empty((3, 1)) for name in ("xsum", "xvar")}
    out = be.array(y)
    be.compound_fprop_bn(
        be.array(x), *(t[n] for n in ("xsum", "xvar", "gmean", "gvar", "gamma", "beta")), out, 1e-3, 0.9, True,
        accumbeta=0.5, binary=binary, inference=inference,
    )  # fmt: skip
    return out.get(), before, t


def test_batch_normalization(be):
    x, y = values(3, 8), values(3, 8, seed=9)
    out, before, after = batch_norm(be, x, y, binary=False, inference=False)
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    normalized = (x - mean) / np.sqrt(var + 1e-3)
    np.testing.assert_allclose(
        out, normalized * before["gamma"] + before["beta"] + 0.5 * y, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(after["xsum"].get(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["gmean"].get(), before["gmean"] * 0.9 + 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["gvar"].get(), before["gvar"] * 0.9 + 0.1 * var, rtol=1e-5, atol=1e-6)
    error, deltas, by_gamma, by_beta = (
        values(3, 8, seed=5),
        be.empty((3, 8)),
        be.empty((3, 1)),
        be.empty((3, 1)),
    )
    be.compound_bprop_bn(
        deltas,
        by_gamma,
        by_beta,
        be.array(error),
        be.array(x),
        after["xsum"],
        after["xvar"],
        after["gamma"],
        1e-3,
    )
    expected = (normalized * error).sum(1, keepdims=True)
    np.testing.assert_allclose(by_gamma.get(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_beta.get(), error.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    inner = error - (normalized * expected + error.sum(1, keepdims=True)) / 8
    np.testing.assert_allclose(
        deltas.get(), inner * before["gamma"] / np.sqrt(var + 1e-3), rtol=1e-4, atol=1e-5
    )


def test_batch_normalization_in_inference_and_by_powers_of_two(be):
    x, y = values(3, 8), values(3, 8, seed=9)
    out, before, _ = batch_norm(be, x, y, binary=False, inference=True)
    normalized = (x - before["gmean"]) / np.sqrt(before["gvar"] + 1e-3)
    np.testing.assert_allclose(
        out, normalized * before["gamma"] + before["beta"] + 0.5 * y, rtol=1e-5, atol=1e-5
    )

    def shifted(a, b):
        return a * np.sign(b) * 2.0 ** np.rint(np.log2(np.abs(b)))

    out, before, after = batch_norm(be, x, y, binary=True, inference=False)
    mean = x.mean(1, keepdims=True)
    var = shifted(x - mean, x - mean).mean(1, keepdims=True)
    np.testing.assert_allclose(after["xvar"].get(), var, rtol=1e-5, atol=1e-6)
    scaled = shifted(shifted(x - mean, 1 / np.sqrt(var + 1e-3)), before["gamma"])
    np.testing.assert_allclose(out, scaled + before["beta"] + 0.5 * y, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_a_lookup_table(be):
    error, kept = values(3, 5), values(6, 3, seed=1)
    words = be.array([[1, 4, 1, 2, 2]], dtype=np.int32)
    table = be.array(kept)
    be.compound_bprop_lut(5, words, be.array(error), None, table, pad_idx=2)
    expected = kept.copy()
    expected[1], expected[4] = error[:, 0] + error[:, 2], error[:, 1]
    np.testing.assert_allclose(table.get(), expected, rtol=1e-6, atol=1e-6)
    be.compound_bprop_lut(5, words, be.array(error), None, table, pad_idx=None, alpha=2.0, beta=1.0)
    for word, column in zip([1, 4, 1, 2, 2], error.T, strict=True):
        expected[word] += 2 * column
    np.testing.assert_allclose(table.get(), expected, rtol=1e-6, atol=1e-6)


def test_activations_and_layers_side_by_side(be):
    x, e = values(3, 4), values(3, 4, seed=1)
    t, error, out = be.array(x), be.array(e), be.array(e)
    np.testing.assert_array_equal(evaluated(be, be.fprop_relu(None, t, 0)), np.maximum(x, 0))
    leaky = np.where(x > 0, x, x * np.float32(0.1))
    np.testing.assert_allclose(evaluated(be, be.fprop_relu(None, t, 0.1)), leaky, rtol=1e-6)
    passed = np.where(x > 0, 1, np.float32(0.1))
    np.testing.assert_allclose(evaluated(be, be.bprop_relu(None, t, error, out, 0.1)), passed, rtol=1e-6)
    be.fprop_transform(None, Tanh(), t, out)
    np.testing.assert_allclose(out.get(), np.tanh(x), rtol=1e-5)
    deltas = be.empty((3, 4))
    be.bprop_transform(None, Tanh(), out, error, deltas, False)
    np.testing.assert_allclose(deltas.get(), (1 - np.tanh(x) ** 2) * e, rtol=1e-4, atol=1e-6)
    be.fprop_skipnode(t, out, 1.0)
    be.bprop_skipnode(error, deltas, alpha=2.0, beta=0.0)
    np.testing.assert_allclose(out.get(), np.tanh(x) + x, rtol=1e-5)
    np.testing.assert_array_equal(deltas.get(), 2 * e)
    power = np.exp(x - x.max(0))
    np.testing.assert_allclose(evaluated(be, be.fprop_softmax(t, 0)), power / power.sum(0), rtol=1e-5)


class Recorded:
    """A layer that records how it is called."""

    def __init__(self, calls):
        self.calls = calls

    def fprop(self, inputs, inference=False, beta=0.0):
        self.calls.append((id(self), inputs, beta))

    def bprop(self, error, alpha=1.0, beta=0.0):
        self.calls.append((id(self), error, alpha, beta))


def test_merged_layers_add_up_and_share(cpu):
    calls = []
    first, second = layers = [Recorded(calls), Recorded(calls)]
    cpu.fprop_mergesum(None, "x", False, layers, None, None)
    cpu.bprop_mergesum(None, 2.0, 0.5, layers, "e", None)
    assert calls == [
        (id(first), "x", 0),
        (id(second), "x", 1),
        (id(second), "e", 2.0, 0.5),
        (id(first), "e", 2.0, 1),
    ]
    calls.clear()
    cpu.fprop_mergebroadcast(None, "x", False, None, layers, None)
    cpu.bprop_mergebroadcast(None, layers, ["a", "b"], None, None, None, 2.0, 0.5, [1.0, 3.0], [1.0, 0.0])
    assert calls[2:] == [(id(second), "b", 6.0, 0.5), (id(first), "a", 2.0, 1.0)]
    assert (
        cpu.mergesum_layer(2)
        is cpu.mergebroadcast_layer(2)
        is cpu.relu_layer()
        is cpu.batchnorm_layer(3)
        is None
    )
