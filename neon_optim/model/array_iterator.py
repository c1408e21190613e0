"""Minibatches of arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.backends.philox import permutation
from neon_optim.described.arguments import Flag, Name, NonNegativeInt, PositiveInt
from neon_optim.errors import DataError
from neon_optim.model.minibatches import Minibatches
from neon_optim.model.shapes import Shape, steps

__all__ = ["ArrayIterator"]


class ArrayIterator(Minibatches, abstract=True):
    """Cuts the arrays of a program into minibatches of ``be.bsz`` samples, as tensors of features × samples.

    Arguments:
        X: inputs, (samples, ...); the axes behind the first become features.
        y: targets: class numbers from 0, or, with ``make_onehot=False``, an array of (samples, outputs). None: the
            inputs themselves.
        nclass: number of classes; default: the largest class number + 1.
        make_onehot: turn class numbers into columns with a single 1.
        lshape: shape of a sample, for layers that need one: (C, H, W) for images; (F, T) for sequences of T steps,
            which are laid out as (F, T·n). None: the features alone.
        shuffle: a new order in each epoch.
        seed: of that order; None: that of the backend.

    Sequences may have a target for each step: class numbers as (samples, T), or other targets, with
    ``make_onehot=False``, as (samples, outputs, T).

    Every sample comes once in an epoch: the last minibatch is smaller where the samples do not divide evenly (neon
    fills it up with samples from the start, which then count twice). The order of an epoch depends on seed and epoch
    alone, so an epoch can be entered at any minibatch.

    >>> import numpy as np
    >>> from neon_optim import gen_backend
    >>> be = gen_backend("cpu", batch_size=2)
    >>> data = ArrayIterator(np.arange(6).reshape(3, 2), np.array([0, 1, 1]))
    >>> for x, t in data.batches(epoch=0):
    ...     print(x.get().tolist(), t.get().tolist())
    [[0.0, 2.0], [1.0, 3.0]] [[1.0, 0.0], [0.0, 1.0]]
    [[4.0], [5.0]] [[0.0], [1.0]]

    Raises:
        DataError: the arrays are empty, do not go together, or hold NaN or infinity.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        nclass: PositiveInt | None = None,
        make_onehot: Flag = True,
        lshape: tuple[int, ...] | None = None,
        name: Name = None,
        *,
        shuffle: Flag = False,
        seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__(name)
        self.X = _two_axes(X, "X")
        self.lshape = None if lshape is None else tuple(lshape)
        if lshape is not None and math.prod(lshape) != self.X.shape[1]:
            raise DataError(
                f"lshape={tuple(lshape)} has {math.prod(lshape)} elements, but a sample has {self.X.shape[1]} features"
            )
        self.shuffle = shuffle
        self.seed = seed
        self.labels: np.ndarray | None = None
        self.targets: np.ndarray | None = None
        if y is None:
            self.targets = self.X
        elif make_onehot:
            self.labels = _class_numbers(y, nclass, steps(self._shape))
        else:
            self.targets = _two_axes(y, "y")
        count = len(self.labels if self.labels is not None else self.targets)  # type: ignore[arg-type]
        if count != len(self.X):
            raise DataError(f"X has {len(self.X)} samples, y has {count}")
        if self.labels is not None:
            self.nclass: int | None = nclass or int(self.labels.max()) + 1
        else:
            self.nclass = nclass
        if self.labels is not None:
            in_steps = self.labels.ndim == 2
        else:
            in_steps = self.targets is self.X or (np.ndim(y) == 3 and np.shape(y)[2] == steps(self._shape))
        self.target_steps = steps(self._shape) if in_steps else 1
        self._order: tuple[Any, np.ndarray] | None = None

    @property
    def ndata(self) -> int:
        """Number of samples."""
        return len(self.X)

    @property
    def has_classes(self) -> bool:
        """See :attr:`Minibatches.has_classes`."""
        return self.labels is not None

    @property
    def targets_are_inputs(self) -> bool:
        """See :attr:`Minibatches.targets_are_inputs`."""
        return self.targets is self.X

    @property
    def _shape(self) -> Shape:
        return self.lshape or (int(self.X.shape[1]),)

    @property
    def nout(self) -> int:
        """Rows of the targets."""
        if self.targets is None:
            return int(self.nclass or 1)
        return int(self.targets.shape[1]) // self.target_steps

    def digest(self) -> str:
        """SHA-256 of all samples with their targets: equal only for equal data, in equal types and shapes."""
        found = hashlib.sha256()
        for array in (self.X, self.labels, self.targets):
            if array is not None:
                found.update(f"{array.dtype.str} {array.shape} ".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the samples in the order of an epoch (from 0)."""
        if self._order is None or self._order[0] != (self._seed, epoch):
            order = permutation(self.ndata, self._seed, 0, epoch) if self.shuffle else np.arange(self.ndata)
            self._order = (self._seed, epoch), order
        return self._order[1]

    def pieces(self, epoch: int, first: int, size: int) -> Iterator[tuple[np.ndarray, Any]]:
        """See :meth:`Minibatches.pieces`."""
        order = self.order(epoch)
        given = None if self.targets_are_inputs else self.targets if self.labels is None else self.labels
        for at in range(first, self.ndata, size):
            samples = order[at : at + size]
            yield self.X.take(samples, axis=0), None if given is None else given.take(samples, axis=0)


def _two_axes(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        array = array.reshape(len(array), -1) if array.size else array
        finite = array.dtype.kind in "biu" or bool(np.isfinite(array).all())
    except (TypeError, ValueError) as error:
        dtype = getattr(values, "dtype", None)
        received = type(values).__name__ if dtype is None else f"an array of {dtype}"
        hint = "; np.unique(y, return_inverse=True)[1] numbers the classes" if what == "y" else ""
        raise DataError(f"{what} must be an array of numbers, received {received}{hint}") from error
    if array.size == 0:
        raise DataError(f"{what} must hold at least one sample, received an array of shape {array.shape}")
    if not finite:
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise DataError(f"{what} holds a NaN or an infinity, first in sample {row}")
    return array


def _class_numbers(y: Any, nclass: int | None, length: int) -> np.ndarray:
    """Class numbers, (samples, 1), or (samples, T) for sequences of T steps."""
    numbers = _two_axes(y, "y")
    if numbers.shape[1] not in (1, length):
        each = "sample" if length == 1 else f"sample, or for each of its {length} steps"
        raise DataError(
            f"y must hold one class number for each {each}, received {numbers.shape[1]}; "
            "use make_onehot=False for targets"
        )
    if (numbers != np.floor(numbers)).any() or numbers.min() < 0:
        raise DataError("y must hold class numbers 0, 1, 2, …; use make_onehot=False for targets")
    if nclass is not None and numbers.max() >= nclass:
        raise DataError(
            f"y holds the class {int(numbers.max())}, but nclass={nclass} allows 0 to {nclass - 1}"
        )
    return numbers[:, 0] if numbers.shape[1] == 1 else numbers
