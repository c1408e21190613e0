"""Assignments as planned graphs: what is computed, in which memory, and what is kept from one to the next."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_optim import gen_backend
from neon_optim.backends.buffers import place_buffers
from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.backends.cpu.compiled import lazy_loop
from neon_optim.backends.cpu.host_executor import leaf_of
from neon_optim.backends.fusion import Call, Loop, fuse
from neon_optim.backends.graph import Graph, flatten
from neon_optim.backends.optree import Node
from neon_optim.errors import BackendError

ENGINES = ("numpy", "numba")


@pytest.fixture(autouse=True)
def compiled_after_two_runs(monkeypatch):
    monkeypatch.setattr(lazy_loop, "COMPILED", 2)


def planned(be, *assignments):
    graph = Graph(flatten(assignments, leaf_of))
    return graph, fuse(graph)


def softmax(be, x):
    power = be.exp(x - be.max(x, axis=0))
    return power / be.sum(power, axis=0)


# --- what is computed ---


def reference(node, arrays):
    """A tree by plain NumPy in float64."""
    if not isinstance(node, Node):
        return arrays[id(node)] if id(node) in arrays else np.float64(node)
    args = [reference(a, arrays) for a in node.args]
    if node.op == "dot":
        return args[0] @ args[1]
    if node.op == "transpose":
        return args[0].T
    if node.op == "reduce":
        function = {"sum": np.sum, "mean": np.mean, "amax": np.max, "amin": np.min}[node.attrs["kind"]]
        return function(args[0], axis=node.attrs["axis"], keepdims=True)
    if node.op == "sum":
        return args[0].sum(keepdims=True)
    if node.op == "slice":
        return args[0][tuple(slice(*part) for part in node.attrs["key"])]
    return getattr(np, node.op)(*args)


MADE = [
    lambda be, a, b, axis: a + b,
    lambda be, a, b, axis: a * b - 0.5,
    lambda be, a, b, axis: be.tanh(a),
    lambda be, a, b, axis: be.maximum(a, b),
    lambda be, a, b, axis: be.dot(a, b) * 0.2,
    lambda be, a, b, axis: a - be.mean(a, axis=axis),
    lambda be, a, b, axis: a * be.max(b, axis=axis),
    lambda be, a, b, axis: be.transpose(a),
    lambda be, a, b, axis: a / (1.0 + be.sum(be.square(a))),
    lambda be, a, b, axis: be.dot(be.transpose(a), b) * 0.2 + a[:1, :] * b[:, :1],
]


RECIPES = st.lists(
    st.tuples(st.sampled_from(MADE), st.integers(0, 20), st.integers(0, 20), st.integers(0, 1)),
    min_size=1,
    max_size=12,
)


def built(be, leaves, recipe):
    """Two graphs over square tensors, with values that are used again and again."""
    pool = list(leaves)
    for made, a, b, axis in recipe:
        pool.append(made(be, pool[a % len(pool)], pool[b % len(pool)], axis))
    return pool[-1], pool[-min(3, len(pool))]


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_random_graphs_equal_plain_numpy(engine, data):
    random_graphs_equal_plain_numpy(engine, data)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_many_random_graphs_equal_plain_numpy(engine, data):
    random_graphs_equal_plain_numpy(engine, data)


def random_graphs_equal_plain_numpy(engine, data):
    """Tolerance: a dozen operations in float64, each within a few units of 2**-53, on values of order 1 to 100."""
    be = gen_backend("cpu", datatype=np.float64, engine=engine)
    rng = np.random.RandomState(data.draw(st.integers(0, 1000)))
    arrays = [rng.randn(5, 5) for _ in range(3)]
    tensors = [be.array(a) for a in arrays]
    first, second = built(be, tensors, data.draw(RECIPES))
    known = {id(t): a for t, a in zip(tensors, arrays, strict=True)}
    outs = [be.empty((5, 5)) for _ in range(2)]
    run = be.capture(list(zip(outs, (first, second), strict=True)))
    for _ in range(5):  # NumPy's way first, then the compiled one
        run()
        for out, tree in zip(outs, (first, second), strict=True):
            np.testing.assert_allclose(
                out.get(), np.broadcast_to(reference(tree, known), (5, 5)), rtol=1e-9, atol=1e-9
            )
    alone = be.empty((5, 5))
    alone[:] = second
    np.testing.assert_array_equal(alone.get(), outs[1].get())


LAYOUTS = {
    "in rows": lambda values: values,
    "in columns": lambda values: np.asfortranarray(values),
    "with gaps": lambda values: np.repeat(np.repeat(values, 2, axis=0), 3, axis=1)[::2, 1::3],
    "upwards": lambda values: values[::-1].copy()[::-1],
}


ASSIGNMENTS = given(
    recipe=RECIPES,
    layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 3),
    dtypes=st.tuples(*[st.sampled_from(["float32", "float32", "float64", "float16"])] * 3),
    shared=st.integers(0, 4),
)


@settings(max_examples=6, deadline=None)
@ASSIGNMENTS
def test_engines_give_the_same_bits_for_arrays_of_every_layout_and_others_each_time(**how):
    engines_give_the_same_bits(**how)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@ASSIGNMENTS
def test_engines_give_the_same_bits_for_many_arrays_of_every_layout_and_others_each_time(**how):
    engines_give_the_same_bits(**how)


def engines_give_the_same_bits(recipe, layouts, dtypes, shared):
    """``shared``: the call in which the first two operands are the same memory, where they are laid out alike."""
    found = []
    for engine in ENGINES:
        be = gen_backend("cpu", engine=engine, deterministic=True)
        out = be.empty((5, 5))
        found.append([])
        for call in range(5):
            rng = np.random.RandomState(call)
            kinds = zip(layouts, dtypes, strict=True)
            arrays = [LAYOUTS[layout](rng.randn(5, 5).astype(dtype)) for layout, dtype in kinds]
            if call == shared and (layouts[0], dtypes[0]) == (layouts[1], dtypes[1]):
                arrays[1] = arrays[0]
            for tree in built(be, [be.as_tensor(array) for array in arrays], recipe):
                out[:] = tree
                found[-1].append(out.get())
    for numpys, compiled in zip(*found, strict=True):
        np.testing.assert_array_equal(numpys, compiled)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_engines_give_the_same_bits(data):
    shape = data.draw(st.sampled_from([(1, 1), (3, 70), (70, 3), (33, 65), (2, 400)]))
    axis = data.draw(st.integers(0, 1))
    seed = data.draw(st.integers(0, 1000))
    found = []
    for engine in ENGINES:
        be = gen_backend("cpu", engine=engine, deterministic=True)
        x = be.array(np.random.RandomState(seed).randn(*shape))
        out, row = be.empty(shape), be.empty([1 if k == axis else n for k, n in enumerate(shape)])
        scaled = be.exp(x - be.max(x, axis=axis))
        y = scaled / be.sum(scaled, axis=axis)
        run = be.capture([(out, y * be.tanh(x)), (row, be.mean(be.safelog(y), axis=axis))])
        for _ in range(5):
            run()
        found.append((out.get(), row.get()))
    for numpys, compiled in zip(*found, strict=True):
        np.testing.assert_array_equal(numpys, compiled)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_large_is_shared_among_threads_with_the_same_bits(engine, monkeypatch):
    x = np.random.RandomState(0).randn(300, 1000).astype(np.float32)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        be = gen_backend("cpu", engine=engine)
        t, out, rows = be.array(x), be.empty(x.shape), be.empty((300, 1))
        run = be.capture([(out, softmax(be, t)), (rows, be.sum(t * 3.0, axis=1))])
        for _ in range(4):
            run()
        found.append((out.get(), rows.get()))
    for one, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["transposed", "every second", "reversed", "row", "column", "three axes"])
def test_arrays_of_every_layout(engine, dtype, layout):
    be = gen_backend("cpu", engine=engine)
    base = np.random.RandomState(0).randn(8, 6).astype(dtype)
    array = {
        "transposed": base.T,
        "every second": base[::2, ::3],
        "reversed": base[::-1],
        "row": base[:1],
        "column": base[:, 2:3],
        "three axes": base.reshape(2, 4, 6).transpose(2, 0, 1),
    }[layout]
    out = be.empty(array.shape, dtype="float64")
    for _ in range(5):
        out[:] = be.as_tensor(array) * 2.0 - be.max(be.as_tensor(array), axis=0)
    wide = array.astype(np.float64)
    np.testing.assert_array_equal(out.get(), wide * 2.0 - wide.max(axis=0, keepdims=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_tensors_that_share_memory_once_may_be_apart_the_next_time(engine):
    be = gen_backend("cpu", engine=engine)
    one, other, out = np.arange(6.0).reshape(2, 3), np.full((2, 3), 100.0), be.empty((2, 3), dtype="float64")
    for second in (one, one, one, one, other, one):
        out[:] = be.as_tensor(one) * 3.0 + be.as_tensor(second)
        np.testing.assert_array_equal(out.get(), one * 3.0 + second)


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_of_the_other_byte_order(engine):
    be = gen_backend("cpu", engine=engine)
    values = np.arange(6.0).reshape(2, 3)
    swapped = values.astype(np.dtype(np.float32).newbyteorder())
    out, target = be.empty((2, 3)), be.as_tensor(swapped.copy())
    for k in range(4):
        out[:] = be.ones((2, 3)) + swapped
        np.testing.assert_array_equal(out.get(), values + 1.0)
        out[:] = be.as_tensor(swapped) * 2.0 + be.sum(be.as_tensor(swapped))
        np.testing.assert_array_equal(out.get(), values * 2.0 + 15.0)
        target[:] = be.ones((2, 3)) * float(k)
        np.testing.assert_array_equal(target.get(), np.full((2, 3), float(k)))


@pytest.mark.parametrize("engine", ENGINES)
def test_integers_are_copied_exactly(engine):
    be = gen_backend("cpu", engine=engine)
    large = np.array([[2**24 + 1, 2**53 - 1, -(2**40) - 1]])
    out = be.empty((2, 3), dtype="float64")
    out[:] = large
    np.testing.assert_array_equal(out.get(), np.broadcast_to(large, (2, 3)))
    with pytest.raises(BackendError, match=r"\(1, 3\) does not fit"):
        be.empty((3, 1))[:] = large


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("axis", [0, 1])
def test_as_numpy_computes(engine, axis):
    be = CPUBackend(engine=engine, as_numpy=True)
    x = np.random.RandomState(0).standard_normal((300, 200)).astype(np.float32)
    sums, powers = be.empty((1, 200) if axis == 0 else (300, 1)), be.empty(x.shape)
    for _ in range(4):
        sums[:] = be.sum(be.tanh(be.as_tensor(x)), axis=axis)
        powers[:] = be.exp(be.as_tensor(x)) * 2.0
    assert (sums.get() == np.tanh(x).sum(axis=axis, keepdims=True)).all()
    assert (powers.get() == np.exp(x) * 2).all()
    assert not CPUBackend(engine=engine, as_numpy=True, deterministic=True).as_numpy


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_integers_are_computed_with_as_numbers(engine, dtype):
    be = gen_backend("cpu", engine=engine)
    values = np.array([[0, 1, 3, 100]]).astype(dtype)
    x, found, halves = be.array(values, dtype=dtype), be.empty((1, 4), dtype=dtype), be.empty((1, 4))
    for _ in range(4):
        halves[:] = x * 0.5
        found[:] = x * 0.75
    assert halves.get().tolist() == [[0.5 * value for value in values[0].tolist()]]
    assert found.get().tolist() == (0.75 * values).astype(dtype).tolist()


def test_a_loop_of_very_many_arrays_is_computed_all_the_same():
    """Compiled code tells 66 pieces of memory apart."""
    be = gen_backend("cpu", engine="numba")
    x = be.array(np.linspace(0.1, 1.0, 12).reshape(3, 4))
    parts = [be.exp(x * (0.1 * k)) for k in range(40)]
    outs = [be.empty((3, 4)) for _ in parts]
    run = be.capture([(out, part / be.sum(part, axis=0)) for out, part in zip(outs, parts, strict=True)])
    for _ in range(4):
        run()
    for k, out in enumerate(outs):
        power = np.exp(x.get().astype(float) * 0.1 * k)
        np.testing.assert_allclose(out.get(), power / power.sum(0), rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tree_reads_what_its_target_held_before(engine):
    be = gen_backend("cpu", engine=engine)
    start = np.random.RandomState(0).randn(6, 6).astype(np.float32)
    cases = {
        "in place": (lambda t: t * 2.0 + t, lambda a: a * 2 + a),
        "transposed": (lambda t: t.T + t, lambda a: a.T + a),
        "with its sums": (lambda t: t - be.max(t, axis=0), lambda a: a - a.max(0)),
        "a product with itself": (lambda t: be.dot(t, t), lambda a: a @ a),
        "by way of others": (
            lambda t: be.maximum(t.T, 0.0) * be.max(t, axis=1),
            lambda a: np.maximum(a.T, 0) * a.max(1, keepdims=True),
        ),
    }  # fmt: skip
    for name, (ours, numpys) in cases.items():
        t, expected = be.array(start), start
        for _ in range(4):
            t[:] = ours(t)
            expected = numpys(expected)
            scale = np.float32(1 / abs(expected).max())
            np.testing.assert_allclose(t.get(), expected, rtol=1e-5, atol=1e-5 / scale, err_msg=name)
            t[:], expected = t * float(scale), expected * scale


# --- how it is planned ---


def test_a_softmax_with_cost_and_derivative_is_one_loop():
    be = gen_backend("cpu")
    x, t = be.zeros((10, 32)), be.zeros((10, 32))
    error, costs = be.empty((10, 32)), be.empty((1, 32))
    y = softmax(be, x)
    _, steps = planned(be, (error, y - t), (costs, -be.sum(t * be.safelog(y), axis=0)))
    (loop,) = steps.steps
    assert isinstance(loop, Loop)
    assert max(loop.phase.values()) == 3  # maximum, sum, cost, and what is made of it
    assert not steps.kept


def test_common_parts_are_computed_once():
    be = gen_backend("cpu")
    a, b, out, other = (be.zeros((4, 4)) for _ in range(4))
    _, steps = planned(be, (out, be.dot(a, b) + 1.0), (other, be.dot(a, b) * 2.0))
    assert [type(step) for step in steps.steps] == [Call, Loop]


def test_a_product_is_written_where_it_is_stored():
    be = gen_backend("cpu")
    a, b, out = (be.zeros((4, 4)) for _ in range(3))
    _, steps = planned(be, (out, be.dot(a, b)))
    assert len(steps.steps) == 1
    assert not steps.kept
    _, steps = planned(be, (out.T, be.dot(a, b)))  # BLAS wants its result without gaps
    assert len(steps.steps) == 2


def test_memory_is_used_again():
    """A chain of products: two buffers take turns, however long it is."""
    be = gen_backend("cpu")
    tree = x = be.zeros((32, 32))
    for _ in range(20):
        tree = be.dot(tree, x)
    graph, steps = planned(be, (be.empty((32, 32)), tree))
    places, size = place_buffers(graph, steps)
    assert len(places) == 19
    assert size == 2 * 32 * 32 * 4


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_values_that_live_at_the_same_time_do_not_share_memory(data):
    be = gen_backend("cpu")
    leaves = [be.zeros((5, 5)) for _ in range(3)]
    graph, steps = planned(be, *[(be.empty((5, 5)), tree) for tree in built(be, leaves, data.draw(RECIPES))])
    places, size = place_buffers(graph, steps)
    held: dict[int, int] = {}  # where bytes are -> the value that was written there last
    for step in steps.steps:
        reads = graph.values[step.value].args if isinstance(step, Call) else step.reads
        for a in reads:
            while graph.values[a].op in ("transpose", "slice", "reshape", "broadcast"):
                (a,) = graph.values[a].args
            if a in places:
                assert all(held[places[a] + k] == a for k in range(5))
        for v in [step.value] if isinstance(step, Call) else step.writes:
            if v in places:
                held.update(
                    dict.fromkeys(range(places[v], places[v] + graph.values[v].dtype.itemsize * 5), v)
                )
    assert size <= sum(128 + 4 * 25 for _ in places)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_stored_with_gaps_may_be_reshaped(engine):
    be = gen_backend("cpu", engine=engine)
    x, wide, flat = be.array(np.arange(6.0).reshape(2, 3)), be.zeros((2, 6)), be.empty((1, 6))
    doubled = x * 2.0
    run = be.capture([(wide[:, ::2], doubled), (flat, doubled.reshape(1, 6))])
    for k in range(5):
        x.fill(float(k))
        run()
        np.testing.assert_array_equal(flat.get(), [[2.0 * k] * 6])
        np.testing.assert_array_equal(wide.get()[:, ::2], np.full((2, 3), 2.0 * k))


def test_deep_chains_are_planned_without_recursion():
    be = gen_backend("cpu")
    tree = x = be.array([[1.0]])
    for _ in range(5_000):
        tree = tree + x
    out = be.empty((1, 1))
    out[:] = tree
    assert out.get() == 5_001.0


# --- what is kept ---


def test_an_assignment_is_planned_once(monkeypatch):
    be = gen_backend("cpu")
    x, out = be.ones((3, 4)), be.empty((3, 4))
    planned_graphs = []
    original = Graph.__init__
    monkeypatch.setattr(
        Graph, "__init__", lambda self, flat: (planned_graphs.append(self), original(self, flat))[1]
    )
    for k in range(10):
        out[:] = x * float(k) + 1.0
        assert out.get()[0, 0] == k + 1.0
    assert len(planned_graphs) == 1


def test_tensors_are_not_kept():
    be = gen_backend("cpu")
    x, out = be.ones((3, 4)), be.empty((3, 4))
    out[:] = be.dot(x, x.T)[:, :1] + x
    found = [
        weakref.ref(x),
        weakref.ref(out),
        weakref.ref(x.asnumpyarray().base),
        weakref.ref(out.asnumpyarray().base),
    ]
    del x, out
    gc.collect()
    assert [reference() for reference in found] == [None] * 4


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_may_run_the_same_assignment(engine):
    be = gen_backend("cpu", engine=engine)
    wrong = []

    def work(k):
        x, out = be.array(np.full((40, 40), float(k))), be.empty((40, 40))
        for _ in range(200):
            out[:] = be.dot(x, x) / 40.0 - be.max(x, axis=0)
            if not (out.get() == k * k - k).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- capture ---


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    return gen_backend(request.param)


def test_captured_assignments_take_other_tensors(be):
    x, total, largest = be.zeros((2, 3)), be.empty((2, 1)), be.empty((1, 3))
    run = be.capture([(total, be.sum(x, axis=1)), (largest, be.max(x, axis=0))], inputs=[x, largest])
    for k in range(6):
        values = np.random.RandomState(k).randn(2, 3).astype(np.float32)
        given, out = be.array(values), be.empty((1, 3))
        run(given, out)
        np.testing.assert_array_equal(out.get(), values.max(0, keepdims=True))
        np.testing.assert_allclose(total.get(), values.sum(1, keepdims=True), rtol=1e-6)
    whole = be.array(np.arange(12.0).reshape(2, 6))
    parts = be.zeros((1, 6))
    run(whole[:, ::2], parts[:, 1::2])  # laid out in another way
    np.testing.assert_array_equal(parts.get(), [[0, 6, 0, 8, 0, 10]])


def test_one_tensor_may_be_given_twice(be):
    x, y, out = be.zeros((2, 3)), be.zeros((2, 3)), be.empty((2, 3))
    run = be.capture([(out, x * 10.0 + y)], inputs=[x, y])
    for k in range(5):
        given = be.array(np.full((2, 3), float(k)))
        run(given, given)
        assert (out.get() == 11.0 * k).all()


def test_what_is_known_is_not_computed_again_in_captured_assignments():
    be = gen_backend("cpu")
    x, y, out = be.array([[1.0, 2.0]]), be.empty((1, 2)), be.empty((1, 2))
    node = x * 10.0
    forward = be.capture([(y, node)], inputs=[x])
    backward = be.capture([(out, node + 1.0)], values=[(node, y)])
    forward(be.array([[3.0, 4.0]]))
    backward()
    assert out.get().tolist() == [[31.0, 41.0]]


def test_columns_of_one_tensor_are_written_and_read_apart():
    be = gen_backend("cpu")
    wide, x = be.zeros((2, 4)), be.ones((2, 1))
    run = be.capture([(wide[:, 1:2], x * 2.0 + wide[:, :1]), (wide[:, 2:3], x * 3.0)], inputs=[x])
    run(wide[:, 3:])
    run(x)
    assert wide.get().tolist() == [[0.0, 2.0, 3.0, 0.0]] * 2
    with pytest.raises(BackendError, match="overlaps another of the assignments"):
        be.capture([(wide[:, 1:], x * 2.0), (wide[:, 2:3], x * 3.0)])


def test_inputs_that_overlap_what_is_written_are_refused():
    be = gen_backend("cpu")
    x, out = be.ones((2, 3)), be.zeros((4, 3))
    run = be.capture([(out[:2], x * 2.0)], inputs=[x])
    with pytest.raises(BackendError, match=r"an input of shape \(2, 3\) overlaps a tensor that is written"):
        run(out[1:3])
    run(out[2:])
    both = be.capture([(out, be.ones((4, 3)) * be.sum(x))], inputs=[x, out])
    with pytest.raises(BackendError, match=r"an input of shape .* overlaps"):
        both(out[:2], out)
    wide = be.zeros((4, 3))
    both(out[:2], wide)
    slot = be.capture([(wide, out + 1.0)], inputs=[wide])
    with pytest.raises(BackendError, match="is written and overlaps another"):
        slot(out)


def test_inputs_that_do_not_fit_are_refused(be):
    x, out = be.ones((2, 3)), be.zeros((2, 3))
    run = be.capture([(out, x * 2.0)], inputs=[x])
    with pytest.raises(BackendError, match="1 inputs were named, received 2"):
        run(x, x)
    with pytest.raises(BackendError, match=r"has the shape \(3, 2\)"):
        run(be.ones((3, 2)))
    with pytest.raises(BackendError, match="float64"):
        run(be.ones((2, 3), dtype=np.float64))
    assert not out.get().any()


def test_what_cannot_be_captured_is_refused():
    be = gen_backend("cpu")
    x, out = be.ones((4, 4)), be.empty((4, 4))
    with pytest.raises(BackendError, match="written is read"):
        be.capture([(out, x * 2.0), (x, x + 1.0)])
    with pytest.raises(BackendError, match="overlaps"):
        be.capture([(out[:3], x[:3]), (out[2:], x[2:])])
    with pytest.raises(BackendError, match="not part of the assignments"):
        be.capture([(out, x * 2.0)], inputs=[be.ones((4, 4))])
