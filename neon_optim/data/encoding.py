"""How samples of a kind of data become inputs of a model, and its outputs become answers: what an encoding is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from neon_optim.data.learning import Moments, chunks_of
from neon_optim.errors import DataError, StateError, shown
from neon_optim.model.samples import Rows

__all__ = ["Classes", "Encoding", "Quantities", "Target", "target_from_json"]

_MOST_LISTED = 10
_FEW = 20
"""Classes up to which it is faster to look for each of them in all samples than for each sample in a dictionary."""


@dataclass(frozen=True)
class Classes:
    """A target that is one of some classes.

    Attributes:
        name: of the column; '' where it has none.
        labels: the classes, in the order of the model's outputs.
    """

    name: str
    labels: tuple[Any, ...]

    @property
    def nout(self) -> int:
        """Outputs of a model."""
        return len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """What :func:`target_from_json` takes."""
        return {"kind": "classes", "name": self.name, "labels": list(self.labels)}

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """The class numbers of labels.

        Raises:
            DataError: a label that is none of the classes.
        """
        if len(self.labels) <= _FEW:
            found = np.full(len(values), -1)
            for k, label in enumerate(self.labels):
                found[values == label] = k
        else:
            places = {label: k for k, label in enumerate(self.labels)}
            found = np.array([places.get(label, -1) for label in values.tolist()], np.int64)
        unknown = list(dict.fromkeys(values[found < 0].tolist()))
        if unknown:
            raise DataError(
                f"{self.name or 'the targets'}: {_listed(unknown)} {'is' if len(unknown) == 1 else 'are'} none of the "
                f"classes that the model was trained on: {_listed(self.labels)}"
            )
        return found

    def answers(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The most probable class of each sample, and what the model gives for each class."""
        labels = np.array(self.labels, dtype=None if _are_alike(self.labels) else object)
        columns = {f"probability_{label}": outputs[:, k] for k, label in enumerate(self.labels)}
        return {"prediction": labels[outputs.argmax(axis=1)], **columns}


@dataclass(frozen=True)
class Quantities:
    """A target of one or more numbers, which the model sees with mean 0 and deviation 1.

    Attributes:
        name: of the column; '' where it has none.
        mean, deviation: for each number, of the samples to train on.
    """

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def nout(self) -> int:
        """Outputs of a model."""
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """What :func:`target_from_json` takes."""
        return {
            "kind": "numbers",
            "name": self.name,
            "mean": list(self.mean),
            "deviation": list(self.deviation),
        }

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """The numbers as the model sees them, (samples, outputs)."""
        wide = np.asarray(values, np.float64).reshape(len(values), math.prod(values.shape[1:]))
        if wide.shape[1] != self.nout:
            raise DataError(
                f"{self.name or 'the targets'}: {self.nout} numbers for each sample, received {wide.shape[1]}"
            )
        return ((wide - self.mean) / self.deviation).astype(np.float32)

    def answers(self, outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The numbers of each sample."""
        wide = outputs.astype(np.float64) * self.deviation + self.mean
        if self.nout == 1:
            return {"prediction": wide[:, 0]}
        return {f"prediction_{k}": wide[:, k] for k in range(self.nout)}


Target = Classes | Quantities


def target_from_json(described: dict[str, Any]) -> Target:
    """The target that ``to_json`` described."""
    if described["kind"] == "classes":
        return Classes(described["name"], tuple(described["labels"]))
    return Quantities(described["name"], tuple(described["mean"]), tuple(described["deviation"]))


class Encoding(ABC):
    """What was learned of the samples to train on, so that others can be treated alike. It is part of a checkpoint.

    Attributes:
        kind: its name in a checkpoint.
        target: what the model is trained to give.
        shape: of a sample as the model sees it.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Encoding]]] = {}
    target: Target
    shape: tuple[int, ...]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Encoding.kinds[cls.kind] = cls

    @abstractmethod
    def inputs(self, data: Any) -> np.ndarray:
        """The inputs of a model, (samples, …), from a file's name or from what a program has.

        Raises:
            DataError: the data is of another kind, or cannot be read.
        """

    @abstractmethod
    def samples(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """The inputs, and the targets as the model sees them.

        Raises:
            DataError: the same, or there are no targets.
        """

    @abstractmethod
    def inputs_of(self, rows: Rows) -> np.ndarray:
        """The inputs, (samples, features), of rows that the encoding has made; the last array of these are targets."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All of it, in values of JSON."""

    @classmethod
    @abstractmethod
    def from_json(cls, described: dict[str, Any]) -> Encoding:
        """The encoding that :meth:`to_json` described."""

    @abstractmethod
    def summary(self) -> list[str]:
        """In words, what becomes of what: a line for each thing that somebody should look at."""


def encoding_from_json(described: Any) -> Encoding:
    """The encoding that a checkpoint holds.

    Raises:
        StateError: it is none that this version knows.
    """
    try:
        return Encoding.kinds[described["kind"]].from_json(described)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"the checkpoint holds an encoding that is not known: {shown(described)}") from error


def standardizing(values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each column of (samples, columns); the deviation is 1 where all values are the same."""
    wide = np.asarray(values, np.float64).reshape(len(values), -1)
    moments = Moments(wide.shape[1])
    for first, last in chunks_of(*wide.shape):
        moments.add(wide[first:last])
    return moments.standardizing()


def learned_target(name: str, values: np.ndarray, task: str) -> Target:
    """A target from the values of the samples to train on.

    Arguments:
        task: 'classification', 'regression', or 'auto': classes where values are words, truth values, or integers of
            at most 20 different values, else numbers.
    """
    if goal_of(name, values.dtype.kind, task, lambda: len(np.unique(values))) == "regression":
        return Quantities(name, *standardizing(values))
    return classes_of(name, set(values.tolist()))


def goal_of(name: str, kind: str, task: str, distinct: Callable[[], int]) -> str:
    """'classification' or 'regression'.

    Arguments:
        kind: NumPy's letter for the type of the values.
        task: as in :func:`learned_target`.
        distinct: counts the different values.
    """
    if task == "auto":
        few = kind in "iu" and distinct() <= MOST_INTEGER_CLASSES
        task = "classification" if few or kind not in "iuf" else "regression"
    if task == "regression" and kind not in "iufb":
        raise DataError(
            f"{name or 'the targets'}: words cannot be a target of regression: task: classification"
        )
    return task


def classes_of(name: str, labels: Collection[Any]) -> Classes:
    """The classes that some labels are.

    Raises:
        DataError: there is only one.
    """
    known = sorted(labels, key=lambda label: (type(label).__name__, label))
    if len(known) < 2:
        raise DataError(
            f"{name or 'the targets'}: all samples are of one class, {known[0]!r}; there is nothing to learn"
        )
    return Classes(name, tuple(known))


MOST_INTEGER_CLASSES = 20


def _listed(values: Sequence[Any]) -> str:
    more = f", … ({len(values)} in all)" if len(values) > _MOST_LISTED else ""
    return ", ".join(map(repr, values[:_MOST_LISTED])) + more


def _are_alike(labels: Sequence[Any]) -> bool:
    return len(set(map(type, labels))) == 1
