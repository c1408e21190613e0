"""Callbacks that end a run: where it no longer gets better, or where its time is over."""

from __future__ import annotations

import math
import time
from typing import Any, Literal

import numpy as np

from neon_optim.described.arguments import Flag, Name, NonNegative, Positive, PositiveInt
from neon_optim.described.counters import check_counters
from neon_optim.errors import ArgumentError, Problem, shown
from neon_optim.model.callbacks import Callback, Checkpoints, Validation
from neon_optim.model.training import Training
from neon_optim.serialization import load_checkpoint

__all__ = ["EarlyStopping", "TimeLimit"]


class EarlyStopping(Callback):
    """Ends training where a metric of the validation has not become better for some epochs.

    Arguments:
        metric: its name in the record of :class:`Validation`: ``valid_cost``, ``valid_error``.
        patience: end after so many epochs in a row without a better value.
        min_change: by how much a value must be better to count.
        mode: 'min' or 'max': which values are better; None: as the metric says.
        restore_best: give the model, in the end, the weights that it was validated best with. A :class:`Checkpoints` in
            the same list then saves the best ones whenever there are such, and they are read from there; without one
            they are kept in memory.

    It comes behind the Validation. What it counts is part of the model's counters, so that a run that was interrupted
    ends where it would have ended; a run that it has ended stays so, unless it gets more patience.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> from neon_optim.model import Affine, ArrayIterator, Constant, EarlyStopping, MeanSquared, Model, Validation
    >>> from neon_optim.optimizers import SGD
    >>> be = gen_backend("cpu", rng_seed=1, batch_size=4)
    >>> x = np.arange(8.0).reshape(8, 1) / 8
    >>> data, cost, model = ArrayIterator(x, x, make_onehot=False), MeanSquared(), Model([Affine(1, Constant(0.9))])
    >>> stop = EarlyStopping(patience=2, min_change=0.001)
    >>> callbacks = [Validation(data, {"valid_cost": cost}), stop]
    >>> model.fit(data, cost, SGD(learning_rate=0.5), num_epochs=100, callbacks=callbacks)
    >>> model.epoch_index < 10
    True
    """

    metric: str = "valid_cost"
    patience: PositiveInt = 5
    min_change: NonNegative = 0.0
    mode: Literal["min", "max"] | None = None
    restore_best: Flag = False
    name: Name = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kept: list[np.ndarray] | None = None

    def best_by(self, metrics: Any) -> tuple[str, str]:
        """The metric, and 'min' or 'max'.

        Arguments:
            metrics: those that are measured, by name.

        Raises:
            ArgumentError: it is none of them.
        """
        if self.metric not in metrics:
            known = (
                f"measured are {', '.join(metrics)}"
                if metrics
                else "nothing is measured without a Validation"
            )
            message = f"the metric {shown(self.metric)} is not measured; {known}"
            raise ArgumentError(message, [Problem.about("metric", message, self)])
        larger = getattr(metrics[self.metric], "larger_is_better", False)
        return self.metric, self.mode or ("max" if larger else "min")

    @property
    def _sign(self) -> float:
        """What makes smaller values the better ones."""
        return -1.0 if self._by[1] == "max" else 1.0

    @property
    def _place(self) -> str:
        """What it remembers is known by: another metric begins anew."""
        return f"{self.name} by {self.metric}"

    def on_train_begin(self, training: Training) -> None:
        """Go on where the model stands; end at once a run that has been ended."""
        names = [callback.name for callback in training.callbacks if isinstance(callback, EarlyStopping)]
        if len(set(names)) < len(names):
            raise ArgumentError(f"two EarlyStopping have the name {shown(self.name)}: give each its own")
        validation = _first(training, Validation)
        self._by = self.best_by({} if validation is None else validation.metrics)
        self._checkpoints = _first(training, Checkpoints) if self.restore_best else None
        if self._checkpoints is not None:
            manager = self._checkpoints.manager
            deletes = manager.keep_last is not None or manager.keep_every is not None
            if manager.keep_best != self._by and (deletes or manager.keep_best is not None):
                raise ArgumentError(
                    f"restore_best: the checkpoints must be kept by the same metric: CheckpointManager(…, keep_best="
                    f"{self._by!r}), received {manager.keep_best!r}"
                )
        worst = self._sign * math.inf
        start = {"best": worst, "mark": worst, "epoch": 0, "waited": 0}
        known = training.model.remembered.get(self._place, start)
        self._state = training.model.remembered[self._place] = check_counters(self._place, start, known)
        self._stop_if_due(training)

    def reason_to_end(self, model: Any) -> str:
        """Why there is nothing more to train, by what a model remembers; '' where there is."""
        state = model.remembered.get(self._place, {"waited": 0})
        if state["waited"] < self.patience:
            return ""
        epochs = f"{state['waited']} {'epoch' if state['waited'] == 1 else 'epochs'}"
        best = f"{state['best']:.4g} of epoch {state['epoch']}"
        return f"{self.metric.replace('_', ' ')} has not become better than {best} for {epochs}"

    def on_epoch_end(self, training: Training) -> None:
        """Compare, count, and end the run where it is time."""
        state, value, sign = self._state, float(training.record[self.metric]), self._sign
        if sign * value <= sign * state["best"]:  # of equal ones the last, as a CheckpointManager has it
            state.update(best=value, epoch=training.record["epoch"])
            self._keep(training)
        if sign * value < sign * state["mark"] - self.min_change:
            state.update(mark=value, waited=0)
        else:
            state["waited"] += 1
        self._stop_if_due(training)

    def on_train_end(self, training: Training) -> None:
        """Give the model its best weights, where that is wanted and training is over."""
        if self.restore_best and training.finished:
            self._restore(training.model)
        self._kept = None

    def _stop_if_due(self, training: Training) -> None:
        reason = self.reason_to_end(training.model)
        if reason:
            training.stop(reason)

    def _keep(self, training: Training) -> None:
        """Keep the weights that were validated."""
        if not self.restore_best:
            return
        if self._checkpoints is not None:
            training.want_checkpoint()
            return
        with training.optimizer.evaluation(training.model.layers_to_optimize):
            self._kept = [np.array(tensor.get()) for tensor in _weights(training.model)]

    def _restore(self, model: Any) -> None:
        if self._checkpoints is not None:
            best = self._checkpoints.manager.best(self._by)
            if best is not None:
                counters = model.get_counters()
                load_checkpoint(best, model=model)
                model.set_counters(counters)
        elif self._kept is not None:
            for tensor, kept in zip(_weights(model), self._kept, strict=True):
                tensor[:] = kept


class TimeLimit(Callback):
    """Ends a run after some time, as Ctrl-C does: a checkpoint is saved, and ``--resume`` goes on.

    Arguments:
        minutes: the time, from the first minibatch of this process on. The minibatch that is under way then is done.
    """

    minutes: Positive
    name: Name = None

    def on_train_begin(self, training: Training) -> None:
        """Start the clock."""
        self._end = time.monotonic() + 60.0 * self.minutes

    def on_minibatch_end(self, training: Training) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            training.stop()


def _first(training: Training, kind: type) -> Any:
    return next((callback for callback in training.callbacks if isinstance(callback, kind)), None)


def _weights(model: Any) -> list[Any]:
    """The tensors that outputs outside of training depend on."""
    return [param for (param, _), _ in model.get_params()] + [*model.get_arrays(inference=True).values()]
