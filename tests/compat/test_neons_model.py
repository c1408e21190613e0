"""neon's Model: training, evaluation, what is saved, and programs that use its public contract."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat import captured_steps
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.callbacks.callbacks import Callbacks
from neon_optim.compat.neon.data import ArrayIterator
from neon_optim.compat.neon.initializers import Constant, Gaussian, GlorotUniform
from neon_optim.compat.neon.layers import Activation, Affine, Bias, Dropout, GeneralizedCost, Linear
from neon_optim.compat.neon.models import Model
from neon_optim.compat.neon.transforms import (
    CrossEntropyBinary,
    CrossEntropyMulti,
    Logistic,
    Misclassification,
    Rectlin,
    Softmax,
    SumSquared,
    Tanh,
)
from neon_optim.compat.neon.transforms.cost import Cost
from neon_optim.compat.neon.transforms.transform import Transform
from neon_optim.compat.neon.util.load_experiment import deserialize
from neon_optim.compat.neon.util.persist import load_obj, save_obj, serialize
from neon_optim.compat.neon.util.yaml_parse import create_objects
from neon_optim.errors import ArgumentError, BackendError, CheckpointError, ConfigError
from neon_optim.optimizers import Adam, GradientDescentMomentum, RMSProp
from neon_optim.serialization import read_neon_pickle
from neon_optim.serialization.config.yaml_tree import parse_yaml

pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=7, batch_size=32)
    cleanup_backend()


def data(samples=330):
    rng = np.random.RandomState(0)
    labels = rng.randint(0, 10, samples)
    inputs = rng.rand(samples, 64) + 0.5 * np.eye(10, 64)[labels]
    return ArrayIterator(inputs.astype(np.float32), labels, nclass=10, lshape=(64,))


def logistic():
    init = Gaussian(loc=0.0, scale=0.05)
    layers = [Affine(20, init, activation=Rectlin()), Affine(10, init, activation=Logistic(shortcut=True))]
    return layers, CrossEntropyBinary(), GradientDescentMomentum(0.02, 0.9)


def softmax():
    init = Gaussian(loc=0.0, scale=0.05)
    first = Affine(20, GlorotUniform(), bias=Constant(0.1), activation=Rectlin())
    layers = [first, Affine(10, init, bias=init, activation=Softmax())]
    return layers, CrossEntropyMulti(), GradientDescentMomentum(0.05, 0.9)


def tanh():
    init = Gaussian(loc=0.0, scale=0.05)
    layers = [Affine(20, init, activation=Tanh()), Affine(30, init, activation=Rectlin())]
    layers.append(Affine(10, init, activation=Softmax()))
    return layers, CrossEntropyMulti(usebits=True), GradientDescentMomentum(0.05, 0.9, wdecay=0.001)


def normalized():
    init = Gaussian(loc=0.0, scale=0.05)
    layers = [Affine(20, init, batch_norm=True, activation=Rectlin()), Dropout(0.7)]
    layers.append(Affine(10, init, activation=Softmax()))
    return layers, CrossEntropyMulti(), RMSProp()


def fit(made, epochs=2, train=None):
    layers, cost, optimizer = made
    model = Model(layers)
    callbacks = Callbacks(model, progress_bar=False)
    model.fit(train or data(), GeneralizedCost(cost), optimizer, epochs, callbacks)
    return model


def weights(model):
    return [np.array(pair[0].get()) for layer in model.layers_to_optimize for pair, _ in _rows(layer)]


def _rows(layer):
    rows = layer.get_params()
    return rows if isinstance(rows, list) else [rows]


NEONS = {  # after 10 epochs of neon 2.6: the cost of the last, and the first weights
    "logistic": (
        logistic,
        3.5210559368133545,
        [-0.04872822389006615, 0.10618782043457031, -0.07301004976034164],
    ),
    "softmax": (softmax, 1.6105566024780273, [0.11580364406108856, -0.08971203863620758, 0.8535751104354858]),
    "tanh": (tanh, 3.32432222366333, [-0.010922068729996681, 0.121769018471241, -0.09587021172046661]),
}


@pytest.mark.parametrize("name", NEONS)
def test_training_goes_as_neons(name):
    """To the bit with neon's BLAS library; another adds up in another order."""
    made, cost, first = NEONS[name]
    model = fit(made(), epochs=10)
    np.testing.assert_allclose(model.total_cost, [[cost]], rtol=1e-4)
    np.testing.assert_allclose(model.layers_to_optimize[0].W.get()[0, :3], first, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("made", [logistic, softmax, tanh, normalized])
def test_captured_passes_are_those_from_layer_to_layer(made, monkeypatch):
    captured = fit(made(), epochs=3)
    costs, outputs = captured.total_cost, captured.get_outputs(data())
    gen_backend("cpu", rng_seed=7, batch_size=32)
    monkeypatch.setattr(captured_steps.CapturedSteps, "train", lambda self, x, t: False)
    monkeypatch.setattr(captured_steps.CapturedSteps, "infer", lambda self, x: None)
    by_layers = fit(made(), epochs=3)
    for mine, theirs in zip(weights(captured), weights(by_layers), strict=True):
        assert (mine == theirs).all()
    np.testing.assert_allclose(costs, by_layers.total_cost, rtol=1e-5)
    assert (outputs == by_layers.get_outputs(data())).all()


def test_what_layers_show_is_of_the_last_minibatch():
    model, train = fit(tanh()), data()
    for x, _ in train:
        y = model.fprop(x, inference=True)
        assert y is model.layers.layers[-1].outputs
        for below, layer in zip(model.layers.layers, model.layers.layers[1:], strict=False):
            if isinstance(layer, Linear):
                value = layer.W.get() @ below.outputs.get()
    power = np.exp(value - value.max(axis=0))
    np.testing.assert_allclose(y.get(), power / power.sum(axis=0), rtol=1e-4)


def test_passes_of_ones_own_are_called():
    class Counting(Model):
        forward = backward = 0

        def fprop(self, x, inference=False):
            self.forward += 1
            return super().fprop(x, inference)

        def bprop(self, delta):
            self.backward += 1
            return super().bprop(delta)

    layers, cost, optimizer = softmax()
    model = Counting(layers)
    model.fit(data(), GeneralizedCost(cost), optimizer, 1, Callbacks(model, progress_bar=False))
    assert (model.forward, model.backward) == (11, 11)


@pytest.mark.parametrize("kind", ["layer", "transform", "cost"])
def test_what_programs_write_runs_as_it_is(kind):
    """A layer, an activation and a cost that do more than algebra, each in a model of ours."""
    calls = []

    class Noting(Linear):
        def fprop(self, inputs, inference=False, beta=0.0):
            calls.append("layer")
            return super().fprop(inputs, inference, beta)

    class Smooth(Transform):
        def __call__(self, x):
            calls.append("transform")
            return self.be.tanh(x)

        def bprop(self, x):
            return 1.0 - self.be.square(x)

    class Squares(Cost):
        def __init__(self):
            self.func = lambda y, t: calls.append("cost") or self.be.sum(self.be.square(y - t), axis=0)
            self.funcgrad = lambda y, t: 2.0 * (y - t)

    init = Gaussian(scale=0.05)
    first = Noting(20, init) if kind == "layer" else Linear(20, init)
    middle = Activation(Smooth() if kind == "transform" else Tanh())
    layers = [first, middle, Affine(10, init, activation=Logistic())]
    cost = Squares() if kind == "cost" else SumSquared()
    model = fit((layers, cost, GradientDescentMomentum(0.05, 0.9)), epochs=1)
    assert calls == [kind] * 11
    assert np.isfinite(model.total_cost).all()


def test_a_setting_that_is_changed_counts():
    layers, cost, optimizer = tanh()
    model = fit((layers, cost, optimizer))
    x = next(iter(data()))[0]
    before = model.fprop(x, inference=True).get()
    leaky = next(layer for layer in model.layers.layers if "Rectlin" in layer.name)
    leaky.transform.slope = 0.5
    after = model.fprop(x, inference=True).get()
    assert (before != after).any()
    assert (after == model.layers.fprop(x, inference=True).get()).all()
    model.layers_to_optimize[0].W[:] = 0.0
    assert (model.fprop(x, inference=True).get() != after).any()


def test_evaluation_counts_every_sample_once():
    model, valid = fit(softmax()), data(50)
    outputs = model.get_outputs(valid)
    assert outputs.shape == (50, 10)
    labels = np.random.RandomState(0).randint(0, 10, 50)
    error = model.eval(valid, metric=Misclassification())
    np.testing.assert_allclose(error, [(outputs.argmax(axis=1) != labels).mean()], rtol=1e-6)


# --- what is saved ---


@pytest.mark.parametrize("made", [logistic, softmax, normalized])
def test_a_saved_model_is_built_again_and_goes_on(made, tmp_path):
    path, model = str(tmp_path / "model.pkl"), fit(made())
    model.save_params(path)
    expected = model.get_outputs(data())
    fit_on = Model(path)
    fit_on.initialize(data())
    assert (fit_on.get_outputs(data()) == expected).all()
    for mine, theirs in zip(_states(fit_on), _states(model), strict=True):
        assert (mine == theirs).all()
    assert fit_on.epoch_index == 3
    assert fit_on.be.rng.randint(1000) == Model(path).be.rng.randint(1000)


def _states(model):
    rows = [row for layer in model.layers_to_optimize for row in _rows(layer)]
    return [np.array(state.get()) for _, states in rows for state in states]


def test_the_file_is_neons(tmp_path):
    layers, cost, _ = softmax()
    path, model = str(tmp_path / "model.pkl"), fit((layers, cost, Adam(learning_rate=0.01)))
    model.save_params(path)
    content = load_obj(path)
    assert content["neon_version"] == "2.6.0"
    assert content["backend"]["type"] == "NervanaCPU"
    assert content["backend"]["rng_state"][0] == "MT19937"
    assert content["cost"]["config"]["costfunc"]["type"] == "neon.transforms.cost.CrossEntropyMulti"
    assert content["optimizer"] == {
        "type": "neon.optimizers.optimizer.Adam",
        "config": {"learning_rate": 0.01},
    }
    assert content["model"]["type"] == "neon.layers.container.Sequential"
    assert content["train_input_shape"] == (64,)
    first = content["model"]["config"]["layers"][0]
    assert first["type"] == "neon.layers.layer.Linear"
    assert first["config"]["init"] == {"type": "neon.initializers.initializer.GlorotUniform", "config": {}}
    read = read_neon_pickle(path)
    assert [layer.type.rpartition(".")[2] for layer in read.layers] == ["Linear", "Bias"] * 2
    assert all(len(states) == 2 for layer in read.layers for states in layer.states.values())
    model.save_params(path, keep_states=False)
    assert not any(states for layer in read_neon_pickle(path).layers for states in layer.states.values())


def test_weights_alone(tmp_path):
    path, model = str(tmp_path / "model.pkl"), fit(logistic())
    model.save_params(path)
    drawn = model.be.rng.randint(1000, size=3).tolist()
    gen_backend("cpu", rng_seed=7, batch_size=32)
    other = Model(path, weights_only=True)
    other.initialize(data())
    assert (weights(other)[0] == weights(model)[0]).all()
    assert all(not layer.states for layer in other.layers_to_optimize)
    assert other.be.rng.randint(1000, size=3).tolist() != drawn


def test_what_is_no_model_is_refused():
    with pytest.raises(CheckpointError, match=r"no model of neon's: a dict with the keys \['rate'\]"):
        Model(logistic()[0]).deserialize({"rate": 1})


def test_weights_of_neon_1_0():
    model = fit(logistic())
    old = {
        "epoch_index": 5,
        "layer_params_states": [layer.get_params_serialize() for layer in model.layers_to_optimize],
    }
    other = Model(logistic()[0])
    other.initialize(data())
    other.deserialize(old)
    assert other.epoch_index == 5
    assert (weights(other)[1] == weights(model)[1]).all()


# --- YAML, and whole experiments ---

YAML = """
wt: &wt {type: Gaussian, config: {scale: 0.05}}
layers:
- {type: Linear, config: {nout: 20, init: *wt, name: below}}
- {type: Bias, config: {init: {type: Constant, config: {val: 0.1}}}}
- {type: Activation, config: {transform: {type: Rectlin}}}
- {type: Linear, config: {nout: 10, init: *wt}}
- {type: Activation, config: {transform: {type: Logistic, config: {shortcut: true}}}}
cost: CrossEntropyBinary
"""
OPTIMIZER = "optimizer: {type: GradientDescentMomentum, config: {learning_rate: 0.02, momentum_coef: 0.9}}"


def test_a_yaml_file_of_neons(tmp_path):
    path = tmp_path / "mlp.yaml"
    path.write_text(YAML + OPTIMIZER)
    model, cost, optimizer = create_objects(str(path))
    assert isinstance(model, Model)
    assert [type(layer) for layer in model.layers.layers[:3]] == [Linear, Bias, Activation]
    assert type(model.layers.layers[2].transform) is Rectlin
    assert type(cost.costfunc) is CrossEntropyBinary
    assert (optimizer.learning_rate, optimizer.momentum_coef) == (0.02, 0.9)
    model.fit(data(), cost, optimizer, 2, Callbacks(model, progress_bar=False))
    assert model.total_cost[0, 0] < 7.0


def test_a_yaml_file_without_an_optimizer_or_a_cost():
    content = parse_yaml(YAML)
    before = copy.deepcopy(content)
    assert create_objects(content)[2] is None
    assert content == before
    with pytest.raises(ConfigError, match="the dict has no 'cost'"):
        create_objects({"layers": content["layers"]})
    cleanup_backend()
    with pytest.raises(BackendError, match="call gen_backend"):
        create_objects(content)


def test_a_whole_experiment_out_of_a_file(tmp_path):
    path, train, valid = str(tmp_path / "all.pkl"), data(), data(64)
    layers, cost, optimizer = softmax()
    model = Model(layers)
    callbacks = Callbacks(model, eval_set=valid, eval_freq=1)
    model.fit(train, GeneralizedCost(cost), optimizer, 1, callbacks)
    save_obj(serialize(model, callbacks), path)
    again, datasets, others = deserialize(path, {"train": train, valid.name: valid})
    again.initialize(train)
    assert datasets["train"] is train
    assert (again.get_outputs(valid) == model.get_outputs(valid)).all()
    assert [type(one) for one in others.callbacks] == [type(one) for one in callbacks.callbacks]
    assert others.callbacks[0].eval_set is valid
    with pytest.raises(CheckpointError, match="has no datasets: give some"):
        deserialize(path)


# --- more ---


def test_the_benchmark_measures_and_shows(caplog):
    layers, cost, optimizer = logistic()
    with caplog.at_level("INFO", logger="neon"):
        found = Model(layers).benchmark(
            data(), cost=GeneralizedCost(cost), optimizer=optimizer, niterations=3, nskip=1
        )
    assert found.keys() == {"fprop", "bprop", "iteration"}
    assert all(0 <= one["min"] <= one["median"] <= one["max"] for one in found.values())
    assert "| iteration   |" in caplog.text
    assert Model(logistic()[0]).benchmark(data(), inference=True, niterations=2).keys() == {"fprop"}
    with pytest.raises(ArgumentError, match="needs cost and optimizer"):
        Model(logistic()[0]).benchmark(data())


def test_the_shortcut_is_set_for_the_pair_that_has_it():
    model = Model([Affine(10, Gaussian(), activation=Logistic())])
    model.initialize(data(), GeneralizedCost(CrossEntropyBinary()))
    model.set_shortcut()
    assert model.layers.layers[-1].transform.shortcut
    model = Model([Affine(10, Gaussian(), activation=Logistic())])
    model.initialize(data(), GeneralizedCost(SumSquared()))
    model.set_shortcut()
    assert not model.layers.layers[-1].transform.shortcut


def test_it_says_what_is_in_it():
    model = fit(softmax())
    text = str(model).splitlines()
    assert text[0] == "Network Layers:"
    assert "64 inputs, 20 outputs" in text[2]
    assert len(text) == 2 + len(model.layers.layers)


# --- a program that was written for neon: learning to act by rewards, with a network that is copied now and then ---


class Player:
    """Estimates what each action is worth in a corridor, whose right end gives a reward; by neon's public contract."""

    cells, actions, discount = 6, 2, 0.9

    def __init__(self, be):
        self.be = be
        self.model, self.target = self.network(), self.network()
        self.cost = GeneralizedCost(costfunc=SumSquared())
        for network in (self.model, self.target):
            network.initialize((self.cells,), self.cost)
        self.optimizer = RMSProp(decay_rate=0.95, learning_rate=0.02)
        self.input, self.goals = be.iobuf(self.cells), be.empty((self.actions, be.bsz))
        self.copy_network()

    def network(self):
        init = Gaussian(scale=0.1)
        return Model(layers=[Affine(16, init, bias=init, activation=Rectlin()), Affine(self.actions, init)])

    def copy_network(self):
        described = self.model.get_description(get_weights=True, keep_states=True)
        self.target.deserialize(described, load_states=False)

    def values(self, network, cells):
        self.input[:] = np.eye(self.cells, dtype=np.float32)[:, cells]
        return network.fprop(self.input, inference=True)

    def train(self, before, actions, rewards, after, epoch):
        worth = self.be.max(self.values(self.target, after), axis=0).asnumpyarray()[0].copy()
        guesses = self.values(self.model, before)
        self.goals[:] = guesses
        goals = self.goals.asnumpyarray()
        done = after == self.cells - 1
        goals[actions, np.arange(len(actions))] = np.where(done, rewards, rewards + self.discount * worth)
        self.goals[:] = goals
        guesses = self.model.fprop(self.input, inference=False)
        deltas = self.cost.get_errors(guesses, self.goals)
        self.be.clip(deltas, -1.0, 1.0, out=deltas)
        self.model.bprop(deltas)
        self.optimizer.optimize(self.model.layers_to_optimize, epoch)


def test_a_program_that_learns_by_rewards(be):
    player, rng = Player(be), np.random.RandomState(3)
    for step in range(300):
        before, actions = rng.randint(0, player.cells - 1, be.bsz), rng.randint(0, 2, be.bsz)
        after = np.clip(before + 2 * actions - 1, 0, player.cells - 1)
        player.train(
            before, actions, (after == player.cells - 1).astype(np.float32), after, epoch=step // 100
        )
        if step % 20 == 0:
            player.copy_network()
    found = player.values(player.model, np.arange(be.bsz) % player.cells).get()[:, : player.cells - 1]
    worth = [player.discount ** (player.cells - 2 - cell) for cell in range(player.cells - 1)]
    np.testing.assert_allclose(found[1], worth, atol=0.1)
    assert (found.argmax(axis=0) == 1).all()
    assert math.isfinite(float(np.abs(found).max()))
