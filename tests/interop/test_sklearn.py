"""The estimators are estimators by scikit-learn's own checks, and leave everything else alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from neon_optim import cleanup_backend, gen_backend
from neon_optim.errors import ConfigError
from neon_optim.interop.sklearn import NeonClassifier, NeonRegressor
from neon_optim.optimizers import RMSProp

ESTIMATORS = [
    NeonClassifier(engine="numpy", epochs=10, learning_rate=0.01),
    NeonRegressor(engine="numpy", epochs=20, learning_rate=0.01),
]
X, Y = load_iris(return_X_y=True)


def checks():
    for estimator in ESTIMATORS:
        for made, check in estimator_checks_generator(estimator):
            name = getattr(check, "func", check).__name__
            yield pytest.param(made, check, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_a_check_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", [NeonClassifier, NeonRegressor])
def test_a_pickle_goes_on_where_it_was(make):
    one = make(engine="numpy", epochs=3, random_state=1).fit(X, Y)
    other = pickle.loads(pickle.dumps(one))  # noqa: S301 (our own)
    for estimator in (one, other):
        estimator.partial_fit(X, Y)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert not hasattr(clone(one), "_model")


def test_the_current_backend_stays():
    be = gen_backend("cpu", rng_seed=3, batch_size=7)
    before = be.rng_get_state()
    NeonClassifier(engine="numpy", epochs=1).fit(X, Y).predict(X)
    from neon_optim import NervanaObject

    assert NervanaObject.be is be
    assert be.bsz == 7
    np.testing.assert_array_equal(before[1], be.rng_get_state()[1])
    cleanup_backend()


def test_the_random_state_decides():
    one, same, other = (
        NeonClassifier(engine="numpy", epochs=2, random_state=seed).fit(X, Y).predict_proba(X)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_it_is_part_of_pipelines_and_searches():
    pipeline = make_pipeline(StandardScaler(), NeonClassifier(engine="numpy", epochs=20, random_state=0))
    assert cross_val_score(pipeline, X, Y, cv=2, n_jobs=2).mean() > 0.8
    search = GridSearchCV(
        NeonClassifier(engine="numpy", random_state=0),
        {"hidden": [(4,), (8, 8)], "epochs": [3], "optimizer": [None, RMSProp(learning_rate=0.01)]},
        cv=2,
    )
    assert search.fit(X, Y).best_score_ > 0.4


def test_parts_train_on(tmp_path):
    estimator = NeonClassifier(engine="numpy", random_state=0)
    for _ in range(40):
        estimator.partial_fit(X[::2], Y[::2], classes=[0, 1, 2])
    assert estimator.score(X, Y) > 0.85
    with pytest.raises(ValueError, match="none of the classes"):
        estimator.partial_fit(X[:3], [0, 1, 7])


def test_several_numbers():
    targets = np.column_stack([X[:, 0] * 100, X[:, 1]])
    found = NeonRegressor(engine="numpy", random_state=0, epochs=100).fit(X, targets)
    assert found.predict(X).shape == (150, 2)
    assert found.score(X, targets) > 0.8


def test_a_config_says_what_the_model_is(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(
        "epochs: 60\nbatchsize: 16\nlayers:\n"
        "- {type: Affine, config: {nout: 12, init: {type: Kaiming}, activation: {type: Tanh}}}\n"
        "- {type: Affine, config: {nout: 3, init: {type: GlorotUniform}, activation: {type: Softmax}}}\n"
        "optimizer: {type: Adam, config: {learning_rate: 0.01}}\n"
    )
    found = NeonClassifier(engine="numpy", config=path, random_state=0).fit(X, Y)
    assert found.score(X, Y) > 0.9
    assert found._model.layers.leaves()[0].nout == 12
    path.write_text(path.read_text().rpartition("optimizer")[0])
    with pytest.raises(ConfigError, match="'optimizer' is missing"):
        NeonClassifier(config=path).fit(X, Y)


def test_float32_is_kept():
    found = NeonClassifier(engine="numpy", epochs=1).fit(X.astype(np.float32), Y)
    assert found.predict_proba(X.astype(np.float32)).dtype == np.float32
