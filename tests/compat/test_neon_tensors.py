"""neon's tensors and op-trees."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from neon_optim.backends import contract
from neon_optim.compat.neon.backends import Autodiff, cleanup_backend, gen_backend
from neon_optim.compat.neon.backends.backend import OpCollection, OpTreeNode, Tensor
from neon_optim.errors import BackendError


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def be(request):
    yield gen_backend(request.param, rng_seed=1, batch_size=4)
    cleanup_backend()


@pytest.fixture
def cpu():
    yield gen_backend("cpu")
    cleanup_backend()


def values(*shape, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


# --- tensors ---


def test_the_same_shape_and_all_of_a_tensor_are_the_tensor_itself(be):
    t = be.array(values(4, 6))
    assert t.reshape(t.shape) is t.reshape(4, 6) is t[:] is t
    part = t[1:3].reshape((3, 4))
    assert (part.base.base, part._original_base, t.base) == (t, t, None)
    part[:] = 0.0
    assert not t.get()[1:3].any()
    assert isinstance(part, Tensor)
    assert isinstance(part, contract.Tensor)
    with pytest.raises(ValueError, match=r"the shape \(5, 5\) has 25 elements, the tensor of \(4, 6\) 24"):
        t.reshape(5, 5)


PARTS = {  # neon looks at axis after axis while it takes some away, and passes by the one behind each
    "integer": ((4, 6), 1, (1, 6)),
    "last": ((4, 6), (slice(None), -1), (4, 1)),
    "of three": ((4, 5, 6), 2, (5, 6)),
    "in the middle": ((4, 5, 6), (slice(None), slice(1, 2)), (4, 6)),
    "until two are left": ((4, 5, 6), (1, 2, 3), (1, 1)),
    "one behind another": ((1, 1, 5, 6), 0, (1, 5, 6)),
    "none of length 1": ((4, 5, 6), slice(1, 3), (2, 5, 6)),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_lose_axes_of_length_1_until_two_are_left(be, case):
    shape, key, expected = PARTS[case]
    x = values(*shape)
    t = be.array(x)
    assert t[key].shape == expected
    np.testing.assert_array_equal(t[key].get().ravel(), x[key].ravel())
    t[key] = be.ones(expected) * 7.0
    x[key] = 7.0
    np.testing.assert_array_equal(t.get(), x)


def test_transposed(be):
    x, y = values(3, 4), values(2, 3, 4)
    t, u = be.array(x), be.array(y)
    np.testing.assert_array_equal(t.T.get(), x.T)
    np.testing.assert_array_equal(u.T.get(), y.transpose(0, 2, 1))
    assert t.is_contiguous
    assert not t.T.is_contiguous
    out = be.empty((4, 3))
    t.transpose(out)
    np.testing.assert_array_equal(out.get(), x.T)
    np.testing.assert_array_equal(t.transpose().get(), x.T)
    (gradient,) = Autodiff(be.sum(u.T * 2.0), be).get_grad_asnumpyarray([u])
    np.testing.assert_array_equal(gradient, np.full((2, 3, 4), 2.0))


def test_what_may_be_assigned(be):
    t = be.empty((3, 1))
    t[:] = np.arange(3.0)
    assert t.get().tolist() == [[0], [1], [2]]
    t[1:] = 5
    assert t.set(np.float64(2)).copy_from(t * 2.0).get().tolist() == [[4], [4], [4]]
    t[:] = t.get() + 1
    assert t.fill(3).get().tolist() == [[3], [3], [3]]
    whole = be.zeros((2, 2), dtype=np.int32)
    whole[:] = be.array([[1.7, -1.7], [2.0, 3.0]])
    assert whole.get().tolist() == [[1, -1], [2, 3]]
    u = t.copy()
    assert t.copy(u * 0.0) is t
    assert (u.get().tolist(), t.get().tolist()) == ([[3]] * 3, [[0]] * 3)
    be.set_item(u, slice(0, 1), 9)
    assert u.get().tolist() == [[9], [3], [3]]
    with pytest.raises(BackendError, match="cannot set a tensor of shape"):
        t[:] = np.ones((2, 2))


def test_a_tensor_counts_as_true_where_it_is_not_empty(be):
    assert be.zeros((2, 2))
    assert not be.zeros((0, 2))
    assert len(be.zeros((3, 2))) == 3
    assert be.zeros((1, 1)) == 1, "an op-tree, which counts as true"


def test_memory_is_shared_and_reordered(be):
    t = be.array(values(2, 3, 4))
    first = t.share((5, 2), name="scratch")
    first[:] = 1.0
    assert first.name == "scratch"
    assert t.get().ravel()[:10].tolist() == [1] * 10
    assert np.array_equal(t.dimension_reorder([2, 0, 1]).get(), t.get().reshape(4, 2, 3))
    with pytest.raises(ValueError, match=r"share: the shape \(5, 5\) has 25 elements"):
        t.share((5, 5))
    assert t.raw() == t[0].raw() != t[1].raw()


def test_slices_at_indices(be):
    x = values(3, 4)
    t = be.array(x)
    np.testing.assert_array_equal(t.take(np.array([2, 0]), 1).get(), x[:, [2, 0]])
    np.testing.assert_array_equal(t.take(be.array([[1, 1, 0]], dtype=np.int32), axis=0).get(), x[[1, 1, 0]])
    np.testing.assert_array_equal(t.take([5, 0]).get(), [x.ravel()[[5, 0]]])
    out = be.empty((3, 1))
    assert t.take([3], 1, out) is out
    np.testing.assert_array_equal(out.get(), x[:, 3:])


def test_lists_of_indices_give_copies(be):
    x = values(3, 4)
    t = be.array(x)
    np.testing.assert_array_equal(t[np.array([2, 0]), :].get(), x[[2, 0]])
    np.testing.assert_array_equal(t[1:, [3, 3]].get(), x[1:, [3, 3]])
    t[[0, 1]][:] = 0.0
    np.testing.assert_array_equal(t.get(), x)
    with pytest.raises(BackendError, match="not by lists of indices"):
        t[[0, 1]] = 0.0
    with pytest.raises(BackendError, match="along one axis only"):
        t[[0, 1], [0, 1]]


def test_tensors_hold_what_programs_put_on_them(cpu):
    t = cpu.array([[1.0]], name="t")
    t.parallelism = "Data"
    assert (t.parallelism, t.persist_values, t.name, t.backend) == ("Data", True, "t", cpu)


def test_a_pickle_stands_for_the_backend_of_the_time_or_one_like_it():
    be = gen_backend("cpu", rng_seed=3, batch_size=7, compat_mode="caffe")
    pickled = pickle.dumps(be.array([[1.0, 2.0]], name="t"))
    drawn = be.rng.uniform()
    assert pickle.loads(pickled).backend is be  # noqa: S301 (its own)
    cleanup_backend()
    again = pickle.loads(pickled)  # noqa: S301
    like = again.backend
    assert (type(like), like.bsz, like.compat_mode, like.rng.uniform()) == (type(be), 7, "caffe", drawn)
    assert (again.name, again[:] is again, again.get().tolist()) == ("t", True, [[1, 2]])
    cleanup_backend()


# --- op-trees ---


def test_an_op_tree_is_an_operation_and_two_operands(cpu):
    x, y = cpu.array(values(3, 4), name="x"), cpu.array(values(4, 2), name="y")
    tree = cpu.dot(x, y) - cpu.exp(y[:3])
    assert tree[0] == {"op": "sub", "shape": (3, 2)}
    assert (tree[1][0]["op"], tree[1][1], tree[1][2]) == ("dot", x, y)
    assert tree[2][2] is None
    operation, left, right = tree
    assert (len(tree), bool(tree), operation["op"], right[0]["op"], left.shape) == (
        3,
        True,
        "sub",
        "exp",
        (3, 2),
    )
    assert cpu.sum(x, axis=0)[0] == {"op": "sum", "shape": (1, 4), "axis": 0}
    assert cpu.max(x, axis=1)[0]["op"] == "max"
    assert cpu.sig(x)[0]["op"] == "sig"
    assert cpu.sig(x)[1] is x
    assert [cpu.log(2.0).shape, cpu.onehot(x, 0)[0]["shape"], tree.T.shape] == [(1, 1), (0, 0), (2, 3)]
    assert tree[1:].shape == (2, 2), "a part of the value"


@pytest.mark.parametrize("op", sorted(OpCollection.ew_ops - {"rand", "onehot", "assign", "binarize"}))
def test_every_elementwise_operation_of_neons_is_built(cpu, op):
    x, y = np.abs(values(2, 3)) + 0.5, np.abs(values(2, 3, seed=1)) + 0.5
    operands = [cpu.array(x), cpu.array(y) if op in OpCollection.binary_ops else None]
    functions = {
        "neg": np.negative, "abs": np.abs, "sgn": np.sign, "sqr": np.square, "add": np.add, "sub": np.subtract,
        "mul": np.multiply, "div": np.divide, "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
        "gt": np.greater, "ge": np.greater_equal, "pow": np.power, "finite": np.isfinite, "safelog": np.log,
        "sig": lambda a: 1 / (1 + np.exp(-a)), "sig2": lambda a: 1 / (1 + 2.0**-a),
        "tanh2": lambda a: np.tanh(a * np.log(2)), "shift": lambda a, b: a * 2.0 ** np.rint(np.log2(b)),
    }  # fmt: skip
    tree = OpTreeNode.build(op, *operands)
    expected = (functions.get(op) or getattr(np, op))(*(a.get() for a in operands if a is not None))
    assert isinstance(tree, OpTreeNode)
    np.testing.assert_allclose(tree.asnumpyarray(), expected, rtol=2e-6)


def test_built_from_its_parts_and_run(be):
    x = be.array(values(3, 4))
    out = be.empty((3, 1))
    assert OpTreeNode.build("sum", x, None, axis=1, out=out) is out
    np.testing.assert_allclose(out.get()[:, 0], x.get().sum(1), rtol=1e-5, atol=1e-6)
    assert OpTreeNode.build("assign", out, 2.0) is out
    assert be.execute(OpTreeNode({"op": "assign"}, out, out * 2.0)) is out
    assert out.get().tolist() == [[4]] * 3
    tree = OpTreeNode.list_to_optree(OpTreeNode.optree_to_list((x + 1.0) * x))
    np.testing.assert_array_equal(tree.astensor().get(), ((x + 1.0) * x).asnumpyarray())
    np.testing.assert_array_equal((x + 0.0).transpose(be.empty((4, 3))).get(), x.get().T)
    places = be.array([[2, 0]], dtype=np.int32)
    np.testing.assert_array_equal(be.onehot(places, axis=0, out=be.empty((3, 2))).get(), np.eye(3)[[2, 0]].T)


def test_postfix_order_keys_and_formulas(cpu):
    x, y = cpu.array([[1.0]], name="x"), cpu.array([[2.0]], name="y")
    tree = cpu.sum(x * y, axis=0) + x**2.0
    ops = [item["op"] if isinstance(item, dict) else item for item in tree.traverse([])]
    assert ops == [x, y, "mul", "sum", x, 2.0, "pow", "add"]
    assert tree.key() == (x, y, "mul", ("sum", 0), x, 2.0, "pow", "add")
    key, numbers, tensors = tree.intrinsic_key_maps()
    assert key == ((0, (1, 1)), (1, (1, 1)), "mul", ("sum", 0), (0, (1, 1)), 2.0, "pow", "add")
    assert ({x: 0, y: 1}, {0: x, 1: y}) == (numbers, tensors)
    assert tree.pp() == "((sum (x * y)) + (x ** (2.0)))"
    assert cpu.sig(x).pp() == "(sig x)"
    deep = x
    for _ in range(5000):
        deep = deep + 1.0
    assert deep.asnumpyarray() == 5001, "no recursion"


def test_what_is_refused(cpu):
    x = cpu.ones((2, 2))
    with pytest.raises(TypeError, match="'conv' is no operation of neon's"):
        OpTreeNode.build("conv", x, x)
    assert OpTreeNode.build("add", x, "y") is NotImplemented
    with pytest.raises(BackendError, match="only an assignment can be executed"):
        (x + 1.0).execute()
    with pytest.raises(ValueError, match="no tensor stands in"):
        cpu.log(2.0).astensor()
