"""neon's model: trained, evaluated, described and saved as there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from neon_optim.compat.captured_steps import CapturedSteps
from neon_optim.compat.descriptions import class_of
from neon_optim.compat.display_logger import logger
from neon_optim.compat.measured import Measured
from neon_optim.compat.neon import __version__
from neon_optim.compat.neon.backends.backend import Block
from neon_optim.compat.neon.layers.container import Sequential
from neon_optim.compat.neon.layers.layer import Activation
from neon_optim.compat.neon.transforms import CrossEntropyBinary, Logistic
from neon_optim.compat.neon.util.beamsearch import BeamSearch
from neon_optim.compat.neon.util.persist import load_obj, save_obj
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, CheckpointError
from neon_optim.serialization.neon.neon_convert import in_neons_names

__all__ = ["Model"]

_log = logging.getLogger(__name__)


class Model(NervanaObject, kind="model"):
    """Layers that are trained together.

    Arguments:
        layers: a list of layers, a container of such, what :meth:`serialize` gives, or the path of a file with that.
        dataset: neon's; without effect, there too.
        weights_only: take over the weights alone of what was serialized, without states and random numbers.
        optimizer: what trains; :meth:`fit` is given one anyway.

    Attributes:
        layers: the container.
        cost: the cost, after :meth:`initialize`.
        epoch_index: epochs done.
        finished: a callback sets it to end training.
        total_cost: the mean cost of the minibatches of the last epoch, (1, 1).
        nbatches, ndata: those of the dataset that is trained on.
    """

    def __init__(
        self,
        layers: Any,
        dataset: Any = None,
        weights_only: Any = False,
        name: Any = "model",
        optimizer: Any = None,
    ):
        super().__init__(name=name)
        self.optimizer = optimizer
        self.params = self.states = None
        self.epoch_index = 0
        self.finished = self.initialized = False
        self.cost: Any = None
        self.nbatches = self.ndata = 0
        self._captured = CapturedSteps(self)
        if dataset is not None:
            _log.warning("Model does not need a dataset, and leaves it out")
        if isinstance(layers, dict):
            self.deserialize(layers, load_states=not weights_only)
        elif isinstance(layers, (str, bytes)):
            self.load_params(layers, load_states=not weights_only)
        else:
            self.layers: Any = Sequential(layers) if isinstance(layers, list) else layers
            if hasattr(self.layers, "layer_dict"):
                self.layer_dict = self.layers.layer_dict
        self.layers.propagate_parallelism("Data")

    @property
    def layers_to_optimize(self) -> list[Any]:
        """The layers that learn: what ``optimizer.optimize`` is given."""
        found: list[Any] = self.layers.layers_to_optimize
        return found

    def set_shortcut(self) -> None:
        """Let a Logistic at the end leave its derivative to a CrossEntropyBinary."""
        last = self.layers.layers[-1]
        if (
            type(getattr(self.cost, "costfunc", None)) is CrossEntropyBinary
            and type(last) is Activation
            and type(last.transform) is Logistic
        ):
            last.transform.set_shortcut(True)

    def initialize(self, dataset: Any, cost: Any = None) -> None:
        """Tell the layers the shape of the data, and give them their tensors; once for a model.

        Arguments:
            dataset: what has that shape: an iterator, or the shape itself.
            cost: the cost, which is told the shape of the outputs.
        """
        if self.initialized:
            return
        last = self.layers.configure(dataset)
        if cost is not None:
            cost.initialize(last)
            self.cost = cost
        self.layers.allocate()
        self.layers.allocate_deltas()
        self.initialized = True

    def __str__(self) -> str:
        return "Network Layers:\n" + str(self.layers.nested_str())

    def print_layers(self) -> None:
        """Show the layers."""
        logger.display(str(self))

    # --- training ---

    def fit(self, dataset: Any, cost: Any, optimizer: Any, num_epochs: int, callbacks: Any) -> None:
        """Train until ``num_epochs`` epochs are done in all, or a callback ends it.

        Arguments:
            dataset: minibatches: pairs of inputs and targets, each (features, samples).
            cost: what is made small.
            optimizer: what does it.
            callbacks: a :class:`Callbacks`.

        Where all layers and the cost are algebra of this package, both passes are one captured list of kernels, with
        the results of ``fprop`` and ``bprop``; else they go from layer to layer.
        """
        self.nbatches, self.ndata = dataset.nbatches, dataset.ndata
        self.total_cost = np.empty((1, 1), dtype=np.float32)
        self.optimizer = optimizer
        self.initialize(dataset, cost)
        callbacks.on_train_begin(num_epochs)
        while self.epoch_index < num_epochs and not self.finished:
            self.nbatches = dataset.nbatches
            callbacks.on_epoch_begin(self.epoch_index)
            self._epoch_fit(dataset, callbacks)
            callbacks.on_epoch_end(self.epoch_index)
            self.epoch_index += 1
        callbacks.on_train_end()

    def _epoch_fit(self, dataset: Any, callbacks: Any) -> None:
        epoch, be = self.epoch_index, self.be
        self.total_cost[:] = 0
        for number, (x, t) in enumerate(dataset):
            callbacks.on_minibatch_begin(epoch, number)
            be.begin(Block.minibatch, number)
            self.total_cost += self._passes(x, t)
            self.optimizer.optimize(self.layers_to_optimize, epoch=epoch)
            be.end(Block.minibatch, number)
            callbacks.on_minibatch_end(epoch, number)
        self.total_cost /= dataset.nbatches

    def _passes(self, x: Any, t: Any) -> Any:
        """Fill all gradients; returns the cost."""
        own = type(self).fprop is Model.fprop and type(self).bprop is Model.bprop
        if own and self._captured.train(x, t):
            return self.cost.cost
        y = self.fprop(x)
        cost = self.cost.get_cost(y, t)
        self.bprop(self.cost.get_errors(y, t))
        return cost

    def fprop(self, x: Any, inference: bool = False) -> Any:
        """The outputs for a minibatch.

        Arguments:
            inference: whether this is outside of training, which BatchNorm and Dropout ask for.
        """
        if inference:
            y = self._captured.infer(x)
            if y is not None:
                return y
        y = self.layers.fprop(x, inference)
        self.be.convert_data(y, False)
        return y

    def bprop(self, delta: Any) -> Any:
        """Fill all gradients, given the derivative of the cost by the outputs; returns that by the inputs, if any."""
        found = self.layers.bprop(delta)
        self.be.convert_data(found, False)
        return found

    # --- use ---

    def eval(self, dataset: Any, metric: Any) -> np.ndarray:
        """The mean of a metric over a dataset, an array with one number for each of its names."""
        self.initialize(dataset)
        total, done = np.zeros(len(metric.metric_names), dtype=np.float32), 0
        dataset.reset()
        count = dataset.ndata * getattr(dataset, "seq_length", 1)
        for x, t in dataset:
            y = self.fprop(x, inference=True)
            samples = min(count - done, self.be.bsz)
            columns = self._steps(y) * samples
            total += metric(y, t, calcrange=slice(0, columns)) * columns
            done += columns
        return (total / done).view(Measured)

    def _steps(self, y: Any) -> int:
        return int((y[0] if isinstance(y, list) else y).shape[1]) // self.be.bsz

    def get_outputs(self, dataset: Any) -> np.ndarray:
        """The outputs for every sample, (samples, features); of sequences (samples, steps, features)."""
        self._ready_for_outputs(dataset)
        return self._outputs(dataset, lambda x: self.fprop(x, inference=True))

    def get_outputs_beam(self, dataset: Any, num_beams: int = 0, steps: int | None = None) -> np.ndarray:
        """The outputs of an encoder with a decoder for every sample: what a beam search finds the most probable.

        Arguments:
            num_beams: how many sentences are followed; 0: no search.
            steps: how long they are; None: as long as those that the decoder was made for.
        """
        self._ready_for_outputs(dataset)
        if num_beams == 0:
            return self._outputs(dataset, lambda x: self.fprop(x, inference=True))
        search = BeamSearch(self.layers)
        return self._outputs(dataset, lambda x: search.beamsearch(x, num_beams, steps=steps), words=True)

    def _ready_for_outputs(self, dataset: Any) -> None:
        self.initialize(dataset)
        dataset.reset()
        if isinstance(getattr(self.layers.layers[-1], "outputs", None), list):
            raise ArgumentError("get_outputs() is for models with one output; this one has several")

    def _outputs(self, dataset: Any, passed: Callable[[Any], Any], words: bool = False) -> np.ndarray:
        """What is found for all samples; ``words`` are (steps, samples), all else (features, steps · samples)."""
        batch, found = self.be.bsz, []
        for x, *_ in dataset:
            y = np.array(passed(x).get())
            steps = y.reshape(1, -1, batch) if words else y.reshape(len(y), -1, batch)
            found.append(steps.transpose(2, 1, 0))
        together = np.concatenate(found)[: dataset.ndata]
        return together[:, 0] if together.shape[1] == 1 else together

    # --- what is saved ---

    def get_description(  # type: ignore[override]
        self, get_weights: bool = False, keep_states: bool = False
    ) -> dict[str, Any]:
        """The model, the cost, the optimizer and the backend, in neon's names.

        Arguments:
            get_weights: with the parameters.
            keep_states: with the states of the optimizer.
        """
        be = self.be
        found: dict[str, Any] = {
            "neon_version": __version__,
            "backend": {
                "type": type(be).__name__,
                "compat_mode": be.compat_mode or "neon",
                "rng_seed": be.rng_seed,
                "rng_state": be.rng_get_state(),
            },
        }
        if self.cost is not None:
            found["cost"] = self.cost.get_description()
        if self.optimizer is not None:
            found["optimizer"] = _in_neons_names(self.optimizer.get_description())
        found["model"] = self.layers.get_description(get_weights=get_weights, keep_states=keep_states)
        return found

    def serialize(self, fn: str | None = None, keep_states: bool = True) -> dict[str, Any] | None:
        """The description with the weights, and with the number of epochs; written to a file where there is a path.

        Arguments:
            fn: the path.
            keep_states: with the states of the optimizer.

        Returns the dict, or None where it has been written.
        """
        found = self.get_description(get_weights=True, keep_states=keep_states)
        found["epoch_index"] = self.epoch_index + 1
        if self.initialized:
            layers = self.layers
            two = hasattr(layers, "decoder")
            found["train_input_shape"] = (
                layers.encoder.in_shape + layers.decoder.in_shape if two else layers.in_shape
            )
        if fn is None:
            return found
        save_obj(found, fn)
        return None

    def save_params(self, param_path: str, keep_states: bool = True) -> None:
        """Write :meth:`serialize` to a file: a pickle that neon reads too."""
        self.serialize(fn=param_path, keep_states=keep_states)

    def load_params(self, param_path: Any, load_states: bool = True) -> None:
        """Take over what :meth:`save_params`, here or of neon, has written; no code in the file is run.

        Arguments:
            load_states: with the states of the optimizer and the random numbers.
        """
        self.deserialize(load_obj(param_path), load_states=load_states)
        _log.info("weights of %s", param_path)

    def load_weights(self, weight_path: Any) -> None:
        """:meth:`load_params`, by its old name."""
        self.load_params(weight_path)

    def deserialize(self, model_dict: dict[str, Any], data: Any = None, load_states: bool = True) -> None:
        """Take over what :meth:`serialize` gave; a model without layers gets those that are described there.

        Arguments:
            data: neon's; without effect, there too.
            load_states: with the states of the optimizer and the random numbers.

        Raises:
            CheckpointError: there is no model in the dict.
        """
        self.epoch_index = model_dict.get("epoch_index", self.epoch_index)
        if "model" not in model_dict:
            self._take_rows(model_dict, load_states)
            return
        backend, described = model_dict.get("backend", {}), model_dict["model"]
        if "compat_mode" in backend:
            self.be.compat_mode = backend["compat_mode"]
        if not hasattr(self, "layers"):
            self.layers = class_of(described["type"]).gen_class(described["config"])
        self.layers.load_weights(described, load_states)
        if load_states and "rng_state" in backend:
            try:
                self.be.rng_set_state(backend["rng_state"])
            except (TypeError, ValueError) as error:
                _log.warning("the random numbers of the file are of another backend: %s", error)

    def _take_rows(self, model_dict: dict[str, Any], load_states: bool) -> None:
        """Take over what neon 1.0 wrote: a list of parameters and states."""
        if "layer_params_states" not in model_dict:
            raise CheckpointError(
                f"no model of neon's: a dict with the keys {sorted(map(str, model_dict))[:8]}"
            )
        for layer, row in zip(self.layers_to_optimize, model_dict["layer_params_states"], strict=True):
            layer.set_params(row)
            if load_states and "states" in row:
                layer.set_states(row)

    # --- more ---

    def set_batch_size(self, N: int) -> None:
        """Tell the layers how many samples the minibatches hold that come now."""
        self.layers.set_batch_size(N)

    def set_seq_len(self, S: int) -> None:
        """Tell the layers how many steps the sequences have that come now."""
        self.layers.set_seq_len(S)

    def benchmark(
        self,
        dataset: Any,
        inference: bool = False,
        cost: Any = None,
        optimizer: Any = None,
        niterations: int = 20,
        nskip: int = 2,
    ) -> dict[str, dict[str, float]]:
        """How long the passes of a minibatch take, in milliseconds; shown as a table, too.

        Arguments:
            inference: the forward pass alone.
            niterations: how many minibatches count.
            nskip: how many before those do not.

        Returns 'mean', 'median', 'min' and 'max' of 'fprop'; and of 'bprop', and both, 'iteration', in training.

        Raises:
            ArgumentError: training needs a cost and an optimizer.
        """
        if not inference and (cost is None or optimizer is None):
            raise ArgumentError("benchmark() needs cost and optimizer, or inference=True")
        self.cost = cost
        self.initialize(dataset, cost)
        self.optimizer = optimizer
        be = self.be
        times: list[tuple[float, float]] = []
        begin, between, end = (be.init_mark() for _ in range(3))
        while len(times) < niterations + nskip:
            dataset.reset()
            for x, t in dataset:
                be.record_mark(begin)
                y = self.layers.fprop(x, inference)
                if not inference:
                    self.cost.get_cost(y, t)
                be.record_mark(between)
                if not inference:
                    self.bprop(self.cost.get_errors(y, t))
                    self.optimizer.optimize(self.layers_to_optimize, epoch=0)
                be.record_mark(end)
                be.synchronize_mark(end)
                times.append((be.get_time(begin, between), be.get_time(between, end)))
                if len(times) == niterations + nskip:
                    break
        counted = np.array(times[nskip:])
        columns = {"fprop": counted[:, 0]}
        if not inference:
            columns |= {"bprop": counted[:, 1], "iteration": counted.sum(axis=1)}
        measures: dict[str, Any] = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}
        found = {
            name: {measure: float(function(column)) for measure, function in measures.items()}
            for name, column in columns.items()
        }
        _show_times(found)
        return found


def _in_neons_names(description: dict[str, Any]) -> dict[str, Any]:
    """A description with neon's names, where neon has the class."""
    try:
        found: dict[str, Any] = in_neons_names(description)
    except CheckpointError:
        return description
    return found


def _show_times(times: dict[str, dict[str, float]]) -> None:
    header = (
        "| "
        + " | ".join(f"{title:^11}" for title in ("Func", "Mean", "Median", "Min", "Max", "Units"))
        + " |"
    )
    line = "-" * len(header)
    rows = [
        f"| {name:<11} | " + " | ".join(f"{value:<11.5g}" for value in found.values()) + f" | {'msec':^11} |"
        for name, found in times.items()
    ]
    for text in (line, header, line, *rows, line):
        logger.display(text)
