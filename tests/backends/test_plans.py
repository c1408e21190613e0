"""What a plan accepts, and what it notices from one step to the next."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.cpu.host_plan import HostPlan
from neon_optim.errors import StateError
from neon_optim.optimizers import Adam, GradientDescentMomentum


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def be(request):
    yield gen_backend("cpu", engine=request.param, batch_size=1)
    cleanup_backend()


def rows(n=4, size=8):
    rng = np.random.default_rng(3)
    made = rng.standard_normal((n, 2, size)).astype(np.float32)
    return [((row[0].copy(), row[1].copy()), []) for row in made]


@pytest.fixture
def made(monkeypatch):
    """How many plans were made."""
    plans = []
    original = HostPlan.__init__

    def counted(self, *args, **kwargs):
        plans.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(HostPlan, "__init__", counted)
    return plans


def test_layers_with_new_lists_each_step_cost_no_new_plan(made):
    class Layer:
        def __init__(self, parameters):
            self.parameters = parameters

        def get_params(self):
            return [((param, grad), state) for (param, grad), state in self.parameters]

    layers = [Layer(rows(3)), Layer(rows(2))]
    optimizer = Adam()
    for _ in range(4):
        optimizer.optimize(layers, 0)
    assert len(made) == 1


def test_the_same_list_costs_no_new_plan(made):
    parameters, optimizer = rows(), Adam()
    for _ in range(4):
        optimizer.optimize(parameters, 0)
    assert len(made) == 1


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("which", ["param", "grad", "state"])
def test_a_replaced_array_is_used(made, size, which):
    parameters, optimizer = rows(size=size), GradientDescentMomentum(0.5, 0.9)
    optimizer.optimize(parameters, 0)
    (param, grad), state = parameters[1]
    old = {"param": param, "grad": grad, "state": state[0]}[which]
    new, before = old.copy(), old.copy()  # equal in value, so only identity tells
    if which == "state":
        state[0] = new
    else:
        parameters[1] = ((new, grad) if which == "param" else (param, new), state)
    optimizer.optimize(parameters, 0)
    assert len(made) == (1 if which == "grad" else 2), "other gradients are taken over"
    if which != "grad":
        np.testing.assert_array_equal(old, before)
        assert (np.asarray(new) != np.asarray(before)).any()


def test_a_grown_list_is_noticed(made):
    parameters, optimizer = rows(), Adam()
    optimizer.optimize(parameters, 0)
    parameters.append(rows(1)[0])
    before = parameters[-1][0][0].copy()
    optimizer.optimize(parameters, 0)
    assert (parameters[-1][0][0] != before).any()
    del parameters[0]
    optimizer.optimize(parameters, 0)


def test_arrays_resized_in_place_are_noticed():
    parameters, optimizer = rows(), Adam()
    (param, grad), state = parameters[2]
    state += [np.zeros(8, np.float32), np.zeros(8, np.float32)]
    optimizer.optimize(parameters, 0)
    for array in (param, grad, *state):
        array.resize(100_000, refcheck=False)
    grad[:] = 1.0
    optimizer.optimize(parameters, 0)
    assert (param[8:] != 0).all()
    param.resize(3, refcheck=False)
    with pytest.raises(StateError, match="shape"):
        optimizer.optimize(parameters, 0)


def test_an_array_that_becomes_read_only_is_noticed():
    parameters, optimizer = rows(), Adam()
    optimizer.optimize(parameters, 0)
    before = [param.copy() for (param, _), _ in parameters]
    parameters[3][0][0].flags.writeable = False
    with pytest.raises(StateError, match="read-only"):
        optimizer.optimize(parameters, 0)
    for (param, _), then in zip((row for row in parameters), before, strict=True):
        np.testing.assert_array_equal(param[0], then)


def test_a_shape_set_in_place_is_noticed():
    parameters, optimizer = rows(), Adam()
    optimizer.optimize(parameters, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 2.5 and later
        parameters[0][0][0].shape = (2, 4)
    with pytest.raises(StateError, match="shape"):
        optimizer.optimize(parameters, 0)


def test_arrays_that_are_not_contiguous_aligned_or_native():
    values = np.arange(1.0, 13.0, dtype=np.float32).reshape(3, 4)
    raw = np.zeros(12 * 4 + 1, np.uint8)
    unaligned = raw[1:].view(np.float32).reshape(3, 4)
    kinds = {
        "transposed": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
        "reversed": values[::-1].copy()[::-1],
        "unaligned": unaligned,
        "big-endian": values.astype(">f4"),
    }
    unaligned[...] = values
    grad = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    expected = values.copy()
    optimizer = Adam(learning_rate=0.1, gradient_clip_norm=1.0)
    optimizer.optimize([((expected, grad.copy()), []), ((np.zeros(3), np.zeros(3)), [])], 0)
    for name, param in kinds.items():
        grads = np.asfortranarray(grad)
        Adam(learning_rate=0.1, gradient_clip_norm=1.0).optimize([((param, grads), [])], 0)
        np.testing.assert_array_equal(param.astype(np.float32), expected, err_msg=name)


def test_sizes_zero_and_one_and_no_axis():
    scalar, empty = np.array(2.0), np.zeros((0, 4), np.float32)
    matrix = np.ones((1, 1), np.float32)
    parameters = [
        ((scalar, np.array(1.0)), []),
        ((empty, np.zeros((0, 4), np.float32)), []),
        ((matrix, np.ones((1, 1), np.float32)), []),
    ]
    GradientDescentMomentum(0.5, 0.0, gradient_clip_norm=np.sqrt(2)).optimize(parameters, 0)
    assert scalar == pytest.approx(1.5)
    assert matrix[0, 0] == pytest.approx(0.5)
    assert parameters[1][1] == []


def broken(case):
    parameters = rows()
    param, grad = parameters[1][0]
    if case == "twice":
        parameters.append(((param, grad.copy()), []))
    elif case == "overlap":
        whole = np.zeros(12, np.float32)
        parameters += [((whole[:8], grad.copy()), []), ((whole[4:], grad.copy()), [])]
    elif case == "gradient in parameter":
        parameters[1] = ((param, param[::-1]), [])
    elif case == "read-only":
        param.flags.writeable = False
    elif case == "integers":
        parameters[1] = ((np.arange(8), grad), [])
    elif case == "other shape":
        parameters[1] = ((param, grad[:7]), [])
    elif case == "other state":
        parameters[1] = ((param, grad), [np.zeros(8, np.float32), np.zeros(7, np.float32)])
    elif case == "complex":
        parameters[1] = ((param.astype(np.complex64), grad), [])
    elif case == "a list":
        parameters[1] = ((param, [1.0] * 8), [])
    return parameters


@pytest.mark.parametrize(
    "case",
    [
        "twice",
        "overlap",
        "gradient in parameter",
        "read-only",
        "integers",
        "other shape",
        "other state",
        "complex",
        "a list",
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_changed(case):
    parameters = broken(case)
    before = [(np.array(p), np.array(g)) for (p, g), _ in parameters]
    lengths = [len(state) for _, state in parameters]
    optimizer = Adam()
    with pytest.raises(StateError, match="parameter"):
        optimizer.optimize(parameters, 0)
    for ((param, grad), state), (p, g), length in zip(parameters, before, lengths, strict=True):
        np.testing.assert_array_equal(np.asarray(param), p)
        np.testing.assert_array_equal(np.asarray(grad), g)
        assert len(state) == length
    assert optimizer.t == 0


def test_gradients_may_be_shared():
    grad = np.ones(8, np.float32)
    params = [np.zeros(8, np.float32) for _ in range(2)]
    GradientDescentMomentum(1.0, 0.0).optimize([((param, grad), []) for param in params], 0)
    for param in params:
        np.testing.assert_array_equal(param, -grad)


def test_memory_of_other_packages_is_followed_when_it_moves():
    class Foreign:
        def __init__(self):
            self.array = np.zeros(8, np.float32)

        @property
        def __array_interface__(self):
            return self.array.__array_interface__

    param, grad = Foreign(), np.ones(8, np.float32)
    optimizer = GradientDescentMomentum(1.0, 0.0)
    optimizer.optimize([((param, grad), [])], 0)
    old, param.array = param.array, np.zeros(8, np.float32)
    optimizer.optimize([((param, grad), [])], 0)
    np.testing.assert_array_equal(old, -grad)
    np.testing.assert_array_equal(param.array, -grad)


class Elsewhere:
    """An array of another library: it tells where it is, and may be given other memory."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    __array_interface__ = property(lambda self: self.values.__array_interface__)

    def data_ptr(self):
        return self.values.__array_interface__["data"][0]

    def stride(self):
        return self.values.strides


@pytest.mark.parametrize("what", ["param", "grad"])
def test_memory_that_another_library_has_exchanged_is_never_written(made, what):
    param, grad = Elsewhere([1.0, 1.0]), Elsewhere([0.5, 0.5])
    optimizer, parameters = GradientDescentMomentum(1.0, 0.0), [((param, grad), [])]
    optimizer.optimize(parameters, 0)
    optimizer.optimize(parameters, 0)
    assert len(made) == 1
    old = {"param": param, "grad": grad}[what]
    before, old.values = old.values, np.full(2, 3.0, np.float32)
    kept = before.copy()
    optimizer.optimize(parameters, 0)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(param.values, 2.5 if what == "param" else -3.0)


@pytest.mark.parametrize("kind", [np.array, Elsewhere], ids=["NumPy", "another library"])
def test_new_gradients_each_step_are_taken_over(made, kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3, 4)).astype(np.float32)
    whole, mine = [np.ones(4, np.float32) for _ in range(3)], [np.ones(4, np.float32) for _ in range(3)]
    fixed, states = [np.zeros(4, np.float32) for _ in range(3)], [[] for _ in range(3)]
    one, other = GradientDescentMomentum(0.1, 0.9), GradientDescentMomentum(0.1, 0.9)
    reference = [((p, g), []) for p, g in zip(whole, fixed, strict=True)]
    for step in values:
        for grad, value in zip(fixed, step, strict=True):
            grad[:] = value
        one.optimize(reference, 0)
        other.optimize([((p, kind(g)), s) for p, g, s in zip(mine, step, states, strict=True)], 0)
    for a, b in zip(whole, mine, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(made) == 2, "one for each optimizer"


@pytest.mark.parametrize(
    "bad",
    [
        lambda param: param,
        lambda param: param.reshape(2, 2)[:, :1],
        lambda param: np.zeros(3, np.float32),
        lambda param: np.zeros(4, np.int32),
    ],
    ids=["the parameter", "a part of it", "another size", "integers"],
)
def test_a_new_gradient_that_does_not_fit_is_an_error(bad):
    param, optimizer, states = np.ones(4, np.float32), GradientDescentMomentum(0.1, 0.9), []
    optimizer.optimize([((param, np.ones(4, np.float32)), states)], 0)
    before = param.copy()
    with pytest.raises(StateError, match=r"parameter 'W'"):
        optimizer.optimize([((param, bad(param)), states)], 0)
    np.testing.assert_array_equal(param, before)
    assert optimizer.t == 1


def test_parameters_of_pytorch():
    torch = pytest.importorskip("torch")
    from neon_optim.optimizers import AdamW

    start = torch.randn(5, 3)
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    bound = AdamW(0.01, wdecay=0.01).bind([mine])
    reference = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.01)
    for step in range(6):
        for parameter in (mine, theirs):
            (parameter.square().sum() + step * parameter.sum()).backward()
        bound.step()
        reference.step()
        if step % 2:
            mine.grad = theirs.grad = None
        else:
            bound.zero_grad()
            reference.zero_grad()
        if step == 3:  # memory of its own kind: the old one must not be written any more
            old = mine.data
            mine.data = old.clone()
            kept = old.clone()
    assert torch.equal(old, kept)
    assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-7)


def test_a_setting_that_is_set_at_each_step_costs_no_new_plan(made):
    parameters, optimizer = rows(), Adam()
    for step in range(4):
        optimizer.learning_rate = 0.1 / (step + 1)
        optimizer.optimize(parameters, 0)
    assert len(made) == 1
    optimizer.amsgrad = True  # another state array
    for _, states in parameters:
        states.clear()
    optimizer.optimize(parameters, 0)
    assert len(made) == 2
