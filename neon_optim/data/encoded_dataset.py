"""The base of datasets of the users: what is learned of the samples to train on, and which these are."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np

from neon_optim.backends.philox import permutation
from neon_optim.data.encoding import Classes, Encoding, Target, learned_target
from neon_optim.described.arguments import NonNegativeInt
from neon_optim.described.checks import Either, Number, Text
from neon_optim.described.object import NervanaObject
from neon_optim.errors import DataError, Problem
from neon_optim.model.array_iterator import ArrayIterator
from neon_optim.model.datasets import Arrays, all_but, stratified_split

__all__ = ["EncodedDataset", "Task"]

Validation = Annotated[Any, Either(Number(gt=0, lt=1), Text())]
Task = Literal["auto", "classification", "regression"]


class EncodedDataset(NervanaObject, kind="dataset", abstract=True):
    """Data of the users: what is done with it is learned from the samples to train on, and kept with the model.

    Arguments:
        validation: the share of the samples that is kept for validation, of each class where there are classes; or the
            path of other data to validate with.
        split_seed: decides which samples.
        task: 'classification' or 'regression'; 'auto': classes where targets are words, truth values, or integers of
            few different values.
    """

    _: KW_ONLY
    validation: Validation = 0.2
    split_seed: NonNegativeInt = 0
    task: Task = "auto"

    @property
    def encoding(self) -> Encoding:
        """What is done with a sample before it is an input, and with outputs before they are answers."""
        return self._parts[0]

    @cached_property
    def train_iter(self) -> ArrayIterator:
        """Minibatches to train on, shuffled anew in each epoch."""
        return self._iterator(self._parts[1], "train", shuffle=True)

    @cached_property
    def valid_iter(self) -> ArrayIterator:
        """Minibatches to validate with, in a fixed order."""
        return self._iterator(self._parts[2], "valid")

    @property
    def nclass(self) -> int | None:
        """Number of classes; None for regression."""
        target = self.encoding.target
        return target.nout if isinstance(target, Classes) else None

    def load(self) -> tuple[Arrays, Arrays]:
        """(inputs, targets) for training and for validation."""
        return self._parts[1:]

    @cached_property
    def _parts(self) -> tuple[Encoding, Arrays, Arrays]:
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
    def read(self) -> tuple[Encoding, Arrays, Arrays]:
        """The encoding, and (inputs, targets) for training and for validation.

        Raises:
            DataError: the data is not there or cannot be used: all that is wrong with it.
        """

    def _iterator(self, arrays: Arrays, name: str, shuffle: bool = False) -> ArrayIterator:
        X, y = arrays
        return ArrayIterator(
            X,
            y,
            nclass=self.nclass,
            make_onehot=self.nclass is not None,
            lshape=X.shape[1:] if X.ndim > 2 else None,
            name=name,
            shuffle=shuffle,
        )

    def split(self, name: str, values: np.ndarray) -> tuple[Target, np.ndarray, np.ndarray]:
        """The target, and the numbers of the samples to train on and to validate with.

        Arguments:
            name: of the target.
            values: the target of each sample.
        """
        target = learned_target(name, values, self.task)
        count = len(values)
        if isinstance(self.validation, str):
            return target, np.arange(count), np.empty(0, np.int64)
        if isinstance(target, Classes):
            train, valid = stratified_split(target.encoded(values), self.validation, self.split_seed)
        else:
            order = permutation(count, self.split_seed, 0, 0)
            train, valid = all_but(count, np.sort(order[: round(self.validation * count)]))
        if not len(train) or not len(valid):
            left = "to validate with" if len(train) else "to train on"
            message = f"a share of {self.validation} of {count} samples for validation leaves none {left}"
            raise DataError(message, [Problem.about("validation", message, self)])
        if not isinstance(target, Classes):
            target = learned_target(name, values[train], "regression")
        return target, train, valid
