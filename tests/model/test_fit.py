"""The training loop: what it computes, where it stands, and that it goes on from anywhere with the same bits."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from stopping import StopAt

from neon_optim import cleanup_backend, gen_backend
from neon_optim.described import registry
from neon_optim.described.arguments import REQUIRED, constructor_arguments
from neon_optim.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    NonFiniteError,
    RunError,
    StateError,
)
from neon_optim.model import (
    Accuracy,
    Affine,
    ArrayIterator,
    Callback,
    Checkpoints,
    Constant,
    CrossEntropyMulti,
    Digits,
    Dropout,
    Gaussian,
    GlorotUniform,
    Linear,
    MetricsLog,
    Misclassification,
    Model,
    Rectlin,
    Softmax,
    SumSquared,
    Validation,
)
from neon_optim.model.plot import plot_metrics
from neon_optim.model.progress import PlainProgress, ProgressBar, progress
from neon_optim.optimizers import (
    Adadelta,
    Adagrad,
    Adam,
    ExpSchedule,
    GradientDescentMomentum,
    MultiOptimizer,
    PolySchedule,
    PowerSchedule,
    RMSProp,
    Schedule,
    ShiftAdaMax,
    ShiftSchedule,
    StepSchedule,
)
from neon_optim.schedules.plateau import Plateau
from neon_optim.serialization.checkpoint.manager import CheckpointManager

OPTIMIZERS = {
    "momentum, Schedule": lambda: GradientDescentMomentum(0.1, 0.9, schedule=Schedule([1, 2], 0.5)),
    "plain, StepSchedule": lambda: GradientDescentMomentum(0.1, 0, schedule=StepSchedule([1], [0.03])),
    "RMSProp, PowerSchedule": lambda: RMSProp(learning_rate=0.01, schedule=PowerSchedule(1, 0.7)),
    "Adagrad, ExpSchedule": lambda: Adagrad(learning_rate=0.1, schedule=ExpSchedule(0.5)),
    "Adadelta": lambda: Adadelta(),
    "Adam, PolySchedule": lambda: Adam(
        learning_rate=0.01, schedule=PolySchedule(3, 2), gradient_clip_norm=1.0
    ),
    "ShiftAdaMax, ShiftSchedule": lambda: ShiftAdaMax(schedule=ShiftSchedule(1)),
    "MultiOptimizer": lambda: MultiOptimizer({"default": Adam(), "Bias": RMSProp(), "top": Adagrad()}),
    "Adam, rounded at random": lambda: Adam(stochastic_round=10, learning_rate=0.01),
    "Adam, Plateau": lambda: Adam(learning_rate=0.01, schedule=Plateau(patience=0, threshold=1.0)),
}


def of_package():
    """Every other optimizer of the package that needs no more than a rate, with its defaults."""
    for name in registry.available("optimizer"):
        cls = registry.resolve(name, "optimizer")
        required = {a.name for a in constructor_arguments(cls).values() if a.default is REQUIRED}
        if registry.full_name(cls).startswith("neon_optim.") and required <= {"learning_rate"}:
            yield name, lambda cls=cls, required=required: cls(**dict.fromkeys(required, 0.01))


OPTIMIZERS |= dict(of_package())
EPOCHS, BATCHES = 3, 3  # 20 samples in minibatches of 8: the last has 4


@pytest.fixture(autouse=True)
def _cleanup():
    yield
    cleanup_backend()


def parts(seed=1):
    """A new process, as far as it matters: backend, data, model."""
    gen_backend("cpu", rng_seed=seed, batch_size=8, engine="numpy")
    random = np.random.RandomState(0)
    X, y = random.normal(size=(20, 6)), np.arange(20) % 3
    data = ArrayIterator(X, y, shuffle=True)
    top = Linear(3, Gaussian(scale=0.5), name="top")
    layers = [Dropout(0.8), Affine(7, Gaussian(scale=0.5), Constant(), activation=Rectlin()), top]
    return data, Model([*layers, Affine(3, Gaussian(), activation=Softmax())])


def everything(model, optimizer):
    arrays = [
        array.get()
        for (param, _), states in (layer.get_params() for layer in model.layers_to_optimize)
        for array in (param, *states)
    ]
    return [array.tobytes() for array in arrays], model.get_counters(), optimizer.get_counters()


def train(optimizer, callbacks=(), restore=None, epochs=EPOCHS):
    data, model = parts()
    model.initialize(data, CrossEntropyMulti())
    if restore:
        restore(model)
    validation = Validation(data, {"valid_cost": CrossEntropyMulti()})
    model.fit(data, CrossEntropyMulti(), optimizer, epochs, [validation, *callbacks])
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stopped_run_goes_on_with_the_same_bits(name, tmp_path):
    make = OPTIMIZERS[name]
    optimizer = make()
    whole = everything(train(optimizer), optimizer)
    path = tmp_path / "checkpoint.safetensors"
    for step in (0, 4, 5, 8):  # nothing loaded as yet; then within epochs, and before the last minibatch
        optimizer = make()
        if step:
            train(optimizer, [StopAt(step)]).save_params(path, optimizer)
        again = make()
        restore = (lambda model, again=again: model.load_params(path, again)) if step else None
        assert everything(train(again, restore=restore), again) == whole, f"stopped at step {step}"


def test_a_run_without_the_counters_is_another_one(tmp_path):
    """The control of the test above: what is restored is what makes the difference."""
    optimizer = Adam(learning_rate=0.01)
    whole = everything(train(optimizer), optimizer)
    stopped = Adam(learning_rate=0.01)
    train(stopped, [StopAt(4)]).save_params(tmp_path / "c", stopped)
    for forget in ("t", "draws"):
        again = Adam(learning_rate=0.01)

        def restore(model, again=again, forget=forget):
            model.load_params(tmp_path / "c", again)
            if forget == "t":
                again.t = 0
            else:
                model.layers.leaves()[0].set_counters({"draws": 0})

        assert everything(train(again, restore=restore), again)[0] != whole[0]


def test_the_gradient_of_the_last_smaller_minibatch_is_divided_by_its_own_size():
    be = gen_backend("cpu", batch_size=8, engine="numpy")
    data = ArrayIterator(np.ones((10, 1)), np.ones((10, 1)), make_onehot=False)
    model = Model([Linear(1, Constant(0.0))])
    model.fit(data, SumSquared(), GradientDescentMomentum(0.5, 0.0), num_epochs=1)
    # Each step halves the distance to 1, whatever the number of equal samples in its minibatch.
    assert model.layers_to_optimize[0].W.get()[0, 0] == 0.75
    assert be.bsz == 8


def test_epochs_are_counted_in_all():
    data, model = parts()
    for epochs in (2, 2, 3):
        model.fit(data, CrossEntropyMulti(), Adam(), epochs)
        assert (model.epoch_index, model.step) == (epochs, epochs * BATCHES)


def test_a_model_is_a_function_of_the_seed():
    first, second = (train(Adam()) for _ in range(2))
    data, other = parts(seed=2)
    other.fit(data, CrossEntropyMulti(), Adam(), EPOCHS)
    outputs = [model.layers_to_optimize[0].W.get() for model in (first, second, other)]
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_digits_are_learned():
    gen_backend("cpu", rng_seed=1, batch_size=128, engine="numpy")
    digits = Digits()
    model = Model([Affine(10, Constant(), Constant(), activation=Softmax())])
    model.fit(digits.train_iter, CrossEntropyMulti(), Adam(learning_rate=0.02), num_epochs=10)
    accuracy = model.eval(digits.valid_iter, Accuracy())
    assert accuracy > 0.92  # a linear model comes to about 95 %
    assert model.eval(digits.valid_iter, Misclassification()) == pytest.approx(1 - accuracy)
    outputs = model.get_outputs(digits.valid_iter)
    assert outputs.shape == (digits.valid_iter.ndata, 10)
    assert np.mean(outputs.argmax(axis=1) == digits.valid_iter.labels) == pytest.approx(accuracy)


def test_what_fit_refuses():
    data, model = parts()
    cost, adam = CrossEntropyMulti(), Adam()
    with pytest.raises(ArgumentError, match="num_epochs must be an integer >= 1, received 0"):
        model.fit(data, cost, adam, 0)
    with pytest.raises(ArgumentError, match=r"the last layer has 4 outputs, but the targets of .* have 3"):
        Model([Linear(4, Constant())]).fit(data, cost, adam, 1)
    model.initialize(data, cost)
    wider = ArrayIterator(np.ones((20, 9)), np.arange(20) % 3)
    with pytest.raises(ArgumentError, match=r"takes 6 features, but the samples of .* have 9"):
        model.fit(wider, cost, adam, 1)
    model.be.bsz = 21
    with pytest.raises(DataError, match=r"batch size \(21\) is above the number of training samples \(20\)"):
        model.fit(data, cost, adam, 1)


def test_a_run_that_diverges_says_so_and_at_which_step():
    data, model = parts()
    with pytest.raises(NonFiniteError, match=r"diverged: the cost at step \d+ \(epoch \d+\) is (nan|inf)"):
        model.fit(data, SumSquared(), GradientDescentMomentum(1e30, 0.0), 20)


# --- callbacks ---


def log_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_metrics_log_has_each_step_and_each_epoch_once(tmp_path):
    data, model = parts()
    callbacks = [Validation(data, {"valid_cost": CrossEntropyMulti()}), MetricsLog(tmp_path / "log")]
    optimizer = Adam(learning_rate=0.01, schedule=Schedule([2], 0.5))
    model.fit(data, CrossEntropyMulti(), optimizer, EPOCHS, callbacks)
    lines = log_of(tmp_path / "log")
    steps = [line for line in lines if "cost" in line]
    epochs = [line for line in lines if "train_cost" in line]
    assert [line["step"] for line in steps] == list(range(1, EPOCHS * BATCHES + 1))
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert [line["learning_rate"] for line in epochs] == [0.01, 0.01, 0.005]
    of_first = [line["cost"] for line in steps if line["epoch"] == 1]
    assert epochs[0]["train_cost"] == pytest.approx(np.average(of_first, weights=[8, 8, 4]))
    assert epochs[-1]["valid_cost"] == pytest.approx(model.eval(data, CrossEntropyMulti()))


@pytest.mark.parametrize(
    "torn", ['{"step": 7, "ep', '{"step": 7, "epoch": 3, "cost": 1.0, "learning_rate": 1}\n']
)
def test_after_a_kill_the_log_goes_on_where_the_checkpoint_is(tmp_path, torn):
    whole, log = tmp_path / "whole", tmp_path / "log"
    optimizer = Adam()
    train(optimizer, [MetricsLog(whole)])
    saved = tmp_path / "saved"

    class Save(StopAt):
        def on_minibatch_end(self, training):
            if training.model.step == self.step:
                training.checkpoint()
                training.model.save_params(saved, training.optimizer)

    train(Adam(), [MetricsLog(log), Save(5)])  # goes on to the end after the checkpoint at step 5
    log.write_text(log.read_text() + torn)
    again = Adam()
    train(again, [MetricsLog(log)], restore=lambda model: model.load_params(saved, again))
    for line, expected in zip(log_of(log), log_of(whole), strict=True):
        assert {**line, "seconds": 0} == {**expected, "seconds": 0}


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises((RunError, CheckpointError), match="cannot save"):
        train(Adam(), [MetricsLog(tmp_path / "missing" / "log")])


def test_a_full_disk_under_the_log_is_told_and_the_other_callbacks_end(tmp_path):
    log, ended = MetricsLog(tmp_path / "log"), []

    class Full(Callback):
        def on_train_begin(self, training):
            log._file.close()
            log._file = open("/dev/full", "a")  # noqa: SIM115

        def on_train_end(self, training):
            ended.append(True)
            with pytest.raises(OSError, match="No space left"):
                log._file.close()

    with pytest.raises(RunError, match=r"cannot write .*log: No space left on device"):
        train(Adam(), [log, Full()])
    assert ended


def test_checkpoints_are_saved_when_asked_for(tmp_path):
    manager = CheckpointManager(tmp_path)
    train(Adam(), [Checkpoints(manager, every_epochs=2, every_steps=2)])
    # every second step within epochs of three, every second epoch, and the end; 6 is the end of an epoch
    assert manager.steps() == [2, 4, 6, 8, 9]
    assert manager.restore(6).model["counters"]["minibatch"] == 0
    assert manager.restore(8).model["counters"]["minibatch"] == 2
    manager.close()


def test_a_stopped_run_ends_with_a_checkpoint(tmp_path):
    with CheckpointManager(tmp_path) as manager:
        train(Adam(), [StopAt(4), Checkpoints(manager)])
        assert manager.steps() == [3, 4]


def test_plain_progress_names_epoch_cost_rate_and_time(monkeypatch):
    stream = io.StringIO()
    data, model = parts()
    monkeypatch.setattr(PlainProgress, "interval", 0.0)
    callbacks = [Validation(data, {"valid_error": Misclassification()}), progress(stream)]
    model.fit(data, CrossEntropyMulti(), Adam(learning_rate=0.01), 2, callbacks)
    text = stream.getvalue()
    for part in ("epoch 1/2", "batch 2/3", "cost ", "valid error ", "lr 0.01", " left", " s"):
        assert part in text
    assert "left" not in text.splitlines()[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(ProgressBar, "interval", 0.0)
    stream = Terminal()
    callback = progress(stream)
    assert isinstance(callback, ProgressBar)
    train(Adam(learning_rate=0.01), [callback])
    text = stream.getvalue()
    for part in ("epoch 3/3", "batch 3/3", "cost ", "lr 0.01"):
        assert part in text


def test_a_picture_of_the_log(tmp_path):
    pytest.importorskip("matplotlib")
    train(Adam(), [MetricsLog(tmp_path / "log")])
    assert plot_metrics(tmp_path / "log", tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "log").write_text("no json")
    with pytest.raises(DataError, match="is no metrics log"):
        plot_metrics(tmp_path / "log", tmp_path / "picture.png")


# --- descriptions ---


def test_a_model_is_rebuilt_from_its_description():
    _, model = parts()
    description = model.get_description()
    again = Model.gen_class(description["config"])
    assert again.get_description() == description
    assert [leaf.name for leaf in again.layers.leaves()] == [leaf.name for leaf in model.layers.leaves()]


def test_serialize_gives_neons_form():
    model = train(Adam())
    found = model.serialize()
    layers = found["model"]["config"]["layers"]
    assert found["epoch_index"] == EPOCHS
    assert [layer["config"]["name"] for layer in layers if "params" in layer] == [
        layer.name for layer in model.layers_to_optimize
    ]
    top = next(layer for layer in layers if layer["config"]["name"] == "top")
    assert top["params"]["W"].shape == (3, 7)
    assert len(top["states"]) == 2
    assert "states" not in model.serialize(keep_states=False)["model"]["config"]["layers"][1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": -1},
        {"epoch": 1.5},
        {"step": "7"},
        {"minibatch": None},
        {"cost_sum": "a"},
        {"layers": {}},
        {"layers": {"Dropout_0": {"draws": -1}}},
        {"layers": {"Dropout_0": {"draws": True}}},
        {"more": 1},
    ],
    ids=str,
)
def test_counters_that_do_not_fit_a_model_change_nothing(wrong):
    gen_backend("cpu", rng_seed=1, batch_size=4)
    model = Model([Linear(3, GlorotUniform()), Dropout()])
    before = model.get_counters()
    given = {**before, "epoch": 3, "step": 9, "layers": {"Dropout_0": {"draws": 5}}}
    with pytest.raises(StateError):
        model.set_counters({**given, **wrong})
    assert model.get_counters() == before
    model.set_counters(given)
    assert model.get_counters() == given
