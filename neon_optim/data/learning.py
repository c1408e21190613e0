"""What is learned of samples that come a part at a time: means and deviations, and which of them validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from neon_optim.backends.philox import SHUFFLE, random_words

__all__ = ["Chosen", "Moments", "Split", "chunks_of", "rows_of_chunk"]

_MOST_NUMBERS = 1 << 22
_MOST_ROWS = 1 << 16
_WORDS = 1 << 20


def chunks_of(count: int, columns: int) -> Iterator[tuple[int, int]]:
    """The borders of the chunks that moments are made of; they follow from the size of the data alone.

    >>> list(chunks_of(100_000, 3))
    [(0, 65536), (65536, 100000)]
    """
    rows = rows_of_chunk(columns)
    for first in range(0, count, rows):
        yield first, min(first + rows, count)


def rows_of_chunk(columns: int) -> int:
    """How many rows of so many numbers a chunk has: a multiple of 8."""
    return max(8, min(_MOST_ROWS, _MOST_NUMBERS // max(1, columns)) // 8 * 8)


class Moments:
    """Mean and deviation of each of some columns, joined from chunks in their order; NaN counts for nothing.

    The bits depend on the borders of chunks: those of :func:`chunks_of` are the same however data is read.

    Arguments:
        columns: how many there are.
    """

    def __init__(self, columns: int) -> None:
        self.count = np.zeros(columns, np.int64)
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)

    def add(self, chunk: np.ndarray) -> None:
        """Take a chunk of (samples, columns) in."""
        values = np.asarray(chunk, np.float64)
        missing = np.isnan(values)
        if missing.any():
            found = ~missing
            count = found.sum(axis=0)
            some = np.maximum(count, 1)
            mean = np.where(found, values, 0.0).sum(axis=0) / some
            squares = np.where(found, np.square(values - mean), 0.0).sum(axis=0)
        elif len(values):
            count = np.full(len(self.mean), len(values))
            mean = values.mean(axis=0)
            squares = np.square(values - mean).sum(axis=0)
        else:
            return
        both = np.maximum(self.count + count, 1)
        off = mean - self.mean
        self.mean = np.where(self.count > 0, self.mean + off * (count / both), mean)
        self._squares += squares + np.square(off) * (self.count / both) * count
        self.count += count

    @property
    def deviation(self) -> np.ndarray:
        """Of each column; 1 where all values are the same."""
        deviation = np.sqrt(self._squares / np.maximum(self.count, 1))
        deviation[deviation <= 1e-12 * np.maximum(1.0, np.abs(self.mean))] = 1.0
        return deviation

    def standardizing(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and deviations."""
        return tuple(self.mean.tolist()), tuple(self.deviation.tolist())


class Split:
    """Which samples validate: a share of each class, the same as if all samples were in memory.

    A class gives those of its members whose random words are the smallest, as
    :func:`~neon_optim.model.datasets.stratified_split` does. Without classes all samples are of the class 0.

    Arguments:
        counts: how many samples each class has.
        share: of each class.
        seed: decides which.

    Attributes:
        chosen: how many samples validate.
    """

    def __init__(self, counts: Mapping[int, int], share: float, seed: int) -> None:
        self._seed = seed
        self._limits = {
            label: _limit(count, round(share * count), seed, label) for label, count in counts.items()
        }
        self._seen = dict.fromkeys(counts, 0)
        self._ties = dict.fromkeys(counts, 0)
        self.chosen = sum(round(share * count) for count in counts.values())

    def of_next(self, labels: np.ndarray) -> np.ndarray:
        """Of the samples that come next, with these class numbers: which of them validate."""
        chosen = np.zeros(len(labels), bool)
        for label, (limit, ties) in self._limits.items():
            members = np.flatnonzero(labels == label)
            words = random_words(len(members), self._seed, SHUFFLE, label, 0, self._seen[label])
            self._seen[label] += len(members)
            taken = words < limit
            equal = np.flatnonzero(words == limit)[: ties - self._ties[label]]
            self._ties[label] += len(equal)
            taken[equal] = True
            chosen[members[taken]] = True
        return chosen


class Chosen:
    """Which rows belong to a part of the data, in a bit for each."""

    def __init__(self) -> None:
        self._bits: list[np.ndarray] = []
        self._all: np.ndarray | None = None

    def add(self, chosen: np.ndarray) -> None:
        """Say it of the rows that come next; a multiple of 8 of them, but for the last."""
        self._bits.append(np.packbits(chosen))

    def of(self, first: int, last: int) -> np.ndarray:
        """Whether each of these rows belongs to it; ``first`` is a multiple of 8."""
        if self._all is None:
            self._all = np.concatenate(self._bits)
        return np.unpackbits(self._all[first // 8 : -(-last // 8)])[: last - first].view(bool)


def _limit(count: int, wanted: int, seed: int, label: int) -> tuple[int, int]:
    """The word that the smallest so many of a class's words end with, and how often it is one of these.

    It is found by counting the upper halves of all words, then the lower halves of those that share an upper half with
    it, so that memory does not grow with the class.
    """
    if not wanted:
        return 0, 0
    upper, before = _nth(_histogram(count, seed, label, None), wanted)
    lower, before = _nth(_histogram(count, seed, label, upper), wanted - before, before)
    return upper << 16 | lower, wanted - before


def _nth(histogram: np.ndarray, wanted: int, before: int = 0) -> tuple[int, int]:
    """The place where so many are reached, and how many lie in front of it, with ``before``."""
    reached = np.cumsum(histogram)
    place = int(np.searchsorted(reached, wanted))
    return place, before + (int(reached[place - 1]) if place else 0)


def _histogram(count: int, seed: int, label: int, upper: int | None) -> np.ndarray:
    """How often each upper half occurs; or each lower half beside one upper half."""
    found = np.zeros(1 << 16, np.int64)
    for first in range(0, count, _WORDS):
        words = random_words(min(_WORDS, count - first), seed, SHUFFLE, label, 0, first)
        halves = words >> 16 if upper is None else words[words >> 16 == upper] & 0xFFFF
        found += np.bincount(halves, minlength=1 << 16)
    return found
