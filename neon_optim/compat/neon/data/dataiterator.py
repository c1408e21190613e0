"""neon's iterators over minibatches: tensors of features × samples that are filled anew for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.described.object import NervanaObject
from neon_optim.errors import DataError

__all__ = ["ArrayIterator", "NervanaDataIterator"]


class NervanaDataIterator(NervanaObject):
    """What gives minibatches: ``nbatches``, ``reset()``, and iteration over pairs (inputs, targets)."""

    def __init__(self, name: Any = None) -> None:
        super().__init__(name)

    def nbatches(self) -> Any:
        """Number of minibatches; subclasses have a number of this name."""
        raise NotImplementedError(f"{self.classnm} does not say how many minibatches it has: nbatches")

    def reset(self) -> None:
        """Begin again with the first sample."""
        raise NotImplementedError(f"{self.classnm} lacks reset()")

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs (inputs, targets)."""
        raise NotImplementedError(f"{self.classnm} lacks __iter__()")


class ArrayIterator(NervanaDataIterator):
    """Minibatches of ``be.bsz`` samples of arrays.

    The last minibatch is filled up with samples from the start; the next pass then begins behind those, unless
    ``reset()`` is called. The tensors of a minibatch are the same objects each time.

    Arguments:
        X: inputs, (samples, features), or a list of such arrays.
        y: targets: class numbers from 0, or, with ``make_onehot=False``, an array of (samples, outputs). None: the
            inputs themselves.
        nclass: number of classes; needed for class numbers.
        lshape: shape of a sample, (channels, height, width) for images.
        make_onehot: turn class numbers into columns with a single 1.
        name: name of the iterator.

    Raises:
        DataError: arrays that do not go together, or fewer samples than a minibatch has.

    >>> import numpy as np
    >>> from neon_optim.compat.neon.backends import gen_backend
    >>> be = gen_backend("cpu", batch_size=2)
    >>> for x, t in ArrayIterator(np.arange(6).reshape(3, 2), np.array([0, 1, 1]), nclass=2):
    ...     print(x.get().tolist(), t.get().tolist())
    [[0.0, 2.0], [1.0, 3.0]] [[1.0, 0.0], [0.0, 1.0]]
    [[4.0, 0.0], [5.0, 1.0]] [[0.0, 1.0], [1.0, 0.0]]
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        nclass: int | None = None,
        lshape: Any = None,
        make_onehot: bool = True,
        name: Any = None,
    ) -> None:
        super().__init__(name=name)
        inputs = [_rows(x) for x in (X if isinstance(X, list) else [X])]
        self.ndata = len(inputs[0])
        self.start = 0
        self.nclass = nclass
        self.ybuf: Any = None
        _check(inputs, y, nclass, lshape, make_onehot, self.be.bsz)
        shapes = [x.shape[1] if lshape is None else lshape for x in inputs]
        self.shape = shapes[0] if len(shapes) == 1 else shapes
        self.lshape = lshape
        self._parts: list[tuple[Any, Any, bool]] = []
        self.Xdev, self.Xbuf = zip(*[self._part(x, self.be.iobuf(x.shape[1])) for x in inputs], strict=True)
        if y is not None and make_onehot:
            numbers = np.asarray(y).reshape(-1, 1)
            self.ydev, self.ybuf = self._part(numbers, self.be.iobuf(nclass), onehot=True)
        elif y is not None:
            targets = _rows(y)
            self.ydev, self.ybuf = self._part(targets, self.be.iobuf(targets.shape[1]))

    def _part(self, values: Any, buffer: Any, onehot: bool = False) -> tuple[Any, Any]:
        """What is on the device for one array: all samples, and the tensor of a minibatch."""
        samples = self.be.array(values, dtype=np.int32) if onehot else self.be.array(values)
        self._parts.append((samples, buffer, onehot))
        return samples, buffer

    @property
    def nbatches(self) -> int:  # type: ignore[override]
        """Minibatches in the pass that would begin now."""
        return -((self.start - self.ndata) // self.be.bsz)

    def reset(self) -> None:
        """Begin the next pass with the first sample."""
        self.start = 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Pairs (inputs, targets); inputs are a tuple of tensors where X is a list of several arrays."""
        size = self.be.bsz
        for first in range(self.start, self.ndata, size):
            count = min(size, self.ndata - first)
            self._load(slice(first, first + count), slice(0, count))
            if count < size:
                self._load(slice(0, size - count), slice(count, None))
                self.start = size - count
            inputs = self.Xbuf[0] if len(self.Xbuf) == 1 else self.Xbuf
            yield inputs, inputs if self.ybuf is None else self.ybuf

    def _load(self, samples: slice, columns: slice) -> None:
        for source, buffer, onehot in self._parts:
            if onehot:
                self.be.onehot(source[samples], axis=0, out=buffer[:, columns])
            else:
                self.be.copy_transpose(source[samples], buffer[:, columns])


def _rows(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array if array.ndim == 2 else array.reshape(len(array), -1)


def _check(inputs: list[Any], y: Any, nclass: Any, lshape: Any, make_onehot: bool, size: int) -> None:
    count = len(inputs[0])
    if count < size:
        raise DataError(f"a minibatch has {size} samples, the data only {count}; make the minibatch smaller")
    if any(len(x) != count for x in inputs) or (y is not None and len(y) != count):
        lengths = [len(x) for x in inputs] + ([] if y is None else [len(y)])
        raise DataError(f"inputs and targets must have the same number of samples, received {lengths}")
    if lshape is not None:
        for x in inputs:
            if x.shape[1] != np.prod(lshape):
                raise DataError(
                    f"lshape={tuple(lshape)} has {np.prod(lshape)} elements, but a sample has {x.shape[1]} features"
                )
    if y is None or not make_onehot:
        return
    if nclass is None:
        raise DataError(
            "class numbers need nclass=, the number of classes; other targets need make_onehot=False"
        )
    numbers = np.asarray(y)
    if (numbers != np.floor(numbers)).any() or numbers.min() < 0 or numbers.max() >= nclass:
        raise DataError(
            f"class numbers must be integers from 0 to nclass - 1 = {nclass - 1}, received {numbers.min()} to "
            f"{numbers.max()}; other targets need make_onehot=False"
        )
