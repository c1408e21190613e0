"""neon's callbacks: when they are called, what they keep in their HDF5 file, what they save and show."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from neon_optim import cleanup_backend
from neon_optim.compat.neon.backends import gen_backend
from neon_optim.compat.neon.callbacks import callbacks as neon
from neon_optim.compat.neon.data import ArrayIterator
from neon_optim.compat.neon.data.ticker import CopyTask, Ticker
from neon_optim.compat.neon.initializers import Gaussian
from neon_optim.compat.neon.layers import (
    LSTM,
    Affine,
    BatchNorm,
    BranchNode,
    GeneralizedCost,
    Multicost,
    SingleOutputTree,
)
from neon_optim.compat.neon.models import Model
from neon_optim.compat.neon.transforms import (
    CrossEntropyMulti,
    Logistic,
    Misclassification,
    PrecisionRecall,
    Rectlin,
    Softmax,
    Tanh,
    TopKMisclassification,
)
from neon_optim.compat.neon.util.persist import load_obj
from neon_optim.errors import ArgumentError
from neon_optim.optimizers import GradientDescentMomentum

h5py = pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def be():
    yield gen_backend("cpu", rng_seed=1, batch_size=8)
    cleanup_backend()


def data(samples=24, seed=0):
    rng = np.random.RandomState(seed)
    labels = rng.randint(0, 3, samples)
    return ArrayIterator(rng.rand(samples, 5) + np.eye(3, 5)[labels], labels, nclass=3)


def perceptron():
    init = Gaussian(scale=0.1)
    return Model([Affine(6, init, activation=Rectlin()), Affine(3, init, activation=Softmax())])


def fit(model, callbacks, epochs=2):
    cost = GeneralizedCost(CrossEntropyMulti())
    model.fit(data(), cost, GradientDescentMomentum(0.1, 0.9), epochs, callbacks)


class Reader(neon.Callback):
    """Reads what is in the file whenever it is called."""

    def __init__(self, epoch_freq=1, minibatch_freq=1):
        super().__init__(epoch_freq, minibatch_freq)
        self.calls, self.costs = [], []

    def on_train_begin(self, callback_data, model, epochs):
        self.calls.append(f"train of {epochs}")
        self.held = callback_data["cost/train"]

    def on_epoch_begin(self, callback_data, model, epoch):
        self.calls.append(f"epoch {epoch}")

    def on_minibatch_end(self, callback_data, model, epoch, minibatch):
        self.calls.append((epoch, minibatch))
        self.costs.append(self.held[3 * epoch + minibatch])

    def on_train_end(self, callback_data, model):
        self.calls.append("end")
        self.kept = {name: callback_data[name][:] for name in ("cost/train", "time_markers/minibatch")}
        self.attributes = dict(callback_data["config"].attrs)
        for name in ("cost/loss", "metrics/Top1Misclass"):
            if name in callback_data:
                self.kept[name] = callback_data[name][:]


class Last(neon.Callback):
    """Reads what is in a group of the file when training ends."""

    def __init__(self, group):
        super().__init__()
        self.group, self.found = group, {}

    def on_train_end(self, callback_data, model):
        self.found.update({name: values[:] for name, values in callback_data[self.group].items()})


def test_when_they_are_called_and_what_they_find():
    reader, model = Reader(), perceptron()
    callbacks = neon.Callbacks(model, progress_bar=False)
    callbacks.add_callback(reader)
    fit(model, callbacks)
    minibatches = [(0, 0), (0, 1), (0, 2)]
    assert reader.calls[:5] == ["train of 2", "epoch 0", *minibatches]
    assert reader.calls[5:] == ["epoch 1", (1, 0), (1, 1), (1, 2), "end"]
    assert (reader.kept["cost/train"] == reader.costs).all()
    assert (reader.kept["cost/train"] > 0).all()
    assert list(reader.kept["time_markers/minibatch"]) == [3, 6]
    assert reader.attributes == {"total_epochs": 2, "total_minibatches": 6}
    assert not callbacks.callback_data


def test_costs_are_means_over_the_last_minibatches():
    reader, model = Reader(), perceptron()
    callbacks = neon.Callbacks(model, progress_bar=False)
    callbacks.callbacks = [neon.TrainCostCallback(wsz=1), reader]
    fit(model, callbacks)
    single = reader.kept["cost/train"]
    again, model = Reader(), perceptron()
    gen_backend("cpu", rng_seed=1, batch_size=8)
    callbacks = neon.Callbacks(model, progress_bar=False)
    callbacks.callbacks = [neon.TrainCostCallback(wsz=2), again]
    fit(model, callbacks)
    pairs = np.convolve(single, [0.5, 0.5])[1:-1]
    np.testing.assert_allclose(again.kept["cost/train"], [single[0], *pairs], rtol=1e-6)


@pytest.mark.parametrize(
    ("freq", "called"), [(1, [0, 1, 2, 3]), (2, [1, 3]), ([0, 3], [0, 3]), (None, []), (True, [])], ids=repr
)
def test_how_often_a_hook_is_called(freq, called):
    callback = neon.Callback()
    assert [k for k in range(4) if callback.should_fire(None, None, k, freq)] == called


def test_the_file_on_disk(tmp_path):
    path, model = str(tmp_path / "run.h5"), perceptron()
    fit(
        model,
        neon.Callbacks(
            model, output_file=path, eval_set=data(16, 1), eval_freq=1, metric=Misclassification()
        ),
    )
    with h5py.File(path, "r") as file:
        assert file["cost/train"].shape == (6,)
        assert file["cost/train"].attrs["time_markers"] == "minibatch"
        assert file["cost/loss"].attrs["epoch_freq"] == 1
        assert file["metrics/Top1Misclass"].shape == (2,)
        assert file["time_markers"].attrs["minibatches_complete"] == 6
        begin, end = (file[f"time/train/{name}_time"][0] for name in ("start", "end"))
        assert 0 <= end - begin < 60


def test_evaluation_counts_every_sample_once():
    """Of 20 samples the last minibatch, of 4, is filled up with others."""
    reader, model, valid = Reader(), perceptron(), data(20, 1)
    callbacks = neon.Callbacks(
        model, eval_set=valid, eval_freq=1, metric=Misclassification(), progress_bar=False
    )
    callbacks.add_callback(reader)
    fit(model, callbacks)
    outputs, labels = model.get_outputs(valid), np.random.RandomState(1).randint(0, 3, 20)
    np.testing.assert_allclose(
        reader.kept["cost/loss"][-1], -np.log(outputs[range(20), labels]).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        reader.kept["metrics/Top1Misclass"][-1], (outputs.argmax(axis=1) != labels).mean()
    )


def test_evaluation_needs_data():
    with pytest.raises(ArgumentError, match="there is no eval_set"):
        neon.Callbacks(perceptron(), eval_freq=1)
    with pytest.raises(
        ArgumentError, match=r"received the class Misclassification; give Misclassification\(\)"
    ):
        neon.MetricCallback(data(), Misclassification)


def test_a_metric_of_several_numbers():
    model = perceptron()
    callbacks = neon.Callbacks(
        model, eval_set=data(), eval_freq=2, metric=TopKMisclassification(2), progress_bar=False
    )
    last = Last("metrics")
    callbacks.add_callback(last)
    fit(model, callbacks, epochs=4)
    found = last.found
    assert found.keys() == {"LogLoss", "Top1Misclass", "Top2Misclass"}
    assert all(values.shape == (2,) for values in found.values())
    assert (found["Top2Misclass"] <= found["Top1Misclass"]).all()


def test_each_cost_of_a_tree_is_kept(tmp_path):
    init, branch, path = Gaussian(scale=0.1), BranchNode("b"), str(tmp_path / "run.h5")
    trunk = [Affine(6, init, activation=Rectlin()), branch, Affine(3, init, activation=Softmax())]
    model = Model(SingleOutputTree([trunk, [branch, Affine(3, init, activation=Softmax())]], alphas=[1, 0.5]))
    cost = Multicost(
        [GeneralizedCost(CrossEntropyMulti()), GeneralizedCost(CrossEntropyMulti())], weights=[1, 0.0]
    )
    callbacks = neon.Callbacks(model, output_file=path, multicost=True, progress_bar=True)
    seen = []

    class Seeing(neon.Callback):
        def on_minibatch_end(self, callback_data, model, epoch, minibatch):
            seen.append([float(one.cost[0, 0]) for one in model.cost.costs])

    callbacks.add_callback(Seeing())
    model.fit(data(), cost, GradientDescentMomentum(0.1, 0.9), 1, callbacks)
    with h5py.File(path, "r") as file:
        np.testing.assert_allclose(file["multicost/train_allbranches"][:], seen)
        np.testing.assert_allclose(file["multicost/train"][-1], np.mean(seen, axis=0))
    with pytest.raises(ArgumentError, match="needs a Multicost, received a GeneralizedCost"):
        fit(model := perceptron(), neon.Callbacks(model, multicost=True))


def test_what_is_shown(capsys):
    model = perceptron()
    callbacks = neon.Callbacks(model, eval_set=data(), eval_freq=1)
    callbacks.add_callback(
        neon.MultiLabelStatsCallback(data(), ["a", "b", "c"], PrecisionRecall(3, binarize=True))
    )
    fit(model, callbacks)
    shown = capsys.readouterr().out
    assert "Epoch 1   [Train |████████████████████|    3/3    batches, " in shown
    assert "[CrossEntropyMulti Loss " in shown
    assert shown.count("-> b\n") == 2


def test_models_are_saved(tmp_path):
    path, model = str(tmp_path / "model.pkl"), perceptron()
    fit(model, neon.Callbacks(model, save_path=path, serialize=2, progress_bar=False), epochs=3)
    assert load_obj(path)["epoch_index"] == 2
    path, model = str(tmp_path / "many.pkl"), perceptron()
    fit(model, neon.Callbacks(model, save_path=path, history=2, progress_bar=False), epochs=3)
    assert sorted(os.listdir(tmp_path)) == ["many.pkl", "many_1.pkl", "many_2.pkl", "model.pkl"]
    assert os.readlink(path) == "many_2.pkl"


def test_the_best_model_and_an_early_end(tmp_path):
    path, model, seen = str(tmp_path / "best.pkl"), perceptron(), []

    def stop(state, cost):
        seen.append((state, float(cost)))
        return "again", len(seen) == 2

    callbacks = neon.Callbacks(model, eval_set=data(), eval_freq=1, progress_bar=False)
    callbacks.add_early_stop_callback(stop)
    callbacks.add_save_best_state_callback(path)
    fit(model, callbacks, epochs=5)
    assert model.epoch_index == len(seen) == 2
    assert [state for state, _ in seen] == [None, "again"]
    assert load_obj(path)["epoch_index"] == 1 + int(np.argmin([cost for _, cost in seen]))


def test_weights_to_begin_with(tmp_path):
    path, model = str(tmp_path / "model.pkl"), perceptron()
    fit(model, neon.Callbacks(model, progress_bar=False))
    model.save_params(path)
    other = perceptron()
    fit(other, neon.Callbacks(other, model_file=path, progress_bar=False), epochs=0)
    for mine, theirs in zip(other.layers_to_optimize, model.layers_to_optimize, strict=True):
        assert (mine.W.get() == theirs.W.get()).all()


def test_ctrl_c_saves_the_model(tmp_path):
    path, model = str(tmp_path / "model.pkl"), perceptron()
    before = signal.getsignal(signal.SIGINT)

    class Interrupted(neon.Callback):
        def on_minibatch_end(self, callback_data, model, epoch, minibatch):
            os.kill(os.getpid(), signal.SIGINT)

    callbacks = neon.Callbacks(model, save_path=path, progress_bar=False)
    callbacks.add_callback(Interrupted())
    with pytest.raises(KeyboardInterrupt, match=r"model\.pkl"):
        fit(model, callbacks)
    assert signal.getsignal(signal.SIGINT) is before
    assert load_obj(path)["model"]["config"]["layers"][0]["params"]["W"].shape == (6, 5)


def test_histograms_of_weights():
    model, last = perceptron(), Last("hist")
    callbacks = neon.Callbacks(model, progress_bar=False)
    callbacks.add_hist_callback(plot_per_mini=True)
    callbacks.add_callback(last)
    fit(model, callbacks)
    first = model.layers_to_optimize[0]
    counts = last.found[f"{first.name}_0_W"]
    assert counts.shape == (64, 6)
    assert (counts.sum(axis=0) == first.W.size).all()


def test_they_are_described_and_built_again():
    model, valid = perceptron(), data(16, 1)
    callbacks = neon.Callbacks(model, eval_set=valid, eval_freq=2, metric=Misclassification())
    described = callbacks.serialize()
    assert [one["type"].rpartition(".")[2] for one in described["callbacks"]] == [
        *("LossCallback", "TrainCostCallback", "ProgressBarCallback", "MetricCallback"),
        *("TrainLoggerCallback", "RunTimerCallback"),
    ]
    loss = described["callbacks"][0]
    assert loss["type"] == "neon.callbacks.callbacks.LossCallback"
    assert loss["config"] == {"eval_set": {"type": "Data", "name": valid.name}, "epoch_freq": 2}
    again = neon.Callbacks.load_callbacks({**described, "callbacks": described["callbacks"][1:3]}, model)
    assert [type(one) for one in again.callbacks] == [neon.TrainCostCallback, neon.ProgressBarCallback]


def test_deconvolution_pictures_are_refused():
    with pytest.raises(NotImplementedError, match="leave it out"):
        neon.Callbacks(perceptron()).add_deconv_callback(data(), data())


def test_running_statistics_are_taken_anew():
    init = Gaussian(scale=0.1)
    model = Model(
        [Affine(6, init, batch_norm=True, activation=Rectlin()), Affine(3, init, activation=Softmax())]
    )
    fit(model, neon.Callbacks(model, progress_bar=False))
    norm = next(layer for layer in model.layers_to_optimize if isinstance(layer, BatchNorm))
    found = []
    for x, _ in data():
        found.append(model.layers.layers[0].W.get() @ x.get())
    neon.BatchNormTuneCallback(data()).on_epoch_end(None, model, 0)
    means = np.mean([one.mean(axis=1, keepdims=True) for one in found], axis=0)
    variances = np.mean([one.var(axis=1, keepdims=True) for one in found], axis=0)
    np.testing.assert_allclose(norm.gmean.get(), means, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.gvar.get(), variances * 3 / 2, rtol=1e-4)


def test_a_sequence_of_a_ticker_is_shown(caplog):
    ticker = Ticker(CopyTask(3, 2))
    model = Model([LSTM(4, Gaussian(), activation=Tanh(), gate_activation=Logistic()), Affine(2, Gaussian())])
    model.initialize(ticker)
    with caplog.at_level("INFO", logger="neon"):
        neon.WatchTickerCallback(model, ticker).on_epoch_end(None, model, 0)
    shown = [record.getMessage() for record in caplog.records]
    assert shown[::2] == ["Inputs", "Outputs", "Targets"]
    with pytest.raises(ArgumentError, match="must be a Ticker, received a ArrayIterator"):
        neon.WatchTickerCallback(model, data())
