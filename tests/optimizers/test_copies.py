"""Copies and pickles of what is in the midst of training go on with the bits of the original."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from neon_optim import cleanup_backend, gen_backend
from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.described.object import NervanaObject
from neon_optim.errors import BackendError
from neon_optim.model import Affine, ArrayIterator, Dropout, GlorotUniform, MeanSquared, Model, Tanh
from neon_optim.optimizers import EMA, SGD, Adam, MultiOptimizer, Muon, ScheduleFreeAdamW
from neon_optim.schedules import Chain, Plateau


def read(raw):
    return pickle.loads(raw)  # noqa: S301 (made here)


HOWS = {
    "copied": copy.deepcopy,
    **{f"pickled, protocol {k}": lambda thing, k=k: read(pickle.dumps(thing, k)) for k in (2, 5)},
}
X = np.linspace(-1, 1, 64).reshape(-1, 1)


@pytest.fixture(params=HOWS)
def again(request):
    """What makes another one."""
    return HOWS[request.param]


@pytest.fixture
def be(engine):
    """A backend of each engine."""
    return gen_backend("cpu", engine=engine, rng_seed=1, batch_size=16)


def data():
    return ArrayIterator(X, np.sin(3 * X), make_onehot=False, shuffle=True)


OPTIMIZERS = {
    "EMA": lambda: EMA(Adam(learning_rate=0.01, gradient_clip_norm=1.0)),
    "ScheduleFree": lambda: ScheduleFreeAdamW(0.01, on_nonfinite="skip"),
    "some": lambda: MultiOptimizer({"default": Muon(0.01), "Bias": Adam(stochastic_round=8)}),
    "schedules": lambda: SGD(0.1, schedule=Chain([Plateau()])),
}


def weights(model):
    return [leaf.W.get() for leaf in model.layers_to_optimize]


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_fitted_model_and_its_optimizer_go_on_alike(be, again, make):
    hidden = Affine(16, GlorotUniform(), GlorotUniform(), activation=Tanh())
    model, optimizer = Model([hidden, Dropout(0.9), Affine(1, GlorotUniform())]), make()
    model.fit(data(), MeanSquared(), optimizer, 3)
    other, others = again((model, optimizer))
    stopped = weights(model)
    for mine, theirs in ((model, optimizer), (other, others)):
        mine.fit(data(), MeanSquared(), theirs, 6)
        if mine is model:  # the copy has not moved
            for one, two in zip(weights(other), stopped, strict=True):
                np.testing.assert_array_equal(one, two)
    for one, two in zip(weights(model), weights(other), strict=True):
        np.testing.assert_array_equal(one, two)
    assert model.get_counters() == other.get_counters()
    assert optimizer.get_counters() == others.get_counters()
    assert optimizer.get_description() == others.get_description()


@pytest.mark.parametrize("tensors", [False, True])
def test_a_bound_optimizer_goes_on_with_copies_of_its_parameters(be, again, tensors):
    w, dw = np.arange(6.0).reshape(3, 2), np.full((3, 2), 0.5)
    pair = (be.array(w, dtype=w.dtype), be.array(dw, dtype=w.dtype)) if tensors else (w, dw)
    bound = Adam(learning_rate=0.1).bind({"w": pair})
    bound.step()
    bound.clip_grad_norm(0.5)
    other = again(bound)
    kept = np.array(pair[0])
    other.step()
    np.testing.assert_array_equal(np.asarray(pair[0]), kept)
    bound.step()
    ((mine, _), states), ((theirs, _), copies) = bound.parameters()[0].value, other.parameters()[0].value
    assert theirs is not mine
    for one, two in zip((mine, *states), (theirs, *copies), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    assert (other.grad_norm, other.optimizer.t) == (bound.grad_norm, 2)


def test_an_optimizer_and_the_rows_of_a_user(be, again):
    rows, adam = [((np.ones(3), np.ones(3)), []), ((np.ones(4), np.ones(4)), [])], Adam()
    adam.optimize(rows, 0)
    copies, other = again((rows, adam))
    for mine, theirs in ((adam, rows), (other, copies)):
        mine.optimize(theirs, 0)
    for ((mine, _), _), ((theirs, _), _) in zip(rows, copies, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert adam.t == other.t == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_have_their_contents_type_and_name(be, again, dtype):
    tensor = be.array(np.arange(6).reshape(2, 3), dtype=be.empty(1, np.float32).dtype, name="w")
    if dtype != "float32":
        tensor = gen_backend("cpu", datatype=dtype).array(np.arange(6).reshape(2, 3), name="w")
    for one in (tensor, tensor.T, tensor[:, 1]):
        other = again(one)
        assert (other.shape, other.dtype, other.name) == (one.shape, one.dtype, "w")
        np.testing.assert_array_equal(other.get(), one.get())
        assert other.backend is one.backend
        other.fill(9.0)
        assert 9.0 not in one.get().astype(float)


def test_a_backend_in_a_pickle_is_the_current_one_or_one_like_it(engine):
    be = gen_backend("cpu", engine=engine, rng_seed=3, batch_size=7, datatype=np.float64, stochastic_round=5)
    be.rng.rand(3)
    raw = pickle.dumps([be, be.ones((2, 2))])
    assert copy.deepcopy(be) is be
    assert read(raw)[0] is be
    expected = be.rng.rand(3)
    cleanup_backend()
    made, tensor = read(raw)
    assert type(made) is CPUBackend
    assert NervanaObject.be is made is tensor.backend
    assert (made.engine.name, made.bsz, made.default_dtype, made.stochastic_round, made.noise_seed) == (
        *(engine, 7, np.float64, 5, 3),
    )
    np.testing.assert_array_equal(made.rng.rand(3), expected)


def test_another_process_goes_on_alike(be, tmp_path):
    w, dw = np.arange(6.0), np.full(6, 0.5)
    bound = EMA(Adam(learning_rate=0.1)).bind([(w, dw)])
    bound.step()
    (tmp_path / "a").write_bytes(pickle.dumps(bound))
    code = "import pathlib, pickle, sys; p = pathlib.Path(sys.argv[1]); b = pickle.loads(p.read_bytes())"
    code += "; b.step(); p.write_bytes(pickle.dumps(b))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True, env=os.environ)
    other = read((tmp_path / "a").read_bytes())
    bound.step()
    np.testing.assert_array_equal(other.parameters()[0].value[0][0], w)
    np.testing.assert_equal(other.state_dict(), bound.state_dict())


@pytest.mark.gpu
def test_what_is_on_a_gpu_is_copied_there_and_not_pickled():
    be = gen_backend("gpu")
    tensor = be.array(np.ones((2, 2)))
    assert copy.deepcopy(tensor).backend is be
    for thing in (be, tensor):
        with pytest.raises(BackendError, match="GPUBackend belongs to its process"):
            pickle.dumps(thing)


try:
    from sklearn.base import BaseEstimator, RegressorMixin
except ImportError:
    BaseEstimator = RegressorMixin = object


class Net(RegressorMixin, BaseEstimator):
    """A small network as an estimator of scikit-learn."""

    def __init__(self, optimizer=None, hidden=8):
        self.optimizer, self.hidden = optimizer, hidden

    def fit(self, x, y):
        gen_backend("cpu", rng_seed=1, batch_size=16)
        self.model_ = Model(
            [Affine(self.hidden, GlorotUniform(), activation=Tanh()), Affine(1, GlorotUniform())]
        )
        self.optimizer_ = copy.deepcopy(self.optimizer)
        samples = ArrayIterator(x, y.reshape(-1, 1), make_onehot=False)
        self.model_.fit(samples, MeanSquared(), self.optimizer_, 20)
        return self

    def predict(self, x):
        return self.model_.get_outputs(ArrayIterator(x, x[:, :1], make_onehot=False))[:, 0]


def test_a_grid_search_of_scikit_learn_in_two_processes(tmp_path, monkeypatch):
    selection = pytest.importorskip("sklearn.model_selection")
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    grid = {"optimizer": [SGD(1e-6), EMA(Adam(learning_rate=0.03), decay=0.5)], "hidden": [4, 8]}
    x, y = X.astype(np.float32), np.sin(3 * X)[:, 0]
    folds = selection.KFold(2, shuffle=True, random_state=0)
    searches = [selection.GridSearchCV(Net(), grid, cv=folds, n_jobs=jobs).fit(x, y) for jobs in (1, 2)]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    assert type(searches[1].best_params_["optimizer"]) is EMA
    found = selection.cross_validate(
        Net(Adam(learning_rate=0.03)), x, y, cv=folds, n_jobs=2, return_estimator=True
    )
    for fitted in found["estimator"]:
        assert fitted.predict(x).shape == (64,)
        assert fitted.optimizer_.t == 40
