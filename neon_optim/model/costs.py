"""Costs: what training makes small. Each is an op-tree with one value for each sample, and its derivative."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from neon_optim.described.arguments import Flag, Name, Positive
from neon_optim.described.checks import OfKind
from neon_optim.described.object import NervanaObject
from neon_optim.errors import ArgumentError, Problem
from neon_optim.model.activations import Logistic, Softmax

__all__ = [
    "Cost",
    "CrossEntropyBinary",
    "CrossEntropyMulti",
    "GeneralizedCost",
    "MeanSquared",
    "SumSquared",
]

_SMALLEST = math.exp(-50.0)  # where be.safelog ends


class Cost(NervanaObject, kind="cost", abstract=True):
    """A function of outputs y and targets t, both (features × samples).

    Attributes:
        folds: the activation class whose derivative :meth:`folded_bprop` includes; None: there is no such form.
    """

    folds: ClassVar[type | None] = None
    _named_by_class: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, y: Any, t: Any) -> Any:
        """The cost of each sample, (1, samples)."""

    @abstractmethod
    def bprop(self, y: Any, t: Any) -> Any:
        """The derivative by y."""

    def folded_bprop(self, y: Any, t: Any) -> Any:
        """The derivative by the inputs of the activation named in ``folds``: simpler, and right where y is 0 or 1."""
        raise ArgumentError(f"{self.classnm} folds in no activation")

    def pairs_with(self, transform: Any) -> bool:
        """Whether the derivative of an activation is folded in.

        Raises:
            ArgumentError: the activation has ``shortcut=True``, but this cost does not fold it in.
        """
        folded = self.folds is not None and isinstance(transform, self.folds)
        if getattr(transform, "shortcut", False) and not folded:
            what = f"folds in {self.folds.__name__} only" if self.folds else "folds in no activation"
            message = (
                f"{transform.classnm}(shortcut=True) leaves its derivative to the cost, but {self.classnm} {what}; "
                "use shortcut=False, or CrossEntropyBinary behind Logistic"
            )
            raise ArgumentError(message, [Problem.about("shortcut", message, transform)])
        return folded


class CrossEntropyBinary(Cost):
    """-Σ t log(y) + (1 - t) log(1 - y), for outputs in (0, 1) that are independent of each other.

    Arguments:
        scale: factor of cost and derivative.

    Logarithms end at -50, as in neon.
    """

    folds = Logistic

    scale: Positive = 1

    def __call__(self, y: Any, t: Any) -> Any:
        be = self.be
        return self.scale * be.sum(be.safelog(1.0 - y) * (t - 1.0) - be.safelog(y) * t, axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """scale (y - t) / (y (1 - y))."""
        return self.scale * (y - t) / self.be.maximum(y * (1.0 - y), _SMALLEST)

    def folded_bprop(self, y: Any, t: Any) -> Any:
        """scale (y - t)."""
        return self.scale * (y - t)


class CrossEntropyMulti(Cost):
    """-Σ t log(y), for outputs that are the probabilities of classes that exclude each other.

    Arguments:
        scale: factor of cost and derivative.
        usebits: measure in bits instead of nats (the value only, not the derivative; as in neon).
    """

    folds = Softmax

    scale: Positive = 1
    usebits: Flag = False

    def __call__(self, y: Any, t: Any) -> Any:
        unit = 1.0 / math.log(2.0) if self.usebits else 1.0
        return (-self.scale * unit) * self.be.sum(t * self.be.safelog(y), axis=0)

    def bprop(self, y: Any, t: Any) -> Any:
        """-scale t / y."""
        return -self.scale * t / self.be.maximum(y, _SMALLEST)

    def folded_bprop(self, y: Any, t: Any) -> Any:
        """scale (y - t), for targets that add up to 1 in each sample."""
        return self.scale * (y - t)


class SumSquared(Cost):
    """Σ (y - t)² / 2."""

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.sum(self.be.square(y - t), axis=0) / 2.0

    def bprop(self, y: Any, t: Any) -> Any:
        """y - t."""
        return y - t


class MeanSquared(Cost):
    """The mean over the outputs of (y - t)² / 2."""

    def __call__(self, y: Any, t: Any) -> Any:
        return self.be.mean(self.be.square(y - t), axis=0) / 2.0

    def bprop(self, y: Any, t: Any) -> Any:
        """(y - t) / number of outputs."""
        return (y - t) / float(y.shape[0])


class GeneralizedCost(Cost):
    """neon's wrapper around a cost; stands for the cost itself.

    Arguments:
        costfunc: the cost.
    """

    costfunc: Annotated[Any, OfKind("cost")]
    name: Name = "GeneralizedCost"

    @property
    def folds(self) -> type | None:  # type: ignore[override]
        """That of the cost."""
        folds: type | None = self.costfunc.folds
        return folds

    def __call__(self, y: Any, t: Any) -> Any:
        return self.costfunc(y, t)

    def bprop(self, y: Any, t: Any) -> Any:
        """That of the cost."""
        return self.costfunc.bprop(y, t)

    def folded_bprop(self, y: Any, t: Any) -> Any:
        """That of the cost."""
        return self.costfunc.folded_bprop(y, t)
