"""A model: layers in a row, and what is done with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from neon_optim.described.arguments import Name, constructor_arguments
from neon_optim.described.checks import Either, Items, OfKind
from neon_optim.described.counters import check_counters, set_all_counters
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, Problem, StateError, shown
from neon_optim.model.captured import CapturedPasses, capture_inference, capture_training
from neon_optim.model.container import Container, LayerGroup, Sequential, backward
from neon_optim.model.layer import Layer
from neon_optim.model.layers import Activation
from neon_optim.model.parameters import ParameterList
from neon_optim.model.shapes import Shape, columns, features, steps
from neon_optim.model.transient import Transient
from neon_optim.stepping.parameters import NamedParameters, named_parameters

__all__ = ["Model"]

_MOST_CAPTURED = 16
"""Kinds of passes that are kept; what has more shapes than that captures them anew."""


class Model(NervanaObject, kind="model"):
    """Layers that are trained together.

    Arguments:
        layers: a list of layers, or a Sequential.

    Attributes:
        layers: the Sequential.
        epoch_index: epochs done.
        minibatch_index: minibatches done in the present epoch.
        step: minibatches done in all.
        cost_sum: cost of the present epoch so far, summed over samples.
        remembered: what callbacks remember from epoch to epoch, by their names: numbers by name.

    References:
        neon/models/model.py.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Affine, ArrayIterator, GlorotUniform, MeanSquared, Tanh
    >>> from neon_optim.optimizers import Adam
    >>> be = gen_backend("cpu", rng_seed=1, batch_size=16)
    >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> data = ArrayIterator(x, np.sin(3 * x), make_onehot=False, shuffle=True)
    >>> hidden = Affine(16, GlorotUniform(), GlorotUniform(), activation=Tanh())
    >>> model = Model([hidden, Affine(1, GlorotUniform())])
    >>> model.fit(data, MeanSquared(), Adam(learning_rate=0.02), num_epochs=100)
    >>> model.eval(data, MeanSquared()) < 0.01
    True
    """

    layers: Annotated[Any, Either(Items(OfKind("layer")), OfKind("layer"))]
    name: Name = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_fields()
        self.epoch_index = self.minibatch_index = self.step = 0
        self.cost_sum = 0.0
        self.remembered: dict[str, dict[str, float]] = {}
        self._initialized: Any = None
        self._captured = Transient()
        self._listed = Transient()

    def check_fields(self) -> None:
        """Layers become a Sequential."""
        if not isinstance(self.layers, Sequential):
            vars(self)["layers"] = Sequential(_as_list(self.layers))

    @property
    def layers_to_optimize(self) -> list[Layer]:
        """The layers that learn: what ``optimizer.optimize`` is given."""
        return self.layers.layers_to_optimize

    def get_params(self) -> list[Any]:
        """The ``((param, grad), state)`` tuples of all layers."""
        return self.layers.get_params()

    def parameters(self) -> NamedParameters:
        """Every parameter with its name; the same list while layers hold the same tensors. Optimizers take it."""
        known: ParameterList | None = self._listed.get("last")
        if known is None or known.layers is not self.layers:
            known = self._listed["last"] = ParameterList(self.layers)
        return known.now()

    # --- use ---

    def initialize(self, dataset: Any, cost: Any = None) -> None:
        """Fit the layers to the data and make their parameters; once for a model.

        Raises:
            ArgumentError: the outputs do not fit the targets, or the cost does not fit the last activation.
        """
        misfits = self.misfits(dataset, cost)
        if misfits:
            raise ArgumentError.listing(misfits)
        made = self.layers.backend, _layout(_sample_shape(dataset))
        if self._initialized != made:
            self.layers.init_params()
            self._initialized = made

    def misfits(self, dataset: Any, cost: Any = None) -> list[Problem]:
        """Why the layers do not fit the data, or the cost the last activation. Needs no backend."""
        found: list[Problem] = []
        shape = _sample_shape(dataset)
        if self._initialized is None or self._initialized[0] is not self.be:
            try:
                self.layers.in_shape = shape
                self.layers.configure(features(shape))
            except ArgumentError as error:
                return error.problems
        elif _layout(self.layers.in_shape) != _layout(shape):
            taken, given = map(_in_words, (self.layers.in_shape, shape))
            message = f"the model takes {taken}, but the samples of '{dataset.name}' have {given}"
            found.append(Problem.about("layers", message, self))
        if cost is None:
            return found
        try:
            self._folded(cost)
        except ArgumentError as error:
            found += error.problems
        if dataset.nout != self.layers.nout:
            units = reversed(self.layers.units())
            sizing = next((unit for unit in units if "nout" in constructor_arguments(type(unit))), None)
            has = f"the last layer has {self.layers.nout} outputs"
            message = f"{has}, but the targets of '{dataset.name}' have {dataset.nout}"
            found.append(Problem.about("nout", message, sizing))
        elif steps(self.layers.out_shape) != (expected := getattr(dataset, "target_steps", 1)):
            has = f"the last layer gives {steps(self.layers.out_shape)} steps for each sample"
            hint = "RecurrentLast, RecurrentSum and RecurrentMean make one of a sequence"
            message = f"{has}, but the targets of '{dataset.name}' have {expected}; {hint}"
            found.append(Problem.about("layers", message, self))
        return found

    def fit(
        self, dataset: Any, cost: Any, optimizer: Any, num_epochs: int, callbacks: Sequence[Any] = ()
    ) -> None:
        """Train until ``num_epochs`` epochs are done in all, those of earlier calls included (as in neon).

        Arguments:
            dataset: minibatches; see :class:`ArrayIterator`.
            cost: what to make small.
            optimizer: what does it.
            num_epochs: epochs in all.
            callbacks: called on the way, in order; see :mod:`neon_optim.model.callbacks`.
        """
        from neon_optim.model.training import Training

        Training(self, dataset, cost, optimizer, num_epochs, callbacks).run()

    def fprop(self, x: Any, inference: bool = False) -> Any:
        """The outputs for a minibatch, (nout, samples); valid until it runs again with as many samples.

        Without ``inference=True`` they are those of training: Dropout drops, and counts the minibatch.
        """
        if not inference:
            return self.layers.fprop(x)
        captured = self._captured_for(
            ("inference", x.shape, x.dtype),
            self.parameters(),
            lambda parameters: capture_inference(self.be, self.layers, parameters, x),
        )
        if captured is None:
            return self.layers.fprop(x, inference)
        captured.run(x)
        return captured.outputs

    def forward_backward(self, x: Any, t: Any, cost: Any, total: Any) -> NamedParameters:
        """Both passes for a minibatch: fill every gradient, and ``total``, (1, 1), with the sum of the costs.

        Where all layers are stated as algebra this is one captured list of kernels; the results are those of
        :meth:`fprop` and :meth:`bprop`, to the bit.

        Returns the parameters whose gradients were filled, for an optimizer to update.
        """
        parameters = self.parameters()
        captured = self._captured_for(
            (x.shape, x.dtype, t.shape, t.dtype),
            parameters,
            lambda held: capture_training(self.be, self.layers, held, cost, self._folded(cost), x, t),
            cost,
        )
        if captured is None:
            y = self.fprop(x)
            total[:] = self.be.sum(cost(y, t))
            self.bprop(t, y, cost)
            return parameters
        samples = self.samples(x)
        for leaf in captured.preparing:
            leaf.prepare(columns(leaf.in_shape, samples))
        captured.run(x, t, total)
        return parameters

    def samples(self, x: Any) -> int:
        """How many samples a tensor of inputs holds."""
        return int(x.shape[1]) // steps(self.layers.in_shape)

    def _captured_for(
        self,
        key: Any,
        parameters: NamedParameters,
        capture: Callable[[NamedParameters], CapturedPasses | None],
        cost: Any = None,
    ) -> CapturedPasses | None:
        """The passes that were captured for a key, captured anew where they no longer hold."""
        key = (self.be, *key)
        if key in self._captured:
            known: CapturedPasses | None = self._captured[key]
            if known is None or known.still_hold(parameters, cost):
                return known
        if len(self._captured) >= _MOST_CAPTURED:
            self._captured.clear()
        self._captured[key] = made = capture(parameters)
        return made

    def bprop(self, t: Any, y: Any, cost: Any) -> None:
        """Fill every gradient, for the outputs y of the last :meth:`fprop` and targets t."""
        stages = self.layers.stages()
        delta = stages[-1].buffer("error", self.layers.nout, y.shape[1])
        if self._folded(cost):
            delta[:] = cost.folded_bprop(y, t)
            stages = stages[:-1]
        else:
            delta[:] = cost.bprop(y, t)
        backward(stages, delta)

    def _folded(self, cost: Any) -> bool:
        last = self.layers.stages()[-1]
        return isinstance(last, Activation) and cost.pairs_with(last.transform)

    def eval(self, dataset: Any, metric: Any) -> float:
        """The mean of a metric, or of a cost, over all samples of a dataset."""
        return self.eval_all(dataset, [metric])[0]

    def eval_all(self, dataset: Any, metrics: Sequence[Any]) -> list[float]:
        """The means of several metrics from one pass over a dataset; of sequences over all their steps."""
        self.initialize(dataset)
        totals = [self.be.zeros((1, 1), dtype=np.float64) for _ in metrics]
        for x, t in dataset.batches():
            y = self.fprop(x, inference=True)
            for total, metric in zip(totals, metrics, strict=True):
                total[:] = total + self.be.sum(metric(y, t))
        count = columns(self.layers.out_shape, dataset.ndata)
        return [float(total.get()[0, 0]) / count for total in totals]

    def get_outputs(self, dataset: Any) -> np.ndarray:
        """The outputs for every sample, (samples, nout); for sequences (samples, nout, T)."""
        self.initialize(dataset)
        outputs = (self.fprop(x, inference=True).get() for x, _ in dataset.batches())
        found = [y.reshape(len(y), steps(self.layers.out_shape), -1).transpose(2, 0, 1) for y in outputs]
        together = np.concatenate(found)
        return together if len(self.layers.out_shape) == 2 else together[:, :, 0]

    # --- state ---

    def get_counters(self) -> dict[str, Any]:
        """Where training stands, beside the arrays: JSON values that :meth:`set_counters` takes."""
        layers = {leaf.name: counters for leaf in self.layers.leaves() if (counters := leaf.get_counters())}
        return {
            "epoch": self.epoch_index,
            "minibatch": self.minibatch_index,
            "step": self.step,
            "cost_sum": self.cost_sum,
            "layers": layers,
            **(
                {"callbacks": {name: dict(own) for name, own in self.remembered.items()}}
                if self.remembered
                else {}
            ),
        }

    def get_arrays(self, inference: bool = False) -> dict[str, Any]:
        """What layers keep beside parameters, as ``layer/array``; see :meth:`Layer.get_arrays`."""
        return self.layers.get_arrays(inference)

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Restore what :meth:`get_counters` gave.

        Raises:
            StateError: they are those of another model; nothing has been changed.
        """
        given = dict(counters) if isinstance(counters, Mapping) else counters
        remembered = _remembered(given.pop("callbacks", {})) if isinstance(given, dict) else {}
        own = {name: value for name, value in self.get_counters().items() if name != "callbacks"}
        checked = check_counters(self.classnm, own, given)
        leaves = {leaf.name: leaf for leaf in self.layers.leaves()}
        set_all_counters([(leaves[name], own) for name, own in checked["layers"].items()])
        self.epoch_index, self.minibatch_index = checked["epoch"], checked["minibatch"]
        self.step, self.cost_sum = checked["step"], checked["cost_sum"]
        self.remembered = remembered

    def serialize(self, keep_states: bool = True) -> dict[str, Any]:
        """The model in neon's form: a dict of its description, parameters, states and epochs done.

        Arguments:
            keep_states: with the optimizer's states.

        Each layer that learns has ``params: {'W': array}`` and ``states: [arrays]`` beside its description; a list of
        states for each parameter where it has several. Arrays are copies. To save training so that it can go on exactly
        use :func:`neon_optim.serialization.save_checkpoint`, which also keeps the optimizer and every counter.
        """
        return {"model": _with_weights(self.layers, keep_states), "epoch_index": self.epoch_index}

    def save_params(self, path: str | os.PathLike[str], optimizer: Any = None) -> str:
        """Save parameters, states and counters as a checkpoint file; returns its path.

        Give the optimizer: without it nothing is saved of its state, nor of an average to evaluate with.
        """
        from neon_optim.serialization import save_checkpoint

        return save_checkpoint(
            path, optimizer=optimizer, layers=self.layers_to_optimize, epoch=self.epoch_index, model=self
        )

    def load_params(self, path: str | os.PathLike[str], optimizer: Any = None) -> None:
        """Restore what :meth:`save_params` saved; the model must have been initialized.

        Without the optimizer the parameters become those to evaluate with (an average, say), where the file has them.
        """
        from neon_optim.serialization import load_checkpoint

        load_checkpoint(path, optimizer=optimizer, layers=self.layers_to_optimize, model=self)


def _with_weights(layer: Any, keep_states: bool) -> dict[str, Any]:
    """The description of a layer, with its parameters and states; of a group with those of its layers."""
    if isinstance(layer, LayerGroup):
        inner = layer.stages() if isinstance(layer, Container) else layer.layers
        described = layer.get_description(skip=["layers"])
        described["config"]["layers"] = [_with_weights(stage, keep_states) for stage in inner]
        return described
    described = layer.get_description()
    if layer.learns:
        rows = named_parameters([layer])
        arrays = {row.name: row.value[0][0] for row in rows} | layer.get_arrays(inference=True)
        described["params"] = {name: array.get() for name, array in arrays.items()}
        if keep_states:
            states = [[np.array(state.get()) for state in row.value[1]] for row in rows]
            described["states"] = states if len(rows) > 1 else states[0]
    return described


def _remembered(given: Any) -> dict[str, dict[str, float]]:
    """What callbacks remember, checked: mappings of numbers."""
    of_numbers = isinstance(given, Mapping) and all(
        isinstance(own, Mapping) and all(type(value) in (int, float) for value in own.values())
        for own in given.values()
    )
    if not of_numbers:
        raise StateError(f"callbacks remember numbers by name, received {shown(given)}")
    return {name: dict(own) for name, own in given.items()}


def _as_list(layers: Any) -> Any:
    return layers if isinstance(layers, (list, tuple)) else [layers]


def _sample_shape(dataset: Any) -> Shape:
    return tuple(getattr(dataset, "lshape", None) or (dataset.nin,))


def _layout(shape: Shape) -> tuple[int, int]:
    """What two shapes have in common where samples of one can be taken for samples of the other."""
    return features(shape), steps(shape)


def _in_words(shape: Shape) -> str:
    count, length = _layout(shape)
    return f"{count} features" + (f" in {length} steps" if len(shape) == 2 else "")
