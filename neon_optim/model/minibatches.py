"""What minibatches are: tensors of features × samples, in the order of an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import DataError
from neon_optim.model.shapes import Shape, columns, features

__all__ = ["Minibatches"]


class Minibatches(NervanaObject, abstract=True):
    """Cuts samples into minibatches of ``be.bsz``. Where samples come from, and in which order, a subclass says.

    Every sample comes once in an epoch: the last minibatch is smaller where the samples do not divide evenly. The order
    of an epoch depends on seed and epoch alone, so an epoch can be entered at any minibatch.

    Attributes:
        lshape: shape of a sample, for layers that need one; None: the features alone.
        shuffle: a new order in each epoch.
        seed: of that order; None: that of the backend.
        target_steps: steps of a sample that have a target each; 1 where a sample has one target.
    """

    lshape: tuple[int, ...] | None
    shuffle: bool
    seed: int | None
    target_steps: int = 1

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self._tensors: dict[Any, tuple[Any, Any, Any]] = {}

    @property
    @abstractmethod
    def ndata(self) -> int:
        """Number of samples."""

    @property
    @abstractmethod
    def nout(self) -> int:
        """Rows of the targets."""

    @property
    @abstractmethod
    def has_classes(self) -> bool:
        """Whether targets are class numbers, which become columns with a single 1."""

    @property
    def targets_are_inputs(self) -> bool:
        """Whether a model is to give what it is given."""
        return False

    @property
    @abstractmethod
    def _shape(self) -> Shape:
        """Shape of a sample."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of all samples with their targets: equal only for equal data, in equal types and shapes."""

    @abstractmethod
    def pieces(self, epoch: int, first: int, size: int) -> Iterator[tuple[np.ndarray, Any]]:
        """The minibatches of an epoch in host memory: inputs, (samples, features), and targets.

        Targets are class numbers or (samples, …); None where they are the inputs.

        Arguments:
            first: how many samples of the epoch are left out.
            size: samples of a minibatch.
        """

    @property
    def nin(self) -> int:
        """Features of a sample, or of a step of it."""
        return features(self._shape)

    @property
    def shape(self) -> Any:
        """Shape of a sample: ``lshape`` where given, else the number of features."""
        return self.lshape or self.nin

    @property
    def nbatches(self) -> int:
        """Minibatches in an epoch, the last, smaller one included."""
        return -(-self.ndata // self._batch_size())

    def _batch_size(self) -> int:
        if self.be is None or not self.be.bsz:
            raise DataError("the batch size is not set: call neon_optim.gen_backend(batch_size=...)")
        return int(self.be.bsz)

    @property
    def _seed(self) -> int:
        return int(self.be.noise_seed) if self.seed is None else self.seed

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """The minibatches of an epoch as (inputs, targets), from minibatch ``start`` on.

        The tensors are used again: they hold their values until the next minibatch of the same size is asked for.
        """
        size = self._batch_size()
        for inputs, targets in self.pieces(epoch, start * size, size):
            yield self._load(inputs, targets)

    def parts(
        self, epoch: int, start: int, own: range, count: int
    ) -> Iterator[list[Callable[[], tuple[Any, Any] | None]]]:
        """:meth:`batches` cut into so many parts, as equal as can be; of each minibatch the own ones.

        Each part is loaded when it is called, into tensors that are used again; None: it has no samples.
        """
        size = self._batch_size()
        for inputs, targets in self.pieces(epoch, start * size, size):
            yield [partial(self._load_part, inputs, targets, k, count) for k in own]

    def _load_part(self, X: np.ndarray, y: Any, part: int, parts: int) -> tuple[Any, Any] | None:
        own = slice(part * len(X) // parts, (part + 1) * len(X) // parts)
        return self._load(X[own], None if y is None else y[own]) if len(X[own]) else None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self.batches()

    def _load(self, X: np.ndarray, y: Any) -> tuple[Any, Any]:
        inputs, labels, targets = self._tensors_for(len(X))
        inputs.set(X.T.reshape(inputs.shape))
        if labels is not None:
            labels.set(y.T.reshape(1, -1))
            targets[:] = self.be.onehot(labels, axis=0)
        elif targets is not inputs:
            targets.set(y.T.reshape(targets.shape))
        return inputs, targets

    def _tensors_for(self, samples: int) -> tuple[Any, Any, Any]:
        key = id(self.be), samples
        if key not in self._tensors:
            inputs = self.be.empty((self.nin, columns(self._shape, samples)))
            count = samples * self.target_steps
            labels = self.be.empty((1, count), dtype=np.float32) if self.has_classes else None
            targets = inputs if self.targets_are_inputs else self.be.empty((self.nout, count))
            self._tensors[key] = inputs, labels, targets
        return self._tensors[key]
