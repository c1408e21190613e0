"""Op-trees on the device as planned graphs: the bits of the CPU, in few launches that wait for nothing."""

from __future__ import annotations

import numpy as np
import pytest
from cudasim import session

from neon_optim import gen_backend
from neon_optim.backends.optree import Node
from neon_optim.model import Affine, ArrayIterator, CrossEntropyMulti, GlorotUniform, Model, Rectlin, Softmax

pytestmark = pytest.mark.gpu


def on_both(compute, *shapes, dtype=np.float32, seed=0):
    """What a function (backend, tensors) -> list of NumPy arrays gives on the CPU and on the GPU."""
    found = []
    for backend in ("cpu", "gpu"):
        be = gen_backend(backend, deterministic=True)
        rng = np.random.RandomState(seed)
        found.append(compute(be, [be.array(rng.randn(*shape), dtype=dtype) for shape in shapes]))
    return found


def assert_same_bits(found):
    for one, other in zip(*found, strict=True):
        assert one.tobytes() == other.tobytes()


def softmax(be, x):
    power = be.exp(x - be.max(x, axis=0))
    return power / be.sum(power, axis=0)


@pytest.mark.parametrize("shape", [(10, 33), (100, 3), (1, 5), (3, 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_loop_of_several_phases(shape, axis):
    def compute(be, tensors):
        x, t = tensors
        power = be.exp(x - be.max(x, axis=axis))
        y = power / be.sum(power, axis=axis)
        rows = [1 if k == axis else n for k, n in enumerate(shape)]
        error, costs, means = be.empty(shape), be.empty(rows), be.empty(rows)
        run = be.capture(
            [
                (error, y - t),
                (costs, -be.sum(t * be.safelog(y), axis=axis)),
                (means, be.mean(x, axis=axis) + be.min(t, axis=axis)),
            ]
        )
        run()
        return [a.get() for a in (error, costs, means)]

    assert_same_bits(on_both(compute, shape, shape))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_with_gaps_and_turned_ones(dtype):
    def compute(be, tensors):
        x, out = tensors
        out[::2, 1:] = x.T[::2, 1:] * 2.0 - be.sum(x) + be.max(x, axis=0)[:, :1]
        out[1::2, :1] = be.sum(out[::2, 1:], axis=1)[:1, :]
        return [out.get()]

    assert_same_bits(on_both(compute, (6, 6), (6, 6), dtype=dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_moves_slices(dtype):
    def compute(be, tensors):
        x, y = tensors
        indices = be.array([[2.0, 0.0, 5.0, 2.0]])
        out, added, both, windows = be.empty((6, 4)), be.empty((6, 7)), be.empty((12, 6)), be.empty((4, 9))
        out[:] = be.take(x, indices, axis=1)
        added[:] = Node("put", be.take(y, indices, axis=1), indices, axis=1, extent=7)
        both[:] = Node("concatenate", x.T * 2.0, y, axis=0)
        places = be.empty((1, 6))
        places[:] = be.argmax(x, axis=0) + 10.0 * be.argmin(y, axis=0)
        windows[:] = Node("place", x[:2, ::3] * 3.0, key=((1, 4, 2), (2, 8, 3)), shape=(4, 9))
        return [a.get() for a in (out, added, both, places, windows)]

    assert_same_bits(on_both(compute, (6, 6), (6, 6), dtype=dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_windows_of_images(dtype):
    how = {
        "channels": 2,
        "size": (4, 5),
        "window": (2, 3),
        "strides": (1, 2),
        "padding": (1, 0),
        "dilation": (1, 1),
    }

    def compute(be, tensors):
        images, factors = tensors
        windows, added = be.empty((2 * 6, 5 * 2 * 3)), be.empty((2 * 20, 3))
        windows[:] = Node("unfold", images.T, **how)
        added[:] = Node("fold", windows * factors, **how) * 0.5
        filters, results = (
            be.array(np.arange(12 * 4).reshape(12, 4) * 0.1, dtype=dtype),
            be.empty((4 * 10, 3)),
        )
        found = [windows, added, be.empty((2 * 20, 3)), be.empty((12, 4)), results]
        results[:] = be.convolve(images.T, filters, **how) + 1.0
        found[2][:] = be.deconvolve(results, filters, **how)
        found[3][:] = be.correlate(images.T, results, **how)
        return [a.get() for a in found]

    assert_same_bits(on_both(compute, (3, 2 * 20), (2 * 6, 5 * 2 * 3), dtype=dtype))


def test_totals_stay_on_the_device_and_meet_numbers_in_float64():
    def compute(be, tensors):
        (x,) = tensors
        out, other = be.empty(x.shape), be.empty((1, 1))
        run = be.capture([(out, x / (be.sum(x) * 0.1 + 3.0)), (other, be.sum(be.square(x)) / 7.0)])
        run()
        return [out.get(), other.get()]

    assert_same_bits(on_both(compute, (300, 301)))


def test_captured_assignments_take_other_inputs_of_other_layouts():
    def compute(be, tensors):
        x, y, z = tensors
        out = be.empty((4, 5))
        run = be.capture([(out, softmax(be, x) * be.sum(x))], [x])
        found = []
        for tensor in (x, y, z.T, y[:, :], z.T):
            run(tensor)
            found.append(out.get())
        return found

    assert_same_bits(on_both(compute, (4, 5), (4, 5), (5, 4)))


def test_an_assignment_reads_what_its_target_held_before():
    def compute(be, tensors):
        (x,) = tensors
        x[:] = x.T + x
        x[1:, :] = x[:-1, :] * 2.0
        x[:] = be.dot(x, x) * 0.1
        return [x.get()]

    assert_same_bits(on_both(compute, (5, 5)))


def counted(work):
    before = session.counters()
    work()
    return session.counters() - before


def test_a_softmax_with_cost_and_derivative_is_one_launch(emulator):
    be = gen_backend("gpu")
    x, t = be.zeros((10, 32)), be.zeros((10, 32))
    error, costs = be.empty((10, 32)), be.empty((1, 32))
    y = softmax(be, x)
    run = be.capture([(error, y - t), (costs, -be.sum(t * be.safelog(y), axis=0))])
    run()
    assert counted(run)["launches"] == 1


def test_a_minibatch_copies_nothing_and_waits_for_nothing(emulator):
    be = gen_backend("gpu", rng_seed=1, batch_size=16)
    layers = [
        Affine(8, GlorotUniform(), activation=Rectlin()),
        Affine(3, GlorotUniform(), activation=Softmax()),
    ]
    model, cost, total = Model(layers), CrossEntropyMulti(), be.empty((1, 1), dtype=np.float64)
    data = ArrayIterator(np.random.RandomState(0).randn(16, 5), np.arange(16) % 3, nclass=3)
    model.initialize(data, cost)
    ((x, t),) = data
    for _ in range(2):
        model.forward_backward(x, t, cost, total)
    spent = counted(lambda: model.forward_backward(x, t, cost, total))
    # Five products, and the loops between them.
    assert spent == {
        "launches": 10,
        "synchronizations": 0,
        "host_to_device_bytes": 0,
        "device_to_host_bytes": 0,
        "allocations": 0,
    }
