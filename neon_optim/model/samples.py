"""Samples that are read block by block: what a source of them gives, be it in memory or in a file."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from neon_optim.model.shapes import Shape

__all__ = ["Rows", "Samples"]

Rows = tuple[np.ndarray, ...]
"""Samples as a source holds them: arrays of equal length, a row for each sample."""


class Samples(ABC):
    """Samples in blocks. What :meth:`read` gives may be smaller than inputs are; :meth:`inputs` makes these.

    Attributes:
        shape: of a sample as the model sees it.
        nout: numbers of a target; with classes, how many there are.
        has_classes: whether targets are class numbers.
        blocks: how many samples are in each block, in the order of the data.
        row_bytes: what :meth:`read` takes in memory for a sample.
    """

    shape: Shape
    nout: int
    has_classes: bool
    blocks: np.ndarray
    row_bytes: int

    @property
    def ndata(self) -> int:
        """Number of samples."""
        return int(self.blocks.sum())

    @property
    def held(self) -> Rows | None:
        """All samples, where they are in memory; None where they have to be read."""
        return None

    @abstractmethod
    def empty(self, count: int) -> Rows:
        """Memory for so many samples."""

    @abstractmethod
    def read(self, block: int, rows: Rows, at: int) -> None:
        """Fill ``rows`` from row ``at`` on with the samples of a block. It is called in another thread.

        Raises:
            DataError: the data cannot be read any more, or has changed.
        """

    @abstractmethod
    def inputs(self, rows: Rows) -> np.ndarray:
        """The inputs, (samples, features), of some rows."""

    @abstractmethod
    def targets(self, rows: Rows) -> np.ndarray:
        """Class numbers, (samples,), or numbers, (samples, outputs), of some rows."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of all samples with their targets."""
