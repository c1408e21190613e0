"""The base of datasets of the users: what is learned of the samples to train on, and which these are."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from neon_optim.data.encoded_samples import EncodedSamples
from neon_optim.data.encoding import Classes, Encoding
from neon_optim.described.arguments import NonNegativeInt
from neon_optim.described.checks import Either, Number, Text
from neon_optim.described.object import NervanaObject
from neon_optim.described.sizes import Size, bytes_of
from neon_optim.errors import DataError, Problem
from neon_optim.model.datasets import Arrays
from neon_optim.model.sample_iterator import SampleIterator

__all__ = ["EncodedDataset", "Memory", "Parts", "Task", "Validation"]

Validation = Annotated[Any, Either(Number(gt=0, lt=1), Text())]
Memory = Annotated[Any, Size()]
Task = Literal["auto", "classification", "regression"]

_WINDOWS = 4
"""What is larger than memory is used in windows of a quarter of it: one in use, one being read, and room for both."""


class Parts(NamedTuple):
    """What a dataset consists of: an encoding, and the samples that it makes, to train on and to validate with."""

    encoding: Encoding
    train: EncodedSamples
    valid: EncodedSamples


class EncodedDataset(NervanaObject, kind="dataset", abstract=True):
    """Data of the users: what is done with it is learned from the samples to train on, and kept with the model.

    Arguments:
        validation: the share of the samples that is kept for validation, of each class where there are classes; or the
            path of other data to validate with.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
        memory: what samples may take of it, in bytes or as '500MB' or '4GB'. More than that is read again in each
            epoch, in windows of a quarter of it.
    """

    _: KW_ONLY
    validation: Validation = 0.2
    split_seed: NonNegativeInt = 0
    task: Task = "auto"
    memory: Memory = "1GB"

    @property
    def encoding(self) -> Encoding:
        """What is done with a sample before it is an input, and with outputs before they are answers."""
        return self._parts.encoding

    @cached_property
    def train_iter(self) -> SampleIterator:
        """Minibatches to train on, shuffled anew in each epoch."""
        return SampleIterator(self._parts.train, self._window, "train", shuffle=True)

    @cached_property
    def valid_iter(self) -> SampleIterator:
        """Minibatches to validate with, in a fixed order."""
        return SampleIterator(self._parts.valid, self._window, "valid")

    @property
    def nclass(self) -> int | None:
        """Number of classes; None for regression."""
        target = self.encoding.target
        return target.nout if isinstance(target, Classes) else None

    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, targets) for training and for validation, all of them, in the order of the data."""
        return _arrays(self._parts.train), _arrays(self._parts.valid)

    @property
    def memory_bytes(self) -> int:
        """What samples may take of memory."""
        return bytes_of(self.memory)

    @property
    def _window(self) -> int:
        """Bytes of a window: all that there is, where it has room in memory."""
        size = sum(part.ndata * part.row_bytes for part in self._parts[1:])
        return self.memory_bytes if size <= self.memory_bytes else self.memory_bytes // _WINDOWS

    @cached_property
    def _parts(self) -> Parts:
        try:
            return self.read()
        except DataError as error:
            if error.problems:
                raise
            raise DataError(str(error), [Problem.about(self.blamed(str(error)), str(error), self)]) from error

    def blamed(self, message: str) -> str:
        """The argument that a message about the data is about."""
        return "path"

    @abstractmethod
    def read(self) -> Parts:
        """The encoding, and the samples for training and for validation.

        Raises:
            DataError: the data is not there or cannot be used: all that is wrong with it.
        """

    @property
    def share(self) -> float | None:
        """The share of the samples that validates; None where other data does."""
        return None if isinstance(self.validation, str) else float(self.validation)

    def check_counts(self, train: int, valid: int) -> None:
        """Refuse a share that leaves one of the parts empty.

        Raises:
            DataError: it does.
        """
        if self.share is not None and not (train and valid):
            left = "to validate with" if train else "to train on"
            message = (
                f"a share of {self.validation} of {train + valid} samples for validation leaves none {left}"
            )
            raise DataError(message, [Problem.about("validation", message, self)])


def _arrays(samples: EncodedSamples) -> Arrays:
    rows = samples.all()
    return np.asarray(samples.inputs(rows)).reshape(-1, *samples.shape), samples.targets(rows)
