"""ScalaTion's interface: parameters of every kind, gradients, clipping, state. Its numbers are in test_golden.py."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import NervanaObject, gen_backend
from neon_optim.errors import ArgumentError, NonFiniteError, StateError
from neon_optim.optimizers import SGD, Adam, AdamW, GradientDescentMomentum, MultiOptimizer, NAdam
from neon_optim.schedules import Linear


class Variable:
    """A parameter as ScalaTion's or PyTorch's: data, and a gradient that may not be there."""

    def __init__(self, data, grad=None):
        self.data = np.asarray(data, float)
        self.grad = grad if grad is None else np.asarray(grad, float)


@pytest.fixture
def be(engine):
    return gen_backend("cpu", datatype=np.float64, batch_size=32, engine=engine)


def test_without_a_backend_the_cpu_is_taken():
    w, dw = np.ones(2), np.ones(2)
    SGD(0.5).bind([(w, dw)]).step()
    np.testing.assert_array_equal(w, 0.5)
    assert NervanaObject.be.name == "cpu"


def test_gradients_are_means_unless_a_batch_size_is_given(be):
    w, dw = np.ones(2), np.ones(2)
    SGD(0.5).bind([(w, dw)]).step()
    np.testing.assert_array_equal(w, 0.5)
    SGD(0.5).bind([(w, dw)], batch_size=4).step()
    np.testing.assert_array_equal(w, 0.5 - 0.125)
    SGD(0.5).optimize([((w, dw), [])], 0)
    np.testing.assert_array_equal(w, 0.5 - 0.125 - 0.5 / 32)


class Layer:
    def __init__(self, name, *pairs):
        self.name = name
        self.params = [(pair, []) for pair in pairs]

    def get_params(self):
        return self.params


def test_parameters_of_every_kind(be):
    def arrays():
        return np.ones((2, 3)), np.full((2, 3), 2.0)

    w, dw = arrays()
    tensor, dtensor = be.array(w), be.array(dw)
    variable = Variable(*arrays())
    layer = Layer("dense", arrays(), arrays())
    lone = np.ones((2, 3))
    bound = SGD(0.25).bind([(w, dw), [tensor, dtensor], variable, layer, (arrays(), []), lone])
    assert len({parameter.path for parameter in bound.parameters()}) == 7
    bound.gradients[-1][:] = 2.0
    bound.step()
    for value in (w, tensor.get(), variable.data, layer.params[0][0][0], layer.params[1][0][0], lone):
        np.testing.assert_array_equal(value, 0.5)


@pytest.mark.parametrize(
    "what",
    [lambda w, dw: {"w": (w, dw)}, lambda w, dw: Variable(w, dw), lambda w, dw: Layer("a", (w, dw))],
    ids=["mapping", "one variable", "one layer"],
)
def test_one_parameter_or_names_for_them(be, what):
    given = what(np.ones((2, 1)), np.ones((2, 1)))
    bound = SGD(0.5).bind(given)
    bound.step()
    np.testing.assert_array_equal(bound.parameters()[0].value[0][0], 0.5)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("abc", "received 'abc'"),
        (3, "received 3"),
        ([3], "parameter_0: expected a layer, an array, a pair"),
        ((np.ones(2), np.ones(2)), r"write \[\(param, grad\)\] for a pair"),
    ],
)
def test_what_cannot_be_bound(be, what, message):
    with pytest.raises(StateError, match=message):
        SGD(0.5).bind(what)


def test_a_parameter_without_a_gradient_waits(be):
    first, second = Variable([1.0, 2.0], [3.0, 4.0]), Variable([5.0])
    bound = Adam(learning_rate=0.1, epsilon_hat=False).bind([first, second])
    assert bound.grad_norm == 5.0
    bound.step()
    np.testing.assert_array_equal(second.data, [5.0])
    bound.zero_grad()
    assert second.grad is None
    np.testing.assert_array_equal(first.grad, 0.0)
    second.grad = np.array([1.0])
    bound.step()
    assert second.data[0] < 5.0
    first.grad = second.grad = None
    before = first.data.copy()
    bound.step()
    np.testing.assert_array_equal(first.data, before)
    assert bound.grad_norm == 0.0


def test_a_replaced_gradient_is_the_one_that_counts(be):
    variable = Variable([1.0], [1.0])
    bound = SGD(0.5).bind([variable])
    bound.step()
    variable.grad = np.array([-2.0])
    bound.step()
    np.testing.assert_array_equal(variable.data, [1.5])


def test_clipping_by_norm(be):
    pairs = [(np.zeros(2), np.array([3.0, 0.0])), (np.zeros((1, 1)), np.array([[4.0]]))]
    bound = SGD(1.0).bind(pairs)
    assert bound.clip_grad_norm(10.0) == 5.0
    np.testing.assert_array_equal(pairs[0][1], [3.0, 0.0])
    assert bound.clip_grad_norm(1.0) == 5.0
    np.testing.assert_allclose(pairs[0][1], [0.6, 0.0], rtol=1e-6)
    assert bound.grad_norm == pytest.approx(1.0, rel=1e-6)
    pairs[1][1][:] = np.inf
    with pytest.raises(NonFiniteError, match="not clipped"):
        bound.clip_grad_norm(1.0)
    np.testing.assert_allclose(pairs[0][1], [0.6, 0.0], rtol=1e-6)
    with pytest.raises(ArgumentError, match="max_norm must be a number > 0, received -1"):
        bound.clip_grad_norm(-1)


def test_clipping_by_value_has_two_bounds(be):
    w, dw = np.zeros(4), np.array([-2.0, -0.1, 0.5, 3.0])
    bound = SGD(1.0).bind([(w, dw)])
    bound.clip_grad_value(-0.2, 0.7)
    np.testing.assert_array_equal(dw, [-0.2, -0.1, 0.5, 0.7])
    with pytest.raises(ArgumentError, match=r"min must be a number <= max \(0\), received 1"):
        bound.clip_grad_value(1, 0)


def test_the_learning_rate_is_read_and_set(be):
    w, dw = np.zeros(1), np.ones(1)
    bound = SGD(0.5).bind([(w, dw)])
    assert bound.learning_rate == 0.5
    bound.learning_rate = 0.25
    bound.step()
    assert w[0] == -0.25
    assert bound.learning_rate == bound.optimizer.learning_rate == 0.25
    with pytest.raises(ArgumentError, match=r"learning_rate must be a number >= 0, received -0\.5"):
        bound.learning_rate = -0.5
    scheduled = SGD(Linear(4, unit="step")).bind([(w, dw)])
    scheduled.step()
    assert scheduled.learning_rate == 0.75
    with pytest.raises(StateError, match="MultiOptimizer has no learning_rate"):
        _ = MultiOptimizer({"default": SGD(0.1)}).bind([(w, dw)]).learning_rate


def pair(value=1.0):
    return np.full((2, 2), value), np.full((2, 2), 0.5)


@pytest.mark.parametrize("make", [lambda: Adam(), lambda: NAdam(), lambda: GradientDescentMomentum(0.1, 0.9)])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(be, make):
    names = {"a": pair(), "b": pair(2.0)}
    bound = make().bind(names)
    bound.learning_rate = 0.03
    for _ in range(3):
        bound.step()
    state = bound.state_dict()
    again = {name: (p.copy(), g.copy()) for name, (p, g) in names.items()}
    other = make().bind(again)
    other.learning_rate = 77.0
    other.load_state_dict(state)
    assert other.learning_rate == 0.03
    for _ in range(3):
        bound.step()
        other.step()
    for name in names:
        np.testing.assert_array_equal(names[name][0], again[name][0])
    np.testing.assert_equal(other.state_dict()["state"], bound.state_dict()["state"])
    assert state["counters"]["t"] == 3, "what was handed out is a copy"


def test_state_that_does_not_fit_is_refused_and_nothing_is_set(be):
    bound = AdamW().bind({"a": pair(), "b": pair()})
    bound.step()
    state = bound.state_dict()
    fresh = AdamW().bind({"a": pair(), "c": pair()})
    with pytest.raises(
        StateError, match=r"missing \['c/W'\], unexpected \['b/W'\]; strict=False takes what fits"
    ):
        fresh.load_state_dict(state)
    assert fresh.optimizer.t == 0
    fresh.load_state_dict(state, strict=False)
    assert fresh.optimizer.t == 1
    assert set(fresh.state_dict()["state"]["a/W"]) == {"m", "v"}
    assert fresh.state_dict()["state"]["c/W"] == {}

    with pytest.raises(StateError, match=r"a/W: SGD keeps \['velocity'\], the state has \['m', 'v'\]"):
        SGD(0.1, momentum_coef=0.9).bind({"a": pair(), "b": pair()}).load_state_dict(state)
    state["state"]["a/W"]["m"] = np.zeros((3, 3))
    with pytest.raises(StateError, match=r"a/W: m must be float64 of shape \(2, 2\), received .* \(3, 3\)"):
        AdamW().bind({"a": pair(), "b": pair()}).load_state_dict(state)
    with pytest.raises(StateError, match="'counters' and 'state'"):
        bound.load_state_dict({})


def test_parameters_of_pytorch(be):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2).double()
    twin = torch.nn.Linear(3, 2).double()
    twin.load_state_dict(model.state_dict())
    ours = AdamW(0.01, wdecay=0.1).bind(list(model.parameters()))
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(3):
        for net, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            net(torch.ones(4, 3, dtype=torch.float64) * (step + 1)).square().sum().backward()
            optimizer.step()
    np.testing.assert_allclose(model.weight.detach(), twin.weight.detach(), rtol=1e-13)
