"""Minibatches of which one process computes some, or a part of each: what is joined beside the gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from neon_optim.errors import ModelError
from neon_optim.model.shapes import columns

__all__ = ["PartedMinibatches", "eval_together"]


class PartedMinibatches:
    """The minibatches of a dataset, in the parts that an optimizer on several processes asks for.

    A layer goes through each part as through a minibatch: masks of Dropout are those of the part, and statistics those
    of its samples, of which running ones become the mean over the parts. So nothing depends on who computes a part.

    Arguments:
        model, dataset, cost: as for :meth:`Model.fit`.
        optimizer: has ``shards``, ``own_parts``, ``add(layers, samples)`` and ``sum_of_parts(numbers)``.

    Raises:
        ModelError: a layer keeps something from minibatch to minibatch that parts of minibatches cannot share.
    """

    def __init__(self, model: Any, dataset: Any, cost: Any, optimizer: Any) -> None:
        self._model, self._dataset, self._cost, self._optimizer = model, dataset, cost, optimizer
        self._parts, self._own = int(optimizer.shards), optimizer.own_parts
        self._leaves = list(model.layers.leaves())
        self._total = model.be.zeros((1, 1), dtype=np.float64)
        for leaf in self._leaves:
            if set(leaf.get_arrays()) - set(leaf.get_arrays(inference=True)):
                raise ModelError(
                    f"layer '{leaf.name}' goes on from minibatch to minibatch, sample by sample (reset_cells=False), "
                    "so these cannot be cut into parts: train it in one process, without shards"
                )

    def begin(self) -> None:
        """Before the first minibatch: the order of the data is that of process 0."""
        be = self._model.be
        be.noise_seed = self._optimizer.comm.broadcast(be.noise_seed)

    def batches(self, epoch: int, start: int) -> Iterator[list[Any]]:
        """For each minibatch of an epoch its own parts, each to be loaded by calling it."""
        count = self._parts
        if hasattr(self._dataset, "parts"):
            yield from self._dataset.parts(epoch, start, self._own, count)
            return
        size, ndata = int(self._model.be.bsz), self._dataset.ndata
        for at, (x, t) in enumerate(self._dataset.batches(epoch, start), start):
            samples = min(size, ndata - at * size)
            yield [partial(self._cut, x, t, samples, part, count) for part in self._own]

    def _cut(self, x: Any, t: Any, samples: int, part: int, parts: int) -> tuple[Any, Any] | None:
        """A part of a minibatch, copied; None where it has no samples."""
        first, end = part * samples // parts, (part + 1) * samples // parts
        if first == end:
            return None

        def cut(tensor: Any) -> Any:
            values = tensor.get().reshape(tensor.shape[0], -1, samples)[:, :, first:end]
            return self._model.be.array(values.reshape(tensor.shape[0], -1), tensor.dtype)

        return cut(x), cut(t)

    def step(self, loads: list[Any], wants_end: bool) -> tuple[Any, float, bool]:
        """One step: the own parts of a minibatch, and what is joined of all.

        Arguments:
            wants_end: whether this process wants to end after this minibatch.

        Returns the numbers of the step, the cost summed over the minibatch, and whether any process wants to end.
        """
        model, optimizer = self._model, self._optimizer
        kept = [*model.get_arrays(inference=True).values()]
        before = [array.get() for array in kept]
        numbers = np.zeros((len(loads), 3 + sum(array.size for array in before)))
        self._skip(self._own.start)
        parameters = model.parameters()
        for k, load in enumerate(loads):
            for array, value in zip(kept, before, strict=True):
                array.set(value)
            part, samples = load(), 0
            if part is None:
                self._skip(1)
            else:
                parameters = model.forward_backward(*part, self._cost, self._total)
                samples = model.samples(part[0])
                numbers[k, 0] = self._total.get()[0, 0]
                after = [array.get().reshape(-1).astype(np.float64) for array in kept]
                numbers[k, 3:] = np.concatenate([np.zeros(0), *after]) * samples
            numbers[k, 1:3] = samples, wants_end
            optimizer.add(parameters, samples)
        self._skip(self._parts - self._own.stop)
        cost, samples, ends, *means = optimizer.sum_of_parts(numbers).tolist()
        at = 0
        for array, value in zip(kept, before, strict=True):
            array.set(
                (np.array(means[at : at + value.size]) / samples).reshape(value.shape).astype(value.dtype)
            )
            at += value.size
        return optimizer.step(parameters, model.epoch_index), cost, bool(ends)

    def _skip(self, parts: int) -> None:
        """Let layers count parts that others compute."""
        for leaf in self._leaves:
            leaf.skip(parts)


def eval_together(model: Any, dataset: Any, metrics: Sequence[Any], comm: Any) -> list[float]:
    """What :meth:`Model.eval_all` gives, to the bit, from several processes: each goes through some of the minibatches.

    Arguments:
        comm: the processes, which call this together.
    """
    model.initialize(dataset)
    be, rank, size = model.be, comm.rank, comm.size
    part = be.zeros((1, 1), dtype=np.float64)
    own: list[float] = []
    for number, (x, t) in enumerate(dataset.batches()):
        if number % size != rank:
            continue
        y = model.fprop(x, inference=True)
        for metric in metrics:
            part.fill(0.0)
            part[:] = part + be.sum(metric(y, t))  # as a total over minibatches takes it
            own.append(float(part.get()[0, 0]))
    width, sizes = len(metrics), comm.gather_numbers([len(own)])[:, 0].astype(int).tolist()
    found = [array.reshape(-1, width) for array in comm.gather_arrays(np.array(own), sizes)]
    totals = np.zeros(width)
    for number in range(sum(map(len, found))):  # one after the other, in the order of the data
        totals += found[number % size][number // size]
    samples = columns(model.layers.out_shape, dataset.ndata)
    return [total / samples for total in totals.tolist()]
