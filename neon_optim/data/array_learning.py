"""What is learned of arrays: the target, which samples validate, and what becomes 0 and 1."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from neon_optim.data.array_files import ArrayInFile
from neon_optim.data.encoding import Classes, Quantities, Target, classes_of, goal_of
from neon_optim.data.learning import Chosen, Moments, Split, chunks_of
from neon_optim.data.spool import Spool
from neon_optim.errors import DataError

__all__ = ["ArrayLearning", "StoredPairs"]


class StoredPairs:
    """Inputs and targets, sample by sample.

    Raises:
        DataError: they do not go together, or inputs are no numbers.
    """

    def __init__(self, X: ArrayInFile, y: ArrayInFile, where: str) -> None:
        if not X.shape or not y.shape or X.shape[0] != y.shape[0]:
            raise DataError(
                f"{where}: inputs of shape {X.shape} and targets of shape {y.shape} are not of the same number of "
                "samples"
            )
        if not math.prod(X.shape) or not math.prod(y.shape):
            raise DataError(f"{where}: there is no sample; the inputs have the shape {X.shape}")
        if X.dtype.kind not in "biuf":
            raise DataError(f"{where}: inputs must be numbers, received an array of {X.dtype}")
        if y.dtype.kind not in "biufUO":
            raise DataError(
                f"{where}: targets must be numbers or words (str), received an array of {y.dtype}"
            )
        self.X, self.y, self.where = X, y, where
        self.count = X.shape[0]
        self.features = math.prod(X.shape[1:])
        self.rows_at_once = X.rows_at_once
        self.row_bytes = -(-(X.nbytes + y.nbytes) // self.count)

    def read(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Some samples, one after the other."""
        return self.X.read(first, last), self.y.read(first, last)

    def checked(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All samples in chunks, in which no number is NaN or infinite, and which are what the file's checksums say.

        Attribute ``content`` is their digest when all have been read.

        Raises:
            DataError: they are not.
        """
        found = hashlib.sha256(repr([(a.dtype.str, a.shape) for a in (self.X, self.y)]).encode())
        sums = [array.checksum[0] if array.checksum else 0 for array in (self.X, self.y)]
        for first, last in chunks_of(self.count, self.features):
            parts = self.read(first, last)
            for k, (array, part) in enumerate(zip((self.X, self.y), parts, strict=True)):
                if part.dtype.kind == "f" and not np.isfinite(part).all():
                    odd = ~np.isfinite(part.reshape(len(part), -1)).all(axis=1)
                    at = first + int(np.flatnonzero(odd)[0])
                    raise DataError(f"{array.where} holds a NaN or an infinity, first in sample {at}")
                raw: Any = (
                    repr(part.tolist()).encode() if part.dtype.hasobject else np.ascontiguousarray(part)
                )
                data = memoryview(raw).cast("B")
                found.update(data)
                if array.checksum is not None:
                    sums[k] = zlib.crc32(data, sums[k])
            yield parts
        for array, total in zip((self.X, self.y), sums, strict=True):
            if array.checksum is not None and array.checksum[1] != total:
                raise DataError(f"{array.where} is damaged: its checksum is another")
        self.content = found.hexdigest()


class ArrayLearning:
    """What arrays to train on tell.

    Arguments:
        pairs: inputs and targets.
        name: of the target.
        task: 'classification', 'regression' or 'auto'.
        classes: how many there are, where the file says so; None: it does not.
        standardize: let each feature have the mean 0 and the deviation 1 in the samples to train on.
        share: of the samples that validate, of each class where there are classes; None: none of them.
        seed: decides which.
        aside: bytes of samples that validate that may be set aside in memory; None: they need not be.

    Attributes:
        target: what a model is to give.
        mean, deviation: of features; empty where inputs are taken as they are.
        train, valid: which samples these are.
        counts: how many there are of each.
        apart: inputs and targets that validate, set aside.

    Raises:
        DataError: the arrays cannot be used.
    """

    def __init__(
        self,
        pairs: StoredPairs,
        name: str,
        task: str,
        classes: int | None,
        standardize: bool,
        share: float | None,
        seed: int,
        aside: int | None,
    ) -> None:
        self._pairs = pairs
        found, counts = self._classes(name, task, classes)
        self.train, self.valid, self.counts = Chosen(), Chosen(), [0, 0]
        self.apart: tuple[Spool, Spool] | None = None
        if aside is not None and share is not None:
            self.apart = tuple(Spool(a.shape[1:], a.dtype, aside, a.where) for a in (pairs.X, pairs.y))  # type: ignore[assignment]
        split = None if share is None else Split(counts, share, seed)
        of_inputs = Moments(pairs.features if standardize else 0)
        outputs = 0 if found else math.prod(pairs.y.shape[1:])
        of_targets = Moments(outputs)
        for X, y in pairs.checked():
            valid = np.zeros(len(y), bool)
            if split is not None:
                valid = split.of_next(found.encoded(_flat(y)) if found else np.zeros(len(y)))
            for k, (part, chosen) in enumerate(((self.train, ~valid), (self.valid, valid))):
                part.add(chosen)
                self.counts[k] += int(np.count_nonzero(chosen))
            if self.apart is not None:
                for spool, rows in zip(self.apart, (X, y), strict=True):
                    spool.append(rows[valid])
            if standardize:
                of_inputs.add((X[~valid] if valid.any() else X).reshape(-1, pairs.features))
            if outputs:
                of_targets.add(y[~valid].reshape(-1, outputs))
        self.target: Target = found or Quantities(name, *of_targets.standardizing())
        self.mean, self.deviation = of_inputs.standardizing() if standardize else ((), ())

    def _classes(self, name: str, task: str, classes: int | None) -> tuple[Classes | None, dict[int, int]]:
        """The target where it is classes, and how many samples there are of each."""
        y = self._pairs.y
        one = math.prod(y.shape[1:]) == 1
        kind = y.dtype.kind
        if not one and (task == "classification" or kind not in "iufb"):
            raise DataError(
                f"{y.where}: a class for each sample is (samples,), received an array of shape {y.shape}"
            )
        if not one or (kind == "f" and task == "auto"):
            task = "regression"
        counts: Counter[Any] = Counter()
        if task != "regression":
            for first, last in chunks_of(y.shape[0], 1):
                found, times = np.unique(_flat(y.read(first, last)), return_counts=True)
                counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
        if goal_of(name, kind, task, lambda: len(counts)) == "regression":
            return None, {0: self._pairs.count}
        target = classes_of(name, counts.keys()) if classes is None else Classes(name, tuple(range(classes)))
        beyond = [label for label in counts if label not in target.labels]
        if beyond:
            raise DataError(
                f"{y.where}: there is a class {beyond[0]!r}, but nclass={classes} allows 0 to {len(target.labels) - 1}"
            )
        return target, {k: counts[label] for k, label in enumerate(target.labels)}


def _flat(y: np.ndarray) -> np.ndarray:
    return y.reshape(len(y))
