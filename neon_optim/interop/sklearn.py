"""scikit-learn's estimators: a classifier and a regressor that train a model of ours."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from neon_optim.backends.cpu.backend import CPUBackend
from neon_optim.data.encoding import standardizing
from neon_optim.described.build import from_description
from neon_optim.described.object import NervanaObject
from neon_optim.described.registry import resolve
from neon_optim.model import (
    Affine,
    ArrayIterator,
    Constant,
    CrossEntropyMulti,
    GlorotUniform,
    Kaiming,
    MeanSquared,
    Model,
    Softmax,
)
from neon_optim.model.training import Training
from neon_optim.optimizers import Adam
from neon_optim.serialization import load_config

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data
except ImportError as error:
    raise ImportError(
        "neon_optim.interop.sklearn needs scikit-learn 1.6 or later: pip install 'neon_optim[data]'"
    ) from error

__all__ = ["NeonClassifier", "NeonRegressor"]

_TURN = threading.Lock()
"""The current backend is one for the process: estimators in several threads take turns."""


class _NeonEstimator(BaseEstimator):
    """What both have: arguments, training in whole or in part, pickling."""

    def __init__(
        self,
        hidden: Sequence[int] = (64,),
        activation: str = "Rectlin",
        optimizer: Any = None,
        learning_rate: float = 0.003,
        epochs: int = 50,
        batch_size: int = 32,
        standardize: bool = True,
        random_state: Any = None,
        engine: str = "auto",
        config: str | os.PathLike[str] | None = None,
    ):
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.standardize = standardize
        self.random_state = random_state
        self.engine = engine
        self.config = config

    # --- training ---

    def _train(self, X: np.ndarray, samples: Any, nout: int, epochs: int | None, goes_on: bool) -> None:
        """Train for some epochs, from the start or on.

        Arguments:
            samples: makes the minibatches of the inputs as the model sees them.
            epochs: None: those of the settings.
        """
        if not (goes_on and hasattr(self, "_model")):
            self._begin(X, nout)
        with self._current():
            dataset = samples(self._seen(X))
            done = self._model.epoch_index
            more = self._epochs if epochs is None else epochs
            size = min(self._batch_size, dataset.ndata)
            self._backend.bsz = size
            Training(self._model, dataset, self._cost(), self._optimizer, done + more).run()

    def _begin(self, X: np.ndarray, nout: int) -> None:
        """A new model and a new optimizer."""
        self._mean, self._deviation = standardizing(X) if self.standardize else ((0.0,), (1.0,))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._backend = CPUBackend(
            rng_seed=seed, default_dtype=np.dtype(X.dtype), batch_size=1, engine=self.engine
        )
        with self._current():
            layers, self._optimizer, self._epochs, self._batch_size = self._settings(nout)
            self._model = Model(layers)

    def _settings(self, nout: int) -> tuple[list[Any], Any, int, int]:
        """Layers, optimizer, epochs and batch size: of the config, where there is one."""
        if self.config is not None:
            config = load_config(self.config)
            config.require("layers", "optimizer")
            given = config.settings
            return list(given.layers), given.optimizer, given.epochs, given.batchsize
        optimizer = copy.deepcopy(self.optimizer) or Adam(learning_rate=self.learning_rate)
        zero, layers = Constant(0.0), []
        for width in self.hidden:
            activation = resolve(self.activation, "activation")()
            layers.append(Affine(nout=int(width), init=Kaiming(), bias=zero, activation=activation))
        layers.append(Affine(nout=nout, init=GlorotUniform(), bias=zero, activation=self._last()))
        return layers, optimizer, int(self.epochs), int(self.batch_size)

    def _seen(self, X: np.ndarray) -> np.ndarray:
        """Inputs as the model sees them."""
        return np.asarray((X - np.asarray(self._mean)) / np.asarray(self._deviation), X.dtype)

    def _outputs(self, X: Any) -> np.ndarray:
        """What the model gives, (samples, outputs)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        with self._current():
            self._backend.bsz = min(len(X), 1_024)
            return self._model.get_outputs(ArrayIterator(self._seen(X)))

    def _cost(self) -> Any:
        raise NotImplementedError

    def _last(self) -> Any:
        raise NotImplementedError

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Our backend is the current one within the block, whatever was before."""
        with _TURN:
            before, NervanaObject.be = NervanaObject.be, self._backend
            try:
                yield
            finally:
                NervanaObject.be = before

    # --- copies ---

    def __getstate__(self) -> dict[str, Any]:
        """The model as its description and its arrays: it is made again with a backend of its own."""
        state: dict[str, Any] = super().__getstate__()
        if "_model" not in state:
            return state
        state = dict(state)
        backend, model = state.pop("_backend"), state.pop("_model")
        options = {"rng_seed": backend.rng_seed, "default_dtype": backend.default_dtype.name}
        rows = [(param.get(), [each.get() for each in states]) for (param, _), states in model.get_params()]
        state["_kept"] = options, model.layers.get_description(), rows, model.get_counters()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        kept = state.pop("_kept", None)
        super().__setstate__(state)
        if kept is None:
            return
        options, layers, rows, counters = kept
        options = {**options, "default_dtype": np.dtype(options["default_dtype"])}
        self._backend = CPUBackend(**options, batch_size=1, engine=self.engine)
        with self._current():
            self._model = Model(from_description(layers))
            self._model.initialize(SimpleNamespace(nin=self.n_features_in_, lshape=None, name="X"))
            for ((param, _), states), (values, kept_states) in zip(
                self._model.get_params(), rows, strict=True
            ):
                param.set(values)
                states.extend([self._backend.array(each, dtype=each.dtype) for each in kept_states])
            self._model.set_counters(counters)

    def _check_samples(self, X: Any, y: Any, reset: bool, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, reset=reset, dtype=[np.float64, np.float32], **options)
        return X, y


class NeonClassifier(ClassifierMixin, _NeonEstimator):
    """A network that tells classes apart, as scikit-learn's estimators do.

    Arguments:
        hidden: units of each hidden layer.
        activation: name of the activation function of hidden layers.
        optimizer: an optimizer of ours, which is copied; None: Adam with ``learning_rate``.
        learning_rate: of Adam.
        epochs: passes over the training data.
        batch_size: samples in a minibatch.
        standardize: let each feature have the mean 0 and the deviation 1 in the training data.
        random_state: decides first values and the order of samples, as in scikit-learn.
        engine: as in :func:`neon_optim.gen_backend`.
        config: path of a YAML config whose ``layers``, ``optimizer``, ``epochs`` and ``batchsize`` are taken instead.

    It computes in float32 where X is float32, else in float64. The current backend stays what it was.

    Attributes:
        classes_: the classes, in the order of the columns of :meth:`predict_proba`.
        n_features_in_: columns of X.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> NeonClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    def fit(self, X: Any, y: Any) -> NeonClassifier:
        """Train a new model. X: (samples, features), y: the class of each sample."""
        return self._fit(X, y, None, None, False)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> NeonClassifier:
        """Train for one more epoch on these samples; the first time with all ``classes`` that there will be."""
        goes_on = hasattr(self, "classes_")
        if not goes_on and classes is None:
            classes = np.unique(np.asarray(y))
        return self._fit(X, y, classes, 1, goes_on)

    def _fit(self, X: Any, y: Any, classes: Any, epochs: int | None, goes_on: bool) -> NeonClassifier:
        X, y = self._check_samples(X, y, reset=not goes_on)
        check_classification_targets(y)
        if not goes_on:
            self.classes_ = np.unique(y if classes is None else np.asarray(classes))
        numbers = np.searchsorted(self.classes_, y).clip(0, len(self.classes_) - 1)
        unknown = self.classes_[numbers] != y
        if unknown.any():
            raise ValueError(
                f"y holds {y[unknown][0]!r}, which is none of the classes {self.classes_.tolist()}"
            )

        def samples(inputs: np.ndarray) -> ArrayIterator:
            return ArrayIterator(inputs, numbers, nclass=len(self.classes_), shuffle=True)

        self._train(X, samples, len(self.classes_), epochs, goes_on)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (samples, classes)."""
        return self._outputs(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each sample."""
        outputs = self._outputs(X)
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def _cost(self) -> Any:
        return CrossEntropyMulti()

    def _last(self) -> Any:
        return Softmax()


class NeonRegressor(RegressorMixin, _NeonEstimator):
    """A network that predicts numbers, as scikit-learn's estimators do.

    Arguments are those of :class:`NeonClassifier`. Targets are standardized where ``standardize`` says so; predictions
    are in their units. y may have several columns.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> y = 100 + 20 * np.sin(3 * X[:, 0])
    >>> NeonRegressor(random_state=0, epochs=200).fit(X, y).score(X, y) > 0.95
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> NeonRegressor:
        """Train a new model. X: (samples, features), y: (samples,) or (samples, outputs)."""
        return self._fit(X, y, None, False)

    def partial_fit(self, X: Any, y: Any) -> NeonRegressor:
        """Train for one more epoch on these samples. What standardizes is that of the first samples."""
        return self._fit(X, y, 1, hasattr(self, "_model"))

    def _fit(self, X: Any, y: Any, epochs: int | None, goes_on: bool) -> NeonRegressor:
        X, y = self._check_samples(X, y, reset=not goes_on, multi_output=True, y_numeric=True)
        wide = np.asarray(y, np.float64).reshape(len(y), -1)
        if not goes_on:
            self._vector = y.ndim == 1
            self._y_mean, self._y_deviation = standardizing(wide) if self.standardize else ((0.0,), (1.0,))
        elif wide.shape[1] != self._model.layers.nout:
            raise ValueError(
                f"y has {wide.shape[1]} columns, the model was trained on {self._model.layers.nout}"
            )
        targets = np.asarray((wide - self._y_mean) / self._y_deviation, X.dtype)

        def samples(inputs: np.ndarray) -> ArrayIterator:
            return ArrayIterator(inputs, targets, make_onehot=False, shuffle=True)

        self._train(X, samples, wide.shape[1], epochs, goes_on)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number, or the numbers, of each sample."""
        outputs = self._outputs(X) * self._y_deviation + self._y_mean
        return outputs[:, 0] if self._vector else outputs

    def _cost(self) -> Any:
        return MeanSquared()

    def _last(self) -> Any:
        return None
