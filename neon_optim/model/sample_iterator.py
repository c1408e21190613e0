"""Minibatches of samples that may be more than memory holds: windows of blocks, read while the one before is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from neon_optim.backends.philox import permutation
from neon_optim.described.arguments import Flag, Name, NonNegativeInt
from neon_optim.model.minibatches import Minibatches
from neon_optim.model.samples import Rows, Samples
from neon_optim.model.shapes import Shape

__all__ = ["SampleIterator"]

_OF_BLOCKS = 0xFFFFFFFF
"""The stream of random numbers that orders blocks; windows have the streams 0, 1, 2, …"""


class SampleIterator(Minibatches, abstract=True):
    """Cuts samples into minibatches; at most two windows of them are in memory.

    An epoch takes the blocks of the data in a random order, so many at a time as a window holds, and the samples of
    a window in a random order. Both depend on seed, epoch and number of the window alone, so that an epoch can be
    entered at any minibatch with the same bits. Where one window holds everything it stays in memory, and the order is
    that of :class:`~neon_optim.model.array_iterator.ArrayIterator`.

    Arguments:
        samples: where they come from.
        window: bytes of a window; at least one block is taken.
        shuffle: a new order in each epoch; else that of the data.
        seed: of that order; None: that of the backend.
    """

    def __init__(
        self,
        samples: Samples,
        window: int,
        name: Name = None,
        *,
        shuffle: Flag = False,
        seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__(name)
        self.samples = samples
        self.lshape = samples.shape if len(samples.shape) > 1 else None
        self.shuffle, self.seed = shuffle, seed
        self.nclass = samples.nout if samples.has_classes else None
        largest = max(1, int(samples.blocks.max(initial=0)) * samples.row_bytes)
        self.window = max(1, window // largest)
        self._held: Rows | None = None

    @property
    def ndata(self) -> int:
        """Number of samples."""
        return self.samples.ndata

    @property
    def nout(self) -> int:
        """Rows of the targets."""
        return self.samples.nout

    @property
    def has_classes(self) -> bool:
        """See :attr:`Minibatches.has_classes`."""
        return self.samples.has_classes

    @property
    def streams(self) -> bool:
        """Whether the samples are read anew in each epoch."""
        return len(self.samples.blocks) > self.window

    @property
    def _shape(self) -> Shape:
        return self.samples.shape

    def digest(self) -> str:
        """See :meth:`Minibatches.digest`."""
        return self.samples.digest()

    def pieces(self, epoch: int, first: int, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See :meth:`Minibatches.pieces`."""
        windows = self._windows(epoch)
        counts = [int(self.samples.blocks[blocks].sum()) for blocks in windows]
        number = 0
        while number < len(windows) and first >= counts[number]:
            first -= counts[number]
            number += 1
        taken: list[Rows] = []
        lacking = size
        for rows in self._read(windows[number:]):
            order = self._order(counts[number], number, epoch)
            while first < counts[number]:
                some = order[first : first + lacking]
                taken.append(tuple(array.take(some, axis=0) for array in rows))
                first, lacking = first + len(some), lacking - len(some)
                if not lacking:
                    yield self._made(taken)
                    taken, lacking = [], size
            first, number = 0, number + 1
        if taken:
            yield self._made(taken)

    def _windows(self, epoch: int) -> list[np.ndarray]:
        """The blocks of each window, in the order of the data."""
        count = len(self.samples.blocks)
        if self.shuffle and self.streams:
            blocks = permutation(count, self._seed, _OF_BLOCKS, epoch)
        else:
            blocks = np.arange(count)
        return [np.sort(blocks[at : at + self.window]) for at in range(0, count, self.window)]

    def _order(self, count: int, number: int, epoch: int) -> np.ndarray:
        return permutation(count, self._seed, number, epoch) if self.shuffle else np.arange(count)

    def _made(self, taken: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray]:
        rows = taken[0] if len(taken) == 1 else tuple(map(np.concatenate, zip(*taken, strict=True)))
        return self.samples.inputs(rows), self.samples.targets(rows)

    def _read(self, windows: Sequence[np.ndarray]) -> Iterator[Rows]:
        """The rows of each window; the next one is read while one is used, which holds until the next is asked for."""
        if not self.streams:
            if self._held is None:
                self._held = self.samples.held or self._filled(self.samples.empty(self.ndata), windows[0])
            yield self._held
            return
        largest = max((int(self.samples.blocks[blocks].sum()) for blocks in windows), default=0)
        memory = [self.samples.empty(largest) for _ in range(2)]
        with ThreadPoolExecutor(1, "neon_optim-read") as reader:
            ahead: Future[Rows] | None = None
            for k, blocks in enumerate(windows):
                ahead = ahead or reader.submit(self._filled, memory[k % 2], blocks)
                rows, ahead = ahead.result(), None
                if k + 1 < len(windows):
                    ahead = reader.submit(self._filled, memory[(k + 1) % 2], windows[k + 1])
                yield rows

    def _filled(self, rows: Rows, blocks: np.ndarray) -> Rows:
        """Memory with the samples of some blocks in it."""
        at = 0
        for block in blocks.tolist():
            self.samples.read(block, rows, at)
            at += int(self.samples.blocks[block])
        return rows
