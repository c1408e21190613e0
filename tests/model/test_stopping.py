"""EarlyStopping in a program: what it counts, what it gives back, and that a restored run goes on counting."""

from __future__ import annotations

import numpy as np
import pytest

from neon_optim import gen_backend
from neon_optim.errors import ArgumentError, StateError
from neon_optim.model import (
    Accuracy,
    Affine,
    ArrayIterator,
    Checkpoints,
    EarlyStopping,
    GlorotUniform,
    MeanSquared,
    Model,
    Tanh,
    Validation,
)
from neon_optim.model.callbacks import Hooks
from neon_optim.optimizers import EMA, Adam
from neon_optim.serialization import CheckpointManager, load_checkpoint


class Planned(Hooks):
    """Puts planned values in the place of what was measured."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, training):
        training.record["valid_cost"] = self.values[training.record["epoch"] - 1]


def made():
    gen_backend("cpu", rng_seed=1, batch_size=8, engine="numpy")
    x = np.linspace(-1, 1, 32).reshape(-1, 1)
    data = ArrayIterator(x, np.sin(3 * x), make_onehot=False, shuffle=True)
    return data, Model([Affine(4, GlorotUniform(), activation=Tanh()), Affine(1, GlorotUniform())])


def fit(values, stop, num_epochs=10, optimizer=None, more=(), of=None):
    data, model = of or made()
    callbacks = [Validation(data, {"valid_cost": MeanSquared()}), Planned(values), stop, *more]
    model.fit(data, MeanSquared(), optimizer or Adam(learning_rate=0.01), num_epochs, callbacks)
    return model


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({"patience": 2}, [5, 4, 4, 4, 1], 4),  # an equal value is no better one
        ({"patience": 3}, [5, 6, 4, 5, 5, 5, 1], 6),
        ({"patience": 2, "min_change": 1.0}, [5, 4.5, 4.25, 0], 3),
        ({"patience": 2, "min_change": 1.0}, [5, 4.5, 3.5, 3, 3, 0], 5),  # small ones add up
        ({"patience": 2, "mode": "max"}, [1, 2, 1, 2, 9], 4),
        ({"patience": 2}, [3, float("nan"), float("nan"), 0], 3),
        ({"patience": 9}, [1] * 5, 5),
    ],
)
def test_when_it_ends(options, values, epochs):
    assert fit(values, EarlyStopping(**options), num_epochs=len(values)).epoch_index == epochs


def weights(model):
    return [np.array(param.get()) for (param, _), _ in model.get_params()]


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_the_best_weights_come_back_as_they_were_validated(tmp_path, averaged, on_disk):
    def optimizer():
        return EMA(Adam(learning_rate=0.01), decay=0.9) if averaged else Adam(learning_rate=0.01)

    manager = CheckpointManager(tmp_path, keep_last=1, keep_best=("valid_cost", "min"))
    more = [Checkpoints(manager, every_epochs=100)] if on_disk else []
    used = optimizer()
    model = fit([3, 2, 2, 5, 5], EarlyStopping(patience=3, restore_best=True), optimizer=used, more=more)
    assert (model.epoch_index, model.step) == (5, 20), "the position is that of training"
    other = optimizer()
    until = fit([3, 2, 2], EarlyStopping(), num_epochs=3, optimizer=other)  # of equal ones the last
    with other.evaluation(until.layers_to_optimize):
        expected = weights(until)
    for one, two in zip(weights(model), expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_it_counts_is_saved_and_restored(tmp_path):
    values = [3, 2, 4, 4, 4, 4]
    whole = fit(values, EarlyStopping(patience=3))
    manager = CheckpointManager(tmp_path)
    optimizer = Adam(learning_rate=0.01)
    part = fit(values, EarlyStopping(patience=3), 4, optimizer, [Checkpoints(manager)])
    assert part.remembered == {
        "EarlyStopping by valid_cost": {"best": 2.0, "mark": 2.0, "epoch": 2, "waited": 2}
    }
    data, model = made()
    model.initialize(data)
    optimizer = Adam(learning_rate=0.01)
    manager.restore(optimizer=optimizer, model=model)
    fit(values, EarlyStopping(patience=3), 10, optimizer, of=(data, model))
    assert whole.epoch_index == model.epoch_index == 5
    for one, two in zip(weights(whole), weights(model), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_checkpoint_without_callbacks_is_taken_as_it_was(tmp_path):
    data, model = made()
    model.fit(data, MeanSquared(), Adam(), 1)
    path = model.save_params(tmp_path / "a.safetensors")
    assert "callbacks" not in model.get_counters()
    model.remembered = {"x": {"y": 1}}
    load_checkpoint(path, model=model)
    assert model.remembered == {}


@pytest.mark.parametrize("bad", [5, {"x": 5}, {"x": {"y": "z"}}, {"x": {"y": True}}])
def test_what_no_callback_remembers_is_refused(bad):
    data, model = made()
    model.initialize(data)
    with pytest.raises(StateError, match="callbacks remember numbers by name"):
        model.set_counters({**model.get_counters(), "callbacks": bad})
    model.remembered = {"EarlyStopping by valid_cost": {"best": 1}}
    with pytest.raises(StateError, match="EarlyStopping by valid_cost has the counters"):
        fit([1], EarlyStopping(), of=(data, model))


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="'valid_eror' is not measured; measured are valid_cost"):
        fit([1], EarlyStopping(metric="valid_eror"))
    with pytest.raises(ArgumentError, match="two EarlyStopping have the name 'EarlyStopping'"):
        fit([1], EarlyStopping(), more=[EarlyStopping()])
    manager = CheckpointManager(tmp_path, keep_last=1)
    with pytest.raises(ArgumentError, match="keep_best=\\('valid_cost', 'min'\\)"):
        fit([1], EarlyStopping(restore_best=True), more=[Checkpoints(manager)])
    data, model = made()
    with pytest.raises(ArgumentError, match="nothing is measured without a Validation"):
        model.fit(data, MeanSquared(), Adam(), 1, [EarlyStopping()])


def test_the_direction_is_the_metrics_own():
    metrics = {"valid_accuracy": Accuracy(), "valid_cost": MeanSquared()}
    assert EarlyStopping("valid_accuracy").best_by(metrics) == ("valid_accuracy", "max")
    assert EarlyStopping("valid_accuracy", mode="min").best_by(metrics) == ("valid_accuracy", "min")
    assert EarlyStopping().best_by(metrics) == ("valid_cost", "min")


def test_no_checkpoint_is_deleted_where_all_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path)
    model = fit([3, 2, 4, 4], EarlyStopping(patience=2, restore_best=True), more=[Checkpoints(manager)])
    assert len(manager.steps()) == model.epoch_index == 4
