"""The training loop: one object that knows where training stands and can go on from anywhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neon_optim.described.arguments import raise_problems
from neon_optim.described.checks import Check, Having, Number, OfKind
from neon_optim.errors import ArgumentError, DataError, NonFiniteError, Problem
from neon_optim.model.parted import PartedMinibatches
from neon_optim.model.shapes import columns

__all__ = ["Training", "learning_rate", "misfits"]

_CHECKS: dict[str, Check] = {
    "dataset": Having("batches", called="a dataset of minibatches"),
    "cost": OfKind("cost"),
    "optimizer": OfKind("optimizer"),
    "num_epochs": Number(ge=1, integer=True),
}


class Training:
    """A model on its way through its epochs.

    Arguments are those of :meth:`Model.fit`.

    The position (epoch, minibatch, step) is kept in the model, so that it is saved and restored with it. Costs are left
    on the device and read when somebody asks: see :meth:`read_costs`.

    Attributes:
        nbatches: minibatches in an epoch.
        stopped: whether :meth:`stop` ended the run before its time.
        reason: why there is nothing more to train, where a callback found that; '' else.
        steps: (step, mean cost of its minibatch, learning rate) of this epoch, as far as costs have been read.
        record: what is known of the epoch that just ended: epoch (from 1), step, train_cost, learning_rate, and what
            callbacks add.

    Raises:
        ArgumentError: model, data, cost and optimizer do not go together.
        DataError: the batch size is not set, or above the number of samples.
    """

    def __init__(
        self,
        model: Any,
        dataset: Any,
        cost: Any,
        optimizer: Any,
        num_epochs: int,
        callbacks: Sequence[Any] = (),
    ) -> None:
        given = {"dataset": dataset, "cost": cost, "optimizer": optimizer, "num_epochs": num_epochs}
        raise_problems(
            "fit",
            [
                fault._replace(argument=name)
                for name, value in given.items()
                for fault in _CHECKS[name].faults(value)
            ],
        )
        problems = misfits(model, dataset, cost, model.layers.backend.bsz)
        if problems:
            only_data = all(problem.argument == "batchsize" for problem in problems)
            raise (DataError if only_data else ArgumentError).listing(problems)
        model.initialize(dataset, cost)
        self.model, self.dataset, self.cost, self.optimizer = model, dataset, cost, optimizer
        self.num_epochs, self.callbacks = int(num_epochs), list(callbacks)
        self.nbatches = dataset.nbatches
        self._asked = self.stopped = False
        self.reason = ""
        self._wants_checkpoint = False
        self.steps: list[tuple[int, float, float]] = []
        self.record: dict[str, Any] = {}
        self._costs = model.be.zeros((1, self.nbatches), dtype=np.float64)
        self._parted = (
            PartedMinibatches(model, dataset, cost, optimizer)
            if getattr(optimizer, "shards", 1) > 1
            else None
        )
        self._read = model.minibatch_index
        self._rates: list[float] = []

    def run(self) -> None:
        """Train until the last epoch is done or :meth:`stop` is called; either ends with a :meth:`checkpoint`."""
        try:
            if self._parted is not None:
                self._parted.begin()
            self._tell("on_train_begin")
            while self.model.epoch_index < self.num_epochs and not self._ends():
                self._run_epoch()
            self.checkpoint()
        finally:
            with contextlib.ExitStack() as stack:  # all are told, whatever one of them raises
                for callback in reversed(self.callbacks):
                    stack.callback(callback.on_train_end, self)

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to train."""
        return bool(self.reason) or self.model.epoch_index >= self.num_epochs

    def stop(self, reason: str = "") -> None:
        """End the run after the present minibatch. May be called from a signal handler.

        Arguments:
            reason: why there is nothing more to train; '' where the run is to go on another time.
        """
        self._asked, self.reason = True, reason or self.reason
        if self._parted is None:
            self.stopped = True

    def _ends(self) -> bool:
        """Whether the run ends here: where several processes train, all of them know it at the same minibatch."""
        if self._parted is not None and not self.stopped:
            self.stopped = any(self.optimizer.comm.gather(self._asked))
        if self._parted is not None and self.stopped:
            self.reason = next(filter(None, self.optimizer.comm.gather(self.reason)), "")
        return self.stopped

    def checkpoint(self) -> None:
        """Let every callback put on disk what it has, in order; whoever saves the model comes last."""
        self._tell("on_checkpoint")

    def want_checkpoint(self) -> None:
        """Ask for a :meth:`checkpoint` when all callbacks have been told of the end of the epoch."""
        self._wants_checkpoint = True

    def _run_epoch(self) -> None:
        model = self.model
        if model.minibatch_index == 0:
            self.steps.clear()
            self._tell("on_epoch_begin")
        for minibatch in self._minibatches():
            self._step(minibatch)
            model.minibatch_index += 1
            model.step += 1
            self._tell("on_minibatch_end")
            if self.stopped and model.minibatch_index < self.nbatches:
                return
        self.read_costs()
        self.record = {
            "epoch": model.epoch_index + 1,
            "step": model.step,
            "train_cost": model.cost_sum / columns(model.layers.out_shape, self.dataset.ndata),
            "learning_rate": self.steps[-1][2]
            if self.steps
            else learning_rate(self.optimizer, model.epoch_index),
        }
        model.epoch_index += 1
        model.minibatch_index, model.cost_sum, self._read = 0, 0.0, 0
        self._tell("on_epoch_end")
        if self._wants_checkpoint:
            self._wants_checkpoint = False
            self.checkpoint()

    def _minibatches(self) -> Iterator[Any]:
        """Those of this epoch that are not done yet."""
        at = self.model.epoch_index, self.model.minibatch_index
        minibatches: Iterator[Any] = (self._parted or self.dataset).batches(*at)
        return minibatches

    def _step(self, minibatch: Any) -> None:
        model = self.model
        at = model.minibatch_index
        if self._parted is not None:
            numbers, cost, self.stopped = self._parted.step(minibatch, self._asked)
            self._costs[:, at : at + 1] = cost
            self._rates.append(numbers.lr)
            return
        x, t = minibatch
        parameters = model.forward_backward(x, t, self.cost, self._costs[:, at : at + 1])
        # The last minibatch of an epoch may be smaller, and its gradient is a sum over itself.
        numbers = self.optimizer.step(parameters, model.epoch_index, batch_size=model.samples(x))
        self._rates.append(numbers.lr)

    def read_costs(self) -> None:
        """Bring ``steps``, and ``model.cost_sum`` with it, up to the present minibatch. Waits for the device.

        Raises:
            NonFiniteError: a cost is NaN or infinite: training has diverged.
        """
        model, begin = self.model, self._read
        self._read = model.minibatch_index
        sums = self._costs.get()[0, begin : self._read].tolist()
        before = model.step - model.minibatch_index
        size, ndata = model.be.bsz, self.dataset.ndata
        for batch, total in enumerate(sums, begin):
            if not math.isfinite(total):
                raise NonFiniteError(
                    f"training has diverged: the cost at step {before + batch + 1} (epoch {model.epoch_index + 1}) "
                    f"is {total}; a lower learning_rate or gradient_clip_norm may help"
                )
            model.cost_sum += total
            mean = total / columns(model.layers.out_shape, min(size, ndata - batch * size))
            self.steps.append((before + batch + 1, mean, self._rates[batch - begin]))
        self._rates.clear()

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)


def misfits(model: Any, dataset: Any, cost: Any, batch_size: int) -> list[Problem]:
    """Why a model cannot be trained on a dataset, as far as it shows without a backend."""
    problems: list[Problem] = model.misfits(dataset, cost)
    if batch_size > dataset.ndata:
        message = (
            f"the batch size ({batch_size}) is above the number of training samples ({dataset.ndata}); "
            f"use at most {dataset.ndata}"
        )
        problems.append(Problem.about("batchsize", message))
    return problems


def learning_rate(optimizer: Any, epoch: int) -> float:
    """The rate of the next step; of a MultiOptimizer that of its default."""
    return float(optimizer.at(epoch).lr)
